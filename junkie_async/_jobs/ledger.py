"""A job's record in a SQLite file, which survives whatever ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol.codec import decode_json, encode_json
from .._protocol.fields import MAX_BATCH
from .._validation import safe_repr
from .journal import Intent, Journal
from .markers import make_marker, new_job_id

T = TypeVar("T")

_Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]

_APPLICATION_ID: Final = 0x6A6E6B31  # "jnk1": by it `file`, SQLite's tools and we know a ledger
_REPLAY_ROWS: Final = 1000  # each query is a trip to the ledger's thread

# A change of this form needs another `user_version`, and code that reads both.
_SCHEMA: Final = """
CREATE TABLE job (id TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL);
CREATE TABLE attempt (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
                      open INTEGER NOT NULL, suspect INTEGER NOT NULL);
CREATE TABLE key (value TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX key_attempt ON key (attempt);
"""


class Ledger(Journal):
    """A journal in a file that one job at a time may write.

    The arguments are what distinguishes the job from others. ``marker`` is the markers' prefix.
    """

    def __init__(
        self, path: str | os.PathLike[str], arguments: Mapping[str, Any], marker: str | None
    ) -> None:
        super().__init__()
        self._path = check_path(path)
        self._arguments = {**arguments, "marker": marker}
        self._prefix = marker
        self._job_id = ""  # until the ledger is open
        self._last_replayed = 0  # the row of the newest key of earlier runs
        # One thread, since SQLite blocks; and only one, since it must keep the order of the rows.
        self._thread = ThreadPoolExecutor(1, "junkie-ledger")
        self._connections = contextlib.ExitStack()
        self._db: sqlite3.Connection
        # A deque: the event loop appends while the thread takes. An item is never divided.
        self._queue: deque[Sequence[_Statement]] = deque()
        self._last_commit: Future[None] | None = None
        self._failure: Exception | None = None

    def keys(self) -> tuple[str, ...]:
        """Return all logged key values, in the order in which they were logged."""
        if not self._job_id:
            return ()
        with open_readonly(self._path) as db:
            return tuple(value for (value,) in db.execute("SELECT value FROM key ORDER BY rowid"))

    async def open(self) -> None:
        """Create the file, or resume from it."""
        try:
            await _wait_for(self._thread.submit(self._load_job))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Flush and close, and release the lock."""
        try:
            await self.sync()
        finally:
            closing = self._thread.submit(self._connections.close)  # the lock comes last
            self._thread.shutdown(wait=False)
            await _wait_for(closing)

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the key values that earlier runs have logged, 100 at a time."""
        row = 0
        while row < self._last_replayed:
            query = "SELECT rowid, value FROM key WHERE rowid > ? AND rowid <= ? LIMIT ?"
            rows = await self._fetch_rows(query, (row, self._last_replayed, _REPLAY_ROWS))
            row = rows[-1][0]
            for start in range(0, len(rows), MAX_BATCH):
                yield [value for _, value in rows[start : start + MAX_BATCH]]

    async def log_intents(self, amounts: Sequence[int]) -> list[Intent]:
        """Open an intent for each amount of keys. Their calls may be sent after this returns."""
        intents = await super().log_intents(amounts)
        rows = [(intent.number, intent.outstanding) for intent in intents]
        self._enqueue_statements(("INSERT INTO attempt VALUES (?, ?, 1, 0)", rows))
        # The sync must come before the send. Otherwise a crash loses the marker of a call that was
        # carried out, and with it the keys: `test_a_job_that_sends_before_it_logs_loses_keys`.
        await self.sync()
        return intents

    def log_result(self, intent: Intent, keys: Collection[str], *, final: bool) -> None:
        """Log keys of an intent, and close the intent if nothing more can come of it."""
        self._update_intent(intent, len(keys), final=final)
        number = intent.number
        change = "open = 0" if final else "suspect = 1"
        self._enqueue_statements(
            ("INSERT INTO key VALUES (?, ?)", [(key, number) for key in keys]),
            (f"UPDATE attempt SET {change} WHERE number = ?", [(number,)]),  # noqa: S608 - constants
        )

    async def sync(self) -> None:
        """Wait until everything logged so far is on the disk."""
        if self._last_commit is not None and not self._last_commit.done():
            await _wait_for(self._last_commit)
        if self._failure is not None:
            raise ConfigurationError(
                f"the ledger {self._path} can't be written: {self._failure}."
                " Run the job again when it can: it resumes where the ledger ends"
            )

    async def logged_keys(self, numbers: Collection[int]) -> set[str]:
        """Return the key values that are logged for these intents."""
        await self.sync()
        query = "SELECT value FROM key WHERE attempt = ?"
        found = [await self._fetch_rows(query, (number,)) for number in numbers]
        return {value for rows in found for (value,) in rows}

    def _marker_of(self, number: int) -> str | None:
        return None if self._prefix is None else make_marker(self._prefix, self._job_id, number)

    async def _fetch_rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        rows = self._thread.submit(lambda: self._db.execute(query, values).fetchall())
        return await _wait_for(rows)

    def _enqueue_statements(self, *statements: _Statement) -> None:
        """Queue statements for the next transaction, each to be executed for all its rows."""
        self._queue.append(statements)
        self._last_commit = self._thread.submit(self._commit_queue)

    def _commit_queue(self) -> None:
        items = [self._queue.popleft() for _ in range(len(self._queue))]
        if not items or self._failure is not None:
            return  # an earlier commit took all; or one failed, and nothing may follow the gap
        try:
            _commit_batch(self._db, [statement for item in items for statement in item])
        except Exception as error:  # whatever it is, `sync` raises it
            self._failure = error

    def _load_job(self) -> None:
        self._db = db = self._lock_and_connect()
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._create_schema()
        self._job_id, recorded = db.execute("SELECT id, arguments FROM job").fetchone()
        _check_arguments(decode_json(recorded.encode()), self._arguments)
        self.created, last_row = db.execute("SELECT count(*), max(rowid) FROM key").fetchone()
        self._last_replayed = last_row or 0
        self._next_number = db.execute("SELECT count(*) FROM attempt").fetchone()[0]
        for number, outstanding, is_open in db.execute(
            "SELECT number, amount - (SELECT count(*) FROM key WHERE attempt = number), open"
            " FROM attempt WHERE open OR suspect"
        ):
            intent = Intent(number, outstanding, self._marker_of(number), in_doubt=bool(is_open))
            if is_open:
                self.open_intents[number] = intent
            if intent.marker is not None:
                self.suspects[intent.marker] = intent
        # An earlier run died with these open: their calls may have been sent.
        db.execute("UPDATE attempt SET suspect = 1 WHERE open")

    def _create_schema(self) -> None:
        arguments = encode_json(self._arguments).decode()
        self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};")
        self._db.execute("INSERT INTO job VALUES (?, ?, ?)", (new_job_id(), arguments, time.time()))
        self._db.execute("PRAGMA user_version = 1")
        self._db.execute("COMMIT")

    def _lock_and_connect(self) -> sqlite3.Connection:
        try:
            # The lock is that of a second file: one on the ledger would end with each commit, and
            # `locking_mode = EXCLUSIVE` would shut out `status`. It ends with its process.
            lock = self._connect_to(self._path.with_name(self._path.name + ".lock"))
            lock.execute("BEGIN EXCLUSIVE")
            db = self._connect_to(self._path)
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if application != _APPLICATION_ID and (application or tables):
                raise _not_a_ledger(self._path)
            # WAL: a commit is one append and one sync, and readers never block it. FULL: NORMAL
            # syncs a WAL at checkpoints only, so a power cut could lose the markers of sent calls.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        except (sqlite3.Error, OSError) as error:
            reason = "another job has it open: wait until that one has ended"
            shown = reason if "locked" in str(error) else error
            raise ConfigurationError(f"the ledger {self._path} can't be opened: {shown}") from None
        return db

    def _connect_to(self, path: Path) -> sqlite3.Connection:
        # SQLite would create it with mode 0644, and gives the -wal and -shm files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        return self._connections.enter_context(contextlib.closing(connection))


async def _wait_for(future: Future[T]) -> T:
    # Shielded: a cancellation would take it out of the thread's queue, and rows would be missing.
    return await asyncio.shield(asyncio.wrap_future(future))


def _commit_batch(db: sqlite3.Connection, statements: list[_Statement]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement, rows in statements:
        db.executemany(statement, rows)
    db.execute("COMMIT")


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check the path of a ledger."""
    checked = Path()
    with contextlib.suppress(TypeError):  # not a path at all, or one of bytes
        checked = Path(path)
    if checked == Path() or "\0" in str(checked):
        raise InvalidRequestError("ledger", safe_repr(path), "the path of a file, as a str or Path")
    return checked


@contextlib.contextmanager
def open_readonly(path: Path) -> Generator[sqlite3.Connection, None, None]:
    """Open a ledger for reading, even while a job writes it."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            if db.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
                raise _not_a_ledger(path)
            yield db
    except sqlite3.Error as error:
        raise ConfigurationError(f"the ledger {path} can't be read: {error}") from None


def _not_a_ledger(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is not a ledger: choose another path")


def _check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in sorted({*recorded, *given}):
        before, now = recorded.get(name), given.get(name)
        if before != now:
            limit = f"{safe_repr(before)}, as in the ledger"
            raise InvalidRequestError(name, safe_repr(now), limit)
