"""`junkie serve`: the emulator as a process."""

import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from junkie_async import JunkieClient
from junkie_async.emulator import Emulator, Faults

from ._invoke import invoke
from ._process import serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for others here")


async def test_it_prints_its_url_and_answers(tmp_path: Path) -> None:
    """The first lines have the URL, also as a command for a shell, and a client can use it."""
    with serving("--port", "0", cwd=tmp_path) as server:
        assert server.lines == [
            f"Junkie emulator at {server.url}",
            f"export JUNKIE_BASE_URL={server.url}",
            "export JUNKIE_API_KEY=any-key-will-do",
            "Keys are kept in memory. Ctrl-C stops it.",
        ]
        async with JunkieClient("any", base_url=server.url) as junkie:
            key = await junkie.keys.create(provider_id=1)
            assert (await junkie.keys.get(key.id)).key_value == key.key_value
        ended = server.stop()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "Stopped: 2 requests answered, 1 keys discarded.\n"


@pytest.mark.slow
async def test_a_file_keeps_the_keys_over_a_restart(tmp_path: Path) -> None:
    """Keys survive a restart; SIGTERM stops the server as Ctrl-C does."""
    counts = []
    for _ in range(2):
        with serving("--port", "0", "--db", "keys.db", cwd=tmp_path) as server:
            assert server.lines[3] == "Keys are kept in keys.db. Ctrl-C stops it."
            async with JunkieClient("any", base_url=server.url) as junkie:
                await junkie.keys.create_batch(provider_id=1, amount=7)
                counts.append(await junkie.keys.list().count())
            ended = server.stop(signal.SIGTERM)
        assert (ended.code, ended.err) == (0, "")
    assert counts == [7, 14]


async def test_its_options_reach_the_emulator(tmp_path: Path) -> None:
    """Order, latency and rate limit are those of the command line."""
    async with Emulator(tmp_path / "keys.db") as emulator:
        await emulator.seed(3)
    options = ["--oldest-first", "--latency=0.05", "--rate-limit=0.01", "--rate-limit-headers"]
    with serving("--port", "0", "--db", "keys.db", *options, cwd=tmp_path) as server:
        started = time.perf_counter()
        status, _, body = await _send(server.url)
        assert time.perf_counter() - started >= 0.05
        assert status == 200
        assert [key["id"] for key in body["keys"]] == [1, 2, 3]
        status, headers, _ = await _send(server.url)
        server.stop()
    assert status == 429
    assert headers["RateLimit-Remaining"] == "0"


async def test_a_burst_and_faults_reach_the_emulator(tmp_path: Path) -> None:
    """The process answers like an emulator in Python with the same options and the same seed."""
    options = ["--rate-limit=0.01", "--burst=50", "--jitter=0.001"]
    options += ["--error-rate=0.3", "--throttle-rate=0.2", "--fault-seed=1"]
    with serving("--port", "0", *options, cwd=tmp_path) as server:
        served = [(await _send(server.url))[0] for _ in range(40)]
        server.stop()
    faults = Faults(error_rate=0.3, throttle_rate=0.2, latency=(0.0, 0.001), seed=1)
    async with Emulator(rate_limit=0.01, rate_limit_burst=50, faults=faults) as emulator:
        assert served == [(await _send(emulator.url))[0] for _ in range(40)]
    assert set(served) == {200, 429, 503}
    assert served.count(200) > 10


async def test_statuses_of_errors_reach_the_emulator(tmp_path: Path) -> None:
    """A server on all addresses fails with each of these, and prints a URL for this machine."""
    options = ["--host=0.0.0.0", "--api-key=test-ci", "--error-rate=1"]
    options += ["--error-status=500", "--error-status=502", "--fault-seed=1"]
    with serving("--port", "0", *options, cwd=tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert "all IPv4 addresses" in server.lines[0]
        served = {(await _send(server.url, api_key="test-ci"))[0] for _ in range(20)}
        server.stop()
    assert served == {500, 502}


@pytest.mark.parametrize(("option", "keys"), [("--drop-before-rate", 0), ("--drop-after-rate", 1)])
async def test_a_drop_reaches_the_emulator(tmp_path: Path, option: str, keys: int) -> None:
    """The connection breaks before a key is created, or after."""
    with serving("--port", "0", option, "1", cwd=tmp_path) as server:
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await _send(server.url, "POST", json={"provider_id": 1})
        ended = server.stop()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Stopped: 0 requests answered, {keys} keys discarded.\n"


async def test_api_keys_with_limits_reach_the_emulator(tmp_path: Path) -> None:
    """Only these are accepted, and the first one is in the command for a shell."""
    options = ["--api-key=a b=0.01", "--api-key=bW9y==", "--rate-limit-burst=2"]
    with serving("--port", "0", *options, cwd=tmp_path) as server:
        assert server.lines[2] == "export JUNKIE_API_KEY='a b'"
        statuses = {
            key: [(await _send(server.url, api_key=key))[0] for _ in range(3)]
            for key in ("a b", "bW9y==", "any")
        }
        server.stop()
    assert statuses == {"a b": [200, 200, 429], "bW9y==": [200] * 3, "any": [401] * 3}


async def _send(
    url: str, method: str = "GET", *, api_key: str = "any", **options: Any
) -> tuple[int, Any, Any]:
    """Send a request without the client, which retries and limits its rate."""
    headers = {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.request(method, f"{url}/keys", headers=headers, **options) as response:
        return response.status, response.headers, await response.json()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """A port in use gives exit code 2, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = invoke("serve", "--port", str(port))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


def test_a_file_of_something_else_is_one_line(tmp_path: Path) -> None:
    """A file that is not a database stays unchanged."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 500)
    ended = invoke("serve", "--port", "0", "--db", str(path))
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert path.read_text() == "my notes " * 500


def test_a_file_in_use_is_one_line(tmp_path: Path) -> None:
    """A file can be used by one emulator at a time."""
    with serving("--port", "0", "--db", "keys.db", cwd=tmp_path) as server:
        path = tmp_path / "keys.db"
        ended = invoke("serve", "--port", "0", "--db", str(path))
        server.stop()
    assert ended.code == 2
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "0.0.0.0"],
        ["--host", "0.0.0.0", "--api-key", "real"],
        ["--host", "example.com"],
        ["--error-rate", "1", "--error-status", "200"],
        ["--error-status", "600"],
        ["--port", "65536"],
        ["--port", "http"],
        ["--latency", "-1"],
        ["--latency", "inf"],
        ["--rate-limit", "0"],
        ["--rate-limit", "nan"],
        ["--rate-limit-burst", "0.5"],
        ["--burst", "0.5"],
        ["--api-key", ""],
        ["--api-key", "key=fast"],
        ["--api-key", "key=0"],
        ["--api-key", "key=nan"],
        ["--error-rate", "1.5"],
        ["--error-rate", "0.6", "--throttle-rate", "0.6"],
        ["--drop-before-rate", "nan"],
        ["--drop-after-rate", "-1"],
        ["--jitter", "inf"],
        ["--fault-seed", "x"],
        ["--db", "nowhere/keys.db"],
    ],
)
def test_bad_options_are_bad_usage(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option out of its range gives exit code 2 before the server listens."""
    monkeypatch.chdir(tmp_path)
    ended = invoke("serve", "--port", "0", *options)
    assert (ended.code, ended.out) == (2, "")
    assert "Error: " in ended.err
