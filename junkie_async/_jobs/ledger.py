"""A job's record in a SQLite file, which survives whatever ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeAlias, TypeVar

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol.fields import MAX_BATCH
from .._validation import safe_repr
from .file_owners import resolve_links
from .journal import Intent, Journal
from .ledger_file import (
    check_path,
    create_tables,
    explain_errors,
    lock_and_connect,
    open_readonly,
    read_job,
)
from .markers import make_marker

T = TypeVar("T")

_Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]

_REPLAY_ROWS: Final = 1000  # each query is a trip to the ledger's thread


class Ledger(Journal):
    """A journal in a file that one job at a time may write.

    The arguments are what distinguishes the job from others. ``marker`` is the markers' prefix.
    """

    def __init__(
        self, path: str | os.PathLike[str], arguments: Mapping[str, Any], marker: str | None
    ) -> None:
        super().__init__()
        self._path = check_path(path)
        self._file = self._path  # without links, once the ledger is open
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
        with open_readonly(self._file) as db:
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
        return await _wait_for(self._thread.submit(self._select_rows, query, values))

    def _select_rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with explain_errors(self._path, "read"):
            return self._db.execute(query, values).fetchall()

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
        with explain_errors(self._path, "opened"):
            self._file = resolve_links(self._path)
            self._db = db = lock_and_connect(self._file, self._connections)
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                create_tables(db, self._arguments)
            job = read_job(db)
            _check_arguments(job.arguments, self._arguments)
            self._load_intents(job.id)

    def _load_intents(self, job_id: str) -> None:
        db, self._job_id = self._db, job_id
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


async def _wait_for(future: Future[T]) -> T:
    # Shielded: a cancellation would take it out of the thread's queue, and rows would be missing.
    return await asyncio.shield(asyncio.wrap_future(future))


def _commit_batch(db: sqlite3.Connection, statements: list[_Statement]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement, rows in statements:
        db.executemany(statement, rows)
    db.execute("COMMIT")


def _check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in sorted({*recorded, *given}):
        before, now = recorded.get(name), given.get(name)
        if before != now:
            limit = f"{safe_repr(before)}, as in the ledger"
            raise InvalidRequestError(name, safe_repr(now), limit)
