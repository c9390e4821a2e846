"""`junkie jobs`: the state of durable jobs."""

import os
from typing import Annotated

import typer

from ..provisioning import DEFAULT_JOB, JobStatus
from ._exit_codes import exit_on_error
from ._exits import ExitCode, fail
from ._ledgers import check_no_password, name_ledger, read_statuses
from ._options import JSONOption, spread_options
from ._stdout import print_json, print_line, to_one_line


@spread_options
def jobs(
    *,
    ledgers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LEDGERS...",
            help="Ledgers: paths of files, or DSNs of PostgreSQL databases.  [env: JUNKIE_LEDGER]",
        ),
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the job of this name.")
    ] = None,
    output: JSONOption,
) -> None:
    """Show the state of the durable jobs and orders of ledgers.

    A ledger can be read while its jobs run. To resume a job that is not done, run its program
    again with the same ledger and arguments. The exit code is 0 if all jobs are done, 5 if one
    is not, and 2 if a ledger can't be read; the others are shown nevertheless.
    """
    # Not by typer's `envvar`, which splits a path with blanks.
    given = ledgers or [*filter(None, [os.environ.get("JUNKIE_LEDGER")])]
    if not given:
        fail("name a ledger, or set $JUNKIE_LEDGER")
    for ledger in given:
        check_no_password(ledger)
    codes = [_show_jobs(ledger, job, as_json=output.json) for ledger in given]
    if any(codes):
        raise typer.Exit(min(filter(None, codes)))


def _show_jobs(ledger: str, name: str | None, *, as_json: bool) -> int:
    """Print the state of a ledger's jobs, and return the exit code for it."""
    shown, code = name_ledger(ledger), 0
    try:
        with exit_on_error():
            for job in read_statuses(ledger, name):
                if as_json:
                    print_json(_to_record(shown, job))
                else:
                    print_line(to_one_line(f"{shown}: {_format_status(job)}"))
                code = code if job.done else ExitCode.PARTLY
    except typer.Exit as failed:
        return failed.exit_code
    return code


def _to_record(ledger: str, job: JobStatus) -> dict[str, object]:
    return {
        "ledger": ledger,
        "name": job.name,
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
    name = "" if job.name == DEFAULT_JOB else f"{job.name}, "
    waiting = " (the job waits before it looks for them)" if job.waiting else ""
    return (
        f"{state}, {job.created:,} of {job.requested:,} keys created{in_doubt}{waiting};"
        f" {name}job {job.job}, {job.calls:,} calls, started {job.begun_at:%Y-%m-%d %H:%M} UTC"
    )
