"""`junkie export`: a file of keys, or a pipe, and one line that says so."""

import csv
import io
import os
import signal
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from junkie_async import Key
from junkie_async.emulator import Emulator
from junkie_async.export import COLUMNS, unmark

from ._invoke import invoke, junkie, junkie_in_terminal
from ._process import (
    emulator_environment,
    posix,
    run_and_signal,
    start_process,
    terminal,
    wait_for_end,
)


def _left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_all_keys_to_csv(tmp_path: Path) -> None:
    """Every key is in the file, which is private; stdout is empty, stderr one line."""
    async with Emulator() as emulator:
        await emulator.seed(1234, key_name=lambda row: "=1+1" if row else None)
        ended = await junkie(emulator, "export", "keys.csv", cwd=tmp_path)
        assert emulator.calls == {"listKeys": 13}
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "1,234 keys written to keys.csv\n"
    path = tmp_path / "keys.csv"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len({row["key_value"] for row in rows}) == 1234
    assert {row["key_name"] for row in rows} == {"", "'=1+1"}
    assert _left(tmp_path) == ["keys.csv"]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
async def test_stdout_has_keys_and_nothing_else(file_format: str, tmp_path: Path) -> None:
    """With - the rows go to stdout, in UTF-8 whatever the locale, and the rest to stderr."""
    async with Emulator() as emulator:
        await emulator.seed(150, key_name="ключ 🔑")
        process = await start_process(
            *("export", "-", "--format", file_format),
            cwd=tmp_path,
            env=emulator_environment(emulator, PYTHONIOENCODING="ascii"),
        )
        ended = await wait_for_end(process)
    assert (ended.code, ended.err) == (0, "150 keys written to stdout\n")
    if file_format == "csv":
        rows = list(csv.DictReader(io.StringIO(ended.out, newline="")))
        assert {unmark(row["key_name"]) for row in rows} == {"ключ 🔑"}
        assert len(rows) == 150
    else:
        keys = msgspec.json.Decoder(Key).decode_lines(ended.out)
        assert {key.key_name for key in keys} == {"ключ 🔑"}
        assert len(keys) == 150
    assert _left(tmp_path) == []


async def test_filters_reach_the_service(tmp_path: Path) -> None:
    """Every filter of the list narrows the export; a byte order mark comes on request."""
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    async with Emulator() as emulator:
        await emulator.seed(
            20,
            provider_id=3,
            service_id=4,
            folder_id=lambda row: 5 if row < 7 else None,
            discord_id="123456789012345678",
            hwids=["PC"],
            key_value=lambda row: f"JNK-{row:02}",
            expires_at=moment,
        )
        path = tmp_path / "keys.csv"
        filters = ["--provider-id=3", "--service-id=4", "--folder-id=5", "--hwid=P", "--key=JNK-0"]
        filters += ["--discord-id=123456789012345678", "--status=active"]
        filters += ["--expires-after=2029-12-31T23:59:59Z"]
        filters += ["--expires-before=2030-01-01T02:00:00+01:00", "--bom"]
        result = await junkie(emulator, "export", str(path), *filters)
        none = await junkie(emulator, "export", str(path), *filters, "--status=used")
    assert result.err == f"7 keys written to {path}\n"
    assert (none.code, none.err) == (0, f"0 keys written to {path}\n")
    assert path.read_bytes() == b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n"


async def test_texts_that_look_like_numbers(tmp_path: Path) -> None:
    """With --text-cells a spreadsheet keeps their digits."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value="007")
        await junkie(emulator, "export", "keys.csv", "--text-cells", cwd=tmp_path)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "keys.csv").read_text("utf-8"), newline=""))
    assert row["key_value"] == '="007"'
    assert unmark(row["key_value"]) == "007"


@pytest.mark.parametrize(
    "arguments",
    [
        ["."],
        ["-"],
        [".", "--format=csv"],
        ["nowhere/keys.csv"],
        ["keys.csv", "--format=xml"],
        ["keys.jsonl", "--bom"],
        ["keys.jsonl", "--text-cells"],
        ["keys.csv", "--status=new"],
        ["keys.csv", "--key="],
        ["keys.csv", "--expires-after=2026-01-01T12:00"],
        ["keys.csv", "--expires-after=soon"],
        [],
    ],
)
async def test_bad_usage_sends_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives exit code 2 before any request."""
    monkeypatch.chdir(tmp_path)
    async with Emulator() as emulator:
        result = await junkie(emulator, "export", *arguments)
        assert emulator.requests == 0
    assert result.code == 2
    assert result.out == ""
    assert _left(tmp_path) == []


