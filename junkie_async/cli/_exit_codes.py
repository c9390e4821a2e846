"""Which error gives which exit code, and errors as one line on stderr."""

import contextlib
from collections.abc import Generator

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
    OutcomeUnknownError,
    TooManyMatchesError,
    TransportError,
)
from ._exits import ExitCode, fail
from ._stdout import discard_stdout

# The first match counts. An error without an entry is a bug of ours, such as ClientClosedError.
_CODES: tuple[tuple[type[JunkieError], ExitCode], ...] = (
    (InvalidRequestError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.USAGE),
    (TooManyMatchesError, ExitCode.USAGE),  # the same command never succeeds; one with --id does
    (APIError, ExitCode.REFUSED),
    # The service answered, so trying again with another address or network would not help.
    (InvalidResponseError, ExitCode.REFUSED),
    (DriftError, ExitCode.REFUSED),
    (TransportError, ExitCode.UNREACHABLE),
    # The same code as for a partly done job: look at the keys before you run it again.
    (OutcomeUnknownError, ExitCode.PARTLY),
    (BatchError, ExitCode.PARTLY),
)


def get_exit_code(error: JunkieError) -> int:
    """Return the exit code for an error; a job that changed nothing has the code of its cause."""
    cause = error.__cause__
    if isinstance(error, BatchError) and error.did_nothing and isinstance(cause, JunkieError):
        return get_exit_code(cause)
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.NEGATIVE)


def describe_error(error: JunkieError) -> str:
    """Describe an error, with the progress of the job that it ended."""
    report = getattr(error, "report", None)
    if isinstance(report, CreateReport):
        unknown = f", {report.unknown:,} unknown" if report.unknown else ""
        return f"{error} ({report.created:,} of {report.requested:,} keys created{unknown})"
    if isinstance(report, DeleteReport):
        return f"{error} ({report.deleted:,} of {report.requested:,} keys deleted)"
    return str(error)


@contextlib.contextmanager
def exit_on_error() -> Generator[None]:
    """Turn this package's errors into one line and an exit code."""
    try:
        yield
    except JunkieError as error:
        fail(describe_error(error), get_exit_code(error))


@contextlib.contextmanager
def exit_on_file_error(name: str) -> Generator[None]:
    """Turn an error of the file being written into one line and an exit code.

    The client raises no `OSError`, so any that arrives here is the file's.
    """
    try:
        yield
    except BrokenPipeError:
        discard_stdout()
        fail("the reader of stdout closed it before the end", ExitCode.PARTLY)
    except OSError as error:
        fail(f"{name}: {error.strerror or error}")
