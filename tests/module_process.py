"""A module that runs as a process of its own, and says in its first line where it listens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator

from .pytest_plugin.nested import environment


@contextlib.contextmanager
def run_module(
    *command: str, text: str = "", **variables: str
) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a module with this input; yields the process, and the last word of its first line."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**environment(), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(text)
            child.stdin.close()
            yield child, child.stdout.readline().split()[-1]
        finally:
            child.kill()
