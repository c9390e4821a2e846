"""A run of pytest in a folder and a process of its own, as a user of junkie_async has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import attrs

import junkie_async

_PACKAGE = Path(junkie_async.__file__).parent.parent
_NOT_THEIRS = ("PYTEST_", "JUNKIE_", "COLUMNS", "FORCE_COLOR")
_SECONDS = 120
_SETTINGS = """
    [pytest]
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""


@attrs.frozen
class Ended:
    """A run that has ended."""

    code: int
    out: str


def environment() -> dict[str, str]:
    """Give an environment in which this package is found, and which tells of no other run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_THEIRS)}
    path = os.pathsep.join(filter(None, [str(_PACKAGE), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "COLUMNS": "200"}


def write(folder: Path, **files: str) -> None:
    """Write Python files, given without their ending, and settings that turn warnings to errors."""
    (folder / "pytest.ini").write_text(dedent(_SETTINGS), "utf-8")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), "utf-8")


def run(folder: Path, *arguments: str, before: str = "", **variables: str) -> Ended:
    """Run pytest in a folder.

    Args:
        folder: Where.
        *arguments: Of pytest.
        before: A statement that is executed before pytest is imported.
        **variables: Of the environment.
    """
    program = f"{before}\nimport sys, pytest\nsys.exit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "-p", "no:cacheprovider", *arguments],
        check=False,
        cwd=folder,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_SECONDS,
    )
    return Ended(done.returncode, done.stdout)
