"""The `junkie` command: thin, over the public API. It needs ``pip install "junkie_async[cli]"``."""

import os
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import typer

from .. import __version__
from . import keys
from ._exits import EXIT_CODES_HELP
from ._lazy_commands import LazyCommand, LazyGroup
from ._options import spread_options
from ._settings import Settings
from ._stdout import set_encoding

__all__ = ["app"]


class _Commands(LazyGroup):
    lazy_commands: ClassVar = {
        "whoami": LazyCommand(
            ".whoami", "whoami", "Check the address, the API key and its scope with one request."
        ),
        "folders": LazyCommand(
            ".folders", "folders", "List the folders that keys can be filed in."
        ),
        "export": LazyCommand(".export", "export", "Write keys to a CSV or JSON Lines file."),
        "jobs": LazyCommand(
            ".jobs", "jobs", "Show the state of the durable jobs and orders of ledgers."
        ),
        "serve": LazyCommand(".serve", "serve", "Run a local Junkie key service until Ctrl-C."),
        "demo": LazyCommand(
            ".demo", "demo", "Show what the SDK does: no account, no network, a few seconds."
        ),
    }

    def invoke(self, ctx: Any) -> Any:
        """Run a command; if it refuses an option of `junkie` itself, say where that belongs."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # By its attribute, which `NoSuchOption` alone has: typer may use its own copy of click.
            if hasattr(error, "possibilities"):
                _add_place(error, self.params, ctx.command_path)
            raise


def _add_place(error: Any, own_options: Sequence[Any], program: str) -> None:
    """Add to an error about an unknown option that it goes before the command."""
    option = next((each for each in own_options if error.option_name in each.opts), None)
    if option is None:
        return
    value = "" if option.is_flag else f" {option.metavar}"
    command = error.ctx.command_path.removeprefix(f"{program} ")
    error.possibilities = None
    error.message += (
        f". It goes before the command: `{program} {error.option_name}{value} {command}`"
    )


app: typer.Typer = typer.Typer(
    name="junkie",
    cls=_Commands,
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
@spread_options
def _set_options(
    context: typer.Context,
    *,
    settings: Settings,
    # Never read: the callback prints and exits before any command runs.
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Manage the licence keys of the Junkie key system.

    To try it without an account or a network, run `junkie demo`.
    """
    context.obj = settings
    if settings.verbose:
        os.environ["JUNKIE_LOG"] = "debug"
        context.call_on_close(lambda: os.environ.pop("JUNKIE_LOG", None))
    set_encoding()


app.add_typer(keys.app)
