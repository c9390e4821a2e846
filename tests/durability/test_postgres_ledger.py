"""A ledger in PostgreSQL as its users see it: connections, refusals, and the loss of a lease."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from junkie_async import (
    BatchError,
    ConfigurationError,
    JunkieClient,
    OutcomeUnknownError,
    postgres,
)
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.postgres_record import PostgresRecord
from junkie_async._jobs.record import LeaseLostError
from junkie_async.postgres import PostgresLedger
from tests.postgres_server import PostgresServer
from tests.transaction_pooler import TransactionPooler

from . import server
from .clients import SOON, make_client
from .server import PROVIDER, RECONCILE_AFTER, Exchange, Service

_PATIENCE: Final = 0.3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let orders give up sooner than after 5 s."""
    monkeypatch.setattr(postgres, "_ORDER_PATIENCE", _PATIENCE)


def _make_job(client: JunkieClient, ledger: Any, amount: int = 1000, **options: Any) -> Any:
    return client.keys.create_many(
        amount,
        provider_id=PROVIDER,
        ledger=ledger,
        job="launch",
        reconcile_after=RECONCILE_AFTER,
        **options,
    )


async def _order(client: JunkieClient, ledger: Any, name: str = "a", **options: Any) -> str:
    order = client.keys.create(provider_id=PROVIDER, idempotency_key=name, ledger=ledger, **options)
    return (await order).key_value


async def _execute(dsn: str, *statements: str) -> None:
    db = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


async def test_two_server_connections_of_a_pooler_are_enough(
    service: Service, postgres_database: str
) -> None:
    """Jobs that stand by and orders take turns on them."""
    async with (
        asyncio.timeout(SOON),
        TransactionPooler(postgres_database, connections=2) as pooler,
        make_client(service) as client,
        make_client(service) as other,
    ):
        jobs = [_make_job(one, pooler.dsn) for one in (client, other)]
        orders = [_order(client, pooler.dsn, f"order-{number // 2}") for number in range(20)]
        first, second, *keys = await asyncio.gather(*jobs, *orders)
        assert sorted(first.keys) == sorted(second.keys)
        assert len({*keys}) == 10
        assert {*keys, *first.keys} == {*service.values()}


