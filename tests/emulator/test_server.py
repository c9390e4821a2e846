"""The emulator's lifetime: start, stop, restart, and cleaning up."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from junkie_async.emulator import Emulator, server

from .conftest import Api


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "10.0.0.1"])
@pytest.mark.parametrize("api_keys", [None, (), {"real"}, {"test-a": None, "real": None}, {""}])
def test_a_network_needs_test_keys(host: str, api_keys: Any) -> None:
    """The emulator listens to a network only for API keys that open nothing else."""
    with pytest.raises(ValueError):
        Emulator(host=host, api_keys=api_keys)


def test_one_api_key_is_still_a_collection() -> None:
    """A string would be the collection of its letters."""
    with pytest.raises(TypeError):
        Emulator(api_keys="test-a")


@pytest.mark.parametrize("host", ["", "example.com", "junkie"])
def test_a_host_is_an_address(host: str) -> None:
    """A name could stand for several."""
    with pytest.raises(ValueError):
        Emulator(host=host, api_keys={"test-a"})


async def test_all_addresses(session: aiohttp.ClientSession) -> None:
    """Its URL is one for this machine, and the API key is required."""
    async with Emulator(host="0.0.0.0", api_keys={"test-a"}) as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        headers = [{"Authorization": f"Bearer {key}"} for key in ("test-a", "test-b")]
        statuses = []
        for header in headers:
            async with session.get(f"{emulator.url}/keys", headers=header) as response:
                statuses.append(response.status)
    assert statuses == [200, 401]


@pytest.mark.parametrize(
    ("host", "shown"), [("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")]
)
async def test_any_loopback_address_is_accepted(
    session: aiohttp.ClientSession, host: str, shown: str
) -> None:
    """Its URL can be requested as it is."""
    emulator = Emulator(host=host)
    try:
        await emulator.start()
    except OSError:  # a machine without IPv6
        assert host == "::1"
        return
    try:
        assert emulator.url.startswith(f"http://{shown}:")
        assert emulator.url.endswith("/api/v2")
        assert await Api(session, emulator.url).ids() == []
    finally:
        await emulator.close()


async def test_it_runs_between_start_and_close() -> None:
    """Closing twice does nothing, starting twice is an error, and it can start again."""
    emulator = Emulator()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            _ = emulator.url
        with pytest.raises(RuntimeError):
            await emulator.count()
        await emulator.start()
        assert await emulator.count() == 0
        with pytest.raises(RuntimeError):
            await emulator.start()
        await emulator.seed(1)
        assert await emulator.count() == 1
        await emulator.close()
        await emulator.close()


async def test_a_port_that_is_taken(emulator: Emulator) -> None:
    """The operating system's error is raised, and nothing stays open."""
    port = yarl.URL(emulator.url).port
    assert port is not None
    other = Emulator(port=port)
    with pytest.raises(OSError):
        await other.start()
    with pytest.raises(RuntimeError):
        _ = other.url
    await emulator.close()
    async with other:
        assert yarl.URL(other.url).port == port


async def test_a_file_keeps_its_keys(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Over a restart, whether the path is a string or a Path."""
    path = tmp_path / "keys.db"
    async with Emulator(path) as emulator:
        key = await Api(session, emulator.url).create(hwid="A")
    async with Emulator(str(path)) as emulator:
        reply = await Api(session, emulator.url)("GET", f"/keys/{key['id']}")
    assert reply.body["key"] == {**key, "discord_redemption": None}


async def test_emulators_are_independent(session: aiohttp.ClientSession) -> None:
    """Two in a process have their own keys and counters."""
    async with Emulator() as one, Emulator() as two:
        await Api(session, one.url).create()
        assert (await one.count(), await two.count()) == (1, 0)
        assert (one.requests, two.requests) == (1, 0)


async def test_closing_does_not_wait_for_idle_connections(
    emulator: Emulator, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's keep-alive connection is closed."""
    monkeypatch.setattr(server, "_SHUTDOWN_SECONDS", 30)
    patient = Emulator()
    await patient.start()
    await Api(api.session, patient.url).ids()
    async with asyncio.timeout(5):
        await patient.close()


async def test_closing_aborts_delayed_requests(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's connection is closed."""
    monkeypatch.setattr(server, "_SHUTDOWN_SECONDS", 0.005)
    async with Emulator(latency=60) as emulator:
        waiting = asyncio.create_task(Api(session, emulator.url).ids())
        while not emulator.calls:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await emulator.close()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_a_cancelled_close_still_closes_the_store(tmp_path: Path) -> None:
    """The next emulator can open the file."""
    emulator = Emulator(tmp_path / "keys.db")
    await emulator.start()
    closing = asyncio.create_task(emulator.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await emulator.close()
    async with Emulator(tmp_path / "keys.db") as again:
        assert await again.count() == 0
