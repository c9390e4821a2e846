"""`junkie keys update`, `invalidate`, `revalidate` and `reset-hwid`."""

import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from junkie_async import JunkieClient, KeyDetailed
from junkie_async.emulator import Emulator, Faults

from ._invoke import junkie, junkie_in_terminal
from ._process import posix, run_and_signal, terminal

_VALUE = "JNK-AAAA-BBBB-CCCC"
_LATER = datetime(2030, 1, 31, 12, tzinfo=UTC)


async def _key(emulator: Emulator, key_id: int = 1) -> KeyDetailed:
    async with JunkieClient("any", base_url=emulator.url) as client:
        return await client.keys.get(key_id)


async def test_update_changes_the_given_fields(tmp_path: Path) -> None:
    """Every option sets its field, and the other fields stay."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=_VALUE, service_id=4, validity_minutes=60)
        options = ["--folder-id=3", "--key-name=launch", "--discord-id=123456789012345678"]
        options += ["--is-premium", "--one-time-use", "--expiry-on-first-use", "--use-hwid"]
        options += ["--hwid-limit=0", "--is-invalidated", "--hwids=PC", "--hwids=Mac"]
        options += ["--expires-at=2030-01-31T13:00:00+01:00"]
        ended = await junkie(emulator, "keys", "update", _VALUE, *options, cwd=tmp_path)
        key = await _key(emulator)
    assert (ended.code, ended.out, ended.err) == (0, "1 key updated\n", "")
    assert (key.folder_id, key.key_name, key.discord_id) == (3, "launch", "123456789012345678")
    assert key.is_premium
    assert key.one_time_use
    assert key.expiry_on_first_use
    assert key.is_invalidated
    assert (key.no_hwid, key.hwid_limit, key.keys_hwid) == (False, 0, ("PC", "Mac"))
    assert (key.expires_at, key.service_id, key.validity_minutes) == (_LATER, 4, 60)


async def test_clear_is_null() -> None:
    """Cleared fields are null, other fields stay, and --no-... sets false."""
    async with Emulator() as emulator:
        await emulator.seed(
            1, folder_id=3, key_name="launch", hwids=["PC"], hwid_limit=2, is_premium=True
        )
        options = ["--clear=folder_id", "--clear=hwids", "--clear=hwid_limit", "--no-is-premium"]
        result = await junkie(emulator, "keys", "update", "--id=1", *options, "--json")
        key = await _key(emulator)
    assert result.code == 0
    outcome = msgspec.json.decode(result.out)
    assert (outcome["id"], outcome["success"], outcome["keys_hwid"]) == (1, True, [])
    assert (key.folder_id, key.keys_hwid, key.hwid_limit, key.is_premium) == (None, (), None, False)
    assert key.key_name == "launch"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--clear=folder_id", "--folder-id=3"],
        ["--clear=id"],
        ["--hwid-limit=101"],
        ["--discord-id=me"],
        ["--expires-at=2030-01-31T12:00"],
    ],
)
async def test_bad_usage_of_update_sends_nothing(options: list[str]) -> None:
    """Bad usage gives exit code 2."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        result = await junkie(emulator, "keys", "update", "--id=1", *options)
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")


async def test_keys_are_revoked_and_revalidated(tmp_path: Path) -> None:
    """Keys are named by values, IDs or a file, and duplicates are dropped."""
    (tmp_path / "keys.txt").write_text(f"{_VALUE}0\n\n  2\r\n{_VALUE}0\n")
    async with Emulator() as emulator:
        await emulator.seed(4, key_value=lambda row: "2" if row == 3 else f"{_VALUE}{row}")
        keys = [f"{_VALUE}0", "2", "--id=2", "--id=3", "--id=3"]
        ended = await junkie(emulator, "keys", "invalidate", *keys, cwd=tmp_path)
        revoked = [(await _key(emulator, number)).is_invalidated for number in range(1, 5)]
        back = await junkie(emulator, "keys", "revalidate", "--from", "keys.txt", cwd=tmp_path)
        left = [(await _key(emulator, number)).is_invalidated for number in range(1, 5)]
    assert (ended.code, ended.out, ended.err) == (0, "4 keys invalidated\n", "")
    assert revoked == [True] * 4
    assert (back.code, back.out, back.err) == (0, "2 keys revalidated\n", "")
    assert left == [False, True, True, False]


async def test_devices_are_unbound(tmp_path: Path) -> None:
    """The IDs come from stdin, and --json prints a line for each key."""
    async with Emulator() as emulator:
        await emulator.seed(30, hwids=["PC"])
        numbers = "".join(f"{number}\n" for number in range(1, 21))
        ended = await junkie(
            emulator, "keys", "reset-hwid", "-", "--ids", "--json", cwd=tmp_path, stdin=numbers
        )
        async with JunkieClient("any", base_url=emulator.url) as client:
            assert await client.keys.list(hwid="PC").count() == 10
    assert (ended.code, ended.err) == (0, "")
    outcomes = [msgspec.json.decode(line) for line in ended.out.splitlines()]
    assert {outcome["id"] for outcome in outcomes} == {*range(1, 21)}
    assert all(outcome["success"] for outcome in outcomes)


