"""The record of a job in a SQLite file, beside those of other jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import attrs

from .._errors import ClientClosedError, ConfigurationError
from .._protocol.fields import MAX_BATCH
from .._protocol.json_documents import encode_json
from .file_owners import resolve_links
from .ledger_file import (
    MovedError,
    OpenFiles,
    check_path,
    explain_errors,
    lock_job,
    open_for_writing,
)
from .ledger_tables import check_integrity, limit_time, read_job
from .markers import new_job_id
from .record import (
    DEFAULT_JOB,
    LedgerStore,
    LoadedIntent,
    LoadedJob,
    Record,
    check_arguments,
    check_content,
)

T = TypeVar("T")

_Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]

_FIRST_POLL: Final = 0.005  # seconds between two tries to get a job that another worker has
_LAST_POLL: Final = 0.1
_MAX_SECONDS: Final = 10.0  # to read an order


class SqliteFile:
    """A ledger's file, open for the jobs of this process that write it together.

    Errors name it as it was ``given``. It is open for one ``job`` alone, or for all.
    """

    def __init__(self, path: Path, given: Path, job: str | None = None) -> None:
        self.job = job
        self.path = path
        self.given = given
        # One thread, since SQLite blocks; and only one, since it must keep the order of the rows.
        self._thread = ThreadPoolExecutor(1, "junkie-ledger")
        self._connections = contextlib.ExitStack()
        self._db: sqlite3.Connection
        self._files: OpenFiles | None = None
        # A deque: the event loop appends while the thread takes. An item is never divided.
        self._queue: deque[Sequence[_Statement]] = deque()
        self._last_commit: Future[None] | None = None
        self._failure: BaseException | None = None
        self._closing: Future[None] | None = None

    @property
    def has_failed(self) -> bool:
        """Whether something has failed, so that nothing more may be written."""
        return self._failure is not None

    async def open(self) -> None:
        """Open or create the file, unless it is open."""
        await self.run(self._open)

    async def run(self, act: Callable[[], T]) -> T:
        """Execute something in the file's thread, after what was queued before."""
        return await _wait_for(self._submit(partial(self._explained, act)))

    def execute_exclusively(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Execute something in a transaction of the file's thread, while nobody else writes."""
        # Until the check, a job with a lost lock may still write.
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            self._check_files()
            result = act(self._db)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise
        return result

    def enqueue(self, *statements: _Statement) -> None:
        """Queue statements for the next transaction, each to be executed for all its rows."""
        self._queue.append(statements)
        self._last_commit = self._submit(self._commit_queue)

    async def sync(self) -> None:
        """Wait until everything queued so far is on the disk."""
        if self._last_commit is not None and not self._last_commit.done():
            await _wait_for(self._last_commit)
        self._raise_failure()

    def discard(self) -> None:
        """Close, without waiting for it."""
        self._begin_close()

    async def flush(self, release: Callable[[], None]) -> None:
        """Let the thread do all that was queued, and then ``release`` what guards it.

        It is done even if the caller, who waits for it, is cancelled.
        """
        flushing = self._closing or self._submit(self._commit_queue)
        flushing.add_done_callback(lambda _: release())
        await _wait_for(flushing)
        self._raise_failure()
        if self._closing is not None and self._queue:  # by those who came too late
            raise self._make_error(_closed())

    async def close(self) -> None:
        """Flush and close, even if the caller is cancelled."""
        await _wait_for(self._begin_close())
        self._raise_failure()

    def _begin_close(self) -> Future[None]:
        self._closing = self._thread.submit(self._commit_and_close)
        self._thread.shutdown(wait=False)
        return self._closing

    def _submit(self, act: Callable[[], T]) -> Future[T]:
        try:
            return self._thread.submit(act)
        except RuntimeError:  # it was discarded, after it has failed or with its client
            failure = self._failure or _closed()
        raise self._make_error(failure)

    def _explained(self, act: Callable[[], T]) -> T:
        with explain_errors(self.given, "opened"):
            try:
                return act()
            except (OSError, sqlite3.Error, MovedError) as error:
                self._failure = self._failure or error  # orders to come open the file anew
                raise

    def _open(self) -> None:
        if self._files is not None:
            return
        self.path = resolve_links(self.path)
        self._db, self._files = open_for_writing(self.path, self._connections, job=self.job)

    def _check_files(self) -> None:
        assert self._files is not None
        self._files.check()

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
        self._check_files()

    def _commit_and_close(self) -> None:
        self._commit_queue()
        try:
            with self._connections:
                if self._files is not None:
                    self._check_files()
        except BaseException as error:
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._make_error(self._failure)

    def _make_error(self, failure: BaseException) -> ConfigurationError:
        reason = str(failure) or type(failure).__name__
        advice = "Run the job again when it can: it resumes where the ledger ends"
        if isinstance(failure, MovedError):
            advice = (
                "The report has all keys, and the file may lack some."
                " To resume, put all its files back and run the job again"
            )
        return ConfigurationError(f"the ledger {self.given} can't be written: {reason}. {advice}")


class SqliteStore(LedgerStore):
    """A ledger in a file. Orders share one connection to it, and each job has its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._given = check_path(path)
        with explain_errors(self._given, "opened"):  # there may be no current folder
            self._path = self._given.absolute()  # now, since the folder may be another one later
        self.identity: str = str(self._path)
        self.folder: Path | None = self._path.parent
        self._shared: SqliteFile | None = None

    def make_record(self, job: str | None, *, waits: bool) -> Record:
        """Make the record of a job; ``waits`` for its writer rather than to refuse."""
        name = job or DEFAULT_JOB
        if not waits:
            return SqliteRecord(name, SqliteFile(self._path, self._given, name))
        if self._shared is None or self._shared.has_failed:
            self._discard_shared()
            self._shared = SqliteFile(self._path, self._given)
        return SqliteRecord(name, self._shared)

    async def close(self) -> None:
        """Close the connection of the orders."""
        shared, self._shared = self._shared, None
        if shared is not None:
            with contextlib.suppress(ConfigurationError):  # the orders have raised it
                await shared.close()

    def _discard_shared(self) -> None:
        if self._shared is not None:
            self._shared.discard()
            self._shared = None


@attrs.define(eq=False)
class SqliteRecord:
    """A job's rows in a file, which is open for this job alone, or shared by orders.

    An order waits for the worker that fills it, where a job is refused. It checks nothing but its
    own rows: reading a ledger of a million orders would take seconds.
    """

    has_lease: ClassVar[bool] = False
    name: str
    file: SqliteFile
    _job: int = attrs.field(init=False)
    # The job's own row.
    _unlogged: list[_Statement] = attrs.field(factory=list[_Statement], init=False)
    _lock: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack, init=False)

    async def open(
        self, arguments: Mapping[str, Any], add_keys: Callable[[Sequence[str]], None]
    ) -> LoadedJob:
        """Become the job's writer, and read what earlier runs have logged."""
        await self.file.open()
        seconds = _FIRST_POLL
        while self._is_order and not await self.file.run(self._take_lock):
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LAST_POLL)

        def load(db: sqlite3.Connection) -> LoadedJob:
            with self._guard(db):
                return self._load(db, arguments, add_keys)

        return await self.file.run(lambda: self.file.execute_exclusively(load))

    def log_intents(self, intents: Sequence[tuple[int, int]]) -> None:
        """Log calls, by their numbers and their amounts of keys, with the next `sync`."""
        rows = [(self._job, number, amount) for number, amount in intents]
        attempts = "INSERT INTO attempt VALUES (?, ?, ?, 1, NULL)", rows
        self.file.enqueue(*self._unlogged, attempts)
        self._unlogged.clear()

    def log_keys(
        self, number: int, keys: Collection[str], *, final: bool, result: bytes | None = None
    ) -> None:
        """Log keys of a call, with the next `sync`. It is closed, or else in doubt."""
        change, value = ("open", 0.0) if final else ("doubted", time.time())
        update = f"UPDATE attempt SET {change} = ? WHERE job = ? AND number = ?"  # noqa: S608 - constants
        statements: list[_Statement] = [
            ("INSERT INTO key VALUES (?, ?, ?)", [(self._job, number, key) for key in keys]),
            (update, [(value, self._job, number)]),
        ]
        if result is not None:
            change = "UPDATE job SET result = ? WHERE id = ?"
            statements.append((change, [(result, self._job)]))
        self.file.enqueue(*statements)

    async def sync(self) -> None:
        """Wait until everything logged so far is on the disk."""
        await self.file.sync()

    def check_writer(self) -> None:
        """Do nothing: a process that is stopped keeps its lock, so that no other one takes over."""

    async def wait_until_writer(self) -> None:
        """Do nothing, likewise."""

    async def close(self) -> None:
        """Flush, and let other workers write, even if the caller is cancelled."""
        if self._is_order:
            # Others who read the rows before that would not find what is still to be written.
            await self.file.flush(self._lock.close)
        else:
            await self.file.close()

    def _take_lock(self) -> bool:
        try:
            self._lock.enter_context(lock_job(self.file.path, self.name))
        except BlockingIOError:
            return False
        return True

    @property
    def _is_order(self) -> bool:
        return self.file.job is None

    def _guard(self, db: sqlite3.Connection) -> contextlib.AbstractContextManager[None]:
        """Let no damage of the file make a query endless."""
        if self._is_order:
            return limit_time(db, _MAX_SECONDS)
        check_integrity(db)
        return contextlib.nullcontext()

    def _load(
        self,
        db: sqlite3.Connection,
        arguments: Mapping[str, Any],
        add_keys: Callable[[Sequence[str]], None],
    ) -> LoadedJob:
        row = read_job(db, self.name)
        if row is None:
            return self._begin(db, arguments)
        check_arguments(row.arguments, arguments)
        self._job = row.id
        # An earlier run died with these open: their calls may have been sent. A doubt of the future
        # is one from before the clock was set back.
        died = (
            "UPDATE attempt SET doubted = :now"
            " WHERE job = :job AND open AND ifnull(doubted > :now, 1)"
        )
        db.execute(died, {"now": time.time(), "job": row.id})
        values = db.execute("SELECT value FROM key WHERE job = ? ORDER BY rowid", (row.id,))
        created = 0
        while chunk := values.fetchmany(MAX_BATCH):
            created += len(chunk)
            add_keys([value for (value,) in chunk])
        (calls,) = db.execute("SELECT count(*) FROM attempt WHERE job = ?", (row.id,)).fetchone()
        job = LoadedJob(
            id=row.marker,
            begun=row.begun,
            created=created,
            calls=calls,
            intents=self._load_intents(db),
            result=row.result,
        )
        return check_content(job, arguments)

    def _begin(self, db: sqlite3.Connection, arguments: Mapping[str, Any]) -> LoadedJob:
        """Begin a job. An order's row is written with that of its call: one sync less."""
        self._job, marker, begun = secrets.randbits(62), new_job_id(), time.time()
        row = self._job, self.name, marker, encode_json(arguments).decode(), begun
        statement = "INSERT INTO job VALUES (?, ?, ?, ?, ?, NULL)"
        if self._is_order:
            self._unlogged.append((statement, [row]))
        else:
            db.execute(statement, row)
        return LoadedJob(id=marker, begun=begun)

    def _load_intents(self, db: sqlite3.Connection) -> list[LoadedIntent]:
        rows = db.execute(
            "SELECT number, amount - (SELECT count(*) FROM key WHERE key.job = attempt.job"
            " AND attempt = number), open, doubted FROM attempt"
            " WHERE job = ? AND (open OR doubted IS NOT NULL)",
            (self._job,),
        )
        now = time.time()
        return [
            LoadedIntent(number, outstanding, bool(is_open), max(0.0, now - doubted))
            for number, outstanding, is_open, doubted in rows
        ]


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed")


async def _wait_for(future: Future[T]) -> T:
    # Shielded: a cancellation would take it out of the thread's queue, and rows would be missing.
    return await asyncio.shield(asyncio.wrap_future(future))


def _commit_batch(db: sqlite3.Connection, statements: list[_Statement]) -> None:
    for statement, rows in statements:
        db.executemany(statement, rows)
    db.execute("COMMIT")