async def test_a_pool_of_the_caller_is_used_and_left_open(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """It may be one with asyncpg's defaults where no pooler is between."""
    async with (
        asyncio.timeout(SOON),
        asyncpg.create_pool(postgres_database, min_size=1, max_size=2) as pool,
    ):
        async with PostgresLedger(pool, job="launch") as ledger:
            report = await _make_job(client, ledger, 300)
            await _order(client, ledger)
        assert len(report.keys) == 300
        assert await pool.fetchval("SELECT count(*) FROM junkie_async.job") == 2
    assert len(service.values()) == 301


@pytest.mark.parametrize("state", ["stopped", "paused"])
async def test_an_order_fails_soon_while_the_server_is_down(
    state: str,
    client: JunkieClient,
    service: Service,
    postgres_server: PostgresServer,
    impatient: None,
) -> None:
    """Whether it is down from the start or later; the same call works when it is up again."""
    async with asyncio.timeout(SOON), postgres_server.database() as dsn:
        for before in ((), ("a",)):
            for name in before:
                await _order(client, dsn, name)
            (postgres_server.stop if state == "stopped" else postgres_server.pause)()
            with pytest.raises(ConfigurationError, match="the ledger in PostgreSQL can't be used"):
                await _order(client, dsn, "b")
            postgres_server.start()
        await _order(client, dsn, "b")
    assert len(service.values()) == 2


async def test_a_key_that_could_not_be_recorded_is_in_doubt(
    client: JunkieClient,
    service: Service,
    postgres_server: PostgresServer,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error does not say that nothing was created, and the next call has the key."""

    async def stop_server(exchange: Exchange) -> None:
        postgres_server.stop()
        await exchange.respond(exchange.make())

    monkeypatch.setitem(server.FAULTS, "stop", stop_server)
    service.script.append("stop")
    async with asyncio.timeout(SOON), postgres_server.database() as dsn:
        ledger = PostgresLedger(dsn, lease=1.0)
        with pytest.raises(OutcomeUnknownError, match="the key was created, and could not be"):
            await _order(client, ledger)
        monkeypatch.undo()  # be patient: the server may take its time
        postgres_server.start()
        assert [await _order(client, ledger, reconcile_after=0.0)] == service.values()
    assert service.requests["POST /keys"] == 1


async def test_a_client_closes_while_the_server_is_down(
    service: Service, postgres_server: PostgresServer
) -> None:
    """It does not wait for a server that doesn't respond."""
    async with asyncio.timeout(SOON), postgres_server.database() as dsn:
        client = make_client(service)
        await _order(client, dsn)
        postgres_server.pause()
        await client.close()


def _add_password(dsn: str) -> str:
    return dsn.replace("postgres@", "postgres:s3cret@")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda dsn: dsn.replace("postgres@", "locked:s3cret@"), "InvalidPasswordError"),
        (lambda dsn: dsn.replace("postgres@", "nobody:s3cret@"), "InvalidAuthorization"),
        (
            lambda dsn: dsn.replace("postgres@", "") + "?user=locked&password=s3cret",
            "InvalidPasswordError",
        ),
        (lambda dsn: _add_password(dsn) + "x", "InvalidCatalogName"),
        (lambda dsn: "postgresql://u:s3cret@127.0.0.1:port/x", "ValueError"),
        (lambda dsn: "postgresql://u:s3cret@127.0.0.1/x?sslmode=none", "option 'sslmode'"),
        (lambda dsn: _add_password(dsn) + "?connect_timeout=9", "option 'connect_timeout'"),
        (lambda dsn: _add_password(dsn) + "?statement_timeout=x", "option 'statement_timeout'"),
    ],
)
async def test_a_wrong_dsn_is_refused_at_once(
    change: Callable[[str], str],
    reason: str,
    client: JunkieClient,
    service: Service,
    postgres_server: PostgresServer,
) -> None:
    """By a job, too, which would wait ten minutes for a server; and no text has the password."""
    await _ask_for_passwords(postgres_server)
    async with asyncio.timeout(SOON), postgres_server.database() as dsn:
        ledger = PostgresLedger(change(dsn))
        for act in (_make_job(client, ledger), _order(client, ledger), ledger.status("a")):
            with pytest.raises(ConfigurationError, match=reason) as caught:
                await act
            text = "".join(traceback.format_exception(caught.value)) + repr(ledger)
            assert "s3cret" not in text
            assert caught.value.__cause__ is caught.value.__context__ is None
    assert not service.requests


async def _ask_for_passwords(postgres_server: PostgresServer) -> None:
    """Let the role ``locked``, and no other one, need a password."""
    rules = postgres_server._data / "pg_hba.conf"
    if "locked" in rules.read_text():
        return
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    create = "CREATE ROLE locked LOGIN PASSWORD 'other'"
    await _execute(postgres_server.dsn("postgres"), create, "SELECT pg_reload_conf()")


