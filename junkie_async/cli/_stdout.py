"""Standard output: tables for people, tab-separated lines for scripts, JSON for programs.

Text from the network is printed without control characters: a key's name can't move the cursor.
"""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:  # `junkie --help` needs neither rich nor the SDK
    from rich.console import Console


def remove_controls(text: str) -> str:
    """Drop what can't be printed, such as the escape codes of a terminal, and line breaks."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def to_one_line(text: str) -> str:
    """Fold text into one printable line: parts of it may come from the network."""
    return remove_controls(" ".join(text.split()))


def format_key_count(keys: int) -> str:
    """Write a number of keys: ``1 key``, ``1,234 keys``."""
    return "1 key" if keys == 1 else f"{keys:,} keys"


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def make_console() -> "Console":
    """Make a console for stdout that draws in terminals only, whatever ``$FORCE_COLOR`` says."""
    from rich.console import Console

    # Highlighting would colour numbers and quotes within key names.
    return Console(highlight=False, force_terminal=None if is_terminal() else False)


def set_encoding() -> None:
    """Write UTF-8 to pipes and files, as programs expect; a terminal keeps its own encoding."""
    if is_terminal():
        # A legacy code page, as on Windows, has no letters for some key names.
        reconfigure_stdout(errors="backslashreplace")
    else:
        reconfigure_stdout(encoding="utf-8")


def reconfigure_stdout(
    *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
) -> None:
    """Set the encoding, error handling or line ends of stdout, unless a test has replaced it."""
    stdout: Any = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(encoding=encoding, errors=errors, newline=newline)


def discard_stdout() -> None:
    """Discard what is still buffered: the reader has left, and a flush at exit would fail."""
    # Otherwise the interpreter flushes at exit, prints a traceback, and ends with 120.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_line(line: str) -> None:
    """Print a line immediately; a reader that has left is no error."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        discard_stdout()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines in one write; a reader that has left is a `BrokenPipeError`."""
    # A page of keys in one write: a pipe wakes its reader once, not 100 times.
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def to_json_line(record: Any) -> str:
    r"""Write a record as one line of JSON, with ``\u....`` for what can't be printed."""
    from ..export import json_line

    # JSON has such characters in its strings only, so that escaping them keeps the value.
    line = json_line(record)
    return line if line.isprintable() else "".join(map(_escape_unprintable, line))


def _escape_unprintable(letter: str) -> str:
    if letter.isprintable():
        return letter
    # JSON escapes are UTF-16 units (RFC 8259, section 7): two for letters beyond U+FFFF.
    units = letter.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def print_json(record: Any) -> None:
    """Print a record as one line of JSON."""
    print_line(to_json_line(record))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a small table: drawn in a terminal, tab-separated elsewhere."""
    if not is_terminal():
        for row in rows:
            print_line("\t".join(map(to_one_line, row)))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows:
        table.add_row(*(Text(to_one_line(cell)) for cell in row))
    make_console().print(table)


def open_rows() -> TextIO:
    """Return stdout for exported rows: unchanged, except that a terminal gets no controls."""
    return cast("TextIO", _PrintableWriter(sys.stdout)) if is_terminal() else sys.stdout


class _PrintableWriter:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.flush = file.flush

    def write(self, text: str) -> int:
        return self._file.write("".join(filter(_is_safe, text)))


def _is_safe(letter: str) -> bool:
    # Beyond escape codes this drops U+202E, which reverses the text after it.
    return letter.isprintable() or letter == "\n"
