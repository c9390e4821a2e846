"""`junkie demo --live`: it reads and changes nothing. An emulator stands in for the service."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from junkie_async.emulator import Emulator

from ._invoke import invoke, junkie

_READS = {"listKeys", "getKey", "listFolders"}


async def test_it_only_reads(tmp_path: Path) -> None:
    """Of 1,234 keys it reads five pages and some counts, in 14 requests, and changes none."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    async with Emulator() as emulator:
        await emulator.seed(1234, expires_at=lambda row: past if row < 34 else None, folder_id=3)
        ended = await junkie(emulator, "demo", "--live", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert set(emulator.calls) == _READS
        assert emulator.calls.total() == emulator.requests == 14
        assert emulator.statuses == {200: 14}
        assert await emulator.count() == 1234
    rows = {line[:21].rstrip(): line[21:].split() for line in ended.out.splitlines()}
    counted = {name: rows[name][1] for name in rows if name.startswith(("count", "list"))}
    assert counted == {
        "count, all": "1,234",
        "list, 5 pages": "500",
        "count, active": "1,200",
        "count, used": "0",
        "count, expired": "34",
        "count, invalidated": "0",
    }
    assert sum(int(cells[2]) for cells in rows.values() if cells[-1:] == ["ok"]) == 14
    assert "masked: KeyDetailed(id=1234, key_value=JNK-…" in ended.out


async def test_no_keys_are_no_error() -> None:
    """An account without keys is read like any other."""
    async with Emulator() as emulator:
        ended = await junkie(emulator, "demo", "--live")
        assert set(emulator.calls) <= _READS
    assert (ended.code, ended.err) == (0, "")
    assert "masked" not in ended.out


async def test_a_refused_api_key_is_one_line() -> None:
    """A refusal by the service gives exit code 3."""
    async with Emulator(api_keys={"right"}) as emulator:
        ended = await junkie(emulator, "demo", "--live", JUNKIE_API_KEY="wrong")
        assert emulator.requests == 1
    assert ended.code == 3
    assert ended.err.count("\n") == 1


def test_a_service_that_can_not_be_reached_is_one_line(closed_url: str) -> None:
    """A refused connection gives exit code 4, and the retries print nothing."""
    env = {"JUNKIE_BASE_URL": closed_url, "JUNKIE_API_KEY": "any"}
    ended = invoke("demo", "--live", env=env)
    assert ended.code == 4
    assert ended.err.count("\n") == 1


def test_without_an_api_key_it_is_bad_usage() -> None:
    """Nothing is printed to stdout."""
    ended = invoke("demo", "--live")
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("option", ["--csv=keys.csv", "--keys=100"])
def test_options_of_the_other_demo_are_bad_usage(option: str) -> None:
    """They are refused rather than ignored."""
    ended = invoke("demo", "--live", option, env={"JUNKIE_API_KEY": "any"})
    assert ended.code == 2


def test_a_base_url_that_is_not_allowed_is_bad_usage() -> None:
    """A client that can't be configured gives one line and exit code 2."""
    env = {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": "http://example.com"}
    ended = invoke("demo", "--live", env=env)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
