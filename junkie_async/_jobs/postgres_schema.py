"""The tables of ledgers in PostgreSQL, in a schema of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, TypeAlias

from .._errors import ConfigurationError
from .record import JobCounts, read_arguments

Connection: TypeAlias = Any  # of asyncpg, which ships no types
Pool: TypeAlias = Any

# A change of these tables needs another version, and code that reads the ones before.
_VERSION: Final = 1
_LOCK: Final = 0x6A6E6B31  # "jnk1", as in the header of a ledger's file

_TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS junkie_async;
CREATE TABLE junkie_async.version (version int NOT NULL);
CREATE TABLE junkie_async.job (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  marker text NOT NULL,
  arguments text NOT NULL,
  begun timestamptz NOT NULL DEFAULT clock_timestamp(),
  epoch bigint NOT NULL DEFAULT 0,
  leased_until timestamptz,
  result bytea
);
CREATE TABLE junkie_async.attempt (
  job bigint NOT NULL REFERENCES junkie_async.job ON DELETE CASCADE,
  number bigint NOT NULL,
  amount int NOT NULL,
  open boolean NOT NULL DEFAULT TRUE,
  doubted timestamptz,
  PRIMARY KEY (job, number)
);
CREATE TABLE junkie_async.key (
  job bigint NOT NULL REFERENCES junkie_async.job ON DELETE CASCADE,
  attempt bigint NOT NULL,
  position bigint NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (job, position)
);
CREATE INDEX key_attempt ON junkie_async.key (job, attempt);
"""


async def create_schema(pool: Pool) -> None:
    """Create the tables, unless they are there.

    Raises:
        ConfigurationError: They are those of a newer version of this package.
    """
    async with pool.acquire() as db, db.transaction():
        version = await _read_version(db)
        if version is None:
            # Until the end of the transaction: two workers may both find no tables.
            await db.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            version = await _read_version(db)
        if version is None:
            await db.execute(_TABLES)
            await db.execute("INSERT INTO junkie_async.version VALUES ($1)", _VERSION)
            version = _VERSION
    if version != _VERSION:
        raise ConfigurationError(
            f"the ledger in PostgreSQL has version {version}, and this junkie_async reads version"
            f" {_VERSION}: update junkie_async"
        )


async def _read_version(db: Connection) -> int | None:
    # Not by to_regclass, whose answer is cached: after the lock it would still find no tables.
    if await db.fetchval(_HAS_TABLES) is None:
        return None
    version: int | None = await db.fetchval("SELECT version FROM junkie_async.version")
    return version


_HAS_TABLES: Final = """SELECT 1 FROM pg_catalog.pg_tables
WHERE schemaname = 'junkie_async' AND tablename = 'version'"""
_READ_STATUSES: Final = """SELECT name, marker, arguments,
  extract(epoch FROM begun)::float8 AS begun,
  (SELECT count(*) FROM junkie_async.key WHERE key.job = job.id) AS created, calls.*
FROM junkie_async.job CROSS JOIN LATERAL (
  SELECT count(*) AS calls, coalesce(sum(amount) FILTER (WHERE open), 0)::bigint AS intended,
    coalesce(sum((SELECT count(*) FROM junkie_async.key
      WHERE key.job = job.id AND key.attempt = number)) FILTER (WHERE open), 0)::bigint AS logged,
    count(*) FILTER (WHERE open AND doubted IS NOT NULL) AS in_doubt,
    count(*) FILTER (WHERE open AND doubted IS NULL) AS in_flight
  FROM junkie_async.attempt WHERE attempt.job = job.id
) AS calls
WHERE $1::text IS NULL OR name = $1 ORDER BY begun, id"""
_PRUNE: Final = """DELETE FROM junkie_async.job
WHERE begun < clock_timestamp() - make_interval(secs => $1)
  AND coalesce(leased_until < clock_timestamp(), TRUE)
  AND NOT EXISTS (SELECT 1 FROM junkie_async.attempt WHERE attempt.job = job.id AND open)
  AND (SELECT count(*) FROM junkie_async.key WHERE key.job = job.id)
    >= (arguments::json ->> 'amount')::bigint"""


async def read_counts(pool: Pool, name: str | None) -> AsyncGenerator[JobCounts, None]:
    """Read what is known of a job, or of all jobs in the order in which they were begun."""
    async with pool.acquire() as db, db.transaction():
        async for row in db.cursor(_READ_STATUSES, name):
            counts: dict[str, Any] = {**row, "arguments": read_arguments(row["arguments"])}
            yield JobCounts(**counts)


async def prune_jobs(pool: Pool, seconds: float) -> int:
    """Delete the jobs that have nothing outstanding and were begun so long ago; count them."""
    async with pool.acquire() as db, db.transaction():
        done: str = await db.execute(_PRUNE, seconds)
    return int(done.rpartition(" ")[2])
