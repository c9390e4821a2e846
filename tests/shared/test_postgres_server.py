"""The PostgreSQL of the tests can be stopped, crashed and paused."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import asyncpg
import pytest

from tests.postgres_server import PostgresServer


async def _count(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM numbers"))
    finally:
        await connection.close()


async def _wait_until_closed(connection: Any) -> None:
    async with asyncio.timeout(5):
        while not connection.is_closed():
            await asyncio.sleep(0.01)


async def test_each_test_has_an_empty_database(postgres_database: str) -> None:
    """It has no tables, and takes some."""
    connection = await asyncpg.connect(postgres_database)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert await connection.fetchval(tables) == 0
    await connection.execute("CREATE TABLE numbers (number int)")
    assert await connection.fetchval(tables) == 1
    await connection.close()
    assert await _count(postgres_database) == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_what_was_committed_survives_a_stop(
    postgres_server: PostgresServer, mode: Literal["fast", "immediate"]
) -> None:
    """What was not committed is lost, and clients notice that the server went away."""
    async with postgres_server.database() as dsn:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE numbers (number int)")
        await connection.execute("INSERT INTO numbers VALUES (1)")
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO numbers VALUES (2)")
        await asyncio.to_thread(postgres_server.stop, mode)
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(dsn)
        await _wait_until_closed(connection)
        postgres_server.start()
        assert await _count(dsn) == 1


async def test_a_paused_server_does_not_respond(postgres_server: PostgresServer) -> None:
    """Its sessions and new ones hang, and go on when it is resumed."""
    async with postgres_server.database() as dsn:
        connection = await asyncpg.connect(dsn)
        postgres_server.pause()
        one = asyncio.ensure_future(connection.fetchval("SELECT 1"))
        another = asyncio.ensure_future(asyncpg.connect(dsn))
        _, pending = await asyncio.wait((one, another), timeout=0.2)
        assert pending == {one, another}
        postgres_server.resume()
        assert await one == 1
        await (await another).close()
        await connection.close()


async def test_a_paused_server_can_be_restarted(postgres_server: PostgresServer) -> None:
    """Its processes continue, so that they can end."""
    async with postgres_server.database() as dsn:
        postgres_server.pause()
        postgres_server.restart("immediate")
        await (await asyncpg.connect(dsn)).close()


async def test_starts_and_restarts_at_once(postgres_server: PostgresServer) -> None:
    """One waits for the other: a cancelled task may have left a restart behind in its thread."""
    async with postgres_server.database() as dsn:
        postgres_server.stop("immediate")
        async with asyncio.TaskGroup() as group:
            for act in (postgres_server.start, postgres_server.restart, postgres_server.start):
                group.create_task(asyncio.to_thread(act))
        await (await asyncpg.connect(dsn)).close()


async def test_sessions_are_terminated(postgres_server: PostgresServer) -> None:
    """Those of other databases go on."""
    async with postgres_server.database() as dsn, postgres_server.database() as other:
        terminated = await asyncpg.connect(dsn)
        spared = await asyncpg.connect(other)
        await postgres_server.terminate_backends(dsn.rpartition("/")[2])
        await _wait_until_closed(terminated)
        assert await spared.fetchval("SELECT 1") == 1
        await spared.close()
