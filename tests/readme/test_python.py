"""The README's Python is run as it stands, against an emulator."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from junkie_async.emulator import Emulator

from ..pytest_plugin.nested import environment, run, write
from .document import PATH, Block, blocks

PYTHON = blocks(PATH.read_text("utf-8"), "python")
# Libraries have deprecations of their own: discord.py's audioop, for one.
OUR_WARNINGS = ("ResourceWarning", "RuntimeWarning", "DeprecationWarning:readme")
LARGE_JOB = ("250_000", "2_500")  # the README's size, and one that takes a tenth of a second
SECONDS = 60


def line_of(block: Block) -> str:
    """Name a block by its first line."""
    return f"line {block.line}"


def execute(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block in a process and a folder of its own; a warning that it causes is an error."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("JUNKIE_")}
    options = [f"-Werror::{warning}" for warning in OUR_WARNINGS]
    return subprocess.run(
        [sys.executable, *options, "-m", "tests.readme.execute", str(block.line)],
        check=False,
        cwd=folder,
        env={**environment(), **ours},
        input=block.text.replace(*LARGE_JOB),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )


@pytest.mark.parametrize("block", [one for one in PYTHON if not one.has_tests], ids=line_of)
def test_blocks_do_what_they_say(block: Block, junkie_emulator: Emulator, tmp_path: Path) -> None:
    """Blocks that await send requests; apps and bots are only defined here."""
    asyncio.run(junkie_emulator.seed(250, discord_id="123456789012345678"))
    done = execute(block, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert bool(junkie_emulator.requests) is block.awaits


@pytest.mark.parametrize("block", [one for one in PYTHON if one.has_tests], ids=line_of)
@pytest.mark.slow
def test_tests_pass(block: Block, tmp_path: Path) -> None:
    """The block is a test file of a pytest whose only setting is that warnings are errors."""
    write(tmp_path, test_readme=block.text)
    ended = run(tmp_path)
    assert ended.code == 0, ended.out
    assert " passed in " in ended.out


def test_a_wrong_block_fails(junkie_emulator: Emulator, tmp_path: Path) -> None:
    """The traceback names the README's line."""
    done = execute(Block("python", "import asyncio\nawait asyncio.sleep(nothing)\n", 41), tmp_path)
    assert done.returncode == 1
    assert 'File "README.md", line 42' in done.stderr
    assert "NameError" in done.stderr
