"""README.md, pasted block by block, as a new user does: it prints what it says.

What is not done here is done elsewhere: the gate installs the package in a clean environment, and
runs the demo and the tests. The ports are free ones, so that runs don't meet.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from junkie_async.emulator import Emulator

from ..pytest_plugin.nested import environment
from .document import PATH, Block, blocks
from .test_python import execute

README = blocks(PATH.read_text("utf-8"))
CONSOLE = [block.text for block in README if block.language == "console"]
# Commands that install, and the tests, which would start this one.
_DONE_ELSEWHERE = re.compile(
    r"^python -m pip install .*\n|^.* && python -m pytest .*\n", re.MULTILINE
)

Shell: TypeAlias = Callable[..., "subprocess.Popen[str]"]


def find_port() -> str:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Start scripts, each in a process group of its own that is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, **variables: str) -> subprocess.Popen[str]:
        # Of the package that is tested, whatever else is installed.
        folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([folder, os.environ["PATH"]])
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**environment(), "PATH": path, "PYTHONUNBUFFERED": "1", **variables},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def find_block(command: str) -> Block:
    """Return the console block with a command."""
    [block] = [one for one in README if one.language == "console" and command in one.text]
    return block


def read_lines(process: subprocess.Popen[str], count: int) -> str:
    """Read lines as they are written."""
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(count))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="README.md uses curl")
def test_the_web_app_answers(shell: Shell, tmp_path: Path) -> None:
    """The emulator's two `export` lines, pasted, are all that the app and the command need."""
    for block in README:
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text, "utf-8")
    serve, app = find_block("junkie serve"), find_block("uvicorn shop:app")
    said = read_lines(shell(f"{serve.text.strip()} --port 0"), serve.output.count("\n"))
    port = re.findall(r":(\d+)/", said)[0]
    assert said == serve.output.replace("8777", port)
    variables = dict(re.findall(r"^export (\w+)=(.*)$", said, re.MULTILINE))
    script = _DONE_ELSEWHERE.sub("", app.text).replace("8000", find_port())
    answer = read_lines(shell(f"{script}\necho", **variables), 1)
    assert answer == app.output


def test_installing_is_all_that_is_done_elsewhere() -> None:
    """Every other line of a console block is run by a test of this module or by the gate."""
    left = [_DONE_ELSEWHERE.sub("", text) for text in CONSOLE]
    run_here = [
        find_block("junkie serve").text,
        _DONE_ELSEWHERE.sub("", find_block("uvicorn").text),
    ]
    assert [text for text in left if text] == run_here


def test_one_line_changes_for_the_real_service(
    junkie_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first program prints the same with the client that reads the environment."""
    [first] = [block for block in README if block.file_name == "first.py"]
    [line] = re.findall(r"one line changes: `(.*?)`", PATH.read_text("utf-8"))
    [old] = [text for text in first.text.splitlines() if text.strip().startswith("async with")]
    changed = first.text.replace(old.strip(), line)
    assert changed != first.text
    execute(Block("python", changed, first.line), monkeypatch)
    assert capsys.readouterr().out == first.output
    assert junkie_emulator.requests
