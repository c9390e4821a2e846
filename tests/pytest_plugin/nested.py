"""Run pytest in another folder and process, as a user of junkie_async does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import attrs

import junkie_async

_PACKAGE = Path(junkie_async.__file__).parent.parent
_DROPPED_VARIABLES = ("PYTEST_", "JUNKIE_", "COLUMNS", "FORCE_COLOR")
_TIMEOUT = 120  # seconds
_SETTINGS = """
    [pytest]
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""


@attrs.frozen
class Result:
    """The exit code and the output of a run."""

    code: int
    out: str


def environment() -> dict[str, str]:
    """Return an environment that has this package on its path and no variable of the outer run."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_DROPPED_VARIABLES)
    }
    path = os.pathsep.join(filter(None, [str(_PACKAGE), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "COLUMNS": "200"}


def write(folder: Path, **files: str) -> None:
    """Write Python files, named without `.py`, and settings that turn warnings into errors."""
    (folder / "pytest.ini").write_text(dedent(_SETTINGS), "utf-8")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), "utf-8")


def run(folder: Path, *arguments: str, **variables: str) -> Result:
    """Run pytest in a folder.

    Args:
        folder: The working directory.
        *arguments: Arguments of pytest.
        **variables: Environment variables.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        check=False,
        cwd=folder,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_TIMEOUT,
    )
    return Result(done.returncode, done.stdout)
