"""The record of a job in PostgreSQL, which workers on any machine may run.

A worker has a job by a lease: a row with an epoch, which each new worker raises, and a time on the
server's clock. Every transaction of a worker asks for its epoch, so that one whose lease has passed
on writes nothing. There is no session state: a pooler may give each transaction another connection.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import asyncpg
import attrs

from .._errors import ConfigurationError
from .._protocol.fields import MAX_BATCH
from .._protocol.json_documents import encode_json
from .markers import new_job_id
from .postgres_schema import Connection, Pool
from .record import LeaseLostError, LoadedIntent, LoadedJob, check_arguments, read_arguments

T = TypeVar("T")

_Act: TypeAlias = Callable[[Connection], Awaitable[T]]
_Change: TypeAlias = tuple[str, tuple[object, ...]]

_FIRST_POLL: Final = 0.01  # seconds between two tries, for a lease or after a lost connection
_LAST_POLL: Final = 0.5
_CLOSING: Final = 10.0
"""Seconds that closing waits for a server that is down. The lease then ends by itself."""

_BUSY: Final = 30.0
"""Seconds to wait for a connection of the pool."""

# What passes: a lost connection, a server that starts or stops, too many connections, a deadlock.
_TRANSIENT: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)

_ADD_JOB: Final = """INSERT INTO junkie_async.job (name, marker, arguments)
VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"""
_TAKE_LEASE: Final = """UPDATE junkie_async.job
SET epoch = epoch + 1, leased_until = clock_timestamp() + make_interval(secs => $2)
WHERE name = $1 AND (leased_until IS NULL OR leased_until < clock_timestamp())
RETURNING id, epoch, marker, arguments, extract(epoch FROM begun)::float8 AS begun, result"""
_RENEW_LEASE: Final = """UPDATE junkie_async.job
SET leased_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND epoch = $2 RETURNING id"""
_END_LEASE: Final = "UPDATE junkie_async.job SET leased_until = NULL WHERE id = $1 AND epoch = $2"
_DOUBT_OPEN: Final = """UPDATE junkie_async.attempt SET doubted = clock_timestamp()
WHERE job = $1 AND open AND doubted IS NULL"""
_READ_INTENTS: Final = """SELECT number, open, amount - (SELECT count(*) FROM junkie_async.key
  WHERE key.job = $1 AND key.attempt = number) AS outstanding,
