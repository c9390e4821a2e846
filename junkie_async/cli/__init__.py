"""The `junkie` command: thin, over the public API. It needs ``pip install "junkie_async[cli]"``."""

from typing import Annotated

import typer

from .. import __version__
from . import demo, export, jobs, serve

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
    epilog="Exit codes: 0 done, 1 a count is wrong, 2 bad usage or configuration, "
    "3 the service said no, 4 it could not be reached, 5 partly done, 130 stopped."
)
def _junkie(
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


app.command()(serve.serve)
app.command()(demo.demo)
app.command()(export.export)
app.command()(jobs.jobs)
