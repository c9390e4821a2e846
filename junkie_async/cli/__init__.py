"""The `junkie` command: thin, over the public API. It needs ``pip install "junkie_async[cli]"``."""

from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from . import demo, export, folders, jobs, keys, serve
from ._exit_codes import EXIT_CODES_HELP
from ._settings import Settings

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    name="junkie",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: it reads the same in a terminal, a log and the README
    pretty_exceptions_enable=False,  # they print local variables, such as key values
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"junkie_async {__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES_HELP)
def _set_options(
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
            metavar="URL",
            help="Address of the service.  [default: $JUNKIE_BASE_URL, or the public service]",
        ),
    ] = None,
    # Never read: the callback prints and exits before any command runs.
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Manage the licence keys of the Junkie key system.

    To try it without an account or a network, run `junkie demo`.
    """
    context.obj = Settings(api_key_file=api_key_file, base_url=base_url)


app.add_typer(keys.app)
app.command()(folders.folders)
app.command()(export.export)
app.command()(jobs.jobs)
app.command()(serve.serve)
app.command()(demo.demo)
