"""`junkie keys get`, `find`, `verify` and `export`: one key, by its value or its ID."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from junkie_async import Key, KeyDetailed
from junkie_async.emulator import Emulator, Faults

from ._invoke import junkie, junkie_in_terminal
from ._process import terminal

_VALUE = "JNK-AAAA-BBBB-CCCC"
_PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def _with_digits(emulator: Emulator) -> None:
    """Put a key there whose value is another key's ID."""
    await emulator.seed(2, key_value=lambda row: [_VALUE, "1"][row])


async def test_get_shows_all_fields(tmp_path: Path) -> None:
    """Each field has a line, even if empty, and the value is masked."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=_VALUE, is_premium=True, hwids=["PC", "Mac"])
        ended = await junkie(emulator, "keys", "get", _VALUE, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    fields = dict(line.split("\t") for line in ended.out.splitlines())
    assert fields.keys() >= {"status", "discord_redemption", "created_at", "folder_id"}
    assert fields["key_value"] == "JNK-…CCCC"
    assert (fields["id"], fields["status"], fields["is_premium"]) == ("1", "active", "true")
    assert (fields["keys_hwid"], fields["folder_id"]) == ("PC; Mac", "")


async def test_digits_are_a_value_unless_given_as_an_id() -> None:
    """`get 1` is the key whose value is 1, and `get --id 1` the one whose ID is."""
    async with Emulator() as emulator:
        await _with_digits(emulator)
        by_value = await junkie(emulator, "keys", "get", "1", "--json", "--show-values")
        by_id = await junkie(emulator, "keys", "get", "--id=1", "--json", "--show-values")
    first = msgspec.json.decode(by_value.out, type=KeyDetailed)
    second = msgspec.json.decode(by_id.out, type=KeyDetailed)
    assert (first.id, first.key_value) == (2, "1")
    assert (second.id, second.key_value) == (1, _VALUE)


@pytest.mark.parametrize("command", ["get", "find", "verify"])
async def test_a_value_is_read_from_stdin(command: str) -> None:
    """The line may have a line end, a byte order mark and blank lines after it."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=_VALUE)
        for stdin in (_VALUE, f"{_VALUE}\n", f"\ufeff{_VALUE}\r\n\r\n"):
            result = await junkie(emulator, "keys", command, "-", stdin=stdin)
            assert (result.code, result.err) == (0, "")
        for stdin in ("", f"{_VALUE}\n{_VALUE}\n"):
            result = await junkie(emulator, "keys", command, "-", stdin=stdin)
            assert result.code == 2
            assert result.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], [_VALUE, "--id=1"], ["--id=first"]])
async def test_get_needs_exactly_one_key(arguments: list[str]) -> None:
    """Neither or both of value and ID is bad usage, and nothing is sent."""
    async with Emulator() as emulator:
        result = await junkie(emulator, "keys", "get", *arguments)
        assert emulator.requests == 0
    assert result.code == 2


async def test_a_missing_key_gives_one_line() -> None:
    """1, for `get` and `find`."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=_VALUE)
        got = await junkie(emulator, "keys", "get", "JNK-NONE")
        found = await junkie(emulator, "keys", "find", _VALUE[:-1])
    assert got.code == 1
    assert got.err.count("\n") == 1
    assert (found.code, found.err.count("\n")) == (1, 1)
    assert got.out == found.out == ""


async def test_find_is_exact(tmp_path: Path) -> None:
    """Keys whose values only contain the given one are not found."""
    async with Emulator() as emulator:
        await emulator.seed(3, key_value=lambda row: _VALUE + "x" * row)
        ended = await junkie(emulator, "keys", "find", "--json", _VALUE, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert msgspec.json.decode(ended.out, type=Key).id == 1
    assert _VALUE not in ended.out


@terminal
async def test_a_terminal_gets_the_fields_that_are_set(tmp_path: Path) -> None:
    """The value is printed in full with --show-values."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=_VALUE, key_name="a\x1b]0;title\x07b")
        ended = await junkie_in_terminal(
            emulator, "keys", "get", "--id=1", "--show-values", cwd=tmp_path
        )
    assert ended.code == 0
    assert _VALUE in ended.out
    assert "a]0;titleb" in ended.out
    assert "folder_id" not in ended.out


async def test_a_verdict(tmp_path: Path) -> None:
    """A valid key gives exit code 0, any other 1 and the first reason."""
    async with Emulator() as emulator:
        await emulator.seed(
            2, key_value=lambda row: [_VALUE, "JNK-OLD"][row], hwids=["PC"], hwid_limit=1
        )
        ended = await junkie(emulator, "keys", "verify", _VALUE, "--hwid=PC", cwd=tmp_path)
        no = await junkie(emulator, "keys", "verify", _VALUE, "--premium", cwd=tmp_path)
        other = await junkie(emulator, "keys", "verify", _VALUE, "--hwid=Mac")
        unknown = await junkie(emulator, "keys", "verify", "JNK-NONE", "--json")
        service = await junkie(emulator, "keys", "verify", _VALUE, "--service-id=9", "--json")
    assert (ended.code, ended.out, ended.err) == (0, "valid\n", "")
    assert (no.code, no.out, no.err) == (1, "not valid: not_premium\n", "")
    assert (other.code, other.out) == (1, "not valid: hwid_mismatch\n")
    assert (unknown.code, unknown.out) == (
        1,
        '{"valid":false,"reason":"not_found","key":null}\n',
    )
    verdict = msgspec.json.decode(service.out)
    assert verdict["reason"] == "wrong_service"
    assert verdict["key"]["key_value"] == "JNK-…CCCC"


async def test_a_refusal_gives_no_verdict() -> None:
    """A refused API key or a rate limit gives exit code 3, and nothing on stdout."""
    async with Emulator(api_keys={"right"}) as emulator:
        refused = await junkie(emulator, "keys", "verify", _VALUE)
        emulator.faults = Faults(throttle_rate=1.0, retry_after=300)
        throttled = await junkie(emulator, "keys", "verify", _VALUE)
    assert (refused.code, throttled.code) == (3, 3)
    assert refused.err.count("\n") == throttled.err.count("\n") == 1
    assert refused.out == throttled.out == ""


async def test_export_is_a_keys_command_too(tmp_path: Path) -> None:
    """`junkie keys export` is `junkie export`."""
    async with Emulator() as emulator:
        await emulator.seed(20, expires_at=lambda row: _PAST if row < 5 else None)
        ended = await junkie(
            emulator, "keys", "export", "old.jsonl", "--status=expired", cwd=tmp_path
        )
    assert (ended.code, ended.out, ended.err) == (0, "", "5 keys written to old.jsonl\n")
    assert len((tmp_path / "old.jsonl").read_text("utf-8").splitlines()) == 5


async def test_export_of_one_key(tmp_path: Path) -> None:
    """Its line has the singular."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        ended = await junkie(emulator, "export", "one.csv", cwd=tmp_path)
    assert ended.err == "1 key written to one.csv\n"
