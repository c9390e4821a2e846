"""How far a command has come, on stderr: a bar for a person, now and then a line for a log."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from .. import OnProgress

_INTERVAL = 10.0
"""Seconds between lines."""


@contextlib.contextmanager
def progress(label: str, *, rows_too: bool = False, lines: bool = True) -> Iterator[OnProgress]:
    """Show how far it has come while it runs.

    Args:
        label: What is counted.
        rows_too: Whether the command's own rows go to stdout meanwhile: no bar runs through them.
        lines: Whether a log gets lines.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield LogLines(label) if lines else silent
    elif rows_too and sys.stdout.isatty():
        yield silent
    else:
        with _bar() as bar:
            yield _Bar(bar, label)


def silent(done: int, total: int | None) -> None:
    """Say nothing."""


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _DoneColumn(),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # or what goes to a file would come out beside the bar
    )


class _Bar:
    def __init__(self, bar: Progress, label: str) -> None:
        self._bar = bar
        self._task = bar.add_task(label, total=None)
        self._begun = False

    def __call__(self, done: int, total: int | None) -> None:
        if not self._begun:  # what an earlier run has done is none of this one's speed
            self._begun = True
            self._bar.reset(self._task, completed=done, total=total)
        self._bar.update(self._task, completed=done, total=total)


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of}", "progress.download")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", "progress.data.speed")


class LogLines:
    """Prints a line now and then.

    Args:
        label: What is counted.
        clock: Tells the seconds.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._at = clock()
        self._done: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Take note, and print a line if the last one is long ago."""
        if self._done is None:
            self._done = done
        passed = self._clock() - self._at
        if passed < _INTERVAL:
            return
        rate = (done - self._done) / passed
        of = "" if total is None else f" of {total:,}"
        left = f", {(total - done) / rate:,.0f} s left" if rate and total is not None else ""
        typer.echo(f"{self._label}: {done:,}{of}, {rate:,.0f}/s{left}", err=True)
        self._at, self._done = self._clock(), done