async def test_a_missing_key_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is named, masked, and the exit code is 5, or 1 if it is the only key."""
    async with Emulator() as emulator:
        await emulator.seed(2)
        ended = await junkie(
            emulator, "keys", "invalidate", _VALUE, "--id=1", "--id=2", cwd=tmp_path
        )
        alone = await junkie(emulator, "keys", "invalidate", _VALUE, "--json")
    assert (ended.code, ended.out) == (5, "")
    error, summary = ended.err.splitlines()
    assert error.startswith("Error: key JNK-…CCCC: PUT /keys/{keyId}: ")
    assert error.endswith("[404]")
    assert summary == "2 of 3 keys invalidated"
    assert alone.code == 1
    assert alone.err.count("\n") == 1
    outcome = msgspec.json.decode(alone.out)
    assert (outcome["key_value"], outcome["success"]) == ("JNK-…CCCC", False)


async def test_json_has_the_status_of_each_key() -> None:
    """A program reads what became of a key without reading the message."""
    async with Emulator() as emulator:
        await emulator.seed(2)
        result = await junkie(emulator, "keys", "invalidate", "--id=1", "--id=9", "--json")
    records = {record["id"]: record for record in map(msgspec.json.decode, result.out.splitlines())}
    assert result.code == 5
    assert (records[1]["status"], records[1]["success"]) == ("done", True)
    assert (records[9]["status"], records[9]["success"]) == ("not found", False)


async def test_an_outage_stops_the_run() -> None:
    """After as many failures in a row as may be in flight, no further requests start."""
    async with Emulator(faults=Faults(error_rate=1.0)) as emulator:
        ids = [f"--id={number}" for number in range(1, 201)]
        result = await junkie(emulator, "keys", "reset-hwid", *ids)
        assert emulator.requests < 200
    assert result.code == 5  # the devices may have been unbound
    assert result.err.splitlines()[-1] == "0 of 200 keys unbound"


async def test_bad_keys_are_bad_usage() -> None:
    """Nothing is sent for the others."""
    async with Emulator() as emulator:
        await emulator.seed(2)
        result = await junkie(emulator, "keys", "invalidate", "--id=1", "--id=0")
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: keys[1] must be ")


async def test_an_error_of_all_keys_stops_the_run() -> None:
    """After a refused API key no further requests start."""
    async with Emulator(api_keys={"right"}) as emulator:
        ids = [f"--id={number}" for number in range(1, 101)]
        result = await junkie(emulator, "keys", "reset-hwid", *ids)
        assert emulator.requests <= 16
    assert result.code == 3
    assert result.err.splitlines()[-1] == "0 of 100 keys unbound"


async def test_a_reset_with_unknown_outcome_is_exit_code_5() -> None:
    """Users must look before they repeat it."""
    async with Emulator(faults=Faults(drop_after_rate=1.0, operations="resetKeyHwid")) as emulator:
        await emulator.seed(1, hwids=["PC"])
        result = await junkie(emulator, "keys", "reset-hwid", "--id=1")
        assert (await _key(emulator)).keys_hwid == ()
    assert result.code == 5


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from=empty.txt"],
        ["--ids", "--id=1"],
        ["--from=keys.txt", "-"],
        ["--from=nowhere.txt"],
        ["--from=keys.txt", "--ids"],
        ["--from=latin.txt"],
    ],
)
async def test_keys_that_can_not_be_read_are_bad_usage(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and no line of the file is printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.txt").write_text("12\nJNK-SECRET\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    async with Emulator() as emulator:
        result = await junkie(emulator, "keys", "reset-hwid", *arguments, stdin="")
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert "JNK-SECRET" not in result.err


@posix
async def test_a_stopped_run_prints_its_progress(tmp_path: Path) -> None:
    """SIGTERM gives exit code 130, as Ctrl-C does."""
    async with Emulator(latency=0.2) as emulator:
        await emulator.seed(200)

        async def has_begun(emulator: Emulator) -> bool:
            return emulator.statuses[200] >= 16

        ended = await run_and_signal(
            emulator,
            signal.SIGTERM,
            *("keys", "invalidate", *(f"--id={number}" for number in range(1, 201))),
            cwd=tmp_path,
            when=has_begun,
        )
    assert (ended.code, ended.out) == (130, "")
    assert re.fullmatch(r"Error: stopped: \d+ of 200 keys invalidated\n", ended.err)


@terminal
async def test_a_terminal_gets_the_same_result(tmp_path: Path) -> None:
    """The bar is erased before the result is printed."""
    async with Emulator() as emulator:
        await emulator.seed(40)
        ids = [f"--id={number}" for number in range(1, 41)]
        ended = await junkie_in_terminal(emulator, "keys", "invalidate", *ids, cwd=tmp_path)
    assert ended.code == 0
    assert ended.out.endswith("40 keys invalidated\r\n")
