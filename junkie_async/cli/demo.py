"""`junkie demo`: every operation once, over HTTP, with its counts checked on both sides."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import AttemptEvent, Hooks, JunkieClient, RetryPolicy
from ._demo_steps import Demo, LiveDemo, Step
from ._exit_codes import ExitCode, exit_on_error, exit_on_file_error, fail
from ._progress import show_progress
from ._settings import Settings, get_settings
from ._stdout import make_console
from .serve import load_emulator


def demo(
    context: typer.Context,
    keys: Annotated[
        int, typer.Option(min=10, max=1_000_000, help="How many keys to create.")
    ] = 5000,
    csv: Annotated[
        Path,
        typer.Option(dir_okay=False, help="CSV file for all keys; only you may read it."),
    ] = Path("junkie-demo.csv"),
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Read from the real service instead, with your API key: about 12 requests, which "
            "change nothing.",
        ),
    ] = False,
) -> None:
    """Show what the SDK does: no account, no network, a few seconds.

    The demo starts the emulator and sends real HTTP requests: it creates, lists, finds, updates,
    invalidates, counts, exports, purges and deletes keys. Every count is compared with the
    expected one and with the emulator's own. The exit code is 0 only when all of them agree.
    """
    with exit_on_error(), exit_on_file_error(f"--csv {csv}"):
        if live:
            _refuse_with_live(context, "keys", "csv")
            asyncio.run(_run_live(get_settings(context)))
            return
        if not csv.parent.is_dir():
            fail(f"--csv {csv}: there is no directory {csv.parent}")
        problems = asyncio.run(_run_emulated(keys, csv))
        typer.echo(
            f"CSV of {keys:,} keys, mode {csv.stat().st_mode & 0o7777:04o}: {csv.absolute()}"
        )
    if problems:
        typer.echo("\n- ".join(["The counts do not add up:", *problems]))
        raise typer.Exit(ExitCode.NEGATIVE)


def _refuse_with_live(context: typer.Context, *names: str) -> None:
    for name in names:
        # By the source and not by the value: a typed default must be refused too.
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"--{name} can't be used with --live, which creates and writes nothing")


async def _run_emulated(keys: int, path: Path) -> list[str]:
    async with (
        load_emulator()() as emulator,
        JunkieClient("demo", base_url=emulator.url) as junkie,
    ):
        typer.echo(f"{keys:,} keys, over HTTP, with an emulator at {emulator.url}")
        demo = Demo(junkie, keys, path)
        steps = demo.steps()
        problems = await _run_steps(steps, lambda: emulator.calls, emulator.count)
    expected = sum(sum((step.calls or {}).values()) for step in steps)
    # Retries hide refusals from the steps; the emulator has counted them.
    refused = sum(count for status, count in emulator.statuses.items() if status >= 300)
    typer.echo(f"Calls: {expected:,} expected, {emulator.requests:,} counted by the emulator")
    _print_example(demo)
    if emulator.requests != expected:
        problems.append(f"calls: {expected:,} expected, {emulator.requests:,} answered")
    if refused:
        problems.append(f"calls: {refused:,} were refused")
    return problems


class _CallCounter(Hooks):
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def on_attempt(self, event: AttemptEvent) -> None:
        self.calls[event.path] += 1


async def _run_live(settings: Settings) -> None:
    counter = _CallCounter()
    # The default policy may wait for three minutes, which is too long for a demo.
    retry = RetryPolicy(attempts=2, retry_after_cap=10.0)
    async with settings.connect(hooks=[counter], retry=retry) as junkie:
        typer.echo(f"Reads only, nothing is changed: {junkie.base_url}")
        demo = LiveDemo(junkie)
        await _run_steps(demo.steps(), lambda: counter.calls)
    _print_example(demo)


async def _run_steps(
    steps: Sequence[Step],
    count_calls: Callable[[], Counter[str]],
    count_held: Callable[[], Awaitable[int]] | None = None,
) -> list[str]:
    """Run the steps in order, print a row for each, and return what differs from the expected."""
    console, problems = make_console(), list[str]()
    _print_row(console, ("Step", "Expected", "Counted", "Calls", "Held", "Seconds", "Keys/s", ""))
    for step in steps:
        calls_before, started = Counter(count_calls()), time.perf_counter()
        with show_progress(step.name, logs_lines=False) as on_progress:
            keys = await step.run(on_progress)
        seconds = time.perf_counter() - started
        calls = count_calls() - calls_before
        held = await count_held() if count_held else None
        found = list(_find_problems(step, keys, calls, held))
        problems += found
        numbers = map(_format_number, (step.keys, keys, calls.total(), held))
        # One request that reads a total says nothing about keys per second.
        rate = _format_number(int(keys / seconds) if keys > 1 and calls.total() > 1 else None)
        verdict = "NO" if found else "ok"
        _print_row(console, (step.name, *numbers, f"{seconds:.2f}", rate, verdict))
    return problems


def _find_problems(step: Step, keys: int, calls: Counter[str], held: int | None) -> Iterator[str]:
    if step.keys is not None and keys != step.keys:
        yield f"{step.name}: {step.keys:,} keys expected, {keys:,} counted"
    if step.calls is not None and calls != step.calls:
        expected, made = _format_calls(step.calls), _format_calls(calls)
        yield f"{step.name}: calls expected: {expected}; made: {made}"
    if step.held is not None and held != step.held:
        yield f"{step.name}: {step.held:,} keys held expected, {held:,} counted"


def _format_calls(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(calls.items())) or "none"


def _format_number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _print_row(console: Console, cells: Sequence[str]) -> None:
    row = Text("{:<21} {:>9} {:>9} {:>6} {:>9} {:>7} {:>9} {:>2}".format(*cells).rstrip())
    row.highlight_regex(" ok$", "green")
    row.highlight_regex(" NO$", "bold red")
    # rich would fold a row where a pipe has fewer columns than the 79 of the table.
    console.print(row, soft_wrap=True)


def _print_example(demo: LiveDemo) -> None:
    if demo.example is not None:
        typer.echo(f"A key in a log is masked: {repr(demo.example)[:48]}...")
