"""The record of a job on disk: a SQLite file that survives whatever becomes of the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol import codec as _codec
from .._validation import safe_repr
from .create import Attempt, Record

T = TypeVar("T")

Statement: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]

_APPLICATION: Final = 0x6A6E6B31  # tells SQLite's own tools, and us, whose file it is
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAGE: Final = 1000  # keys that are read back at once

_SCHEMA: Final = """
CREATE TABLE job (id TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL);
CREATE TABLE attempt (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
                      open INTEGER NOT NULL, suspect INTEGER NOT NULL);
CREATE TABLE key (value TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX key_attempt ON key (attempt);
"""


class Ledger(Record):
    """A job's record in a file, which one process at a time may write.

    Writes are gathered while the disk is busy, and go into one transaction that is synced before
    `intend` and `sync` return.

    Args:
        path: The file; it is made with mode 0600, since it holds key values.
        arguments: What tells one job from another, as plain data.
        marker: What the markers begin with; None marks nothing.
    """

    def __init__(self, path: Path, arguments: Mapping[str, Any], marker: str | None) -> None:
        super().__init__()
        self._path = path
        self._arguments = {**arguments, "marker": marker}
        self._prefix = marker
        self._job = ""
        self._last = 0  # the newest key of earlier runs
        self._disk: _Disk | None = None

    @property
    def longest_marker(self) -> str | None:
        """As long as the markers of its attempts can get."""
        return None if self._prefix is None else f"{self._prefix}-{'x' * 8}.{'x' * 10}"

    def keys(self) -> tuple[str, ...]:
        """Give all key values on record, in the order in which they came."""
        if self._disk is None:
            return ()
        with reading(self._path) as file:
            return tuple(value for (value,) in file.execute("SELECT value FROM key ORDER BY rowid"))

    async def begin(self) -> None:
        """Open the file, or make it, and take the job up.

        Raises:
            ConfigurationError: Another process has it, or it is something else than a ledger.
            InvalidRequestError: It is the record of another job.
        """
        self._disk = disk = _Disk(self._path)
        try:
            await disk.open()
            await disk.call(self._take_up)
        except BaseException:
            await disk.close()
            raise

    async def close(self) -> None:
        """Write what is left to be written, and let the file go."""
        if self._disk is not None:
            try:
                await self._disk.sync()
            finally:
                await self._disk.close()

    async def earlier(self) -> AsyncGenerator[Sequence[str], None]:
        """Give the key values that were on record at `begin`, 100 at a time."""
        at = 0
        while at < self._last:
            query = "SELECT rowid, value FROM key WHERE rowid > ? AND rowid <= ? LIMIT ?"
            rows = await self._opened.fetch(query, (at, self._last, _PAGE))
            at = rows[-1][0]
            for begin in range(0, len(rows), 100):
                yield [value for _, value in rows[begin : begin + 100]]

    async def intend(self, amounts: Sequence[int]) -> list[Attempt]:
        """Open attempts for so many keys each: they may be sent once this has returned."""
        attempts = await super().intend(amounts)
        rows = [(attempt.number, attempt.owes) for attempt in attempts]
        self._opened.put("INSERT INTO attempt VALUES (?, ?, 1, 0)", rows)
        await self._opened.sync()
        return attempts

    def put(self, attempt: Attempt, keys: Collection[str], *, closes: bool) -> None:
        """Put down keys that came of an attempt, and whether that is all there is to know of it."""
        self._count(attempt, len(keys), closes=closes)
        number = attempt.number
        self._opened.put("INSERT INTO key VALUES (?, ?)", [(value, number) for value in keys])
        change = "open = 0" if closes else "suspect = 1"
        self._opened.put(f"UPDATE attempt SET {change} WHERE number = ?", [(number,)])  # noqa: S608

    async def sync(self) -> None:
        """Wait until all that was put down is on the disk."""
        await self._opened.sync()

    async def known(self, numbers: Collection[int]) -> set[str]:
        """Give the key values on record that came of these attempts."""
        await self.sync()
        values: set[str] = set()
        for number in numbers:
            query = "SELECT value FROM key WHERE attempt = ?"
            values.update(value for (value,) in await self._opened.fetch(query, (number,)))
        return values

    @property
    def _opened(self) -> _Disk:
        assert self._disk is not None, "the job has not begun"
        return self._disk

    def _attempt(self, amount: int) -> Attempt:
        attempt = super()._attempt(amount)
        attempt.marker = self._marker(attempt.number)
        return attempt

    def _marker(self, number: int) -> str | None:
        return None if self._prefix is None else f"{self._prefix}-{self._job}.{_base36(number)}"

    def _take_up(self, file: sqlite3.Connection) -> None:
        if file.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._lay_out(file)
        self._job, written = file.execute("SELECT id, arguments FROM job").fetchone()
        _compare(_codec.decode_json(written.encode()), self._arguments)
        self.created, self._last = file.execute("SELECT count(*), max(rowid) FROM key").fetchone()
        self._last = self._last or 0
        self._attempts = file.execute("SELECT count(*) FROM attempt").fetchone()[0]
        for number, owes, is_open in file.execute(
            "SELECT number, amount - (SELECT count(*) FROM key WHERE attempt = number), open"
            " FROM attempt WHERE open OR suspect"
        ):
            attempt = Attempt(number, owes, self._marker(number), doubtful=bool(is_open))
            if is_open:
                self.open[number] = attempt
            if attempt.marker is not None:
                self.suspects[attempt.marker] = attempt
        file.execute("UPDATE attempt SET suspect = 1 WHERE open")

    def _lay_out(self, file: sqlite3.Connection) -> None:
        identity = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        arguments = _codec.encode_json(self._arguments).decode()
        file.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION};")
        file.execute("INSERT INTO job VALUES (?, ?, ?)", (identity, arguments, time.time()))
        file.execute("PRAGMA user_version = 1")
        file.execute("COMMIT")


class _Disk:
    """One connection in a thread of its own, which writes what has gathered in one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "junkie-ledger")
        self._connections: list[sqlite3.Connection] = []
        self._gathered: list[Statement] = []
        self._next: asyncio.Future[None] | None = None  # done when what has gathered is written
        self._now: asyncio.Future[None] | None = None  # done when what is being written is
        self._writing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def open(self) -> None:
        """Lock the file and open it."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close it; nobody may have it before."""
        closing = self._thread.submit(self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function with the connection."""
        return await self._run(lambda: function(self._connections[-1]))

    async def fetch(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """Give all rows of a query."""
        return await self.call(lambda file: file.execute(query, values).fetchall())

    def put(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Have a statement carried out for each of the rows, soon."""
        self._gathered.append((statement, rows))
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def sync(self) -> None:
        """Wait until all that was put is on the disk.

        Raises:
            ConfigurationError: It can't be written.
        """
        if waits := self._next or self._now:
            await asyncio.shield(waits)
        if self._failure is not None:
            raise ConfigurationError(f"the ledger can't be written: {self._failure}")

    async def _write(self) -> None:
        while self._next is not None:
            statements, self._gathered = self._gathered, []
            self._now, self._next = self._next, None
            try:
                if self._failure is None:  # after a gap nothing may follow
                    await self._run(lambda batch=statements: self._commit(batch))  # type: ignore[misc]
            except Exception as error:  # whatever it is, `sync` tells of it
                self._failure = error
            self._now.set_result(None)
        self._writing = self._now = None

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _commit(self, statements: list[Statement]) -> None:
        file = self._connections[-1]
        file.execute("BEGIN IMMEDIATE")
        for statement, rows in statements:
            file.executemany(statement, rows)
        file.execute("COMMIT")

    def _open(self) -> None:
        try:
            self._connect(self._path.with_name(self._path.name + ".lock")).execute(
                "BEGIN EXCLUSIVE"
            )
            file = self._connect(self._path)
            (application,) = file.execute("PRAGMA application_id").fetchone()
            (tables,) = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if application != _APPLICATION and (application or tables):
                raise ConfigurationError(f"{self._path} is something else than a ledger")
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        except (sqlite3.Error, OSError) as error:
            locked = "locked" in str(error)
            reason = (
                "another process, or another job of this one, has it open" if locked else str(error)
            )
            raise ConfigurationError(f"the ledger {self._path} can't be opened: {reason}") from None

    def _connect(self, path: Path) -> sqlite3.Connection:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would make it readable
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._connections.append(connection)
        return connection

    def _close(self) -> None:
        while self._connections:  # the lock last
            self._connections.pop().close()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger to look into it, also while a job writes it.

    Raises:
        ConfigurationError: There is none, or it can't be read.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as file:
            (application,) = file.execute("PRAGMA application_id").fetchone()
            if application != _APPLICATION:
                raise ConfigurationError(f"{path} is something else than a ledger")
            yield file
    except sqlite3.Error as error:
        raise ConfigurationError(f"the ledger {path} can't be read: {error}") from None


def _compare(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted({*earlier, *now}):
        before, after = earlier.get(name), now.get(name)
        if before != after:
            raise InvalidRequestError(
                name, safe_repr(after), f"{safe_repr(before)}, as in the ledger"
            )


def _base36(number: int) -> str:
    digits = ""
    while number >= 36:
        number, digit = divmod(number, 36)
        digits = _ALPHABET[digit] + digits
    return _ALPHABET[number] + digits
