"""A client works in one event loop after another; two that are not closed exclude each other."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp
import pytest
from anyio.from_thread import start_blocking_portal

from junkie_async import (
    ClientClosedError,
    ConfigurationError,
    JunkieClient,
    Outcome,
)
from junkie_async.emulator import Emulator
from junkie_async.pytest_plugin import running_emulator

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator in a thread of its own."""
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[JunkieClient]:
    """A client like one at the top of a module: no event loop runs where it is made."""
    client = JunkieClient("k", base_url=emulator.url, max_in_flight=2)
    yield client
    asyncio.run(client.close())


def run_in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it as asgiref does for Flask's async views: a thread with a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def run_in_portal(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it as starlette's TestClient does."""

    async def main() -> Any:
        return await work

    with start_blocking_portal() as portal:
        return portal.call(main)


def run_in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop that is closed by hand, as old code does."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def create(client: JunkieClient) -> int:
    """Create a key, and read one back: over both of the client's sessions."""
    key = await client.keys.create(provider_id=42)
    return (await client.keys.get(key.id)).id


@pytest.mark.parametrize("runner", [asyncio.run, run_in_thread, run_in_portal])
def test_each_event_loop_starts_anew(client: JunkieClient, runner: Runner) -> None:
    """Its connections end with the loop: nothing is left for the garbage collector to warn of."""
    assert [runner(create(client)) for _ in range(3)] == [1, 2, 3]
    gc.collect()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_loop_that_was_closed_by_hand(
    client: JunkieClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Python warns of asyncio's sockets then, but aiohttp logs no error."""
    assert [run_in_loop(create(client)) for _ in range(2)] == [1, 2]
    asyncio.run(create(client))
    gc.collect()
    assert not caplog.records


def test_calls_of_a_closed_loop_hold_no_slots() -> None:
    """Calls that their loop's end cancelled, in flight or waiting, take nothing along."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5.0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = JunkieClient("k", base_url=url, max_in_flight=2)

        async def abandon() -> None:
            calls = [asyncio.ensure_future(client.keys.folders()) for _ in range(5)]
            accepted = [await asyncio.to_thread(listener.accept) for _ in range(2)]
            assert not any(call.done() for call in calls)
            for connection, _ in accepted:
                connection.close()

        for _ in range(2):
            asyncio.run(abandon())
    asyncio.run(client.close())


def test_a_call_while_the_loop_ends(client: JunkieClient) -> None:
    """An async generator that cleans up then learns that the connections are closed."""
    ended: list[Exception] = []

    async def clean_up() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)  # the client begins to close its connections: those of `create`
            try:
                await client.keys.reset_hwid(1)
            except Exception as error:
                ended.append(error)

    async def main() -> AsyncIterator[None]:
        await create(client)
        cleaner = clean_up()
        await anext(cleaner)
        return cleaner

    assert asyncio.run(main()) is not None  # it is kept until the loop ends
    assert [type(error) for error in ended] == [ClientClosedError]


def test_two_loops_at_once_are_refused(client: JunkieClient, emulator: Emulator) -> None:
    """The second sends nothing and closes nothing; the first one goes on."""

    async def main() -> None:
        await create(client)
        for work in (create(client), client.close()):
            with pytest.raises(ClientClosedError) as caught:
                await asyncio.to_thread(asyncio.run, work)
            assert caught.value.outcome is Outcome.NOT_EXECUTED
        assert emulator.calls["createKey"] == 1
        assert not client.closed
        await create(client)

    asyncio.run(main())


def test_first_calls_in_two_threads_at_once(emulator: Emulator) -> None:
    """Whichever loop is second is refused, and may call once the first one is closed."""
    client = JunkieClient("k", base_url=emulator.url)
    ended: list[str] = []

    async def call() -> None:
        with suppress(ClientClosedError):
            await create(client)
            ended.append("created")

    threads = [Thread(target=lambda: asyncio.run(call())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(ended) == emulator.calls["createKey"]
    asyncio.run(create(client))
    asyncio.run(client.close())


def test_closing_in_another_loop(client: JunkieClient) -> None:
    """A client is closed in any loop after its own, and stays closed."""
    asyncio.run(create(client))
    asyncio.run(client.close())
    asyncio.run(client.close())
    with pytest.raises(ClientClosedError):
        asyncio.run(create(client))


def test_jobs_and_pagers_of_a_loop_that_is_closed(client: JunkieClient, tmp_path: Path) -> None:
    """Made in one loop, they run in the next; a ledger is read again in the one after."""

    async def make() -> Any:
        path = tmp_path / "ledger.db"
        jobs = [client.keys.create_many(300, provider_id=42, ledger=path) for _ in range(2)]
        return client.keys.list(), client.keys.delete_many([1]), *jobs

    pager, deletes, *jobs = asyncio.run(make())
    assert [asyncio.run(_await(job)).created for job in jobs] == [300, 300]
    assert asyncio.run(pager.count()) == 300
    assert len(asyncio.run(_await(pager)).keys) == 100
    asyncio.run(_await(deletes))
    assert asyncio.run(pager.count()) == 299


async def _await(work: Any) -> Any:
    return await work


def test_a_session_of_another_loop_is_refused(emulator: Emulator) -> None:
    """Nothing is sent, and the session's own loop can still use the client."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            client = JunkieClient("k", base_url=emulator.url, session=session)
            with pytest.raises(ConfigurationError) as caught:
                await asyncio.to_thread(asyncio.run, create(client))
            assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
            assert not emulator.calls
            assert await create(client) == 1

    asyncio.run(main())


PROGRAM = """
import asyncio, sys
from junkie_async import JunkieClient
client = JunkieClient("k", base_url=sys.argv[1])
for _ in range(2):
    asyncio.run(client.keys.create(provider_id=42))
"""


@pytest.mark.slow
def test_a_program_that_never_closes_its_client_ends_in_silence(emulator: Emulator) -> None:
    """As in Celery, where no event loop is left that could close it."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, emulator.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
