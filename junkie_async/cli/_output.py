"""What the commands share: exit codes, errors in one line, lines that scripts can read."""

import contextlib
import enum
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import typer

from .. import (
    APIError,
    BatchError,
    ConfigurationError,
    CreateReport,
    DeleteReport,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    Outcome,
    OutcomeUnknownError,
    TransportError,
)

if TYPE_CHECKING:  # its own extra, and only some commands need it
    from ..emulator import Emulator


class ExitCode(enum.IntEnum):
    """What a command's exit code says."""

    WRONG = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    PARTLY = 5
    STOPPED = 130  # as shells have it for Ctrl-C


_CODES: tuple[tuple[type[JunkieError], ExitCode], ...] = (
    (InvalidRequestError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.USAGE),
    (APIError, ExitCode.REFUSED),
    (InvalidResponseError, ExitCode.REFUSED),
    (DriftError, ExitCode.REFUSED),
    (TransportError, ExitCode.UNREACHABLE),
    (OutcomeUnknownError, ExitCode.PARTLY),  # as with a part done: look before you repeat it
    (BatchError, ExitCode.PARTLY),
)


def exit_code(error: JunkieError) -> int:
    """Give the exit code for an error; a job that did nothing has that of its cause."""
    cause = error.__cause__
    if isinstance(error, BatchError) and isinstance(cause, JunkieError) and _did_nothing(error):
        return exit_code(cause)
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.WRONG)


def _did_nothing(error: BatchError) -> bool:
    report = error.report
    if isinstance(report, CreateReport):
        return not report.created and not report.unknown
    cause = error.__cause__
    surely = isinstance(cause, JunkieError) and cause.outcome is Outcome.NOT_EXECUTED
    return isinstance(report, DeleteReport) and report.failed == report.requested and surely


def describe(error: JunkieError) -> str:
    """Tell an error in one line, with how far a job came."""
    report = getattr(error, "report", None)
    if isinstance(report, CreateReport):
        maybe = f", {report.unknown:,} may be" if report.unknown else ""
        return f"{error} ({report.created:,} of {report.requested:,} keys are created{maybe})"
    if isinstance(report, DeleteReport):
        return f"{error} ({report.deleted:,} of {report.requested:,} keys are deleted)"
    return str(error)


def one_line(text: str) -> str:
    """Fold a text into one line without controls: parts of it may come from the network."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Leave out what can't be printed, and fold nothing."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def counted(keys: int) -> str:
    """Write a number of keys."""
    return "1 key" if keys == 1 else f"{keys:,} keys"


def fail(message: str, code: int = ExitCode.USAGE) -> NoReturn:
    """Print one line to stderr and leave."""
    typer.echo(f"Error: {one_line(message)}", err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn this package's errors into one line and an exit code."""
    try:
        yield
    except JunkieError as error:
        fail(describe(error), exit_code(error))


@contextlib.contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turn the errors of the file that is written into one line: the client has its own."""
    try:
        yield
    except BrokenPipeError:
        drop_stdout()
        fail("the reader of stdout left before the end", ExitCode.PARTLY)
    except OSError as error:
        fail(f"{name}: {error.strerror or error}")


def say(line: str) -> None:
    """Print a line at once; a reader who has left is no reason to stop."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        drop_stdout()


def drop_stdout() -> None:
    """Let what is still to be printed vanish: its reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_emulator() -> "type[Emulator]":
    """Import the emulator, or say which extra is missing."""
    try:
        from ..emulator import Emulator
    except ModuleNotFoundError as error:
        fail(f'{error}: this command needs `pip install "junkie_async[emulator]"`')
    return Emulator
