"""Progress on stderr: a bar in a terminal, a line every 10 seconds in a log."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Generator

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from .. import Hooks, JobEvent, OnProgress, OutageEvent

_LOG_INTERVAL = 10.0  # seconds


@contextlib.contextmanager
def show_progress(
    label: str, *, prints_rows: bool = False, logs_lines: bool = True
) -> Generator[OnProgress]:
    """Show progress while the block runs; `logs_lines` applies where stderr is no terminal."""
    # A dumb terminal can't redraw a line, so that it gets what a log gets.
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield LogLines(label) if logs_lines else ignore_progress
    elif prints_rows and sys.stdout.isatty():
        yield ignore_progress  # a bar must not run through the rows
    else:
        with _make_bar() as bar:
            task = bar.add_task(label, total=None)
            # rich leaves the first update out of the speed: a resumed job starts above 0.
            yield lambda done, total: bar.update(task, completed=done, total=total)


class WaitLines(Hooks):
    """Prints a line when a job waits; in a terminal it stands above the bar."""

    def on_job(self, event: JobEvent) -> None:
        """Print for how long the job waits, and why."""
        if event.waiting:
            _print_above(
                f"Waiting {math.ceil(event.waiting)} s for requests with unknown outcome, before"
                " looking for their keys"
            )


def _print_above(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    # rich replaces `sys.stderr` meanwhile. `typer.echo` would write past it, into the bar.
    print(line, file=sys.stderr, flush=True)


def ignore_progress(done: int, total: int | None) -> None:
    """Show nothing."""


def _make_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        # rich's own bar and rate are red, as if something were wrong.
        BarColumn(complete_style="cyan", pulse_style="cyan"),
        _DoneColumn(),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # otherwise rich prints redirected rows above the bar, on stderr
    )


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        of_total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of_total}", "progress.download")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", "dim")


class LogLines:
    """Prints a line of progress every 10 seconds."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._printed_at = clock()
        self._printed_done: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Print a line if the last one is at least 10 seconds old."""
        # The first call of a resumed job has the keys of earlier runs.
        if self._printed_done is None:
            self._printed_done = done
        elapsed = self._clock() - self._printed_at
        if elapsed < _LOG_INTERVAL:
            return
        rate = (done - self._printed_done) / elapsed
        of_total = "" if total is None else f" of {total:,}"
        # A job that stands still has no time left that could be estimated.
        left = f", {(total - done) / rate:,.0f} s left" if rate and total is not None else ""
        typer.echo(f"{self._label}: {done:,}{of_total}, {rate:,.0f}/s{left}", err=True)
        self._printed_at, self._printed_done = self._clock(), done


class OutageLines(Hooks):
    """Prints that the command waits for the service, at most every 10 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed_at = -math.inf

    def on_outage(self, event: OutageEvent) -> None:
        """Print a line if the last one is at least 10 seconds old."""
        now = self._clock()
        if now - self._printed_at < _LOG_INTERVAL:
            return
        self._printed_at = now
        waited = f"{event.seconds:,.0f} s of at most {event.limit:,.0f} s"
        _print_above(f"The service is failing ({event.error.message}): waiting, {waited}")
