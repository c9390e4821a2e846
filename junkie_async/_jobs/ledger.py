"""A job's record in a SQLite file, which survives whatever ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol.fields import MAX_BATCH
from .._validation import safe_repr
from .file_owners import resolve_links
from .journal import Intent, Journal
from .key_hashes import KeyHashes
from .key_log import KeyLog
from .ledger_file import (
    DamagedError,
    MovedError,
    OpenFiles,
    check_path,
    create_tables,
    explain_errors,
    lock_and_connect,
    read_job,
)
from .markers import make_marker, read_number

T = TypeVar("T")

_Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]


class Ledger(Journal):
    """A journal in a file that one job at a time may write.

    The arguments are what distinguishes the job from others. ``marker`` is the markers' prefix.
    """

    is_durable = True

    def __init__(
        self, path: str | os.PathLike[str], arguments: Mapping[str, Any], marker: str | None
    ) -> None:
        super().__init__()
        self._path = check_path(path)
        with explain_errors(self._path, "opened"):  # there may be no current folder
            self._file = self._path.absolute()  # now, since the folder may be another one later
        self._arguments = {**arguments, "marker": marker}
        self._prefix = marker
        self._job_id = ""  # until the ledger is open
        self._key_log = KeyLog(self._file.parent)
        self.seen = KeyHashes()  # the values are in the key log only
        self._earlier_blocks = self._read_blocks = 0
        # One thread, since SQLite blocks; and only one, since it must keep the order of the rows.
        self._thread = ThreadPoolExecutor(1, "junkie-ledger")
        self._connections = contextlib.ExitStack()
        self._db: sqlite3.Connection
        self._open_files: OpenFiles | None = None
        # A deque: the event loop appends while the thread takes. An item is never divided.
        self._queue: deque[Sequence[_Statement]] = deque()
        self._last_commit: Future[None] | None = None
        self._failure: BaseException | None = None

    def keys(self) -> tuple[str, ...]:
        """Return all key values of the job, in the order in which they were logged."""
        if self._open_files is None:
            return ()
        for number in range(self._read_blocks, self._key_log.end_block()):
            for keys in self._key_log.read(number):
                self._keys += keys
            self._read_blocks += 1
        return super().keys()

    async def open(self) -> None:
        """Create the file, or resume from it."""
        try:
            await _wait_for(self._thread.submit(self._load_job))
        except BaseException:
            with contextlib.suppress(ConfigurationError):
                await self.close()
            raise

    async def close(self) -> None:
        """Flush and close, and release the lock, even if the caller is cancelled."""
        closing = self._thread.submit(self._commit_and_close)
        self._thread.shutdown(wait=False)
        await _wait_for(closing)
        self._raise_failure()

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the key values that earlier runs have logged, 100 at a time."""
        for number in range(self._earlier_blocks):
            for keys in self._key_log.read(number):
                yield keys

    async def log_intents(self, amounts: Sequence[int]) -> list[Intent]:
        """Open an intent for each amount of keys. Their calls may be sent after this returns."""
        intents = await super().log_intents(amounts)
        rows = [(intent.number, intent.outstanding) for intent in intents]
        self._enqueue_statements(("INSERT INTO attempt VALUES (?, ?, 1, 0)", rows))
        # The sync must come before the send. Otherwise a crash loses the marker of a call that was
        # carried out, and with it the keys: `test_a_job_that_sends_before_it_logs_loses_keys`.
        await self.sync()
        return intents

    def log_result(self, intent: Intent, keys: Collection[str], *, final: bool) -> bool:
        """Log keys of an intent, and close the intent if nothing more can come of it."""
        if not self.seen.add_all(keys):
            return False
        self._update_intent(intent, keys, final=final)
        self._key_log.append(keys)
        number = intent.number
        change = "open = 0" if final else "suspect = 1"
        self._enqueue_statements(
            ("INSERT INTO key VALUES (?, ?)", [(key, number) for key in keys]),
            (f"UPDATE attempt SET {change} WHERE number = ?", [(number,)]),  # noqa: S608 - constants
        )
        return True

    async def sync(self) -> None:
        """Wait until everything logged so far is on the disk."""
        if self._last_commit is not None and not self._last_commit.done():
            await _wait_for(self._last_commit)
        self._raise_failure()

    def find_intent(self, marker: str) -> int | None:
        """Return the number of the intent that has this marker, or None if none of the job has."""
        number = read_number(marker, self._prefix or "", self._job_id)
        return None if number is None or number >= self._next_number else number

    def _marker_of(self, number: int) -> str | None:
        return None if self._prefix is None else make_marker(self._prefix, self._job_id, number)

    def _enqueue_statements(self, *statements: _Statement) -> None:
        """Queue statements for the next transaction, each to be executed for all its rows."""
        self._queue.append(statements)
        self._last_commit = self._thread.submit(self._commit_queue)

    def _commit_queue(self) -> None:
        if self._failure is not None or not self._queue:
            return  # one failed, and nothing may follow the gap; or an earlier commit took all
        items = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            self._begin()
            _commit_batch(self._db, [statement for item in items for statement in item])
        except BaseException as error:  # whatever it is, `sync` and `close` raise it
            self._failure = error
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()  # another job may have the ledger open by now

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        # Within the transaction. Who has put another lock in place of ours reads all of this
        # transaction, or has read before it and is noticed.
        assert self._open_files is not None
        self._open_files.check()

    def _commit_and_close(self) -> None:
        self._commit_queue()
        try:
            with self._connections:  # the lock comes last
                if self._open_files is not None:
                    self._open_files.check()
        except BaseException as error:
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        reason = str(self._failure) or type(self._failure).__name__
        advice = "Run the job again when it can: it resumes where the ledger ends"
        if isinstance(self._failure, MovedError):
            advice = (
                "The report has all keys, and the file may lack some."
                " To resume, put all its files back and run the job again"
            )
        raise ConfigurationError(f"the ledger {self._path} can't be written: {reason}. {advice}")

    def _load_job(self) -> None:
        with explain_errors(self._path, "opened"):
            db, files = lock_and_connect(resolve_links(self._file), self._connections)
            self._db = db
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                create_tables(db, self._arguments)
            db.execute("BEGIN EXCLUSIVE")  # until the check, a job with a lost lock may still write
            files.add_new_files()
            files.check()
            job = read_job(db)
            _check_arguments(job.arguments, self._arguments)
            self.begun = job.begun
            self._load_intents(job.id)
            self._load_keys()
            db.execute("COMMIT")
            self._open_files = files

    def _load_keys(self) -> None:
        rows = self._db.execute("SELECT value FROM key ORDER BY rowid")
        while chunk := rows.fetchmany(MAX_BATCH):
            keys = [value for (value,) in chunk]
            # Never written by us. Given to the consumer, such keys would count as keys of theirs.
            if "" in keys or not self.seen.add_all(keys):
                raise DamagedError
            self._key_log.append(keys)
        self._earlier_blocks = self._key_log.end_block()

    def _load_intents(self, job_id: str) -> None:
        db, self._job_id = self._db, job_id
        self.created = db.execute("SELECT count(*) FROM key").fetchone()[0]
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


async def _wait_for(future: Future[T]) -> T:
    # Shielded: a cancellation would take it out of the thread's queue, and rows would be missing.
    return await asyncio.shield(asyncio.wrap_future(future))


def _commit_batch(db: sqlite3.Connection, statements: list[_Statement]) -> None:
    for statement, rows in statements:
        db.executemany(statement, rows)
    db.execute("COMMIT")


def _check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in sorted({*recorded, *given}):
        before, now = recorded.get(name), given.get(name)
        if before != now:
            # An address is no secret, and cut short both might read the same.
            show = ascii if name == "base_url" else safe_repr
            raise InvalidRequestError(name, show(now), f"{show(before)}, as in the ledger")
