"""The exit codes, and the end of a command with one line on stderr. Loads no SDK."""

import enum
from typing import NoReturn

import typer

from ._stdout import to_one_line

EXIT_CODES_HELP = (
    "Exit codes: 0 success, 1 key not valid or not found, or a wrong count, 2 bad usage or "
    "configuration, 3 refused by the service, 4 service unreachable, 5 partly done or outcome "
    "unknown, 130 stopped."
)


class ExitCode(enum.IntEnum):
    """The exit codes besides 0."""

    NEGATIVE = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    PARTLY = 5
    STOPPED = 130  # 128 + SIGINT, as shells report Ctrl-C


def fail(message: str, code: int = ExitCode.USAGE) -> NoReturn:
    """Print one line to stderr and exit."""
    # One line, even if the service sent several: logs and `grep Error` see all of it.
    typer.echo(f"Error: {to_one_line(message)}", err=True)
    raise typer.Exit(code)
