"""`junkie demo --live`: reads, and nothing but reads. An emulator stands in for the service."""

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from junkie_async.cli import app
from junkie_async.emulator import Emulator

from ._process import Ended, run_beside

_READS = {"listKeys", "getKey", "listFolders"}


async def _live(url: str, where: Path) -> Ended:
    env = {"JUNKIE_BASE_URL": url, "JUNKIE_API_KEY": "any"}
    return await run_beside("demo", "--live", cwd=where, env=env)


async def _live_here(url: str, api_key: str = "any") -> Any:
    """Run it in a thread, which is cheaper than a process, and has a loop of its own too."""
    env = {"JUNKIE_BASE_URL": url, "JUNKIE_API_KEY": api_key}
    return await asyncio.to_thread(CliRunner().invoke, app, ["demo", "--live"], env=env)


async def test_it_only_reads(tmp_path: Path) -> None:
    """Of 1,234 keys it reads five pages and some counts, in twelve requests, and changes none."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    async with Emulator() as emulator:
        await emulator.seed(1234, expires_at=lambda row: past if row < 34 else None, folder_id=3)
        ended = await _live(emulator.url, tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert set(emulator.calls) == _READS
        assert emulator.calls.total() == emulator.requests == 12
        assert emulator.statuses == {200: 12}
        assert await emulator.count() == 1234
    assert "By status: 1,200 active, 0 used, 34 expired, 0 invalidated\n" in ended.out
    lines = {line.split("  ")[0]: line.split() for line in ended.out.splitlines()}
    assert "500" in lines["list, 5 pages"]
    assert lines["Total"][1] == "12"
    assert "masked: KeyDetailed(id=1234, key_value=JNK-…" in ended.out


async def test_no_keys_are_no_error() -> None:
    """An account without keys is read like any other."""
    async with Emulator() as emulator:
        result = await _live_here(emulator.url)
        assert set(emulator.calls) <= _READS
    assert (result.exit_code, result.stderr) == (0, "")
    assert "By status: 0 active, 0 used, 0 expired, 0 invalidated\n" in result.stdout


async def test_a_refused_api_key_is_one_line() -> None:
    """The service's no gives exit code 3."""
    async with Emulator(api_keys={"right"}) as emulator:
        result = await _live_here(emulator.url, "wrong")
        assert emulator.requests == 1
    assert result.exit_code == 3
    assert result.stderr == "Error: GET /keys: Invalid API key [401]\n"


async def test_a_service_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """No connection gives exit code 4, and no noise of the retries on the way."""
    with socket.socket() as free:  # bound, and not listening: a connection is refused
        free.bind(("127.0.0.1", 0))
        ended = await _live(f"http://127.0.0.1:{free.getsockname()[1]}", tmp_path)
    assert ended.code == 4
    assert ended.err.startswith("Error: GET /keys: could not connect")
    assert ended.err.count("\n") == 1


def test_without_an_api_key_it_says_so() -> None:
    """The variable's name, and exit code 2."""
    result = CliRunner().invoke(app, ["demo", "--live"], env={"JUNKIE_API_KEY": None})
    assert result.exit_code == 2
    assert result.stderr == "Error: --live reads your own keys: set $JUNKIE_API_KEY first\n"
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--csv=keys.csv", "--keys=100"])
def test_what_it_would_not_do_is_bad_usage(option: str) -> None:
    """Options of the other demo are refused rather than ignored."""
    result = CliRunner().invoke(app, ["demo", "--live", option], env={"JUNKIE_API_KEY": "any"})
    assert result.exit_code == 2
    assert "does not go with --live" in result.stderr


def test_a_base_url_that_cannot_be_is_bad_usage() -> None:
    """A client that can't be configured gives one line and exit code 2."""
    env = {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": "http://example.com"}
    result = CliRunner().invoke(app, ["demo", "--live"], env=env)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: plain http to example.com ")
