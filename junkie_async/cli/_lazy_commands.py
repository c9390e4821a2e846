"""Commands whose modules are imported when they run.

Most of them need the SDK and aiohttp, which take four times as long to load as the help takes.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class LazyCommand(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    module: str
    function: str
    help: str


class _Completable:
    """A command that a shell completes without pydantic, which takes longer to load than typer.

    typer reads the values of options with it. A completion takes them as they are.
    """

    def get_params(self, ctx: Any) -> Any:
        """Return the options."""
        typers: Any = super()
        options: list[Any] = typers.get_params(ctx)
        if ctx.resilient_parsing:  # that is a completion
            for option in options:
                option.process_value = _return_value
        return options


def _return_value(_: Any, value: Any) -> Any:
    return value


class _Command(_Completable, TyperCommand):
    pass


class LazyGroup(_Completable, TyperGroup):
    """A group of commands that lists and completes their names without importing them."""

    lazy_commands: ClassVar[Mapping[str, LazyCommand]]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, command in self.lazy_commands.items():
            self.commands[name] = TyperCommand(name, help=command.help, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is run, or whose options are listed or completed."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.lazy_commands:
            command = _load_command(name, self.lazy_commands[name])
        return name, command, rest


def _load_command(name: str, command: LazyCommand) -> Any:
    function = getattr(import_module(command.module, __package__), command.function)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=_Command)(function)
    return typer.main.get_command(app)
