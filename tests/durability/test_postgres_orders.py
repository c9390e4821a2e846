"""Orders in PostgreSQL: what they write, who has them, and how long they may take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from junkie_async import JunkieClient, OutcomeUnknownError, RequestTimeoutError
from junkie_async._jobs import postgres_record
from junkie_async._jobs.postgres_record import PostgresRecord
from junkie_async.postgres import PostgresLedger
from tests.postgres_server import PostgresServer

from . import server
from .clients import SOON, execute_sql, make_client
from .server import PROVIDER, Exchange, Service


async def _order(client: JunkieClient, ledger: Any, name: str = "a", **options: Any) -> str:
    order = client.keys.create(provider_id=PROVIDER, idempotency_key=name, ledger=ledger, **options)
    return (await order).key_value


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Give a list to which each transaction of an order adds something when it has written."""
    written: list[object] = []
    write = PostgresRecord._write

    async def note(*given: Any) -> float:
        valid_until = await write(*given)
        written.append(given)
        return valid_until

    monkeypatch.setattr(PostgresRecord, "_write", note)
    return written


async def test_an_order_writes_twice_and_its_repetitions_never(
    client: JunkieClient, postgres_database: str, writes: list[object]
) -> None:
    """Its row is written with that of its call, and its lease ends with the key."""
    first = await _order(client, postgres_database)
    assert len(writes) == 2
    assert await _order(client, postgres_database) == first
    assert len(writes) == 2
    lease = "SELECT 1 / (leased_until <= clock_timestamp())::int FROM junkie_async.job"
    await execute_sql(postgres_database, "", lease)


@pytest.mark.parametrize("is_filled", [True, False])
async def test_two_workers_that_begin_an_order_at_once(
    is_filled: bool,
    client: JunkieClient,
    service: Service,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both find no row. The second one to write finds that, and gets the key of the other."""
    update_lease = PostgresRecord._update_lease

    async def find_none(record: PostgresRecord, db: object) -> tuple[None, float]:
        monkeypatch.setattr(PostgresRecord, "_update_lease", update_lease)
        _, began = await update_lease(record, db)
        if is_filled:
            await _order(other, postgres_database)
        else:
            others.append(asyncio.create_task(_order(other, postgres_database)))
            await begun.wait()
        return None, began

    async def respond_late(exchange: Exchange) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        await exchange.respond(exchange.make())

    begun, others = asyncio.Event(), list[asyncio.Task[str]]()
    monkeypatch.setitem(server.FAULTS, "slow", respond_late)
    async with asyncio.timeout(SOON), make_client(service) as other:
        await _order(other, postgres_database, "first")
        service.script.append("slow")
        monkeypatch.setattr(PostgresRecord, "_update_lease", find_none)
        assert await _order(client, postgres_database) == service.values()[1]
        await asyncio.gather(*others)
    assert service.requests["POST /keys"] == 2


async def test_a_lost_commit_of_a_new_order_is_repeated(
    client: JunkieClient,
    service: Service,
    postgres_database: str,
    writes: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is lost before its end is known: the row that is there is its own."""
    write = PostgresRecord._write

    async def lose(*given: Any) -> float:
        valid_until = await write(*given)
        if len(writes) == 1:
            raise ConnectionResetError
        return valid_until

    monkeypatch.setattr(PostgresRecord, "_write", lose)
    begin = asyncio.get_running_loop().time()
    assert [await _order(client, postgres_database)] == service.values()
    assert asyncio.get_running_loop().time() - begin < 10  # the lease is 15 s


async def test_an_order_that_is_cancelled_when_it_has_the_lease_gives_it_back(
    client: JunkieClient,
    service: Service,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cancellation comes after the commit, and the next call does not wait for 15 s."""
    service.script.append("request lost")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, postgres_database)
    become_writer, committed = PostgresRecord._become_writer, asyncio.Event()

    async def hang(record: PostgresRecord) -> object:
        row = await become_writer(record)
        committed.set()
        await asyncio.sleep(0.1)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(PostgresRecord, "_become_writer", hang)
        task = asyncio.create_task(_order(client, postgres_database))
        await committed.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    begin = asyncio.get_running_loop().time()
    async with make_client(service) as other:
        assert [await _order(other, postgres_database, reconcile_after=0.0)] == service.values()
    assert asyncio.get_running_loop().time() - begin < 10


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_deadline_bounds_an_order_while_the_server_hangs(
    moment: str,
    client: JunkieClient,
    service: Service,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the order is read, or amid it. The next call settles what became of it."""

    async def pause(exchange: Exchange) -> None:
        postgres_server.pause()
        await exchange.respond(exchange.make())

    monkeypatch.setitem(server.FAULTS, "pause", pause)
    async with asyncio.timeout(SOON), postgres_server.database() as dsn:
        ledger = PostgresLedger(dsn, lease=1.0)
        await _order(client, ledger, "first")
        if moment == "before":
            postgres_server.pause()
        else:
            service.script.append("pause")
        client.keys.deadline, begin = 0.3, asyncio.get_running_loop().time()
        with pytest.raises(RequestTimeoutError):
            await _order(client, ledger)
        assert asyncio.get_running_loop().time() - begin < 3  # an order waits 5 s for a server
        postgres_server.resume()
        client.keys.deadline = None
        assert await _order(client, ledger, reconcile_after=0.0) in service.values()
        await ledger.close()
    assert len(service.values()) == 2


async def test_nothing_is_sent_when_the_lease_may_have_ended(
    client: JunkieClient,
    service: Service,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process was stopped just before the send. The order is filled under another lease."""
    check_writer, now = PostgresRecord.check_writer, postgres_record._now

    def stop_before(record: PostgresRecord) -> None:
        monkeypatch.setattr(PostgresRecord, "check_writer", check_writer)
        monkeypatch.setattr(postgres_record, "_now", lambda: now() + 100.0)
        record.check_writer()

    monkeypatch.setattr(PostgresRecord, "check_writer", stop_before)
    assert [await _order(client, postgres_database)] == service.values()
    (name,) = [row.name for row in service.rows.values() if not row.foreign]
    assert name.endswith(".1")
    assert service.requests["POST /keys"] == 1
