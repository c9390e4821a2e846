"""The pooler of the tests takes from its clients what PgBouncer takes in transaction mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.postgres_server import PostgresServer
from tests.transaction_pooler import TransactionPooler


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """Make a database of the server that may be hurt."""
    async with postgres_server.database() as dsn:
        yield dsn


async def _connect(pooler: TransactionPooler, **options: Any) -> Any:
    return await asyncpg.connect(pooler.dsn, statement_cache_size=0, timeout=5, **options)


async def _count_up(pooler: TransactionPooler, times: int) -> set[int]:
    """Increment a number in transactions, and give the processes that did it."""
    connection = await _connect(pooler)
    processes = set()
    for _ in range(times):
        async with connection.transaction():
            processes.add(await connection.fetchval("SELECT pg_backend_pid()"))
            number = await connection.fetchval("SELECT number FROM numbers FOR UPDATE")
            await connection.execute("UPDATE numbers SET number = $1", number + 1)
    await connection.close()
    return processes


async def _make_number(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE numbers (number int); INSERT INTO numbers VALUES (0)")
    await connection.close()


async def _read_number(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    number: int = await connection.fetchval("SELECT number FROM numbers")
    await connection.close()
    return number


async def test_many_clients_share_two_connections(database: str) -> None:
    """Transactions without named statements work as they do without a pooler."""
    await _make_number(database)
    async with TransactionPooler(database, connections=2) as pooler:
        each = await asyncio.gather(*(_count_up(pooler, 5) for _ in range(20)))
    assert len(set().union(*each)) == 2
    assert await _read_number(database) == 100


async def test_settings_leak_to_the_next_client(database: str) -> None:
    """SET changes the server connection; only the tracked ones are the client's own."""
    async with TransactionPooler(database, connections=1) as pooler:
        one = await _connect(pooler, server_settings={"application_name": "it's one"})
        other = await _connect(pooler, server_settings={"application_name": "other"})
        await one.execute("SET lock_timeout = '7s'; SET TimeZone = 'Asia/Tokyo'")
        assert await other.fetchval("SHOW lock_timeout") == "7s"
        assert await other.fetchval("SHOW application_name") == "other"
        assert await one.fetchval("SHOW application_name") == "it's one"
        assert await one.fetchval("SHOW TimeZone") == "Asia/Tokyo"
        await one.close()
        await other.close()


async def test_advisory_locks_of_a_session_exclude_nobody(database: str) -> None:
    """The next client of the same server connection holds the lock too; one of another can't
    release it.
    """
    async with TransactionPooler(database, connections=2) as pooler:
        one, other = await _connect(pooler), await _connect(pooler)
        assert await one.fetchval("SELECT pg_try_advisory_lock(1)")
        assert await other.fetchval("SELECT pg_try_advisory_lock(1)")
        async with other.transaction():  # it has the connection that holds the lock
            assert not await one.fetchval("SELECT pg_advisory_unlock(1)")
            assert await other.fetchval("SELECT pg_advisory_unlock(1)")
        await one.close()
        await other.close()


async def test_named_statements_are_missing_on_the_other_connection(database: str) -> None:
    """A client that prepares a statement can't count on it in its next transaction."""
    async with TransactionPooler(database, connections=2) as pooler:
        one, other = await _connect(pooler), await _connect(pooler)
        statement = await one.prepare("SELECT 1", name="statement")
        assert await statement.fetchval() == 1
        async with other.transaction():  # it has the connection with the statement
            with pytest.raises(asyncpg.InvalidSQLStatementNameError):
                await statement.fetchval()
        await one.close()
        await other.close()


async def test_notifications_do_not_come(database: str) -> None:
    """Whoever listens has no server connection when a notification comes."""
    async with TransactionPooler(database, connections=2) as pooler:
        one, other = await _connect(pooler), await _connect(pooler)
        notified: list[object] = []
        await one.add_listener("channel", lambda *given: notified.append(given))
        async with other.transaction():
            await other.execute("NOTIFY channel")
        assert await one.fetchval("SELECT 1") == 1
        assert not notified
        await one.close()
        await other.close()


