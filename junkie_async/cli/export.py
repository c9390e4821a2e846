"""`junkie export`: keys to a file or to another program."""

from typing import Annotated

import typer

from .. import Filters, JunkieClient
from ..export import Format, export_keys
from ._client import run_with_client
from ._exit_codes import exit_on_file_error
from ._options import spread_options
from ._progress import show_progress
from ._stdout import format_key_count, open_rows, reconfigure_stdout

_STDOUT = "-"
_PREFETCH = 16  # pages; four times the SDK's default, since nothing else uses this client


@spread_options
def export(
    context: typer.Context,
    *,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH|-", help="File to write, readable only by you; - is stdout."),
    ],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="File format.  [default: by the suffix]")
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin a CSV file with a byte order mark, for Excel.")
    ] = False,
    text_cells: Annotated[
        bool,
        typer.Option(
            "--text-cells",
            help="Keep a spreadsheet from reading texts such as 007 in a CSV file as numbers.",
        ),
    ] = False,
    filters: Filters,
) -> None:
    """Write keys to a CSV or JSON Lines file.

    Exports all keys, or those that match the filters, with all their fields and in full. A
    PATH.csv is safe to open in a spreadsheet; PATH.jsonl and PATH.ndjson have one JSON object per
    line. The file replaces an old one only once it is complete: after an error the old file is
    unchanged.
    """
    to_stdout = path == _STDOUT
    name = "stdout" if to_stdout else path

    async def write(junkie: JunkieClient) -> int:
        if to_stdout:
            # Whatever the locale: UTF-8, and the line ends that the format prescribes.
            reconfigure_stdout(encoding="utf-8", errors="strict", newline="")
        keys = junkie.keys.list(prefetch=_PREFETCH, **filters)
        with (
            # No lines in a log: a walk of a million keys takes a minute or two.
            show_progress("Keys", prints_rows=to_stdout, logs_lines=False) as on_progress,
            exit_on_file_error(name),
        ):
            file = open_rows() if to_stdout else path
            return await export_keys(
                keys,
                file,
                format=file_format,
                bom=bom,
                text_cells=text_cells,
                on_progress=on_progress,
            )

    describe_stop = "stopped" if to_stdout else f"stopped; {path} is unchanged"
    written = run_with_client(context, write, describe_stop=lambda: describe_stop)
    typer.echo(f"{format_key_count(written)} written to {name}", err=True)
