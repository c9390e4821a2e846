"""Names that one of all processes claims for some time, in a file and in a database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from junkie_async import ConfigurationError, InvalidRequestError, provisioning
from junkie_async.postgres import PostgresLedger

from .clients import execute_sql, make_client
from .server import PROVIDER, Service


async def _claim(ledger: str, name: str = "a", seconds: float = 1000.0) -> float:
    if provisioning.is_dsn(ledger):
        async with PostgresLedger(ledger) as store:
            return await store.claim(name, seconds)
    return await asyncio.to_thread(provisioning.claim, ledger, name, seconds)


async def _release(ledger: str, name: str = "a") -> None:
    if provisioning.is_dsn(ledger):
        async with PostgresLedger(ledger) as store:
            await store.release(name)
    else:
        provisioning.release(ledger, name)


async def _age_claims(ledger: str) -> None:
    await execute_sql(
        ledger,
        "UPDATE claim SET until = until - 2000",
        "UPDATE junkie_async.claim SET until = until - interval '2000 s'",
    )


def test_a_release_creates_no_ledger(tmp_path: Path) -> None:
    """A path with a typo leaves no file behind."""
    provisioning.release(tmp_path / "typo.db", "a")
    assert not list(tmp_path.iterdir())


async def test_one_of_many_has_a_claim(ledger: str) -> None:
    """The others are told how long it lasts, until it ends or is given back."""
    await _release(ledger)
    for _ in range(2):
        left = sorted(await asyncio.gather(*(_claim(ledger) for _ in range(5))))
        assert left[0] == 0.0
        assert all(900.0 < one <= 1000.0 for one in left[1:])
        await _release(ledger)
    assert await _claim(ledger) == await _claim(ledger, "b") == 0.0
    await _age_claims(ledger)
    assert await _claim(ledger) == 0.0
    assert await _claim(ledger) > 0.0


async def test_a_claim_of_before_lasts_no_longer_than_the_one_that_is_asked_for(
    ledger: str,
) -> None:
    """The clock was set back since, or the setting was a longer one."""
    await _claim(ledger, seconds=1e9)
    assert 5.0 < await _claim(ledger, seconds=10.0) <= 10.0
    assert await _claim(ledger, seconds=1e9) <= 10.0
    assert await _claim(ledger, seconds=0.5) <= 0.5


async def test_claims_and_orders_share_a_ledger(ledger: str, service: Service) -> None:
    """Whichever came first, and pruning deletes the claims that have ended."""
    for name in ("a", "b"):
        async with make_client(service) as client:
            await client.keys.create(provider_id=PROVIDER, idempotency_key=name, ledger=ledger)
        await _claim(ledger, name)
    await _age_claims(ledger)
    await _claim(ledger, "c")
    if provisioning.is_dsn(ledger):
        async with PostgresLedger(ledger) as store:
            await store.prune(1e6)
    else:
        assert [one.name for one in provisioning.statuses(ledger)] == ["a", "b"]
        provisioning.prune(ledger, 1e6)
    # A division by zero is an error in PostgreSQL only.
    await execute_sql(
        ledger,
        "CREATE UNIQUE INDEX only ON claim (1)",
        "SELECT 1 / (count(*) = 1)::int FROM junkie_async.claim",
    )
    assert len(service.values()) == 2


async def test_a_database_of_before_gets_the_table(postgres_database: str) -> None:
    """Its other tables stay as they are."""
    await _claim(postgres_database)
    await execute_sql(
        postgres_database,
        "",
        "DROP TABLE junkie_async.claim; UPDATE junkie_async.version SET version = 1",
    )
    assert await _claim(postgres_database) == 0.0
    assert await _claim(postgres_database) > 0.0


@pytest.mark.parametrize(
    ("name", "seconds", "field"),
    [("", 1.0, "name"), ("x" * 256, 1.0, "name"), ("a", 0.0, "seconds"), ("a", 2e9, "seconds")],
)
async def test_a_claim_out_of_its_limits(
    name: str, seconds: float, field: str, tmp_path: Path
) -> None:
    """Nothing is written."""
    path = tmp_path / "claims.db"
    with pytest.raises(InvalidRequestError) as caught:
        await _claim(str(path), name, seconds)
    assert caught.value.field == field
    with pytest.raises(ConfigurationError):
        provisioning.status(path)
