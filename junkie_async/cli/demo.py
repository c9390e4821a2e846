"""`junkie demo`: every operation once, over HTTP, with its counts checked on both sides."""

import asyncio
import csv as csv_files
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar

import typer
from rich.text import Text

from .. import (
    AttemptEvent,
    CreateReport,
    DeleteReport,
    Hooks,
    JunkieClient,
    Key,
    Keys,
    KeyStatus,
    OnProgress,
    RetryPolicy,
)
from ..export import export_keys, unmark
from ._client import connect
from ._exit_codes import exit_on_error, exit_on_file_error
from ._exits import ExitCode, fail
from ._progress import ignore_progress, show_progress
from ._settings import Settings
from ._stdout import make_console
from .serve import load_emulator

_LIVE_PAGES = 5  # with the other steps: 12 requests, if none is retried
_DEVICE = "DEMO-PC"

_PROBLEMS = (
    "{} keys expected, {} counted",
    "calls expected: {}; made: {}",
    "{} keys expected in the service, {} counted",
)

T = TypeVar("T")


def demo(
    context: typer.Context,
    keys: Annotated[
        int, typer.Option(min=10, max=1_000_000, metavar="N", help="How many keys to create.")
    ] = 5000,
    csv: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="PATH",
            help="Keep the CSV export as this file.  [default: a temporary file]",
        ),
    ] = None,
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
    expected one and with the emulator's own. The exit code is 0 only when all of them agree. No
    file is left behind unless you ask for one with --csv.
    """
    with exit_on_error(), exit_on_file_error("a temporary file" if csv is None else f"--csv {csv}"):
        if live:
            _refuse_with_live(context, "keys", "csv")
            asyncio.run(_run_live(context.obj))
            return
        problems = _run_with_file(keys, csv)
    if problems:
        typer.echo("\n- ".join(["The counts do not add up:", *problems]))
        raise typer.Exit(ExitCode.NEGATIVE)


def _run_with_file(keys: int, csv: Path | None) -> list[str]:
    """Run the steps, and keep the file of the export if a path is given."""
    if csv is None:
        with TemporaryDirectory(prefix="junkie-demo-") as folder:
            return asyncio.run(_run_emulated(keys, Path(folder) / "keys.csv"))
    if not csv.parent.is_dir():
        fail(f"--csv {csv}: there is no directory {csv.parent}")
    problems = asyncio.run(_run_emulated(keys, csv))
    typer.echo(f"CSV of {keys:,} keys, mode {csv.stat().st_mode & 0o7777:04o}: {csv.absolute()}")
    return problems


def _refuse_with_live(context: typer.Context, *names: str) -> None:
    for name in names:
        # By the source and not by the value: a typed default must be refused too.
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"--{name} can't be used with --live, which creates and writes nothing")


async def _run_emulated(keys: int, path: Path) -> list[str]:
    async with load_emulator()() as emulator, JunkieClient("demo", base_url=emulator.url) as junkie:
        typer.echo(f"{keys:,} keys, over HTTP, with an emulator at {emulator.url}")
        steps = Steps(emulator.calls, emulator.count)
        example = await _run_steps(junkie.keys, steps, keys, path)
    problems, expected = steps.problems, steps.expected_calls
    # Retries hide refusals from the steps; the emulator has counted them.
    refused = sum(count for status, count in emulator.statuses.items() if status >= 300)
    typer.echo(f"Calls: {expected:,} expected, {emulator.requests:,} counted by the emulator")
    _print_masked(example)
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
    """Run steps against a real service: a bounded number of reads, and no changes."""
    counter = _CallCounter()
    # The default policy may wait for three minutes, which is too long for a demo.
    retry = RetryPolicy(attempts=2, retry_after_cap=10.0, outage=0.0)
    async with connect(settings, hooks=[counter], retry=retry) as junkie:
        typer.echo(f"Reads only, nothing is changed: {junkie.base_url}")
        keys, run = junkie.keys, Steps(counter.calls).run
        await run("count, all", keys.list().count())
        # The default prefetch would request pages beyond the last one.
        walk = keys.list(prefetch=1).collect(limit=_LIVE_PAGES * 100)
        first = (await run(f"list, {_LIVE_PAGES} pages", walk))[:1]
        examples = await run("get", asyncio.gather(*(keys.get(key.id) for key in first)))
        for status in KeyStatus:
            await run(f"count, {status}", keys.list(status=status).count())
        await run("folders", keys.folders())
    _print_masked(*examples)


def _print_masked(*keys: Key | None) -> None:
    for key in filter(None, keys):
        typer.echo(f"A key in a log is masked: {repr(key)[:48]}...")


class Steps:
    """Runs steps, prints a row for each, and collects what differs from the expected counts.

    `calls` counts the requests of each operation, and `count_held` the keys that the service holds.
    """

    def __init__(
        self, calls: Counter[str], count_held: Callable[[], Awaitable[int]] | None = None
    ) -> None:
        self.expected_calls: int = 0
        self.problems: list[str] = []
        self._calls = calls
        self._count_held = count_held
        self._held: int | None = None
        self._show_progress: OnProgress = ignore_progress
        self._console = make_console()
        self._print_row("Step", "Expected", "Counted", "Calls", "Held", "Seconds", "Keys/s", "")

    def on_progress(self, done: int, total: int | None) -> None:
        """Show the progress of the current step."""
        self._show_progress(done, total)

    async def run(
        self,
        name: str,
        act: Awaitable[T],
        expected: int | Sequence[str] | None = None,
        *,
        held: int | None = None,
        **calls: int,
    ) -> T:
        """Run a step and return its result.

        The step must come to the `expected` keys with these `calls`, and the service must hold
        `held` keys from then on. Other clients may change what is None.
        """
        calls_before, started = Counter(self._calls), time.perf_counter()
        with show_progress(name, logs_lines=False) as self._show_progress:
            result = await act
        seconds = time.perf_counter() - started
        made = self._calls - calls_before
        self.expected_calls += sum(calls.values())
        self._held = self._held if held is None else held
        counted_held = await self._count_held() if self._count_held else None
        keys = expected if isinstance(expected, int | None) else len(expected)
        counted = _count_keys(result, expected)
        checks = zip(
            (keys, calls, self._held), (counted, made, counted_held), _PROBLEMS, strict=True
        )
        problems = [
            f"{name}: {text.format(_format_count(wanted), _format_count(found))}"
            for wanted, found, text in checks
            if keys is not None and wanted != found
        ]
        self.problems += problems
        numbers = map(_format_count, (keys, counted, made.total(), counted_held))
        # A request or two that read a total say nothing about keys per second.
        is_rate = counted > 1 and made.total() > 1 and not name.startswith("count")
        rate = int(counted / seconds) if is_rate else None
        verdict = "NO" if problems else "ok"
        self._print_row(name, *numbers, f"{seconds:.2f}", _format_count(rate), verdict)
        return result

    def _print_row(self, *cells: str) -> None:
        row = Text("{:<21} {:>9} {:>9} {:>6} {:>9} {:>7} {:>9} {:>2}".format(*cells).rstrip())
        row.highlight_regex(" ok$", "green")
        row.highlight_regex(" NO$", "bold red")
        # rich would fold a row where a pipe has fewer columns than the 79 of the table.
        self._console.print(row, soft_wrap=True)


def _format_count(count: int | Mapping[str, int] | None) -> str:
    if isinstance(count, Mapping):
        return ", ".join(f"{name} {made:,}" for name, made in sorted(count.items())) or "none"
    return "-" if count is None else f"{count:,}"


def _count_keys(result: Any, expected: int | Sequence[str] | None) -> int:
    """Count what came back: where values are expected, only these, each once."""
    if isinstance(result, int):
        return result
    if isinstance(result, DeleteReport):
        return result.deleted
    if isinstance(result, CreateReport):
        return len(set(result.keys))  # two keys of the same value would be one key
    if isinstance(expected, int | None):
        return sum(getattr(one, "success", True) for one in result)
    values = [one.key_value if isinstance(one, Key) else one for one in result if one]
    found = len(set(values).intersection(expected))
    # A stranger or a duplicate takes one off, so that it shows.
    return found - (len(values) - found)


async def _run_steps(keys: Keys, steps: Steps, amount: int, path: Path) -> Key | None:
    """Run the steps against an empty service; the amount must be 10 or more."""
    run, on_progress = steps.run, steps.on_progress
    expired, few = min(100, amount // 2), min(10, amount // 5)
    # A page or a batch has 100 keys, a bulk delete 1,000.
    hundreds, rest = -(-amount // 100), amount - expired
    pages = amount // 100 + 1  # an export looks beyond a full last page

    job = keys.create_many(amount, provider_id=42, hwid=_DEVICE, on_progress=on_progress)
    report = await run("create_many", job, amount, held=amount, createKeyBatch=hundreds)
    values, first = report.keys, report.keys[:few]
    walked = pages if amount <= 1000 or amount == 10_000 else hundreds  # totals that may be capped
    await run("list", _walk_all(keys, amount, on_progress), values, listKeys=walked)
    found = await run("find", asyncio.gather(*map(keys.find, first)), first, listKeys=few)
    # Expired keys are the first ones and invalidated keys the last: no key is both.
    expire = partial(keys.update, expires_at=datetime.now(UTC) - timedelta(days=1))
    updates = asyncio.gather(*map(expire, values[:expired]))
    await run("update, expires_at", updates, expired, updateKey=expired)
    invalidations = asyncio.gather(*map(keys.invalidate, values[-few:]))
    await run("invalidate", invalidations, few, updateKey=few)
    resets = asyncio.gather(*map(keys.reset_hwid, first))
    await run("reset_hwid", resets, few, resetKeyHwid=few)
    bound = amount - few
    counting = _count_requests(bound)
    await run("count, bound", keys.list(hwid=_DEVICE).count(), bound, listKeys=counting)
    for status, number in zip(KeyStatus, (rest - few, 0, expired, few), strict=True):
        counting = _count_requests(number)
        await run(f"count, {status}", keys.list(status=status).count(), number, listKeys=counting)
    await run("export to CSV", _export_csv(keys, path, on_progress), values, listKeys=pages)
    purge = keys.purge(status=KeyStatus.EXPIRED, on_progress=on_progress)
    await run(
        "purge, expired", purge, expired, held=rest, listKeys=expired // 100 + 1, bulkDeleteKeys=1
    )
    deletion = keys.delete_many(values[expired:], on_progress=on_progress)
    await run("delete_many", deletion, rest, held=0, bulkDeleteKeys=-(-rest // 1000))
    await run("count, at the end", keys.list().count(), 0, listKeys=1)
    return found[0]


def _count_requests(amount: int) -> int:
    """Return how many requests a count takes: a full first page needs the last one as a proof."""
    return 1 if amount < 100 else 2


async def _walk_all(keys: Keys, amount: int, on_progress: OnProgress) -> list[str]:
    values: list[str] = []
    async for page in keys.list().pages():
        values += [key.key_value for key in page.keys]
        on_progress(len(values), amount)
    return values


async def _export_csv(keys: Keys, path: Path, on_progress: OnProgress) -> list[str]:
    await export_keys(keys.list(), path, format="csv", on_progress=on_progress)
    with path.open(encoding="utf-8", newline="") as file:
        return [unmark(row["key_value"]) for row in csv_files.DictReader(file)]