async def test_startup_parameters_are_refused(database: str) -> None:
    """All but the tracked ones, unless they are ignored."""
    settings = {"search_path": "mine"}
    async with TransactionPooler(database) as pooler:
        with pytest.raises(asyncpg.ProtocolViolationError, match=r"parameter: search_path"):
            await _connect(pooler, server_settings=settings)
    async with TransactionPooler(database, ignored=["search_path"]) as pooler:
        connection = await _connect(pooler, server_settings=settings)
        assert await connection.fetchval("SHOW search_path") != "mine"
        await connection.close()


async def test_a_client_that_goes_away_rolls_back(database: str) -> None:
    """Its server connection is closed, and another one takes its place."""
    await _make_number(database)
    async with TransactionPooler(database, connections=1) as pooler:
        connection = await _connect(pooler)
        await connection.execute("BEGIN; UPDATE numbers SET number = 5")
        connection.terminate()
        await _count_up(pooler, 1)
    assert await _read_number(database) == 1


async def test_requests_are_cancelled(database: str) -> None:
    """A time-out of asyncpg's ends the request, and the client goes on."""
    async with TransactionPooler(database, connections=1) as pooler:
        connection = await _connect(pooler)
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT pg_sleep(30)", timeout=0.1)
        assert await connection.fetchval("SELECT 1", timeout=5) == 1
        await connection.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_only_clients_amid_a_transaction_notice_a_lost_server(
    postgres_server: PostgresServer, database: str, restart: bool
) -> None:
    """The others get a new server connection."""
    async with TransactionPooler(database, connections=2) as pooler:
        one, other = await _connect(pooler), await _connect(pooler)
        await other.execute("SELECT 1")
        await one.execute("BEGIN")
        if restart:
            await asyncio.to_thread(postgres_server.restart)
        else:
            await postgres_server.terminate_backends(database.rpartition("/")[2])
        # The last one is asyncpg's for a query that is sent before the server's goodbye is read.
        lost = asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
        with pytest.raises(lost):
            await one.execute("COMMIT")
        assert await other.fetchval("SELECT 1") == 1
        await other.close()


async def test_clients_wait_for_a_server_that_is_down(
    postgres_server: PostgresServer, database: str
) -> None:
    """They notice nothing if it is back in time; their sessions end if it is not."""
    async with TransactionPooler(database, query_wait=2) as pooler:
        one, other = await _connect(pooler), await _connect(pooler)
        await asyncio.to_thread(postgres_server.stop)
        waiting = asyncio.ensure_future(one.fetchval("SELECT 1"))
        _, pending = await asyncio.wait((waiting,), timeout=0.2)
        assert pending
        await asyncio.to_thread(postgres_server.start)
        assert await waiting == 1
        await one.close()
        await asyncio.to_thread(postgres_server.stop)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError, match="query_wait_timeout"):
            await other.fetchval("SELECT 1")


async def test_passwords_are_proved(postgres_server: PostgresServer, database: str) -> None:
    """By SCRAM, which is PostgreSQL's default."""
    connection = await asyncpg.connect(database)
    role = database.rpartition("/")[2]
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    file = await connection.fetchval("SHOW hba_file")
    await connection.execute(
        f"COPY (VALUES ('host all {role} 127.0.0.1/32 scram-sha-256'),"
        f" ('host all all 127.0.0.1/32 trust')) TO '{file}'; SELECT pg_reload_conf()"
    )
    await connection.close()
    try:
        async with TransactionPooler(database.replace("postgres@", f"{role}:right@")) as pooler:
            client = await _connect(pooler)
            assert await client.fetchval("SELECT current_user") == role
            await client.close()
        with pytest.raises(ConnectionRefusedError, match="password authentication failed"):
            async with TransactionPooler(database.replace("postgres@", f"{role}:wrong@")):
                pass
    finally:
        connection = await asyncpg.connect(database)
        await connection.execute(f"DROP ROLE {role}")
        await connection.close()
