"""Keys on stdout: tables, tab-separated lines or JSON, with key values masked by default."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

import attrs
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import Key, KeyStatus, mask_key_value
from ..export import json_line
from ._options import ViewOptions
from ._stdout import (
    is_terminal,
    make_console,
    print_json,
    print_lines,
    print_table,
    remove_controls,
    to_json_line,
    to_one_line,
)

KeyWriter: TypeAlias = Callable[[Sequence[Key]], Awaitable[None]]

STATUS_STYLES = {
    KeyStatus.ACTIVE: "green",
    KeyStatus.USED: "cyan",
    KeyStatus.EXPIRED: "yellow",
    KeyStatus.INVALIDATED: "red",
}
_HEADER: tuple[str, ...] = ("ID", "Key", "Status", "Expires (UTC)", "HWIDs", "Discord ID", "Name")
# A narrow terminal drops these, in this order; ID, value, status and name stay.
_OPTIONAL_COLUMNS = ("Discord ID", "HWIDs", "Expires (UTC)")
_MIN_NAME_WIDTH = 8


def shows_table(view: ViewOptions) -> bool:
    """Whether keys are shown as a table."""
    return is_terminal() and not view.json


def make_reference_record(key: int | str, view: ViewOptions) -> dict[str, Any]:
    """Name a key in a record, by its ID or its value."""
    return {"id": key} if isinstance(key, int) else {"key_value": _mask_value(key, view)}


def mask_key(key: Key, view: ViewOptions) -> Key:
    """Return the key with its value masked, unless ``--show-values`` is given."""
    return attrs.evolve(key, key_value=_mask_value(key.key_value, view))


def _mask_value(value: str, view: ViewOptions) -> str:
    return value if view.show_values else mask_key_value(value)


def print_key(key: Key, view: ViewOptions) -> None:
    """Print one key with all its fields."""
    masked = mask_key(key, view)
    if view.json:
        print_json(masked.to_dict())
        return
    # Devices and redemptions stay objects, which are written as JSON in their cells.
    fields = attrs.asdict(masked, recurse=False)
    rows = [("status", str(key.status))]
    rows += [(name, _format_field(value)) for name, value in fields.items()]
    if is_terminal():
        rows = [row for row in rows if row[1]]  # scripts get the same lines for every key
    print_table(("Field", "Value"), rows)


def make_key_writer(view: ViewOptions) -> KeyWriter:
    """Return a function that prints keys, a part of the list at a time.

    It prints in a thread: a slow reader, such as a pager, does not hold up the network.
    """
    table = _KeyTable(make_console(), view) if shows_table(view) else None

    def print_keys(keys: Sequence[Key]) -> None:
        if table is not None:
            table.print_rows(keys)
        elif view.json:
            print_lines(to_json_line(mask_key(key, view)) for key in keys)
        else:
            print_lines("\t".join(_format_row(key, view)) for key in keys)

    return lambda keys: asyncio.to_thread(print_keys, keys)


def _format_field(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():  # before the numbers: a bool is an int
            return str(value).lower()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() | int():
            return to_one_line(str(value))
        case () | (str(), *_):
            return to_one_line("; ".join(cast("tuple[str, ...]", value)))
        case _:
            return to_one_line(json_line(value))


def _format_row(key: Key, view: ViewOptions) -> tuple[str, ...]:
    limit = f"/{key.hwid_limit}" if key.hwid_limit else ""  # 0 is unlimited
    return (
        str(key.id),
        remove_controls(_mask_value(key.key_value, view)),
        str(key.status),
        _format_field(key.expires_at),
        f"{len(key.keys_hwid)}{limit}",
        to_one_line(key.discord_id or ""),
        to_one_line(key.key_name or ""),
    )


class _KeyTable:
    """A table that is printed in parts below one header.

    rich sizes a table by all its rows, which are not known here: each part is a table of its own,
    with the column widths of the parts before it.
    """

    def __init__(self, console: Console, view: ViewOptions) -> None:
        self._console = console
        self._view = view
        self._widths: dict[str, int] = {}

    def print_rows(self, keys: Sequence[Key]) -> None:
        """Print a part."""
        rows = [dict(zip(_HEADER, self._format_cells(key), strict=True)) for key in keys]
        is_first = not self._widths
        self._widths = self._fit_widths(rows)
        table = Table(
            box=box.SIMPLE_HEAD,
            show_header=is_first,
            show_edge=False,
            padding=(0, 1, 0, 0),
            width=_sum_widths(self._widths),
        )
        for name, width in self._widths.items():
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(_style_cell(name, row[name]) for name in self._widths))
        # A value that is too wide is wrapped rather than cropped: half an ID is of no use.
        self._console.print(table, crop=False)

    def _format_cells(self, key: Key) -> tuple[str, ...]:
        cells = _format_row(key, self._view)
        expires = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        return (*cells[:3], expires, *cells[4:])

    def _fit_widths(self, rows: Sequence[dict[str, str]]) -> dict[str, int]:
        """Widen the columns to their cells; the name gets what the terminal has left."""
        before = self._widths or {name: cell_len(name) for name in _HEADER}
        widths = {
            name: max([width, *(cell_len(row[name]) for row in rows)])
            for name, width in before.items()
        }
        # Names are notes of up to 255 characters: they are cut where the terminal ends.
        widths["Name"] = _MIN_NAME_WIDTH
        for name in _OPTIONAL_COLUMNS:
            if not self._widths and _sum_widths(widths) > self._console.width:
                del widths[name]
        widths["Name"] += max(0, self._console.width - _sum_widths(widths))
        return widths


def _sum_widths(widths: dict[str, int]) -> int:
    """Return the table's width: each column has a blank after it, and one before the next."""
    return sum(widths.values()) + 2 * len(widths) - 1


def _style_cell(name: str, cell: str) -> Text:
    return Text(cell, STATUS_STYLES[KeyStatus(cell)] if name == "Status" else "")
