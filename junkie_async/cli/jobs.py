"""`junkie jobs`: the state of durable jobs."""

from pathlib import Path
from typing import Annotated

import typer

from ..provisioning import JobStatus, status
from ._exit_codes import ExitCode, exit_on_error
from ._options import JSONOption, spread_options
from ._stdout import print_json, print_line, to_one_line


@spread_options
def jobs(
    *,
    ledgers: Annotated[list[Path], typer.Argument(help="Ledger files, given as ledger=.")],
    output: JSONOption,
) -> None:
    """Show the state of durable jobs from their ledgers.

    A ledger can be read while its job runs. To resume a job that is not done, run its program
    again with the same ledger and arguments. The exit code is 0 if all jobs are done, 5 if one
    is not, and 2 if a ledger can't be read; the others are shown nevertheless.
    """
    codes = [_show_job(ledger, as_json=output.json) for ledger in ledgers]
    if any(codes):
        raise typer.Exit(min(filter(None, codes)))


def _show_job(ledger: Path, *, as_json: bool) -> int:
    """Print the state of a ledger's job, and return the exit code for it."""
    try:
        with exit_on_error():
            job = status(ledger)
    except typer.Exit as failed:
        return failed.exit_code
    if as_json:
        print_json(_to_record(ledger, job))
    else:
        print_line(to_one_line(f"{ledger}: {_format_status(job)}"))
    return 0 if job.done else ExitCode.PARTLY


def _to_record(ledger: Path, job: JobStatus) -> dict[str, object]:
    return {
        "ledger": str(ledger),
        "job": job.job,
        "done": job.done,
        "waiting": job.waiting,
        "requested": job.requested,
        "created": job.created,
        "open": job.open,
        "calls": job.calls,
        "begun_at": job.begun_at,
        "arguments": job.arguments,
    }


def _format_status(job: JobStatus) -> str:
    state = "done" if job.done else "not done"
    in_doubt = f", {job.open:,} requested with unknown outcome" if job.open else ""
    waiting = " (the job waits before it looks for them)" if job.waiting else ""
    return (
        f"{state}, {job.created:,} of {job.requested:,} keys created{in_doubt}{waiting};"
        f" job {job.job}, {job.calls:,} calls, started {job.begun_at:%Y-%m-%d %H:%M} UTC"
    )
