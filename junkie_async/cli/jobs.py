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
    again with the same ledger and arguments. The exit code is 0 if all jobs are done, else 5.
    """
    all_done = True
    with exit_on_error():
        for ledger in ledgers:
            job = status(ledger)
            all_done &= job.done
            if output.json:
                print_json(_to_record(ledger, job))
            else:
                print_line(to_one_line(f"{ledger}: {_format_status(job)}"))
    if not all_done:
        raise typer.Exit(ExitCode.PARTLY)


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