extract(epoch FROM clock_timestamp() - doubted)::float8 AS doubted_for
FROM junkie_async.attempt WHERE job = $1 AND (open OR doubted IS NOT NULL)"""
_READ_KEYS: Final = "SELECT value FROM junkie_async.key WHERE job = $1 ORDER BY position"
_COUNT_CALLS: Final = "SELECT count(*) FROM junkie_async.attempt WHERE job = $1"
# Changes may be executed twice: the connection may be lost before the end of a commit is known.
_ADD_ATTEMPTS: Final = """INSERT INTO junkie_async.attempt (job, number, amount)
SELECT $1, * FROM unnest($2::bigint[], $3::int[]) ON CONFLICT DO NOTHING"""
_ADD_KEYS: Final = """INSERT INTO junkie_async.key (job, attempt, position, value)
SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[]) ON CONFLICT DO NOTHING"""
_CLOSE: Final = "UPDATE junkie_async.attempt SET open = FALSE WHERE job = $1 AND number = $2"
_DOUBT: Final = """UPDATE junkie_async.attempt SET doubted = clock_timestamp()
WHERE job = $1 AND number = $2"""
_SET_RESULT: Final = "UPDATE junkie_async.job SET result = $2 WHERE id = $1"


@attrs.define(eq=False)
class PostgresRecord:
    """A job's rows in a database, by the job's name.

    A worker that finds the job taken stands by until its lease ends. ``patience`` is the seconds
    for which it goes on while the server can't be reached.
    """

    has_lease: ClassVar[bool] = True
    name: str
    lease: float
    patience: float
    get_pool: Callable[[], Awaitable[Pool]]
    _job: int = attrs.field(default=0, init=False)
    _epoch: int = attrs.field(default=0, init=False)
    _valid_until: float = attrs.field(default=0.0, init=False)  # on this machine's clock
    _position: int = attrs.field(default=0, init=False)  # of the next key
    _queue: deque[_Change] = attrs.field(factory=deque, init=False)
    _commit: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _renewal: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    async def open(
        self, arguments: Mapping[str, Any], add_keys: Callable[[Sequence[str]], None]
    ) -> LoadedJob:
        """Become the job's writer, and read what earlier runs have logged."""
        self._failure = None
        text = encode_json(arguments).decode()
        seconds = _FIRST_POLL
        while (row := await self._in_transaction(lambda db: self._take_lease(db, text))) is None:
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LAST_POLL)
        self._job, self._epoch = row["id"], row["epoch"]
        self._renewal = asyncio.create_task(self._renew_lease())
        check_arguments(read_arguments(row["arguments"]), arguments)
        keys, calls, intents = await self._in_transaction(self._read_rows)
        self._position = len(keys)
        for at in range(0, len(keys), MAX_BATCH):
            add_keys(keys[at : at + MAX_BATCH])
        return LoadedJob(
            id=row["marker"],
            begun=row["begun"],
            created=len(keys),
            calls=calls,
            intents=intents,
            result=row["result"],
        )

    def log_intents(self, intents: Sequence[tuple[int, int]]) -> None:
        """Log calls, by their numbers and their amounts of keys, with the next `sync`."""
        numbers, amounts = zip(*intents, strict=True)
        self._enqueue(_ADD_ATTEMPTS, self._job, numbers, amounts)

    def log_keys(
        self, number: int, keys: Collection[str], *, final: bool, result: bytes | None = None
    ) -> None:
        """Log keys of a call, with the next `sync`. It is closed, or else in doubt."""
        if keys:
            first, self._position = self._position, self._position + len(keys)
            self._enqueue(_ADD_KEYS, self._job, number, range(first, self._position), [*keys])
        self._enqueue(_CLOSE if final else _DOUBT, self._job, number)
        if result is not None:
            self._enqueue(_SET_RESULT, self._job, result)

    async def sync(self) -> None:
        """Wait until everything logged so far is committed."""
        while self._failure is None and self._commit is not None:
            await asyncio.shield(self._commit)
        self._raise_failure()

    def check_writer(self) -> None:
        """Raise LeaseLostError unless the lease surely holds at this moment."""
        if _now() >= self._valid_until or self._failure is not None:
            raise LeaseLostError(f"the lease on the job {self.name!r} has ended")

    async def wait_until_writer(self) -> None:
        """Wait until the lease is renewed, if the server could not be reached in time."""
        while self._failure is None and _now() >= self._valid_until:  # noqa: ASYNC110 - rare
            await asyncio.sleep(_FIRST_POLL)
        self._raise_failure()

    async def close(self) -> None:
        """Flush, and end the lease, even if the caller is cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._flush_and_end()))

    async def _flush_and_end(self) -> None:
        self.patience = min(self.patience, _CLOSING)
        try:
            await self.sync()
        finally:
            if self._renewal is not None:
                self._renewal.cancel()
                await asyncio.gather(self._renewal, return_exceptions=True)
            if self._epoch and self._failure is None:
                with suppress(ConfigurationError):
                    await self._in_transaction(
                        lambda db: db.execute(_END_LEASE, self._job, self._epoch)
                    )
            self._valid_until = self._epoch = 0

    async def _take_lease(self, db: Connection, arguments: str) -> Any:
        began = _now()
        await db.execute(_ADD_JOB, self.name, new_job_id(), arguments)
        row = await db.fetchrow(_TAKE_LEASE, self.name, self.lease)
        self._valid_until = began + self.lease  # less than on the server, whose lease begins later
        return row

    async def _renew_lease(self) -> None:
        while self._failure is None:
            await asyncio.sleep(self.lease / 3)
            try:
                await self._in_transaction(self._check_epoch)
            except (LeaseLostError, ConfigurationError) as error:
                self._failure = self._failure or error

    async def _check_epoch(self, db: Connection) -> None:
        """Renew the lease, if no other worker has taken it since."""
        began = _now()
        if await db.fetchval(_RENEW_LEASE, self._job, self._epoch, self.lease) is None:
            self._valid_until = 0.0
            raise LeaseLostError(f"another worker has taken the job {self.name!r} over")
        self._valid_until = began + self.lease

    async def _read_rows(self, db: Connection) -> tuple[list[str], int, list[LoadedIntent]]:
        await self._check_epoch(db)
        await db.execute(_DOUBT_OPEN, self._job)
        keys = [value async for (value,) in db.cursor(_READ_KEYS, self._job, prefetch=10_000)]
        calls = await db.fetchval(_COUNT_CALLS, self._job)
        intents = [
            LoadedIntent(row["number"], row["outstanding"], row["open"], row["doubted_for"])
            for row in await db.fetch(_READ_INTENTS, self._job)
        ]
        return keys, calls, intents

    def _enqueue(self, statement: str, *arguments: object) -> None:
        self._queue.append((statement, arguments))
        if self._commit is None:
            self._commit = asyncio.create_task(self._commit_queue())

    async def _commit_queue(self) -> None:
        """Commit what is queued, and what comes meanwhile, in as few transactions as possible."""
        try:
            while self._queue:
                changes = [self._queue.popleft() for _ in range(len(self._queue))]
                await self._in_transaction(partial(self._write, changes))
        except (LeaseLostError, ConfigurationError) as error:
            self._failure = self._failure or error
        finally:
            self._commit = None

    async def _write(self, changes: Sequence[_Change], db: Connection) -> None:
        await self._check_epoch(db)
        for statement, arguments in changes:
            await db.execute(statement, *arguments)

    async def _in_transaction(self, act: _Act[T]) -> T:
        """Execute something in a transaction, again and again while the server can't be reached."""
        begin, seconds = time.monotonic(), _FIRST_POLL
        while True:
            try:
                pool = await self.get_pool()
                async with pool.acquire(timeout=_BUSY) as db, db.transaction():
                    return await act(db)
            except _TRANSIENT as error:
                failure: Exception = error
                if time.monotonic() - begin > self.patience:
                    break
            except asyncpg.PostgresError as error:
                failure = error
                break
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LAST_POLL)
        reason = type(failure).__name__  # its text may quote key values
        raise ConfigurationError(f"the ledger in PostgreSQL can't be used: {reason}")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _now() -> float:
    # The boot-time clock goes on while a machine sleeps, unlike the monotonic one.
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 - mypy takes what follows a `return` for unreachable
        return time.monotonic()
