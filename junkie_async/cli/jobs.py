"""`junkie jobs`: how far durable jobs have come."""

from pathlib import Path
from typing import Annotated

import typer

from ..provisioning import JobStatus, status
from ._output import friendly_errors, say


def jobs(
    ledgers: Annotated[list[Path], typer.Argument(help="The files given as ledger=.")],
) -> None:
    """Show the state of durable jobs, by their ledgers.

    A job that runs may be looked at, too. One that is not done goes on when its program is run
    again with the same ledger and arguments.
    """
    with friendly_errors():
        for ledger in ledgers:
            say(f"{ledger}: {_line(status(ledger))}")


def _line(job: JobStatus) -> str:
    state = "done" if job.done else "not done"
    doubts = f", {job.open:,} asked for and not known" if job.open else ""
    return (
        f"{state}, {job.created:,} of {job.requested:,} keys{doubts};"
        f" job {job.job}, {job.calls:,} calls, begun {job.begun_at:%Y-%m-%d %H:%M} UTC"
    )
