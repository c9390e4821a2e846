"""The tables of ledgers in PostgreSQL, in a schema of their own."""

from __future__ import annotations

from typing import Any, Final

from .._errors import ConfigurationError
from .postgres_transactions import Connection, Pool, begin
from .record import JobCounts, check_begin, read_arguments

# A change of these tables needs another version, and code that reads the ones before.
_VERSION: Final = 2
_LOCK: Final = 0x6A6E6B31  # "jnk1", as in the header of a ledger's file

# Without foreign keys: their checks take as long again as 400 keys in one transaction.
_TABLES: Final = """
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
  job bigint NOT NULL,
  number bigint NOT NULL,
  amount int NOT NULL,
  open boolean NOT NULL DEFAULT TRUE,
  doubted timestamptz,
  PRIMARY KEY (job, number)
);
CREATE TABLE junkie_async.key (
  job bigint NOT NULL,
  attempt bigint NOT NULL,
  position bigint NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (job, position)
);
CREATE INDEX key_attempt ON junkie_async.key (job, attempt);
INSERT INTO junkie_async.version VALUES (1);
"""
_TABLES_OF_2: Final = """
CREATE TABLE junkie_async.claim (name text PRIMARY KEY, until timestamptz NOT NULL);
UPDATE junkie_async.version SET version = 2;
"""

# Not `to_regclass`: after the wait for the lock it may still find nothing, in the backend's cache.
_HAS_SCHEMA: Final = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'junkie_async')"
_HAS_TABLES: Final = """SELECT EXISTS (
  SELECT FROM pg_tables WHERE schemaname = 'junkie_async' AND tablename = 'version'
)"""


async def create_schema(pool: Pool) -> None:
    """Create the tables, unless they are there.

    Raises:
        ConfigurationError: They are those of a newer version of this package.
    """
    async with begin(pool) as db:
        version = await _read_version(db)
        if version in (None, 1):
            # Until the end of the transaction: two workers may both find no tables.
            await db.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            version = await _read_version(db)
        if version is None:
            # IF NOT EXISTS needs the right to create it even if it exists.
            if not await db.fetchval(_HAS_SCHEMA):
                await db.execute("CREATE SCHEMA junkie_async")
            await db.execute(_TABLES)
        if version in (None, 1):
            await db.execute(_TABLES_OF_2)
            version = _VERSION
    if version != _VERSION:
        raise ConfigurationError(
            f"the ledger in PostgreSQL has version {version}, and this junkie_async reads version"
            f" {_VERSION}: update junkie_async"
        )


async def _read_version(db: Connection) -> int | None:
    if not await db.fetchval(_HAS_TABLES):
        return None
    version: int | None = await db.fetchval("SELECT version FROM junkie_async.version")
    return version


_READ_STATUSES: Final = """SELECT id, name, marker, arguments,
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
WHERE id > $1 AND ($2::text IS NULL OR name = $2) ORDER BY id LIMIT 1000"""
# A part of them in each transaction: a million take longer than a transaction may.
_PRUNE: Final = """WITH old AS (
  SELECT id FROM junkie_async.job
  WHERE id > $2 AND begun < clock_timestamp() - make_interval(secs => $1)
    AND NOT EXISTS (SELECT 1 FROM junkie_async.attempt WHERE attempt.job = job.id AND open)
    AND (SELECT count(*) FROM junkie_async.key WHERE key.job = job.id)
      >= (arguments::json ->> 'amount')::bigint
  ORDER BY id LIMIT 10000
), pruned AS (
  DELETE FROM junkie_async.job USING old
  WHERE job.id = old.id AND coalesce(leased_until < clock_timestamp(), TRUE) RETURNING job.id
), keys AS (
  DELETE FROM junkie_async.key USING pruned WHERE key.job = pruned.id
), attempts AS (
  DELETE FROM junkie_async.attempt USING pruned WHERE attempt.job = pruned.id
) SELECT (SELECT count(*) FROM pruned) AS count, (SELECT max(id) FROM old) AS last"""


async def read_counts(
    db: Connection, *, after: int = 0, name: str | None = None
) -> list[tuple[int, JobCounts]]:
    """Read what is known of up to 1000 jobs after this ID, with their IDs; or of one job."""
    rows: list[dict[str, Any]] = [dict(row) for row in await db.fetch(_READ_STATUSES, after, name)]
    for row in rows:
        check_begin(row["marker"], row["begun"])
        row["arguments"] = read_arguments(row["arguments"])
    return [(row.pop("id"), JobCounts(**row)) for row in rows]


async def prune_jobs(db: Connection, seconds: float, after: int) -> tuple[int, int | None]:
    """Delete up to 10,000 jobs after this ID, if they are done and were begun so long ago.

    Returns:
        How many were deleted, and the ID of the last one to be looked at, or None at the end.
    """
    row = await db.fetchrow(_PRUNE, seconds, after)
    return row["count"], row["last"]


# A claim that ends later is from before the clock was set back, or from a longer setting.
_TAKE_CLAIM: Final = """INSERT INTO junkie_async.claim AS claim
VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE claim.until <= clock_timestamp()
RETURNING 1"""
_SHORTEN_CLAIM: Final = """UPDATE junkie_async.claim
SET until = least(until, clock_timestamp() + make_interval(secs => $2)) WHERE name = $1
RETURNING extract(epoch FROM until - clock_timestamp())::float8"""


async def take_claim(db: Connection, name: str, seconds: float) -> float:
    """Claim a name, or return the seconds for which it is claimed already."""
    if await db.fetchval(_TAKE_CLAIM, name, seconds):
        return 0.0
    left: float | None = await db.fetchval(_SHORTEN_CLAIM, name, seconds)
    return max(0.001, left or 0.0)  # it has just ended: the next call can have it


async def end_claim(db: Connection, name: str) -> None:
    """Let others claim a name."""
    await db.execute("DELETE FROM junkie_async.claim WHERE name = $1", name)


async def delete_ended_claims(db: Connection) -> None:
    """Delete the claims that nobody waits for."""
    await db.execute("DELETE FROM junkie_async.claim WHERE until <= clock_timestamp()")
