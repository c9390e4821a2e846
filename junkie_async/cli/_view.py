"""Keys and other records on stdout: tables for people, tabs for scripts, JSON for programs.

Whatever comes from the network is printed without controls: a key's name can't move the cursor.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO, TypeAlias, cast

import attrs
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import Key, KeyStatus, mask_key_value
from ..export import json_line
from ._options import ViewOptions
from ._output import one_line, printable, say

KeyWriter: TypeAlias = Callable[[Sequence[Key]], None]

_STYLES = {
    KeyStatus.ACTIVE: "green",
    KeyStatus.USED: "cyan",
    KeyStatus.EXPIRED: "yellow",
    KeyStatus.INVALIDATED: "red",
}
_LEAST_NAME = 8
"""Letters of a key's name that a table has room for at least."""


def prepare_stdout() -> None:
    """Let a pipe have UTF-8, as programs expect it; a terminal has its own encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")


def is_drawn() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


def is_table(view: ViewOptions) -> bool:
    """Whether keys are shown as a table."""
    return is_drawn() and not view.json


def rows_to_stdout(file: TextIO) -> TextIO:
    """Give stdout for rows that are written as they are; a terminal gets them without controls."""
    return cast("TextIO", _Screen(file)) if file.isatty() else file


class _Screen:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.flush = file.flush

    def write(self, text: str) -> int:
        return self._file.write("".join(filter(_may_be_drawn, text)))


def _may_be_drawn(letter: str) -> bool:
    return letter.isprintable() or letter == "\n"


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines at once; `BrokenPipeError` says that their reader has left."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_json(record: Any) -> None:
    """Print a record as a line of JSON."""
    prepare_stdout()
    say(_without_controls(json_line(record)))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a small table: drawn in a terminal, with tabs between the cells elsewhere."""
    prepare_stdout()
    if not is_drawn():
        for row in rows:
            say("\t".join(map(one_line, row)))
        return
    table = Table(*header, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    make_console().print(table)


def reference_record(key: int | str, *, show_value: bool) -> dict[str, Any]:
    """Name a key in a record, by what it was called."""
    return {"id": key} if isinstance(key, int) else {"key_value": _shown(key, show_value)}


def reference_name(key: int | str, *, show_value: bool) -> str:
    """Name a key in a sentence."""
    return f"key {key if isinstance(key, int) else _shown(key, show_value)}"


def key_record(key: Key, view: ViewOptions) -> Key:
    """Give the key as it may be shown."""
    return attrs.evolve(key, key_value=_shown(key.key_value, view.show_values))


def print_key(key: Key, view: ViewOptions) -> None:
    """Print one key, with all its fields."""
    shown = key_record(key, view)
    if view.json:
        print_json(shown)
        return
    fields = attrs.asdict(shown, recurse=False)
    rows = [("status", str(key.status)), *((name, _cell(fields[name])) for name in fields)]
    print_table(("Field", "Value"), [row for row in rows if row[1]] if is_drawn() else rows)


def key_writer(view: ViewOptions) -> KeyWriter:
    """Choose how keys are printed, some at a time."""
    prepare_stdout()
    if view.json:
        return lambda keys: _print_lines(
            _without_controls(json_line(key_record(key, view))) for key in keys
        )
    if is_drawn():
        return _KeyTable(make_console(), view).print
    return lambda keys: _print_lines("\t".join(_row(key, view)) for key in keys)


async def write(writer: KeyWriter, keys: Sequence[Key]) -> None:
    """Print keys; a reader who is slow, such as a pager, does not hold up the network."""
    await asyncio.to_thread(writer, keys)


def make_console() -> Console:
    """Make a console for stdout that draws in terminals only, whatever ``$FORCE_COLOR`` says."""
    return Console(highlight=False, force_terminal=None if sys.stdout.isatty() else False)


def _shown(value: str, in_full: bool) -> str:
    return value if in_full else mask_key_value(value)


def _without_controls(line: str) -> str:
    r"""Write what can't be printed as ``\u....``: JSON has it within its texts alone."""
    return line if line.isprintable() else "".join(map(_printable, line))


def _printable(letter: str) -> str:
    if letter.isprintable():
        return letter
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        return one_line("; ".join(value))
    return one_line(str(value) if isinstance(value, str | int) else json_line(value))


# --- a line for each key --------------------------------------------------------------------------

_HEADER = ("ID", "Key", "Status", "Expires (UTC)", "HWIDs", "Discord ID", "Name")
_DROPPED = ("Discord ID", "HWIDs", "Expires (UTC)")
"""What a narrow terminal has no room for, in this order."""


def _row(key: Key, view: ViewOptions) -> tuple[str, ...]:
    most = "" if key.hwid_limit is None else f"/{key.hwid_limit}"
    return (
        str(key.id),
        printable(_shown(key.key_value, view.show_values)),
        str(key.status),
        _cell(key.expires_at),
        f"{len(key.keys_hwid)}{most}",
        one_line(key.discord_id or ""),
        one_line(key.key_name or ""),
    )


class _KeyTable:
    """A table that comes in parts, below one header."""

    def __init__(self, console: Console, view: ViewOptions) -> None:
        self._console = console
        self._view = view
        self._widths: dict[str, int] = {}

    def print(self, keys: Sequence[Key]) -> None:
        """Print a part."""
        rows = [dict(zip(_HEADER, self._cells(key), strict=True)) for key in keys]
        is_first = not self._widths
        self._fit(rows)
        table = Table(
            box=box.SIMPLE_HEAD,
            show_header=is_first,
            show_edge=False,
            padding=(0, 1, 0, 0),
            width=_width(self._widths),
        )
        for name, width in self._widths.items():
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(_styled(name, row[name]) for name in self._widths))
        self._console.print(table, crop=False)

    def _cells(self, key: Key) -> tuple[str, ...]:
        cells = _row(key, self._view)
        expires = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        return (*cells[:3], expires, *cells[4:])

    def _fit(self, rows: Sequence[dict[str, str]]) -> None:
        """Widen the columns to what is in them; the name gets what the terminal has left."""
        before = self._widths or {name: cell_len(name) for name in _HEADER}
        widths = {
            name: max([width, *(cell_len(row[name]) for row in rows)])
            for name, width in before.items()
        }
        widths["Name"] = _LEAST_NAME
        for name in _DROPPED:
            if not self._widths and _width(widths) > self._console.width:
                del widths[name]
        widths["Name"] += max(0, self._console.width - _width(widths))
        self._widths = widths


def _width(widths: dict[str, int]) -> int:
    """Add columns up, each with a blank after it, and one between them."""
    return sum(widths.values()) + 2 * len(widths) - 1


def _styled(name: str, cell: str) -> Text:
    return Text(cell, _STYLES[KeyStatus(cell)] if name == "Status" else "")
