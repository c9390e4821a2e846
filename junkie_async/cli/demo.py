"""`junkie demo`: all of it once, over HTTP, counted on both sides."""

import asyncio
import os
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import aiohttp
import attrs
import typer
from rich.console import Console

from .. import JunkieClient
from ._client import Settings, settings
from ._demo_steps import LEAST, Demo, Plan
from ._live_steps import RETRY, Live, RequestMeter
from ._output import ExitCode, fail, friendly_errors, load_emulator
from ._screen import make_console, make_screen, print_line
from ._steps import Result, run_steps

if TYPE_CHECKING:
    from ..emulator import Emulator

_EXAMPLE = 48
"""Letters of a key's repr that are shown."""


def demo(
    context: typer.Context,
    keys: Annotated[
        int, typer.Option(min=LEAST, max=1_000_000, help="How many keys are made.")
    ] = 5000,
    csv: Annotated[
        Path, typer.Option(help="Where the CSV file of all keys goes; only you may read it.")
    ] = Path("junkie-demo.csv"),
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Read from the real service instead, with $JUNKIE_API_KEY: some twelve requests, "
            "which change nothing.",
        ),
    ] = False,
) -> None:
    """Show what the SDK does: no account, no network, a few seconds.

    It starts the emulator and does the real thing over HTTP: creates keys, walks and filters
    them, finds, updates and unbinds some, writes a CSV file, purges, deletes. Every count is held
    against what was expected and against what the emulator counted; the exit code is 0 only when
    all of them agree.
    """
    console = make_console()
    with friendly_errors():
        if live:
            _refuse_with_live(context, "keys", "csv")
            asyncio.run(_live(console, settings(context)))
            return
        _check_path(csv)
        plan = Plan(keys)
        try:
            run = asyncio.run(_demo(console, plan, csv))
        except OSError as error:  # the client has its own errors, so this is the file's
            fail(f"--csv {csv}: {error.strerror or error}")
    _conclude(console, plan, csv, run)
    if run.problems:
        print_line(console, "It does not add up:", "bold red")
        for problem in run.problems:
            print_line(console, f"- {problem}")
        raise typer.Exit(ExitCode.WRONG)


def _refuse_with_live(context: typer.Context, *names: str) -> None:
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"--{name} does not go with --live, which creates nothing and writes nothing")


def _check_path(path: Path) -> None:
    """Refuse what can't be written before anything is done."""
    if not path.parent.is_dir():
        fail(f"--csv {path}: there is no directory {path.parent}")
    if path.exists() and not path.is_file():
        fail(f"--csv {path}: it is not a regular file")
    if not os.access(path.parent, os.W_OK):
        fail(f"--csv {path}: you may not write to {path.parent}")


class _EmulatorMeter:
    """Counts on the emulator's side."""

    def __init__(self, emulator: "Emulator") -> None:
        self._emulator = emulator

    def calls(self) -> Counter[str]:
        return Counter(self._emulator.calls)

    async def held(self) -> int:
        return await self._emulator.count()


@attrs.frozen(kw_only=True)
class _Run:
    """A finished demonstration.

    Attributes:
        shown: What its steps left behind.
        results: What they did.
        requests: How many requests the emulator answered.
        refused: How many of them with a no.
    """

    shown: Demo
    results: list[Result]
    requests: int
    refused: int

    @property
    def made(self) -> int:
        """How many requests the steps should have made."""
        return sum(sum((result.step.calls or {}).values()) for result in self.results)

    @property
    def problems(self) -> list[str]:
        """What does not add up: in a step, among the steps, or against the emulator."""
        found = [problem for result in self.results for problem in result.problems]
        shown = self.shown
        if shown.created != shown.purged + shown.deleted + shown.left:
            found.append("keys: created is not purged + deleted + left")
        if self.requests != self.made:
            found.append(f"calls: {self.made:,} expected, {self.requests:,} answered")
        if self.refused:
            found.append(f"calls: {self.refused:,} were refused")
        return found


async def _demo(console: Console, plan: Plan, path: Path) -> _Run:
    async with (
        load_emulator()() as emulator,
        JunkieClient("demo", base_url=emulator.url) as junkie,
    ):
        about = f"{plan.keys:,} keys, over HTTP, with an emulator at {emulator.url}"
        print_line(console, about)
        shown = Demo(junkie, plan, path)
        steps = shown.steps()
        with make_screen(console, steps) as screen:
            results = await run_steps(steps, _EmulatorMeter(emulator), screen)
    refused = sum(count for status, count in emulator.statuses.items() if status >= 300)
    return _Run(shown=shown, results=results, requests=emulator.requests, refused=refused)


def _conclude(console: Console, plan: Plan, path: Path, run: _Run) -> None:
    """Tell what the steps come to, taken together."""
    shown = run.shown
    ended = f"{shown.purged:,} purged + {shown.deleted:,} deleted + {shown.left:,} left"
    print_line(console, f"Keys: {shown.created:,} created; {ended}")
    print_line(console, f"Calls: {run.made:,} expected; {run.requests:,} counted by the emulator")
    mode = stat.S_IMODE(path.stat().st_mode)
    print_line(console, f"CSV of {plan.keys:,} keys, mode {mode:04o}: {path.absolute()}")
    print_line(console, f"A key in a log is masked: {_shortened(shown.example)}")


def _shortened(text: str) -> str:
    return text if len(text) <= _EXAMPLE else f"{text[:_EXAMPLE]}..."


async def _live(console: Console, given: Settings) -> None:
    if not given.has_api_key:
        fail("--live reads your own keys: set $JUNKIE_API_KEY first")
    meter = RequestMeter()
    async with (
        aiohttp.ClientSession(trace_configs=[meter.trace()]) as session,
        given.connect(session=session, retry=RETRY) as junkie,
    ):
        print_line(console, f"Reads only, nothing is changed: {junkie.base_url}")
        shown = Live(junkie)
        steps = shown.steps()
        with make_screen(console, steps) as screen:
            await run_steps(steps, meter, screen)
    counts = ", ".join(f"{count:,} {status}" for status, count in shown.statuses.items())
    print_line(console, f"By status: {counts}")
    if shown.example:
        print_line(console, f"A key in a log is masked: {_shortened(shown.example)}")
