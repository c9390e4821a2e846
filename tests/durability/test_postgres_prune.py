"""Pruning a ledger in PostgreSQL that has more orders than one transaction deletes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from junkie_async.postgres import PostgresLedger

_DONE = 25_000
_MAKE_JOBS = """INSERT INTO junkie_async.job (name, marker, arguments, begun, leased_until)
SELECT $1 || number, 'x', '{"amount": 1}', clock_timestamp() - $2 * interval '1 day',
  clock_timestamp() + $3 * interval '1 second' FROM generate_series(1, $4) AS number"""
_MAKE_ROWS = """
INSERT INTO junkie_async.attempt (job, number, amount, open)
SELECT id, 0, 1, name LIKE 'open%' FROM junkie_async.job;
INSERT INTO junkie_async.key SELECT id, 0, 0, 'K' FROM junkie_async.job
WHERE name NOT LIKE 'empty%'"""


@pytest.fixture
async def database(postgres_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a ledger with jobs that may be pruned, and between them some that may not."""
    async with PostgresLedger(postgres_database) as ledger:
        await ledger.prune(1)  # makes the tables
    async with contextlib.AsyncExitStack() as stack:
        connection = await asyncpg.connect(postgres_database)
        stack.push_async_callback(connection.close)
        await connection.execute(_MAKE_JOBS, "old", 9, -1, _DONE - 1)
        await connection.execute(_MAKE_JOBS, "leased", 9, 60, 3)
        await connection.execute(_MAKE_JOBS, "open", 9, -1, 3)
        await connection.execute(_MAKE_JOBS, "empty", 9, -1, 3)
        await connection.execute(_MAKE_JOBS, "young", 1, -1, 3)
        await connection.execute(_MAKE_JOBS, "last", 9, -1, 1)
        await connection.execute(_MAKE_ROWS)
        yield connection


async def test_many_orders_are_pruned(postgres_database: str, database: asyncpg.Connection) -> None:
    """Exactly those that are done, old and without a lease, with all of their rows."""
    async with PostgresLedger(postgres_database) as ledger:
        assert await ledger.prune(timedelta(days=2)) == _DONE
        assert await ledger.prune(timedelta(days=2)) == 0
        left = [status.name async for status in ledger.statuses()]
    expected = [f"{name}{number}" for name in ("leased", "open", "empty") for number in (1, 2, 3)]
    assert sorted(left) == sorted([*expected, "young1", "young2", "young3"])
    assert await database.fetchval("SELECT count(*) FROM junkie_async.key") == 9
    assert await database.fetchval("SELECT count(*) FROM junkie_async.attempt") == 12
