"""`python -m tests.readme.picture` redraws README.md's picture of a terminal.

The real command runs in a real terminal, against an emulator with the latency of a real service.
The picture shows the screen twice: during the job and at its end.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console
from rich.text import Text

from junkie_async.emulator import Faults
from junkie_async.pytest_plugin import running_emulator

PATH = Path(__file__).parents[2] / ".readme" / "provision.svg"
COMMAND = "junkie keys provision 40000 --provider-id 42 --ledger launch.db --out keys.txt"
_WIDTH, _HEIGHT = 86, 4
_PROGRESS = "26,"  # thousands of keys, at the first of the two screens


def screens(folder: str) -> Iterator[pyte.Screen]:
    """Run the command and yield the screen after each write."""
    screen = pyte.Screen(_WIDTH, _HEIGHT)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(_WIDTH), "LINES": str(_HEIGHT), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", "junkie_async", *COMMAND.split()[1:]],
        cwd=folder,
        env=os.environ | size | {"PYTHONPATH": str(PATH.parents[1])},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        try:
            while written := os.read(ours, 65536):
                stream.feed(written)
                yield screen
        except OSError:  # EIO is how Linux ends a terminal
            pass
        finally:
            os.close(ours)


def lines(screen: pyte.Screen) -> list[Text]:
    """Return the lines of a screen, in their colours."""
    drawn = []
    for number in range(screen.lines):
        cells = [screen.buffer[number][column] for column in range(screen.columns)]
        line = Text()
        for style, run in groupby(cells, _name_style):
            line.append("".join(cell.data for cell in run), style)
        line.rstrip()
        if line.plain:
            drawn.append(line)
    return drawn


def _name_style(cell: Any) -> str:
    """Return a cell's style for rich; pyte writes a colour as six hexadecimal digits or a word."""
    is_hexadecimal = re.fullmatch("[0-9a-f]{6}", cell.fg)
    colour = f"#{cell.fg}" if is_hexadecimal else {"brown": "yellow"}.get(cell.fg, cell.fg)
    return f"bold {colour}" if cell.bold else colour


def main() -> None:
    """Run the command and draw its two screens."""
    middle: list[Text] = []
    end: list[Text] = []
    with running_emulator() as emulator, tempfile.TemporaryDirectory() as folder:
        emulator.faults = Faults(latency=(0.1, 0.3))
        for screen in screens(folder):
            now = lines(screen)
            if not middle and any(_PROGRESS in line.plain for line in now):
                middle = now
            end = now
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in (Text(f"$ {COMMAND}", "bold"), *middle, Text("…", "dim"), *end):
        console.print(line)
    PATH.parent.mkdir(exist_ok=True)
    console.save_svg(str(PATH), title="junkie keys provision")


if __name__ == "__main__":
    main()
