"""What an order promises to its callers, with a ledger in a file and in a database."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from junkie_async import (
    BadRequestError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    TransportError,
    provisioning,
)
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.ledger_file import lock_job
from junkie_async._jobs.sqlite_record import SqliteRecord, SqliteStore
from junkie_async.postgres import PostgresLedger
from tests.faults.server import http

from . import server
from .acts import FILE_ACTS
from .clients import SOON, execute_sql, make_client
from .server import PROVIDER, Exchange, Service

_LONG = 1000.0  # seconds that no test waits


async def _order(client: JunkieClient, ledger: str, **fields: Any) -> str:
    given = {"provider_id": PROVIDER, "idempotency_key": "a", "reconcile_after": _LONG, **fields}
    async with asyncio.timeout(SOON):
        return (await client.keys.create(ledger=ledger, **given)).key_value


async def _age_doubt(ledger: str) -> None:
    """Let what is in doubt be so since long ago; a doubt that nobody recorded stays as it is."""
    await execute_sql(
        ledger,
        f"UPDATE attempt SET doubted = doubted - {_LONG}",
        f"UPDATE junkie_async.attempt SET doubted = doubted - interval '{_LONG} s'",
    )


async def test_an_order_that_comes_again_has_its_key(
    client: JunkieClient, service: Service, ledger: str
) -> None:
    """Later calls, other clients, and calls at the same time get the key of the first one."""
    first = await asyncio.gather(*(_order(client, ledger) for _ in range(5)))
    async with make_client(service) as other:
        assert {await _order(other, ledger), *first} == {*service.values()}
    assert service.requests["POST /keys"] == 1
    other_order = await _order(client, ledger, idempotency_key="b")
    assert [*first[:1], other_order] == service.values()


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({}, {"key_name": "x"}, "key_name"),
        ({"key_name": "x"}, {}, "key_name"),
        ({}, {"amount": 5}, "amount"),
        ({"amount": 5}, {}, "amount"),
        ({"amount": 5}, {"amount": 6}, "amount"),
        ({"amount": 1}, {}, "idempotency_key"),
        ({}, {"amount": 1}, "idempotency_key"),
    ],
)
async def test_another_request_under_a_used_key_is_refused(
    first: dict[str, Any],
    second: dict[str, Any],
    field: str,
    client: JunkieClient,
    service: Service,
    ledger: str,
) -> None:
    """The error names the field, whichever of the two calls is made; nothing is sent."""
    async with asyncio.timeout(SOON):
        await _create(client, ledger, **first)
        made = service.values()
        with pytest.raises(InvalidRequestError) as caught:
            await _create(client, ledger, **second)
        assert caught.value.field == field
        assert caught.value.outcome is Outcome.UNKNOWN  # the order's keys do exist
        assert service.values() == made
        await _create(client, ledger, **first)
        assert service.values() == made


async def _create(client: JunkieClient, ledger: str, **fields: Any) -> object:
    given = {"provider_id": PROVIDER, "idempotency_key": "a", "ledger": ledger, **fields}
    return await (client.keys.create_many if "amount" in fields else client.keys.create)(**given)


async def test_orders_of_many_keys_report_the_same(
    client: JunkieClient, service: Service, ledger: str
) -> None:
    """Calls at once and later ones report the same keys, which were created once."""

    async def order() -> list[str]:
        job = client.keys.create_many(
            150, provider_id=PROVIDER, idempotency_key="a", ledger=ledger, concurrency=2
        )
        return sorted((await job).keys)

    async with asyncio.timeout(SOON):
        reports = await asyncio.gather(*(order() for _ in range(3)))
        assert [*reports, await order()] == [sorted(service.values())] * 4
    assert len(service.values()) == 150


@pytest.mark.parametrize(("fault", "requests"), [("no response", 1), ("request lost", 2)])
async def test_the_next_call_settles_an_unknown_outcome(
    fault: str, requests: int, client: JunkieClient, service: Service, ledger: str
) -> None:
    """It takes the key if there is one, or creates one; the delay counts from the doubt."""
    service.script.append(fault)
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger)
    client.keys.deadline = 0.2
    with pytest.raises(RequestTimeoutError):  # too early
        await _order(client, ledger)
    client.keys.deadline = None
    await _age_doubt(ledger)
    assert [await _order(client, ledger)] == service.values()
    assert service.requests["POST /keys"] == requests


async def test_a_surplus_key_that_can_not_be_deleted(
    client: JunkieClient, service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call fails as any other one does, and not with the report of a job; the next settles."""

    def fail(ids: list[int]) -> dict[str, int]:
        raise ConnectionResetError

    service.script.append("twice")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger)
    await _age_doubt(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(service, "_delete_keys", fail)
        with pytest.raises(TransportError) as caught:
            await _order(client, ledger)
    assert caught.value.path == "/keys/bulk-delete"
    assert [await _order(client, ledger)] == service.values()


@pytest.mark.parametrize("step", ["_list_page", "_delete_keys"])
@pytest.mark.parametrize(
    ("response", "raised"),
    [
        (http(403, b'{"error": "no"}'), PermissionDeniedError),
        (http(404, b'{"error": "no"}'), NotFoundError),
        (http(429, b'{"error": "no"}'), RateLimitError),
        (http(200, b'{"keys": [{"id": "x"}], "deleted": "x"}'), InvalidResponseError),
    ],
)
async def test_a_failure_while_an_order_is_in_doubt(
    step: str,
    response: bytes,
    raised: type[JunkieError],
    client: JunkieClient,
    service: Service,
    ledger: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error tells of the order, which may have been carried out, and not of its own request."""
    service.script.append("twice")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger)
    await _age_doubt(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(service, step, lambda *_: response)
        with pytest.raises(raised) as caught:
            await _order(client, ledger)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert [await _order(client, ledger)] == service.values()


@pytest.mark.parametrize("fields", [{}, {"amount": 5}], ids=["one", "many"])
@pytest.mark.parametrize("unusable", ["folder", "postgresql://127.0.0.1:1/none"])
async def test_an_order_whose_ledger_can_not_be_read(
    fields: dict[str, Any], unusable: str, client: JunkieClient, service: Service, tmp_path: Path
) -> None:
    """It may have been carried out; only its ledger knows."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        await _create(client, unusable if "//" in unusable else str(folder), **fields)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert not service.requests


@pytest.mark.parametrize("fields", [{}, {"amount": 5}], ids=["one", "many"])
async def test_an_order_whose_ledger_can_not_be_made(
    fields: dict[str, Any], client: JunkieClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be there for another process."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigurationError) as caught:
        await _create(client, "ledger", **fields)
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("result", [b"", b"{}", b"garbage", b'{"id": 1, "key_value": "\xff"}'])
async def test_an_order_with_a_damaged_key(
    result: bytes, client: JunkieClient, service: Service, ledger: str
) -> None:
    """It is no reason to create another one."""
    await _order(client, ledger)
    await execute_sql(
        ledger,
        f"UPDATE job SET result = X'{result.hex()}'",
        f"UPDATE junkie_async.job SET result = '\\x{result.hex()}'",
    )
    with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
        await _order(client, ledger)
    assert service.requests["POST /keys"] == 1


@pytest.mark.parametrize("damage", ["job SET arguments = '[]'", "key SET value = ''"])
async def test_an_order_of_many_keys_that_is_damaged(
    damage: str, client: JunkieClient, service: Service, ledger: str
) -> None:
    """Neither its arguments nor its keys are believed."""
    await _create(client, ledger, amount=1)
    await execute_sql(ledger, f"UPDATE {damage}", f"UPDATE junkie_async.{damage}")
    with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
        await _create(client, ledger, amount=1)
    assert service.requests["POST /keys/batch"] == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {}job SET result = NULL",
        "UPDATE {}job SET result = NULL; UPDATE {}attempt SET open = TRUE",
        "UPDATE {}job SET result = NULL; DELETE FROM {}key; DELETE FROM {}attempt",
        "UPDATE {}job SET marker = 'ab cd'",
    ],
)
async def test_an_order_of_which_something_is_missing(
    damage: str, client: JunkieClient, service: Service, ledger: str
) -> None:
    """No other key is created for it."""
    await _order(client, ledger)
    in_schema = damage.format(*["junkie_async."] * 3)
    await execute_sql(ledger, damage.format("", "", ""), in_schema)
    with pytest.raises(ConfigurationError, match="it is damaged: restore a copy of it"):
        await _order(client, ledger)
    assert service.requests["POST /keys"] == 1


# Of the sockets that the closed loop leaves, and of what was pending.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_order_whose_event_loop_was_closed(
    service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later loop of the process can have the order: no lock of the dead one's is in its way."""
    done, ended = asyncio.Event(), list[int]()

    async def hang(exchange: Exchange) -> None:
        exchange.make()
        await done.wait()

    monkeypatch.setitem(server.FAULTS, "hanging", hang)
    service.script.append("hanging")
    given: Any = {"provider_id": PROVIDER, "idempotency_key": "a", "reconcile_after": 0.1}

    def use_two_loops() -> str:
        client, loop = make_client(service), asyncio.new_event_loop()
        short = PostgresLedger(ledger, lease=1.0) if "//" in ledger else ledger

        async def order_once() -> None:
            try:
                await client.keys.create(**given, ledger=short)
            finally:
                ended.append(1)

        calls = [loop.create_task(order_once()) for _ in range(2)]  # the second one waits
        while not service.requests["POST /keys"]:
            loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

        async def order_again() -> str:
            async with client, asyncio.timeout(SOON):
                keys = await asyncio.gather(
                    *(client.keys.create(**given, ledger=short) for _ in range(3))
                )
                if isinstance(short, PostgresLedger):
                    await short.close()
            (value,) = {key.key_value for key in keys}
            return value

        assert not any(call.done() for call in calls)
        return asyncio.run(order_again())

    value = await asyncio.to_thread(use_two_loops)
    done.set()
    gc.collect()
    assert service.values() == [value]
    # A collection, which may come at any moment, does not run the code of the closed loop's calls.
    assert not ended


async def test_a_client_that_is_closed_during_an_order(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a session of the app the call goes on, and creates a key that can't be recorded."""
    closed = asyncio.Event()

    async def respond_late(exchange: Exchange) -> None:
        keys = exchange.make()
        await closed.wait()
        await exchange.respond(keys)

    monkeypatch.setitem(server.FAULTS, "late response", respond_late)
    service.script.append("late response")
    async with aiohttp.ClientSession() as session:
        client = JunkieClient("jk_test", base_url=service.url, session=session)
        ordered = asyncio.create_task(_order(client, str(tmp_path / "ledger")))
        while not service.values():
            await asyncio.sleep(0.001)
        await client.close()
        closed.set()
        with pytest.raises(OutcomeUnknownError):
            await ordered


async def test_an_order_that_is_refused_leaves_no_doubt(
    client: JunkieClient, service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call creates the key at once."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.send(400, {"error": "No"})

    monkeypatch.setitem(server.FAULTS, "refused", refuse)
    service.script.append("refused")
    with pytest.raises(BadRequestError):
        await _order(client, ledger)
    assert [await _order(client, ledger)] == service.values()
    assert "GET /keys" not in service.requests


async def test_a_cancelled_call_is_in_doubt_from_that_moment_on(
    client: JunkieClient,
    service: Service,
    ledger: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next call takes its key, and its delay does not begin with that call."""
    gate = _add_gate(monkeypatch)
    service.script.append("gated")
    task = asyncio.create_task(_order(client, ledger))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()
    await _age_doubt(ledger)
    assert [await _order(client, ledger)] == service.values()
    assert service.requests["POST /keys"] == 1


async def test_a_call_that_was_cancelled_before_it_was_sent_leaves_no_doubt(
    client: JunkieClient, service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call creates the key at once."""
    gate = _add_gate(monkeypatch)
    service.script.append("gated")
    async with JunkieClient("jk_test", base_url=service.url, max_in_flight=1) as busy:
        blocking = asyncio.create_task(_order(busy, ledger, idempotency_key="b"))
        await gate.reached.wait()
        task = asyncio.create_task(_order(busy, ledger))
        while not await _has_attempt(ledger):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        await blocking
    await _order(client, ledger)
    assert len(service.values()) == 2


async def _has_attempt(ledger: str) -> bool:
    try:
        if ledger.startswith("postgresql"):
            async with PostgresLedger(ledger) as store:
                return (await store.status("a")).calls > 0
        return provisioning.status(ledger, "a").calls > 0
    except ConfigurationError:
        return False


async def test_a_deadline_ends_the_wait_for_another_call(
    client: JunkieClient, service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; the other call goes on."""
    gate = _add_gate(monkeypatch)
    service.script.append("gated")
    first = asyncio.create_task(_order(client, ledger))
    await gate.reached.wait()
    async with make_client(service) as other:
        other.keys.deadline = 0.2
        with pytest.raises(RequestTimeoutError, match="another call fills this order"):
            await _order(other, ledger)
        gate.opened.set()
        other.keys.deadline = None
        assert [await first, await _order(other, ledger)] == service.values() * 2


async def test_an_order_that_takes_long_keeps_no_other_one_waiting(
    client: JunkieClient, service: Service, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only calls of one order take turns."""
    gate = _add_gate(monkeypatch)
    service.script.append("gated")
    first = asyncio.create_task(_order(client, ledger))
    await gate.reached.wait()
    other = await _order(client, ledger, idempotency_key="b")
    assert not first.done()
    gate.opened.set()
    assert sorted([await first, other]) == sorted(service.values())


async def test_a_pruned_order_is_a_new_one(
    client: JunkieClient, service: Service, ledger: str
) -> None:
    """Orders in doubt are kept."""
    await _order(client, ledger)
    service.script.append("no response")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger, idempotency_key="b")
    await execute_sql(
        ledger,
        "UPDATE job SET begun = begun - 100",
        "UPDATE junkie_async.job SET begun = begun - interval '100 s'",
    )
    assert await _prune(ledger, 150.0) == 0
    assert await _prune(ledger, 50.0) == 1
    await _order(client, ledger)
    await _age_doubt(ledger)
    await _order(client, ledger, idempotency_key="b")
    assert service.requests["POST /keys"] == 3


async def _prune(ledger: str, seconds: float) -> int:
    if ledger.startswith("postgresql"):
        async with PostgresLedger(ledger) as store:
            return await store.prune(seconds)
    return provisioning.prune(ledger, seconds)


class _Gate:
    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        keys = exchange.make()
        self.reached.set()
        await self.opened.wait()
        await exchange.respond(keys)


def _add_gate(monkeypatch: pytest.MonkeyPatch) -> _Gate:
    gate = _Gate()
    monkeypatch.setitem(server.FAULTS, "gated", gate)
    return gate


# --- what an attack found -------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_before_its_request_blocks_nobody(
    service: Service, client: JunkieClient, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so the next call has nothing to settle."""
    await _order(client, ledger, idempotency_key="first")
    logged = asyncio.Event()

    async def hang(self: Ledger) -> None:
        logged.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "sync", hang)
        task = asyncio.create_task(_order(client, ledger))
        await logged.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    value = await _order(client, ledger)
    assert value in service.values()
    assert len(service.values()) == 2


async def test_equal_calls_of_one_client_take_turns(
    client: JunkieClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They don't poll for the order in the ledger."""
    path, tries = str(tmp_path / "orders.db"), 0
    take_lock = SqliteRecord._take_lock

    def count(record: SqliteRecord) -> bool:
        nonlocal tries
        tries += 1
        return take_lock(record)

    monkeypatch.setattr(SqliteRecord, "_take_lock", count)
    values = await asyncio.gather(*(_order(client, path) for _ in range(50)))
    assert len({*values}) == 1
    assert tries == 50


@pytest.mark.parametrize("act", ["unlink .lock", "replace", "unlink all"])
async def test_a_ledger_that_was_replaced_is_opened_anew(
    act: str, client: JunkieClient, tmp_path: Path
) -> None:
    """At the second call at the latest, by the client that had the former one open."""
    path = tmp_path / "orders.db"
    value = await _order(client, str(path))
    FILE_ACTS[act](path)
    with contextlib.suppress(ConfigurationError):
        await _order(client, str(path))
    again = await _order(client, str(path))
    assert (again == value) is (act != "unlink all")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql+asyncpg://u:SECRET@h/db",
        " postgresql://u:SECRET@h/db",
        "Postgresql://u:SECRET@h/db",
        "postgres:u:SECRET@h",
    ],
)
async def test_a_dsn_of_another_spelling_is_no_path(dsn: str, client: JunkieClient) -> None:
    """A file of that name would show the password."""
    with pytest.raises(InvalidRequestError) as caught:
        await _order(client, dsn)
    assert caught.value.field == "ledger"
    assert "SECRET" not in f"{caught.value!r} {caught.value}"


async def test_a_database_that_takes_no_writes_for_a_moment(
    service: Service, client: JunkieClient, postgres_database: str
) -> None:
    """That is a failover: the order waits for its end."""
    name = postgres_database.rpartition("/")[2].partition("?")[0]
    set_mode = f'ALTER DATABASE "{name}" SET default_transaction_read_only = '
    await _order(client, postgres_database, idempotency_key="first")
    await execute_sql(postgres_database, "", f"{set_mode} on")
    async with make_client(service) as other:  # by new connections
        task = asyncio.create_task(_order(other, postgres_database))
        await asyncio.sleep(0.3)
        assert not task.done()
        await execute_sql(postgres_database, "", f"SET transaction_read_only = off; {set_mode} off")
        await asyncio.sleep(0)
        with contextlib.suppress(ConfigurationError):  # its connections are those of before
            await task
    assert await _order(client, postgres_database) in service.values()


async def test_a_pool_that_is_closed_is_refused_at_once(
    client: JunkieClient, postgres_database: str
) -> None:
    """It stays closed, so that nobody waits for it."""
    pool: Any = await asyncpg.create_pool(postgres_database, statement_cache_size=0)
    await pool.close()
    async with asyncio.timeout(SOON):
        with pytest.raises(ConfigurationError):
            await client.keys.create_many(
                5, provider_id=PROVIDER, ledger=PostgresLedger(pool), job="launch"
            )


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_deadline_bounds_an_order_while_the_file_is_locked(
    moment: str,
    client: JunkieClient,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another program, before the order is read or amid it. The next call has its key."""

    async def lock(exchange: Exchange) -> None:
        other.execute("BEGIN IMMEDIATE")
        await exchange.respond(exchange.make())

    monkeypatch.setitem(server.FAULTS, "lock", lock)
    path = str(tmp_path / "orders.db")
    await _order(client, path, idempotency_key="first")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        if moment == "before":
            other.execute("BEGIN IMMEDIATE")
        else:
            service.script.append("lock")
        client.keys.deadline, begin = 0.3, time.monotonic()
        with pytest.raises(RequestTimeoutError) as caught:
            await _order(client, path)
        assert time.monotonic() - begin < 10  # SQLite would wait for 30 s
        assert caught.value.outcome is Outcome.UNKNOWN
        other.execute("ROLLBACK")
    client.keys.deadline = None
    assert await _order(client, path, reconcile_after=0.0) in service.values()
    assert len(service.values()) == 2


async def test_an_order_is_locked_until_it_is_written(tmp_path: Path) -> None:
    """Even if its caller leaves while the file is locked: others would not find its key."""
    path = tmp_path / "orders.db"
    stores = SqliteStore(path), SqliteStore(path)
    first, second = (store.make_record("a", waits=True) for store in stores)
    await first.open({"amount": 1}, list[Sequence[str]]().append)
    first.log_intents([(0, 1)])
    await first.sync()
    with _write_elsewhere(path):
        first.log_keys(0, ["K"], final=True)
        closing = asyncio.create_task(first.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(BlockingIOError):
            lock_job(path, "a").__enter__()
    loaded = await second.open({"amount": 1}, list[Sequence[str]]().append)
    assert (loaded.created, loaded.intents) == (1, [])
    await second.close()
    for store in stores:
        await store.close()


async def test_what_is_logged_while_the_client_closes(tmp_path: Path) -> None:
    """What came before is written, and an order that comes too late does not change that."""
    path = tmp_path / "orders.db"
    store, arguments, ignore = SqliteStore(path), {"amount": 1}, list[Sequence[str]]().append
    first, second, third = (store.make_record(name, waits=True) for name in "abc")
    for record in (first, second, third):
        await record.open(arguments, ignore)
        record.log_intents([(0, 1)])
    await third.sync()
    with _write_elsewhere(path):
        first.log_keys(0, ["K"], final=True)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="the client was closed"):
            second.log_keys(0, ["L"], final=True)
    await closing
    await first.close()
    with pytest.raises(ConfigurationError, match="the client was closed"):
        third.log_keys(0, ["M"], final=True)
    with pytest.raises(ConfigurationError, match="the client was closed"):
        await third.close()
    other = SqliteStore(path)
    again = other.make_record("a", waits=True)
    assert (await again.open(arguments, ignore)).created == 1
    await again.close()
    await other.close()


@contextlib.contextmanager
def _write_elsewhere(path: Path) -> Generator[None]:
    """Keep others from writing a file, as another program does amid a transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_doubt_of_the_future_counts_from_the_next_call(
    client: JunkieClient, service: Service, ledger: str
) -> None:
    """The machine's clock was set back since. Calls with a deadline don't put it off for ever."""
    service.script.append("no response")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger)
    await execute_sql(
        ledger,
        f"UPDATE attempt SET doubted = doubted + {10 * _LONG}",
        f"UPDATE junkie_async.attempt SET doubted = doubted + interval '{10 * _LONG} s'",
    )
    client.keys.deadline = 0.3
    with pytest.raises(RequestTimeoutError):  # the whole delay is still to come
        await _order(client, ledger)
    client.keys.deadline = None
    await _age_doubt(ledger)
    assert [await _order(client, ledger)] == service.values()


async def test_a_response_about_another_order_is_refused(
    client: JunkieClient,
    service: Service,
    ledger: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway gave it to the wrong call, which has never seen that key. The next call settles."""

    async def swap(exchange: Exchange) -> None:
        exchange.make()
        await exchange.respond(service.values()[:1])

    monkeypatch.setitem(server.FAULTS, "another order's", swap)
    async with make_client(service) as other:
        first = await _order(other, ledger)
    service.script.append("another order's")
    with pytest.raises(OutcomeUnknownError):
        await _order(client, ledger, idempotency_key="b")
    second = await _order(client, ledger, idempotency_key="b", reconcile_after=0.0)
    assert [first, second] == service.values()


async def test_a_failure_at_the_moment_of_a_cancellation_is_not_logged(
    client: JunkieClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears of the cancellation only, and asyncio of nothing that was never awaited."""
    unawaited: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unawaited.append(context))

    async def fail(_: Ledger) -> None:
        loop.call_soon(calling.cancel)
        raise ConfigurationError("no")

    monkeypatch.setattr(Ledger, "open", fail)
    calling = asyncio.create_task(_order(client, str(tmp_path / "orders.db")))
    with pytest.raises(asyncio.CancelledError):
        await calling
    gc.collect()
    assert unawaited == []
