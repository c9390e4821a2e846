"""The steps on a screen: bars and a table in a terminal, plain lines everywhere else."""

import io
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ._steps import Result, Step

_HEADER = ("Step", "Expected", "Counted", "Calls", "Held", "Seconds", "Keys/s", "")
_WIDTHS = (-21, 9, 9, 6, 9, 7, 9, 2)  # 79 columns with their spaces; negative: to the left


def make_console() -> Console:
    """Make the console for stdout: plain wherever nobody is looking, whatever $FORCE_COLOR says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII log is no reason to fail
    return Console(highlight=False, force_terminal=None if sys.stdout.isatty() else False)


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line as it is: no markup, no wrapping within a word or a path."""
    console.print(line, style=style, markup=False, soft_wrap=True)


def make_screen(console: Console, steps: Sequence[Step]) -> "AbstractContextManager[Bars | Lines]":
    """Choose bars for a person's terminal, lines for anything else."""
    drawn = console.is_terminal and not console.is_dumb_terminal
    return Bars(console, steps) if drawn else Lines(console)


def _cells(result: Result) -> tuple[str, ...]:
    step = result.step
    return (
        step.name,
        "-" if step.expected is None else f"{step.expected:,}",
        f"{result.counted:,}",
        f"{result.calls.total():,}",
        "-" if result.held is None else f"{result.held:,}",
        f"{result.seconds:.2f}",
        "-" if result.rate is None else f"{result.rate:,.0f}",
        "NO" if result.problems else "ok",
    )


def _total(results: Sequence[Result]) -> tuple[str, ...]:
    known = [result.step.expected for result in results if result.step.expected is not None]
    return (
        "Total",
        f"{sum(known):,}" if known else "",
        f"{sum(result.counted for result in results):,}" if known else "",
        f"{sum(result.calls.total() for result in results):,}",
        "",
        f"{sum(result.seconds for result in results):.2f}",
        "",
        "NO" if any(result.problems for result in results) else "ok",
    )


class Lines:
    """A line for each finished step, which together are the table.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._results: list[Result] = []

    def __enter__(self) -> Self:
        self._print(_HEADER)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self._print(_total(self._results))

    def begin(self, step: Step) -> None:
        """Say nothing: a log wants what is done."""

    def progress(self, done: int, total: int | None) -> None:
        """Say nothing."""

    def end(self, result: Result) -> None:
        """Print the step's line."""
        self._results.append(result)
        self._print(_cells(result))

    def _print(self, cells: Sequence[str]) -> None:
        sized = [
            cell.ljust(-width) if width < 0 else cell.rjust(width)
            for cell, width in zip(cells, _WIDTHS, strict=True)
        ]
        print_line(self._console, " ".join(sized).rstrip())


class Bars:
    """A bar for each step, and in the end the table in their place.

    Args:
        console: The terminal.
        steps: All steps, to be shown from the beginning.
    """

    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._console = console
        self._results: list[Result] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _DoneColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            expand=True,
        )
        self._tasks = {
            step.name: self._progress.add_task(
                step.name, start=False, total=_length(step), step=step
            )
            for step in steps
        }
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if self._results:
            self._console.print(self._table(total=exc_type is None))

    def begin(self, step: Step) -> None:
        """Start the step's bar."""
        self._task = self._tasks[step.name]
        self._progress.start_task(self._task)

    def progress(self, done: int, total: int | None) -> None:
        """Move the step's bar."""
        self._progress.update(self._task, completed=done, total=total)

    def end(self, result: Result) -> None:
        """Fill the step's bar."""
        self._results.append(result)
        full = max(1, result.counted)  # a bar of none of none would never be full
        self._progress.update(self._task, completed=full, total=full, counted=result.counted)

    def _table(self, *, total: bool) -> Table:
        # 80 columns have no room for padding: the box's own spaces keep the columns apart.
        table = Table(box=box.SIMPLE_HEAD, show_footer=total, show_edge=False, padding=0)
        for name, footer in zip(_HEADER, _total(self._results), strict=True):
            side = "left" if name == "Step" else "right"
            table.add_column(name, footer, justify=side, no_wrap=True)  # type: ignore[arg-type]
        for result in self._results:
            *cells, verdict = _cells(result)
            table.add_row(*cells, Text(verdict, "bold red" if result.problems else "green"))
        return table


def _length(step: Step) -> int | None:
    return None if step.expected is None else max(1, step.expected)


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        done = task.fields.get("counted", int(task.completed))
        whole = task.fields["step"].expected
        shown = f"{done:,}" if whole is None else f"{done:,}/{whole:,}"
        return Text(shown, "progress.download", justify="right")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        known = elapsed and task.completed and task.fields["step"].rated
        rate = f"{task.completed / elapsed:,.0f} keys/s" if elapsed and known else ""
        return Text(rate, "progress.data.speed", justify="right")