async def test_a_ledger_of_a_newer_version_is_refused(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """In words, and without a change."""
    await _order(client, postgres_database)
    await _execute(postgres_database, "UPDATE junkie_async.version SET version = 9")
    async with make_client(service) as other:
        with pytest.raises(ConfigurationError, match=r"has version 9,.* update junkie_async"):
            await _order(other, postgres_database, "b")
    assert len(service.values()) == 1


async def test_a_role_that_may_create_nothing_uses_a_schema_that_is_there(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """Its owner has made it, as the documentation says."""
    role = f"clerk_{postgres_database[-8:]}"
    await _execute(
        postgres_database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'clerk'",
        f"CREATE SCHEMA junkie_async AUTHORIZATION {role}",
    )
    parts = urlsplit(postgres_database)
    host = parts.netloc.rpartition("@")[2]
    await _order(client, parts._replace(netloc=f"{role}:clerk@{host}").geturl())
    await client.close()
    await _execute(postgres_database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")
    assert len(service.values()) == 1


async def test_many_workers_make_the_tables_at_once(postgres_database: str) -> None:
    """One makes them, and all find them."""
    async with AsyncExitStack() as stack:
        ledgers = [
            await stack.enter_async_context(PostgresLedger(postgres_database)) for _ in range(8)
        ]

        async def count(ledger: PostgresLedger) -> int:
            return len([one async for one in ledger.statuses()])

        assert await asyncio.gather(*map(count, ledgers)) == [0] * 8


async def test_statuses_and_pruning(client: JunkieClient, postgres_database: str) -> None:
    """Jobs and orders come in the order in which they were begun; what is done can be pruned."""
    async with PostgresLedger(postgres_database, job="launch") as ledger:
        with pytest.raises(ConfigurationError, match="has no job 'launch'"):
            await ledger.status()
        await _order(client, ledger)
        await _make_job(client, ledger, 250)
        assert (await ledger.status()).created == 250
        await _execute(
            postgres_database,
            "INSERT INTO junkie_async.job (name, marker, arguments) SELECT 'n' || n, 'm', arguments"
            " FROM generate_series(1, 1100) AS new(n), junkie_async.job WHERE name = 'a'",
        )
        found = [(one.name, one.done) async for one in ledger.statuses()]
        assert found[:3] == [("a", True), ("launch", True), ("n1", False)]
        assert len(found) == 1102
        assert await ledger.prune(100.0) == 0
        await asyncio.sleep(0.01)
        assert await ledger.prune(0.001) == 2
        assert len([one async for one in ledger.statuses()]) == 1100
        async with asyncpg.create_pool(postgres_database, min_size=1, max_size=1) as pool:
            for table in ("key", "attempt"):
                assert await pool.fetchval(f"SELECT count(*) FROM junkie_async.{table}") == 0


def test_a_client_in_one_event_loop_after_another(
    postgres_superuser: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Connections end with their loop, whether or not the client is closed in it."""
    clients: list[JunkieClient] = []
    keys: list[str] = []

    async def use(dsn: str, *, closes: bool) -> None:
        async with Service() as service:
            if not clients:
                clients.append(make_client(service))
            keys.append(await _order(clients[0], dsn))
            if closes:
                await clients[0].close()

    asyncio.run(_execute(postgres_superuser, "DROP SCHEMA IF EXISTS junkie_async CASCADE"))
    try:
        asyncio.run(use(postgres_superuser, closes=False))
        asyncio.run(use(postgres_superuser, closes=True))
    finally:
        asyncio.run(_execute(postgres_superuser, "DROP SCHEMA junkie_async CASCADE"))
    gc.collect()
    assert keys[0] == keys[1]
    assert not recwarn.list


async def test_the_status_of_a_damaged_job(client: JunkieClient, postgres_database: str) -> None:
    """It says so, as the job itself does."""
    await _make_job(client, postgres_database, 5)
    await _execute(postgres_database, "UPDATE junkie_async.job SET arguments = '[]'")
    async with PostgresLedger(postgres_database) as ledger:
        with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
            await ledger.status("launch")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {}.job SET begun = 'infinity'",
        "UPDATE {}.job SET begun = '-infinity'",
        "UPDATE {}.job SET begun = '0044-03-15 BC'",
        "UPDATE {}.job SET begun = '200000-01-01'",
        "UPDATE {}.job SET marker = ''",
        "UPDATE {}.job SET marker = 'ab cd'",
        """UPDATE {}.job SET result = '{{"id": 1, "key_value": "K"}}'""",
        "UPDATE {}.attempt SET amount = 0 WHERE number = 1",
        "UPDATE {}.attempt SET amount = 101 WHERE number = 1",
        "UPDATE {}.attempt SET number = -1 WHERE number = 1",
        "UPDATE {}.attempt SET number = 9 WHERE number = 1",
        "DELETE FROM {}.attempt WHERE number = 2",
        "DELETE FROM {}.attempt",
        "UPDATE {}.key SET attempt = 9 WHERE position = 1",
        "UPDATE {}.key SET attempt = -1 WHERE position = 1",
        "UPDATE {}.key SET value = '' WHERE position = 1",
        "UPDATE {}.key SET position = position + 1000",
        "UPDATE {}.key SET position = position - 1000",
        "DELETE FROM {}.key WHERE position = 0",
        "DELETE FROM {}.key WHERE position = 1",
        "INSERT INTO {}.key SELECT job, 0, 250, 'K' FROM {}.attempt WHERE number = 0",
    ],
)
async def test_a_job_that_is_damaged(
    damage: str, client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """It creates and deletes nothing, and gives its lease back."""
    await _make_job(client, postgres_database, 250)
    await _execute(postgres_database, damage.format("junkie_async", "junkie_async"))
    before = service.values()
    async with asyncio.timeout(SOON):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
                await _make_job(client, postgres_database, 250)
    assert service.values() == before


async def test_rows_of_another_worker_are_no_damage(
    client: JunkieClient, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come after the lease was lost, between the reading of the keys and the check."""
    await _make_job(client, postgres_database, 250)
    check = PostgresRecord._check_rows

    async def check_late(*arguments: Any) -> None:
        await _execute(
            postgres_database,
            _STEAL,
            "INSERT INTO junkie_async.attempt SELECT id, 3, 1 FROM junkie_async.job",
            "INSERT INTO junkie_async.key SELECT id, 3, 250, 'K' FROM junkie_async.job",
        )
        await check(*arguments)

    monkeypatch.setattr(PostgresRecord, "_check_rows", check_late)
    async with PostgresLedger(postgres_database) as store:
        record = store.make_record("launch", waits=False)
        arguments = json.loads(await _read(postgres_database, "arguments"))
        with pytest.raises(LeaseLostError):
            await record.open(arguments, lambda _: None)
        with suppress(LeaseLostError):
            await record.close()


@pytest.mark.parametrize("begun", ["infinity", "-infinity", "200000-01-01"])
async def test_the_status_of_a_job_of_no_time(
    begun: str, client: JunkieClient, postgres_database: str
) -> None:
    """Python has no such moment."""
    await _make_job(client, postgres_database, 5)
    await _execute(postgres_database, f"UPDATE junkie_async.job SET begun = '{begun}'")
    async with PostgresLedger(postgres_database) as ledger:
        with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
            await ledger.status("launch")


async def test_a_lease_without_end_is_none(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """No worker takes one."""
    await _make_job(client, postgres_database, 250)
    await _execute(postgres_database, "UPDATE junkie_async.job SET leased_until = 'infinity'")
    async with asyncio.timeout(SOON):
        assert (await _make_job(client, postgres_database, 250)).created == 250
    assert len(service.values()) == 250


async def test_a_job_that_is_deleted_while_it_runs(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """It does not begin anew, and its report has what it created."""
    given: list[str] = []
    job = _make_job(client, postgres_database, 1500, concurrency=1)
    with pytest.raises(BatchError, match="no longer in its ledger"):
        async with asyncio.timeout(SOON):
            async for batch in job:
                given += batch.keys
                if len(given) == 200:
                    await _execute(
                        postgres_database,
                        *(f"DELETE FROM junkie_async.{table}" for table in _TABLES),
                    )
    made = service.values()
    assert {*given} <= {*job.report.keys} <= {*made}
    assert job.report.created + job.report.unknown == len(made) < 1500


_TABLES: Final = ("job", "attempt", "key")
_STEAL: Final = """UPDATE junkie_async.job
SET epoch = epoch + 1, leased_until = clock_timestamp() + interval '0.3 s'"""


async def test_a_lease_is_renewed_while_nothing_is_logged(postgres_database: str) -> None:
    """Calls may take longer than the lease."""
    async with asyncio.timeout(SOON), PostgresLedger(postgres_database, lease=1.0) as store:
        ledger = Ledger(store.make_record("a", waits=False), {"amount": 100}, "jk")
        await ledger.open()
        await ledger.log_intents([100])
        ends = await _read(postgres_database, "leased_until")
        for _ in range(2):
            before = ends
            while ends == before:
                await asyncio.sleep(0.01)
                ends = await _read(postgres_database, "leased_until")
            assert timedelta(0) < ends - before < timedelta(seconds=2.5)  # a third of 1 s
        await ledger.wait_until_writer()
        ledger.check_writer()
        await ledger.close()
        with pytest.raises(LeaseLostError):
            ledger.check_writer()


async def _read(dsn: str, column: str) -> Any:
    """Read a column of the only job."""
    db = await asyncpg.connect(dsn)
    try:
        return await db.fetchval(f"SELECT {column} FROM junkie_async.job")
    finally:
        await db.close()


async def test_what_a_database_has_of_an_earlier_run(postgres_database: str) -> None:
    """All keys in order, in several transactions, and what became of the calls."""
    keys = [f"K{at}" for at in range(20_050)]
    async with asyncio.timeout(SOON), PostgresLedger(postgres_database) as store:

        def make_ledger() -> Ledger:
            return Ledger(store.make_record("a", waits=False), {"amount": 20_200}, "jk")

        ledger = make_ledger()
        await ledger.open()
        *done, short, doubted, unsent = await ledger.log_intents([100] * 203)
        for intent, at in zip(done, range(0, 20_000, 100), strict=True):
            assert ledger.log_result(intent, keys[at : at + 100], final=True)
        assert ledger.log_result(short, keys[20_000:], final=False)
        assert ledger.log_result(doubted, (), final=False)
        await ledger.close()
        again = make_ledger()
        await again.open()
        assert again.created == 20_050
        assert again.begun == pytest.approx(ledger.begun, abs=SOON)
        assert again.snapshot_keys()[1]() == tuple(keys)
        assert {
            number: (intent.outstanding, intent.marker, intent.in_doubt)
            for number, intent in again.open_intents.items()
        } == {
            200: (50, short.marker, True),
            201: (100, doubted.marker, True),
            202: (100, unsent.marker, True),
        }
        assert 0 <= again.doubted_for < SOON
        assert [intent.number for intent in await again.log_intents([1])] == [203]
        await again.close()


@pytest.mark.parametrize("moment", [1, 4])
async def test_a_job_that_loses_its_lease_begins_anew(
    moment: int, client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """It gives each key once, with results unread at that moment, too."""
    given: list[str] = []
    job = _make_job(client, postgres_database, 1500, concurrency=4)
    async with asyncio.timeout(SOON):
        async for batch in job:
            given += batch.keys
            if len(given) == 100 * moment:
                await _execute(postgres_database, _STEAL)
                await asyncio.sleep(0.1)
    assert sorted(given) == sorted(job.report.keys)
    assert sorted(given) == sorted(service.values())
    assert len(given) == 1500
    async with PostgresLedger(postgres_database, job="launch") as store:
        assert (await store.status()).created == 1500  # all are in the record


async def test_a_job_that_fails_after_it_lost_its_lease_reports_all_keys(
    client: JunkieClient,
    service: Service,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report is not only of what came since, and the next run settles what is unknown."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.send(400, {"error": "No"})

    monkeypatch.setitem(server.FAULTS, "refused", refuse)
    given: list[str] = []
    with pytest.raises(BatchError) as caught:
        async with asyncio.timeout(SOON):
            async for batch in _make_job(client, postgres_database, 1500, concurrency=1):
                given += batch.keys
                if len(given) == 200:
                    await _execute(postgres_database, _STEAL)
                if len(given) == 600:
                    service.script.append("refused")
    report = caught.value.report
    assert {*given} <= {*report.keys} <= {*service.values()}
    assert len(report.keys) + report.unknown >= len(service.values())
    assert len(report.keys) + report.unknown + report.failed == 1500
    assert sorted((await _make_job(client, postgres_database, 1500)).keys) == sorted(
        service.values()
    )


@pytest.mark.parametrize("ends", ["break", "cancel"])
async def test_a_job_that_is_left_gives_its_lease_back(
    ends: str, client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """The next run goes on at once, long before the lease would end."""
    async with asyncio.timeout(SOON):
        task = asyncio.create_task(_leave(_make_job(client, postgres_database), ends))
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() is (ends == "cancel")
        begin = asyncio.get_running_loop().time()
        report = await _make_job(client, PostgresLedger(postgres_database, lease=600))
        assert asyncio.get_running_loop().time() - begin < 10  # the lease is 15 s
    assert sorted(report.keys) == sorted(service.values())
    assert len(report.keys) == 1000


async def _leave(job: Any, ends: str) -> None:
    async with aclosing(aiter(job)) as batches:
        async for _ in batches:
            if ends == "break":
                break
            task = asyncio.current_task()
            assert task
            task.cancel()


async def test_a_worker_is_cancelled_while_it_stands_by(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """It ends at once, and leaves the job to the one that has it."""
    async with asyncio.timeout(SOON), make_client(service) as other:
        async with aclosing(aiter(_make_job(client, postgres_database))) as batches:
            async for _ in batches:
                task = asyncio.create_task(_leave(_make_job(other, postgres_database), "break"))
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert task.cancelled()
                break
        report = await _make_job(other, postgres_database)
    assert sorted(report.keys) == sorted(service.values())


async def test_a_loop_that_is_blocked_for_longer_than_the_lease(
    client: JunkieClient, service: Service, postgres_database: str
) -> None:
    """The job goes on, since nobody else has taken it."""
    given: list[str] = []
    async with asyncio.timeout(SOON), PostgresLedger(postgres_database, lease=1.0) as ledger:
        async for batch in _make_job(client, ledger, 500, concurrency=2):
            given += batch.keys
            if len(given) == 200:
                # Real time: the lease is on the server's clock, too.
                time.sleep(1.2)  # noqa: ASYNC251 - as a program does that blocks its loop
    assert sorted(given) == sorted(service.values())
