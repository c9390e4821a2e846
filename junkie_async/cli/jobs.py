"""`junkie jobs`: the state of durable jobs."""

from pathlib import Path
from typing import Annotated

import typer

from ..provisioning import JobStatus, status
from ._exit_codes import exit_on_error
from ._stdout import print_line, to_one_line


def jobs(
    ledgers: Annotated[list[Path], typer.Argument(help="Ledger files, given as ledger=.")],
) -> None:
    """Show the state of durable jobs from their ledgers.

    A ledger can be read while its job runs. To resume a job that is not done, run its program
    again with the same ledger and arguments.
    """
    with exit_on_error():
        for ledger in ledgers:
            print_line(to_one_line(f"{ledger}: {_format_status(status(ledger))}"))


def _format_status(job: JobStatus) -> str:
    state = "done" if job.done else "not done"
    in_doubt = f", {job.open:,} requested with unknown outcome" if job.open else ""
    return (
        f"{state}, {job.created:,} of {job.requested:,} keys created{in_doubt};"
        f" job {job.job}, {job.calls:,} calls, started {job.begun_at:%Y-%m-%d %H:%M} UTC"
    )
