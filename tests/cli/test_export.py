"""`junkie export`: a file of keys, or a pipe, and one line that says so."""

import asyncio
import csv
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from junkie_async import Key
from junkie_async.cli import app
from junkie_async.emulator import Emulator
from junkie_async.export import COLUMNS, unmark

from ._process import COMMAND, environment, run, run_beside, run_in_terminal, serving

posix = pytest.mark.skipif(sys.platform == "win32", reason="no signals for others here")
_ENV = {"JUNKIE_API_KEY": "any"}


async def _here(url: str, *arguments: str, **env: str) -> Any:
    """Run it in a thread, which is cheaper than a process, and has a loop of its own too."""
    given = {**_ENV, "JUNKIE_BASE_URL": url, **env}
    return await asyncio.to_thread(CliRunner().invoke, app, ["export", *arguments], env=given)


def _left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_all_keys_to_csv(tmp_path: Path) -> None:
    """Every key is in the file, which is private; stdout is empty, stderr one line."""
    async with Emulator() as emulator:
        await emulator.seed(1234, key_name=lambda row: "=1+1" if row else None)
        env = {**_ENV, "JUNKIE_BASE_URL": emulator.url}
        ended = await run_beside("export", "keys.csv", cwd=tmp_path, env=env)
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
        env = {**_ENV, "JUNKIE_BASE_URL": emulator.url, "PYTHONIOENCODING": "ascii"}
        ended = await run_beside("export", "-", "--format", file_format, cwd=tmp_path, env=env)
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
        result = await _here(emulator.url, str(path), *filters)
        none = await _here(emulator.url, str(path), *filters, "--status=used")
    assert result.stderr == f"7 keys written to {path}\n"
    assert (none.exit_code, none.stderr) == (0, f"0 keys written to {path}\n")
    assert path.read_bytes() == b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["."], "format must be 'csv' or 'jsonl'"),
        (["-"], "format must be 'csv' or 'jsonl'"),
        ([".", "--format=csv"], ".: Is a directory"),
        (["nowhere/keys.csv"], "nowhere/keys.csv: No such file or directory"),
        (["keys.csv", "--format=xml"], "xml"),
        (["keys.jsonl", "--bom"], "bom must be False for JSON"),
        (["keys.csv", "--status=new"], "new"),
        (["keys.csv", "--key="], "key must be a string that is not empty"),
        (["keys.csv", "--expires-after=2026-01-01"], "a date and time with an offset"),
        (["keys.csv", "--expires-after=soon"], "a date and time with an offset"),
        ([], "PATH"),
    ],
)
async def test_bad_usage_sends_nothing(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be done gives one reason and exit code 2, before any request."""
    monkeypatch.chdir(tmp_path)
    async with Emulator() as emulator:
        result = await _here(emulator.url, *arguments)
        assert emulator.requests == 0
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert _left(tmp_path) == []


def test_without_an_api_key_it_says_so(tmp_path: Path) -> None:
    """The variable's name, and exit code 2."""
    env = {"JUNKIE_API_KEY": None}
    result = CliRunner().invoke(app, ["export", str(tmp_path / "keys.csv")], env=env)
    assert result.exit_code == 2
    assert "$JUNKIE_API_KEY" in result.stderr
    assert _left(tmp_path) == []


async def test_a_refusal_keeps_the_old_file(tmp_path: Path) -> None:
    """The service's no gives exit code 3 and leaves everything as it was."""
    path = tmp_path / "keys.csv"
    path.write_text("old")
    async with Emulator(api_keys={"right"}) as emulator:
        result = await _here(emulator.url, str(path))
    assert result.exit_code == 3
    assert "Invalid API key" in result.stderr
    assert result.stderr.count("\n") == 1
    assert path.read_text() == "old"
    assert _left(tmp_path) == ["keys.csv"]


async def test_a_service_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """No connection gives exit code 4, and no file."""
    with socket.socket() as free:  # bound, and not listening: a connection is refused
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        env = {**_ENV, "JUNKIE_BASE_URL": url}
        ended = await run_beside("export", "keys.csv", cwd=tmp_path, env=env)
    assert ended.code == 4
    assert ended.err.startswith("Error: GET /keys: could not connect")
    assert ended.err.count("\n") == 1
    assert _left(tmp_path) == []


@posix
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file(name: signal.Signals, tmp_path: Path) -> None:
    """Stopped in the middle of a walk, it keeps the old file, and leaves no other."""
    path = tmp_path / "out" / "keys.csv"
    path.parent.mkdir()
    path.write_text("old")
    with serving("--port=0", "--latency=60", cwd=tmp_path) as server:
        with subprocess.Popen(
            [*COMMAND, "export", str(path)],
            env=environment({**_ENV, "JUNKIE_BASE_URL": server.url}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            # Whoever runs the tests in the background of a shell ignores it, and so would we.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            _wait_for_two_files(path.parent)
            process.send_signal(name)
            out, err = process.communicate(timeout=30)
        server.process.kill()
    assert (process.returncode, out) == (130, "")
    assert err == f"Error: stopped; {path} is as it was\n"
    assert path.read_text() == "old"
    assert _left(path.parent) == ["keys.csv"]


def _wait_for_two_files(directory: Path) -> None:
    """Wait until the temporary file is there too."""
    pause = threading.Event()
    for _ in range(1500):
        if len(_left(directory)) > 1:
            return
        pause.wait(0.02)
    raise AssertionError("it did not begin")


@posix
async def test_a_reader_who_leaves_is_no_traceback(tmp_path: Path) -> None:
    """`junkie export - | head -1` ends in one line, with the code for a part done."""
    ours, theirs = os.pipe()
    async with Emulator() as emulator:
        await emulator.seed(3000)
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("export", "-", "--format=jsonl"),
            env=environment({**_ENV, "JUNKIE_BASE_URL": emulator.url}),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        os.close(ours)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 5
    assert err == b"Error: the reader of stdout left before the end\n"


@posix
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """A bar is drawn on the way, and the line comes after it."""
    with serving("--port=0", "--latency=0.3", cwd=tmp_path) as server:
        env = {**_ENV, "JUNKIE_BASE_URL": server.url}
        bar = run_in_terminal("export", "keys.csv", cwd=tmp_path, env=env)
        rows = run_in_terminal("export", "-", "--format=csv", cwd=tmp_path, env=env)
        dumb = run_in_terminal("export", "keys.csv", cwd=tmp_path, env={**env, "TERM": "dumb"})
        server.stop()
    assert (bar.code, rows.code, dumb.code) == (0, 0, 0)
    assert "━" in bar.out
    assert bar.out.endswith("0 keys written to keys.csv\r\n")
    assert "\x1b" not in rows.out + dumb.out
    assert rows.out.startswith("id,key_value,")


def test_its_help_names_the_filters(tmp_path: Path) -> None:
    """Every filter of the API is an option of the same name, and the API key is none."""
    out = run("export", "--help", cwd=tmp_path).out
    for option in ("discord-id", "key", "hwid", "service-id", "provider-id", "folder-id", "status"):
        assert f"--{option} " in out
    assert "--expires-before " in out
    assert "--expires-after " in out
    assert "--api-key" not in out
