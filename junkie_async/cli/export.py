"""`junkie export`: keys to a file, or to another program."""

import io
import sys
from typing import Annotated, TextIO

import typer

from .. import JunkieClient
from ..export import Format, export_keys
from ._client import run
from ._options import FilterOptions, spread
from ._output import file_errors
from ._progress import progress
from ._view import rows_to_stdout

_STDOUT = "-"
_PREFETCH = 16
"""Pages fetched at once: a command has nothing else to do."""


@spread
def export(
    context: typer.Context,
    *,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH|-", help="The file, which only you may read; - is stdout."),
    ],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="What to write.  [default: by the suffix]")
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin a CSV file with a byte order mark, for Excel.")
    ] = False,
    filters: FilterOptions,
) -> None:
    """Write keys to a CSV or JSON Lines file.

    All keys, or those that the filters leave, with all their fields: to PATH.csv, which is safe
    to open in a spreadsheet, or to PATH.jsonl or PATH.ndjson. The file is there at the end,
    whole, in place of an old one; when anything goes wrong, the old one stays.
    """

    async def write(junkie: JunkieClient) -> int:
        rows_too, to = path == _STDOUT, _stdout() if path == _STDOUT else path
        keys = junkie.keys.list(prefetch=_PREFETCH, **filters.given())
        with progress("Keys", rows_too=rows_too, lines=False) as shown, file_errors(_named(path)):
            return await export_keys(keys, to, format=file_format, bom=bom, on_progress=shown)

    written = run(context, write, stopped=lambda: _stopped(path))
    typer.echo(f"{written:,} keys written to {_named(path)}", err=True)


def _named(path: str) -> str:
    return "stdout" if path == _STDOUT else path


def _stdout() -> TextIO:
    """Give stdout as the format wants it, whatever the terminal's own encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
    return rows_to_stdout(sys.stdout)


def _stopped(path: str) -> str:
    return "stopped" if path == _STDOUT else f"stopped; {path} is as it was"
