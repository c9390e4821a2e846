"""The `junkie` command: thin, over the public API. It needs ``pip install "junkie_async[cli]"``."""

from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from . import demo, export, folders, jobs, keys, serve
from ._client import Settings

__all__ = ["app"]

app = typer.Typer(
    name="junkie",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: it reads the same in a terminal, a log and the README
    pretty_exceptions_enable=False,  # an unforeseen error shows its lines, never its values
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"junkie_async {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 a verdict is no or a count wrong, 2 bad usage or configuration, "
    "3 the service said no, 4 it could not be reached, 5 partly done, 130 stopped."
)
def _junkie(
    context: typer.Context,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File whose first line is the API key.  [default: $JUNKIE_API_KEY]"
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the service is.  [default: $JUNKIE_BASE_URL, or its own]"
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Licence keys of the Junkie key system, from the command line.

    A first try needs neither an account nor a network: `junkie demo`.
    """
    context.obj = Settings(api_key_file=api_key_file, base_url=base_url)


app.add_typer(keys.app)
app.command()(folders.folders)
app.command()(export.export)
app.command()(jobs.jobs)
app.command()(serve.serve)
app.command()(demo.demo)
