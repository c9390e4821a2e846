"""`junkie keys stats`: counts as small charts."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ... import Drift, Filters, JunkieClient, KeyGroup, KeyStats
from .._client import run_with_client
from .._key_output import STATUS_STYLES
from .._options import JSONOption, spread_options
from .._progress import show_progress
from .._stdout import (
    format_key_count,
    is_terminal,
    make_console,
    print_json,
    print_line,
    to_one_line,
)

_SHOWN_GROUPS = 6  # of each grouping; a chart is to fit on a screen
_LABEL_WIDTH = 28
_BAR_WIDTH = 30
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_WEEK, _MAX_COLUMNS = 7, 60

Row = tuple[str, int, str]  # label, number of keys, style


@spread_options
def stats(
    context: typer.Context,
    *,
    filters: Filters,
    days: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=366, help="Dates (UTC) to count expiries for, from today on."
        ),
    ] = 30,
    output: JSONOption,
) -> None:
    """Count keys by status, service, provider, folder and expiry.

    A terminal gets charts. Elsewhere each count is a line of tab-separated group, ID or date, name,
    and number of keys; --json prints all counts as one object. The keys are walked once, so this
    takes a request for each 100 of them; `junkie keys count` is faster for a single number.
    """

    async def count(junkie: JunkieClient) -> KeyStats:
        with show_progress("Keys counted") as on_progress:
            return await junkie.keys.stats(days=days, on_progress=on_progress, **filters)

    counted = run_with_client(context, count)
    if output.json:
        print_json(counted.to_dict())
    elif is_terminal():
        _draw(make_console(), counted)
    else:
        rows = ("\t".join(map(to_one_line, cells)) for cells in _list_counts(counted))
        print_line("\n".join(rows))
    if counted.drift:
        typer.echo(f"Note: {_describe_drift(counted.drift)}", err=True)


def _describe_drift(drift: Drift) -> str:
    if drift.contradictions:
        return "the pages contradict the totals that the service states; keys may be missing"
    return "keys were created or deleted during the count, so it may be off by some"


def _list_counts(counted: KeyStats) -> Iterator[tuple[str, str, str, str]]:
    """Yield each count as cells: what is counted, its ID or date, its name, the number of keys."""
    yield "total", "", "", str(counted.total)
    for status, keys in counted.by_status.items():
        yield "status", str(status), "", str(keys)
    for name, groups in _groupings(counted):
        for group in groups:
            yield name, "" if group.id is None else str(group.id), group.name or "", str(group.keys)
    for day, keys in counted.expiring.items():
        yield "expiring", str(day), "", str(keys)
    yield "expiring_later", "", "", str(counted.expiring_later)
    yield "not_started", "", "", str(counted.not_started)
    yield "never_expiring", "", "", str(counted.never_expiring)


def _groupings(counted: KeyStats) -> tuple[tuple[str, Sequence[KeyGroup]], ...]:
    return (
        ("service", counted.by_service),
        ("provider", counted.by_provider),
        ("folder", counted.by_folder),
    )


def _draw(console: Console, counted: KeyStats) -> None:
    console.print(Text(f"{format_key_count(counted.total)}, {counted.as_of:%Y-%m-%d %H:%M} UTC"))
    if not counted.total:
        return
    statuses = [(str(s), n, STATUS_STYLES[s]) for s, n in counted.by_status.items()]
    _draw_bars(console, "Status", statuses, counted.total)
    for name, groups in _groupings(counted):
        if any(group.id is not None for group in groups):
            _draw_bars(console, name.capitalize(), _group_rows(name, groups), counted.total)
    _draw_bars(console, "Expiry (UTC)", _expiry_rows(counted), counted.total)
    if any(counted.expiring.values()):
        _draw_days(console, counted.expiring)


def _group_rows(kind: str, groups: Sequence[KeyGroup]) -> list[Row]:
    rows = [(_label_group(kind, group), group.keys, "cyan") for group in groups[:_SHOWN_GROUPS]]
    if others := groups[_SHOWN_GROUPS:]:
        rows.append((f"{len(others):,} others", sum(group.keys for group in others), "dim"))
    return rows


def _label_group(kind: str, group: KeyGroup) -> str:
    if group.id is None:
        return f"no {kind}"
    name = to_one_line(group.name or "")
    return f"{group.id} {name}".rstrip()


def _expiry_rows(counted: KeyStats) -> list[Row]:
    """Return what has expired, what will within spans that begin today, and the rest."""
    numbers = [*counted.expiring.values()]
    spans = [("today", 1), (f"next {_WEEK} days", _WEEK)]
    rows: list[Row] = [("expired", counted.expired, "yellow")]
    rows += [(label, sum(numbers[:span]), "") for label, span in spans if span < len(numbers)]
    whole = "today" if len(numbers) == 1 else f"next {len(numbers)} days"
    rows.append((whole, sum(numbers), ""))
    rows.append(("later", counted.expiring_later, ""))
    rows.append(("from first use", counted.not_started, ""))
    rows.append(("never", counted.never_expiring, ""))
    return rows


def _draw_bars(console: Console, title: str, rows: Iterable[Row], total: int) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=_LABEL_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True, min_width=7)
    table.add_column(width=_BAR_WIDTH, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for label, keys, style in rows:
        share = keys / total
        bar = _make_bar(share, ascii_only=console.options.ascii_only)
        table.add_row(Text(label), Text(f"{keys:,}"), Text(bar, style), Text(f"{share:.0%}"))
    console.print()
    console.print(Text(title, "bold"))
    console.print(table)


def _make_bar(share: float, *, ascii_only: bool) -> str:
    """Draw a share of the full width; one that is not nothing has at least the thinnest bar."""
    if ascii_only:
        return "#" * max(share > 0, round(share * _BAR_WIDTH))
    full, rest = divmod(max(share > 0, round(share * _BAR_WIDTH * 8)), 8)
    return "█" * full + _EIGHTHS[rest].strip()


def _draw_days(console: Console, expiring: dict[date, int]) -> None:
    """Draw a column for each date, or for each few of them."""
    if console.options.ascii_only:
        return  # the sums above say it, too
    days, numbers = [*expiring], [*expiring.values()]
    step = -(-len(days) // _MAX_COLUMNS)
    columns = [sum(numbers[at : at + step]) for at in range(0, len(days), step)]
    peak = max(numbers)
    width = 2 if len(columns) <= _MAX_COLUMNS // 2 else 1
    line = "".join(_make_column(count, max(columns)) * width for count in columns)
    console.print()
    span = "day" if step == 1 else f"{step} days"
    console.print(Text(f"Expiring per {span} (UTC)", "bold"))
    console.print(Text(line))
    console.print(Text(f"{days[0]:%m-%d}".ljust(max(6, len(line) - 5)) + f"{days[-1]:%m-%d}"))
    console.print(Text(f"most: {peak:,} on {days[numbers.index(peak)]}"))


def _make_column(count: int, most: int) -> str:
    if not count:
        return " "
    return _LEVELS[max(0, -(-count * len(_LEVELS) // most) - 1)]
