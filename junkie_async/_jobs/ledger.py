"""A job's record in a SQLite file, which survives whatever ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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

# `attempt.open` and `attempt.suspect` are those of `Journal.open_intents` and `Journal.suspects`.
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

    Rows are queued while the disk is busy. The next transaction writes all of them, and is synced
    to the disk before `log_intents` and `sync` return.

    Args:
        path: The file. A new one is made with mode 0600, since it holds key values.
        arguments: What distinguishes the job from others, as plain data.
        marker: The prefix of the markers. None for no markers.

    Raises:
        InvalidRequestError: The path is not one of a file.
    """

    def __init__(
        self, path: str | os.PathLike[str], arguments: Mapping[str, Any], marker: str | None
    ) -> None:
        super().__init__()
        self._path = check_path(path)
        self._arguments = {**arguments, "marker": marker}
        self._prefix = marker
        self._job_id = ""
        self._last_replayed = 0  # the row of the newest key of earlier runs
        self._file: _LedgerFile | None = None

    def keys(self) -> tuple[str, ...]:
        """Return all logged key values, in the order in which they were logged."""
        if self._file is None:
            return ()
        with open_readonly(self._path) as db:
            return tuple(value for (value,) in db.execute("SELECT value FROM key ORDER BY rowid"))

    async def open(self) -> None:
        """Create the file, or resume from it.

        Raises:
            ConfigurationError: Another job has it open, or it is not a ledger.
            InvalidRequestError: It is the ledger of a job with other arguments.
        """
        self._file = file = _LedgerFile(self._path)
        try:
            await file.open()
            await file.run(self._load_job)
        except BaseException:
            await file.close()
            raise

    async def close(self) -> None:
        """Flush and close."""
        if self._file is not None:
            try:
                await self._file.sync()
            finally:
                await self._file.close()

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the key values that earlier runs have logged, 100 at a time."""
        row = 0
        while row < self._last_replayed:
            query = "SELECT rowid, value FROM key WHERE rowid > ? AND rowid <= ? LIMIT ?"
            rows = await self._open_file.fetch(query, (row, self._last_replayed, _REPLAY_ROWS))
            row = rows[-1][0]
            for start in range(0, len(rows), MAX_BATCH):
                yield [value for _, value in rows[start : start + MAX_BATCH]]

    async def log_intents(self, amounts: Sequence[int]) -> list[Intent]:
        """Open an intent for each amount of keys. Their calls may be sent after this returns."""
        intents = await super().log_intents(amounts)
        rows = [(intent.number, intent.outstanding) for intent in intents]
        self._open_file.enqueue("INSERT INTO attempt VALUES (?, ?, 1, 0)", rows)
        # The sync must come before the send. Otherwise a crash loses the marker of a call that was
        # carried out, and with it the keys: `test_a_job_that_sends_before_it_logs_loses_keys`.
        await self._open_file.sync()
        return intents

    def log_result(self, intent: Intent, keys: Collection[str], *, final: bool) -> None:
        """Log keys of an intent, and close the intent if nothing more can come of it."""
        self._update_intent(intent, len(keys), final=final)
        number = intent.number
        self._open_file.enqueue("INSERT INTO key VALUES (?, ?)", [(key, number) for key in keys])
        change = "open = 0" if final else "suspect = 1"
        statement = f"UPDATE attempt SET {change} WHERE number = ?"  # noqa: S608 - two constants
        self._open_file.enqueue(statement, [(number,)])

    async def sync(self) -> None:
        """Wait until everything logged so far is on the disk.

        Raises:
            ConfigurationError: The disk refused it.
        """
        await self._open_file.sync()

    async def logged_keys(self, numbers: Collection[int]) -> set[str]:
        """Return the key values that are logged for these intents."""
        await self.sync()
        values: set[str] = set()
        for number in numbers:
            query = "SELECT value FROM key WHERE attempt = ?"
            values.update(value for (value,) in await self._open_file.fetch(query, (number,)))
        return values

    @property
    def _open_file(self) -> _LedgerFile:
        assert self._file is not None, "the ledger is not open"
        return self._file

    def _marker_of(self, number: int) -> str | None:
        return None if self._prefix is None else make_marker(self._prefix, self._job_id, number)

    def _load_job(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._create_schema(db)
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

    def _create_schema(self, db: sqlite3.Connection) -> None:
        arguments = encode_json(self._arguments).decode()
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};")
        db.execute("INSERT INTO job VALUES (?, ?, ?)", (new_job_id(), arguments, time.time()))
        db.execute("PRAGMA user_version = 1")
        db.execute("COMMIT")


class _LedgerFile:
    """A SQLite connection in its own thread, with group commit: one transaction per sync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # One thread, since SQLite blocks; and only one, since it must keep the order of the rows.
        self._thread = ThreadPoolExecutor(1, "junkie-ledger")
        self._connections: list[sqlite3.Connection] = []
        self._queue: list[_Statement] = []
        self._queue_written: asyncio.Future[None] | None = None  # done after the next commit
        self._batch_written: asyncio.Future[None] | None = None  # done after the current commit
        self._writer: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def open(self) -> None:
        """Lock and open the file."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._lock_and_connect)

    async def close(self) -> None:
        """Close the file and release its lock."""
        closing = self._thread.submit(self._close_connections)
        self._thread.shutdown(wait=False)
        # Shielded: a cancellation would reach the thread's queue, and the ledger stay locked.
        await asyncio.shield(asyncio.wrap_future(closing))

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function with the connection, in the file's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(self._connections[-1]))

    async def fetch(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """Return all rows of a query."""
        return await self.run(lambda db: db.execute(query, values).fetchall())

    def enqueue(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Queue a statement, to be executed for each row in the next transaction."""
        self._queue.append((statement, rows))
        if self._queue_written is None:
            self._queue_written = asyncio.get_running_loop().create_future()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_queue())

    async def sync(self) -> None:
        """Wait until all queued statements are on the disk.

        Raises:
            ConfigurationError: A write failed.
        """
        if written := self._queue_written or self._batch_written:
            await asyncio.shield(written)
        if self._failure is not None:
            raise ConfigurationError(
                f"the ledger {self._path} can't be written: {self._failure}."
                " Run the job again when it can: it resumes where the ledger ends"
            )

    async def _write_queue(self) -> None:
        while self._queue_written is not None:
            statements, self._queue = self._queue, []
            self._batch_written, self._queue_written = self._queue_written, None
            try:
                if self._failure is None:  # nothing may follow a gap: the order is the guarantee
                    await self.run(partial(_commit_batch, statements=statements))
            except Exception as error:  # whatever it is, `sync` raises it
                self._failure = error
            self._batch_written.set_result(None)
        self._writer = self._batch_written = None

    def _lock_and_connect(self) -> None:
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

    def _connect_to(self, path: Path) -> sqlite3.Connection:
        # SQLite would create it with mode 0644, and gives the -wal and -shm files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._connections.append(connection)
        return connection

    def _close_connections(self) -> None:
        while self._connections:  # the lock comes last
            self._connections.pop().close()


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
    """Open a ledger for reading, even while a job writes it.

    Raises:
        ConfigurationError: There is no such file, it is not a ledger, or it can't be read.
    """
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