def test_without_an_api_key_it_is_bad_usage(tmp_path: Path) -> None:
    """Nothing is written."""
    result = invoke("export", str(tmp_path / "keys.csv"))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert _left(tmp_path) == []


async def test_a_refusal_keeps_the_old_file(tmp_path: Path) -> None:
    """A refusal by the service gives exit code 3, and the old file stays."""
    path = tmp_path / "keys.csv"
    path.write_text("old")
    async with Emulator(api_keys={"right"}) as emulator:
        result = await junkie(emulator, "export", str(path))
    assert result.code == 3
    assert result.err.count("\n") == 1
    assert path.read_text() == "old"
    assert _left(tmp_path) == ["keys.csv"]


@pytest.mark.usefixtures("quick_retries")
def test_a_service_that_can_not_be_reached_is_one_line(closed_url: str, tmp_path: Path) -> None:
    """A refused connection gives exit code 4, and no file."""
    env = {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": closed_url}
    ended = invoke("export", "keys.csv", cwd=tmp_path, env=env)
    assert ended.code == 4
    assert ended.err.count("\n") == 1
    assert _left(tmp_path) == []


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_a_signal_leaves_no_partial_file(name: str, tmp_path: Path) -> None:
    """Stopped in the middle of a walk, it keeps the old file and leaves no other."""
    number = signal.Signals[name]  # by name, since Windows has no SIGHUP
    path = tmp_path / "out" / "keys.csv"
    path.parent.mkdir()
    path.write_text("old")

    async def has_temporary_file(_: Emulator) -> bool:
        return len(_left(path.parent)) > 1

    async with Emulator(latency=60) as emulator:
        ended = await run_and_signal(
            emulator, number, "export", str(path), cwd=tmp_path, when=has_temporary_file
        )
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == f"Error: stopped; {path} is unchanged\n"
    assert path.read_text() == "old"
    assert _left(path.parent) == ["keys.csv"]


@posix
async def test_a_closed_pipe_is_one_line(tmp_path: Path) -> None:
    """`junkie export - | head -1` ends in one line, with the exit code for partly done."""
    ours, theirs = os.pipe()
    async with Emulator() as emulator:
        await emulator.seed(3000)
        process = await start_process(
            *("export", "-", "--format=jsonl"),
            cwd=tmp_path,
            env=emulator_environment(emulator),
            stdout=theirs,
        )
        os.close(theirs)
        os.close(ours)
        ended = await wait_for_end(process)
    assert ended.code == 5
    assert ended.err.count("\n") == 1


@terminal
async def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """A bar is drawn during the walk, and the result is the last line."""
    async with Emulator(latency=0.3) as emulator:
        bar = await junkie_in_terminal(emulator, "export", "keys.csv", cwd=tmp_path)
        rows = await junkie_in_terminal(emulator, "export", "-", "--format=csv", cwd=tmp_path)
        dumb = await junkie_in_terminal(emulator, "export", "keys.csv", cwd=tmp_path, TERM="dumb")
    assert (bar.code, rows.code, dumb.code) == (0, 0, 0)
    assert "━" in bar.out
    assert bar.out.endswith("0 keys written to keys.csv\r\n")
    assert "\x1b" not in rows.out + dumb.out
    assert rows.out.startswith("id,key_value,")


def test_its_help_names_the_filters() -> None:
    """Every filter of the API is an option of the same name, and the API key is none."""
    out = invoke("export", "--help").out
    for option in ("discord-id", "key", "hwid", "service-id", "provider-id", "folder-id", "status"):
        assert f"--{option} " in out
    assert "--expires-before " in out
    assert "--expires-after " in out
    assert "--api-key" not in out
