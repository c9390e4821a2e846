"""Ledgers in PostgreSQL: jobs and orders that workers on any machine may run.

``client.keys.create_many(250_000, provider_id=42, ledger="postgresql://db/shop", job="launch")``
may be called by several workers at the same time. One works, and the others stand by. When its
lease ends, as after a crash, one of them takes the job over. Each of them returns the same report.

What it relies on, besides what `junkie_async.provisioning` names:

- A worker that is stopped, or cut off from the database, for longer than its lease sends nothing
  more: it looks at its lease just before each request. The service acts within ``reconcile_after``
  seconds on what it has sent before that.
- The clocks of the workers may differ. Leases end by the server's clock.

The tables are made by the first use, in the schema ``junkie_async``. The role must be allowed to
create it, or it must be there. A pooler such as PgBouncer may sit in between, in transaction mode.

Needs asyncpg: ``pip install "junkie_async[postgres]"``.
"""

# pyright: reportUnknownMemberType=false
# asyncpg ships no types.

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from ._errors import ConfigurationError, InvalidRequestError
from ._jobs.record import (
    DEFAULT_JOB,
    LedgerStore,
    Record,
    check_claim,
    check_job_name,
    names_database,
)
from ._masking import error_boundary
from ._validation import check_seconds, safe_repr
from .provisioning import JobStatus, make_status

try:
    import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it ships no types
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        'a ledger in PostgreSQL needs asyncpg: pip install "junkie_async[postgres]"',
        name=_error.name,
    ) from None

from ._jobs.postgres_record import PostgresRecord
from ._jobs.postgres_schema import (
    create_schema,
    delete_ended_claims,
    end_claim,
    prune_jobs,
    read_counts,
    take_claim,
)
from ._jobs.postgres_transactions import run_transaction

__all__ = ["PostgresLedger"]

_JOB_PATIENCE: Final = 600.0  # seconds, as `RetryPolicy.outage`
_ORDER_PATIENCE: Final = 5.0  # somebody waits for an order
_POOL_SIZE: Final = 4
_CONNECTING: Final = 10.0
_CLOSING: Final = 2.0  # seconds, while the server is down
# The options of a DSN whose names are in the server's errors about other things, too.
_CONNECTION_OPTIONS: Final = frozenset({"host", "port", "user", "password", "database", "dbname"})

T = TypeVar("T")


