"""The Python of README.md and `.docs` runs as it stands, and prints what the page says."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from junkie_async.emulator import Emulator

from ..pytest_plugin.nested import run, write
from .document import Block, read_blocks

PYTHON = read_blocks("python")
USER = "123456789012345678"
# discord.py's own: its import up to Python 3.12, and its calls of re.sub on 3.13.
THEIR_WARNINGS = (
    "-Wignore:'audioop' is deprecated:DeprecationWarning",
    "-Wignore:'count' is passed as positional argument:DeprecationWarning:discord.utils",
)


def execute(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as an imported module: what only a server or a bot does is not done."""
    module = ModuleType(f"page_{block.name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # annotations are looked up there
    source = "\n" * (block.line - 1) + block.text
    exec(compile(source, block.page, "exec", dont_inherit=True), vars(module))


def prints(block: Block, output: str) -> bool:
    """Tell whether an output is what the page says, where `…` stands for any text in a line."""
    pattern = re.escape(block.output).replace("…", ".*")
    return re.fullmatch(pattern, output) is not None


@contextmanager
def restored_logging() -> Generator[None]:
    """Undo what a block does to the SDK's logger."""
    logger = logging.getLogger("junkie_async")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize(
    "block", [one for one in PYTHON if not one.has_tests], ids=lambda block: block.name
)
def test_blocks_print_what_the_page_says(
    block: Block,
    junkie_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The service has 250 keys. A block without an output on its page prints nothing."""
    asyncio.run(junkie_emulator.seed(250, discord_id=USER, provider_id=42))
    monkeypatch.chdir(tmp_path)
    with restored_logging():
        execute(block, monkeypatch)
    captured = capsys.readouterr()
    assert prints(block, captured.out), captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_tests_pass(tmp_path: Path) -> None:
    """Blocks with tests are files of one pytest run, in which warnings are errors.

    They may import other blocks by the names of their files.
    """
    files = {one.file_name.removesuffix(".py"): one.text for one in PYTHON if one.file_name}
    tests = {f"test_{one.name}": one.text for one in PYTHON if one.has_tests and not one.file_name}
    assert tests
    write(tmp_path, **files, **tests)
    ended = run(tmp_path, *THEIR_WARNINGS)
    assert ended.code == 0, ended.out
    assert " passed in " in ended.out


def test_a_wrong_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback names the page's line."""
    with pytest.raises(NameError) as caught:
        execute(Block("python", "import asyncio\nasyncio.sleep(nothing)\n", 41), monkeypatch)
    last = caught.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(Path("README.md").resolve()), 42)
