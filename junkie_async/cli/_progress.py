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
        with make_bar(Console(stderr=True)) as bar:
            yield Bar(bar, label)


class Bar:
    """Shows progress in a bar, and a countdown while the job waits."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None, waits_until=None)
        self._waits_at: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show how much is done."""
        # rich leaves the first update out of the speed: a resumed job starts above 0.
        self._progress.update(self._task, completed=done, total=total)
        # A job that begins to wait may report its progress once more.
        if done != self._waits_at:
            self._progress.update(self._task, waits_until=None)

    def show_wait(self, event: JobEvent) -> None:
        """Count the seconds down in place of the rate and the time left."""
        self._waits_at = event.done
        until = self._progress.get_time() + event.waiting
        self._progress.update(
            self._task, completed=event.done, total=event.total, waits_until=until
        )


class WaitNotice(Hooks):
    """Says that a job waits: in its bar, or in a line where there is none.

    Attributes:
        on_progress: What shows the job's progress.
    """

    on_progress: OnProgress | None = None

    def on_job(self, event: JobEvent) -> None:
        """Say for how long the job waits, and why."""
        if not event.waiting:
            return
        cause = "for requests with unknown outcome, before looking for their keys"
        if isinstance(self.on_progress, Bar):
            _print_above(f"Waiting {cause}")
            self.on_progress.show_wait(event)
        else:
            _print_above(f"Waiting {math.ceil(event.waiting)} s {cause}")


def _print_above(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    # rich replaces `sys.stderr` meanwhile. `typer.echo` would write past it, into the bar.
    print(line, file=sys.stderr, flush=True)


def ignore_progress(done: int, total: int | None) -> None:
    """Show nothing."""


def make_bar(console: Console, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Make a bar that vanishes at its end."""
    return Progress(
        TextColumn("{task.description}"),
        # rich's own bar and rate are red, as if something were wrong.
        BarColumn(complete_style="cyan", pulse_style="cyan"),
        _DoneColumn(),
        _RateColumn(),
        _TimeColumn(compact=True),
        console=console,
        get_time=clock,
        transient=True,
        redirect_stdout=False,  # otherwise rich prints redirected rows above the bar, on stderr
    )


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        of_total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of_total}", "progress.download")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        is_moving = task.speed and task.fields["waits_until"] is None
        return Text(f"{task.speed:,.0f}/s" if is_moving else "", "dim")


class _TimeColumn(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        if task.fields["waits_until"] is None:
            return super().render(task)
        left = max(0, math.ceil(task.fields["waits_until"] - task.get_time()))
        minutes, seconds = divmod(left, 60)
        return Text(f"waiting {minutes}:{seconds:02}", "progress.remaining")


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