class PostgresLedger(LedgerStore):
    """A ledger in a database, for ``ledger=``. It keeps its connections between the calls.

    Args:
        database: A DSN (``postgresql://user@host/name``), or an `asyncpg.Pool`. A pool must have
            been made with ``statement_cache_size=0`` if a pooler is between.
        job: The name of the job that `Keys.create_many` runs. Its own ``job=`` comes before it.
        lease: Seconds for which a worker keeps the job after its last sign of life, 1 or more. It
            gives a sign each third of that.

    Raises:
        InvalidRequestError: An argument is out of its limits.
    """

    @error_boundary
    def __init__(self, database: Any, *, job: str | None = None, lease: float = 15.0) -> None:
        is_pool = isinstance(database, asyncpg.Pool)
        if not is_pool and not names_database(database):
            limit = "a DSN that begins with postgresql://, or an asyncpg.Pool"
            raise InvalidRequestError("database", safe_repr(database), limit)
        self.identity: str = "" if is_pool else database  # only those of a DSN are looked for
        self._dsn: str | None = None if is_pool else database
        self._pool: Any = database if is_pool else None
        self._job = None if job is None else check_job_name("job", job)
        if check_seconds("lease", lease) < 1:
            raise InvalidRequestError("lease", repr(lease), "a number of seconds >= 1")
        self._lease = lease
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Future[Any] | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    def make_record(self, job: str | None, *, waits: bool) -> Record:
        """Make the record of a job. An order fails sooner while the server is down."""
        return PostgresRecord(
            job or self._job or DEFAULT_JOB,
            self._lease,
            _ORDER_PATIENCE if waits else _JOB_PATIENCE,
            self._get_pool,
        )

    @error_boundary
    async def status(self, job: str | None = None) -> JobStatus:
        """Read a job's progress, even while it runs.

        Args:
            job: The job's name. Default: that of this ledger.

        Raises:
            ConfigurationError: There is no such job, or the database can't be used.
        """
        name = job or self._job or DEFAULT_JOB
        for _, counts in await self._run(lambda db: read_counts(db, name=name)):
            return make_status(counts)
        raise ConfigurationError(f"the ledger has no job {safe_repr(name)}")

    @error_boundary
    async def statuses(self) -> AsyncGenerator[JobStatus, None]:
        """Read the progress of all jobs and orders, in the order in which they were begun.

        Raises:
            ConfigurationError: The database can't be used.
        """
        last = 0
        while found := await self._run(partial(read_counts, after=last)):
            for last, counts in found:  # noqa: B007 - the next ones are after it
                yield make_status(counts)

    @error_boundary
    async def prune(self, older_than: timedelta | float) -> int:
        """Delete finished jobs and orders that began longer ago than that; return how many.

        An order that comes again after that is a new one.

        Args:
            older_than: A timedelta, or seconds, above 0.

        Raises:
            ConfigurationError: The database can't be used.
            InvalidRequestError: ``older_than`` is out of its limits.
        """
        seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        checked = check_seconds("older_than", seconds)
        pruned = 0
        last: int | None = 0
        while last is not None:
            count, last = await self._run(partial(prune_jobs, seconds=checked, after=last))
            pruned += count
        await self._run(delete_ended_claims)
        return pruned

    @error_boundary
    async def claim(self, name: str, seconds: float) -> float:
        """Claim a name for some time, for a cooldown for instance. Only one process can hold it.

        Args:
            name: What is claimed, 1 to 255 characters.
            seconds: For how long, up to 1e9, by the server's clock. An earlier claim that would
                last longer is shortened.

        Returns:
            0.0 if the caller has it now. Otherwise the seconds until somebody else's claim ends.

        Raises:
            ConfigurationError: The database can't be used.
            InvalidRequestError: An argument is out of its limits.
        """
        checked, checked_seconds = check_claim(name, seconds)
        return await self._run(partial(take_claim, name=checked, seconds=checked_seconds))

    @error_boundary
    async def release(self, name: str) -> None:
        """End a claim, whoever has it, so that it can be claimed at once.

        Args:
            name: What was claimed.

        Raises:
            ConfigurationError: The database can't be used.
            InvalidRequestError: The name is out of its limits.
        """
        await self._run(partial(end_claim, name=check_job_name("name", name)))

    @error_boundary
    async def close(self) -> None:
        """Close the connections, but not a pool that was passed in. May be called again."""
        opening, self._opening = self._opening, None
        if opening is None or self._loop is not asyncio.get_running_loop():
            return
        with suppress(Exception):  # it could not be opened
            await opening
        if self._closer is not None:
            await self._closer.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<PostgresLedger job={self._job!r}>"

    async def _run(self, act: Callable[[Any], Awaitable[T]]) -> T:
        return await run_transaction(self._get_pool, act, _ORDER_PATIENCE)

    async def _get_pool(self) -> Any:
        """Return the pool of the running event loop, and open it for its first use."""
        loop = asyncio.get_running_loop()
        if self._opening is None or self._loop is not loop or _has_failed(self._opening):
            self._loop, self._opening = loop, asyncio.ensure_future(self._open_pool())
            self._opening.add_done_callback(_has_failed)  # all who wait for it may be cancelled
        return await asyncio.shield(self._opening)

    async def _open_pool(self) -> Any:
        pool = self._pool
        if self._dsn is not None:
            # Behind a pooler, the next transaction may not find a statement that was prepared.
            # Nor do we leave anything in a session, so that it need not be reset.
            pool = await asyncpg.create_pool(
                self._dsn,
                reset=_reset_nothing,
                min_size=0,
                max_size=_POOL_SIZE,
                statement_cache_size=0,
                timeout=_CONNECTING,
                command_timeout=30,
            )
            self._closer = _close_with_loop(pool)
            await anext(self._closer)
        try:
            await create_schema(pool)
        except BaseException as error:
            if self._closer is not None:
                await self._closer.aclose()
            option = _find_option(self._dsn, error)
            if option is None:
                raise
        else:
            return pool
        # Outside of the handler, so that the error does not refer to the other one.
        raise ConfigurationError(
            f"the ledger in PostgreSQL can't be used: its DSN has the option {option!r}, which the"
            " server or asyncpg does not know, or not with this value"
        )


def _find_option(dsn: str | None, error: BaseException) -> str | None:
    """Find the option of a DSN that an error of its first connection names."""
    if not isinstance(error, asyncpg.PostgresError | asyncpg.ClientConfigurationError):
        return None
    named = {*re.findall(r"[A-Za-z_][\w.]*", str(error))} - _CONNECTION_OPTIONS
    return next((name for name in parse_qs(urlsplit(dsn or "").query) if name in named), None)


async def _close_with_loop(pool: Any) -> AsyncGenerator[None, None]:
    """Close a pool when the event loop ends, as `asyncio.run` then ends all async generators."""
    try:
        yield
    finally:
        with suppress(TimeoutError):  # then it is terminated
            await asyncio.wait_for(pool.close(), _CLOSING)


async def _reset_nothing(_: object) -> None:
    pass


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
