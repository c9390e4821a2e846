"""Orders in ledgers that have many of them. ``--orders=1000000`` gives them more."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from junkie_async import JunkieClient
from tests.postgres_server import make_database

from .clients import execute_sql
from .server import PROVIDER

# Copies of the only order of a ledger, as ``order-1`` and so on.
_NUMBERS: Final = "WITH RECURSIVE new(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM new LIMIT {})"
_FILL_FILE: Final = f"""
CREATE TEMP TABLE first AS SELECT * FROM job;
{_NUMBERS} INSERT INTO job SELECT n, 'order-' || n, 'm' || n, arguments, begun, result
  FROM new, first;
{_NUMBERS} INSERT INTO attempt SELECT n, 0, 1, 0, NULL FROM new;
{_NUMBERS} INSERT INTO key SELECT n, 0, 'JNK-' || n FROM new;"""
_FILL_DATABASE: Final = """
INSERT INTO junkie_async.job (name, marker, arguments, result)
  SELECT 'order-' || n, 'm' || n, arguments, result
  FROM generate_series(1, {}) AS new(n), junkie_async.job;
INSERT INTO junkie_async.attempt (job, number, amount, open)
  SELECT id, 0, 1, FALSE FROM junkie_async.job WHERE name LIKE 'order-%';
INSERT INTO junkie_async.key (job, attempt, position, value)
  SELECT id, 0, 0, 'JNK-' || id FROM junkie_async.job WHERE name LIKE 'order-%';
CHECKPOINT;"""


@pytest.fixture
async def ledgers(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[str, str]]:
    """Give the paths of two files, or the DSNs of two databases."""
    if where == "file":
        yield str(tmp_path / "large.db"), str(tmp_path / "small.db")
        return
    superuser = request.getfixturevalue("postgres_superuser")
    async with make_database(superuser) as large, make_database(superuser) as small:
        yield large, small


@pytest.mark.parametrize("where", ["file", pytest.param("database", marks=pytest.mark.slow)])
async def test_an_order_takes_no_longer_in_a_large_ledger(
    ledgers: tuple[str, str], client: JunkieClient, pytestconfig: pytest.Config
) -> None:
    """Measured by turns with an empty ledger: a scan of the rows would take 5 to 50 ms."""

    async def order(ledger: str, name: str) -> str:
        key = await client.keys.create(
            provider_id=PROVIDER, idempotency_key=name, ledger=ledger, reconcile_after=0.0
        )
        return key.key_value

    rows = pytestconfig.getoption("--orders", None) or 100_000
    values = [await order(ledger, "first") for ledger in ledgers]
    large, small = ledgers
    await execute_sql(large, _FILL_FILE.replace("{}", str(rows)), _FILL_DATABASE.format(rows))
    seconds: dict[str, list[float]] = {large: [], small: []}
    for number in range(25):
        for ledger, taken in seconds.items():
            begin = time.perf_counter()
            await order(ledger, f"new-{number}")
            await order(ledger, f"new-{number}")
            taken.append(time.perf_counter() - begin)
    medians = {ledger: statistics.median(taken) for ledger, taken in seconds.items()}
    assert medians[large] < 2 * medians[small], medians
    assert await order(large, "order-7") == values[0]
