"""`junkie keys create` and `provision`: one key, or a durable job."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ... import BatchFields, CreateFields, JunkieClient, JunkieError
from ...export import export_values
from ...provisioning import DEFAULT_JOB
from .._client import run_with_client
from .._exit_codes import exit_on_file_error
from .._exits import ExitCode, fail
from .._ledgers import check_no_password, read_statuses
from .._options import JSONOption, Provider, spread_options
from .._progress import WaitNotice, show_progress
from .._settings import Settings
from .._stdout import (
    format_key_count,
    is_terminal,
    open_rows,
    print_json,
    print_line,
    remove_controls,
)

# After bad usage the same command would fail again.
_RESUMABLE = (ExitCode.REFUSED, ExitCode.UNREACHABLE, ExitCode.PARTLY, ExitCode.STOPPED)


@spread_options
def create(
    context: typer.Context, *, provider_id: Provider, fields: CreateFields, output: JSONOption
) -> None:
    """Create one key and print its value.

    The value, in full, is all that goes to stdout. With --json it is the complete key.
    """
    key = run_with_client(
        context, lambda junkie: junkie.keys.create(provider_id=provider_id, **fields)
    )
    if output.json:
        print_json(key.to_dict())
    else:
        print_line(remove_controls(key.key_value) if is_terminal() else key.key_value)
    typer.echo(f"1 key created, with the ID {key.id}", err=True)


@spread_options
def provision(
    context: typer.Context,
    *,
    amount: Annotated[
        int, typer.Argument(metavar="AMOUNT", min=1, help="How many keys to create.")
    ],
    provider_id: Provider,
    ledger: Annotated[
        str,
        typer.Option(
            envvar="JUNKIE_LEDGER",
            metavar="PATH",
            help="File that records the job, or the DSN of a PostgreSQL database.",
        ),
    ],
    job: Annotated[
        str | None, typer.Option(metavar="NAME", help="The job's name, if the ledger has several.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File for the key values, readable only by you.  [default: stdout]"
        ),
    ] = None,
    fields: BatchFields,
    concurrency: Annotated[int, typer.Option(metavar="N", help="Requests in flight.")] = 8,
    reconcile_after: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="How long a request with unknown outcome may still take effect."
        ),
    ] = 120.0,
) -> None:
    """Create exactly AMOUNT keys, as a job that can be resumed.

    The key values are printed in full, one per line. If the job is stopped or fails, run the same
    command again: it resumes from the ledger and ends with exactly AMOUNT keys. The --out file is
    written at the end and has every key once; a new job replaces no file. On stdout, a resumed job
    prints the earlier keys again first. The ledger contains the key values: delete it once the job
    is done.
    """
    check_no_password(ledger)
    # Not `Path.resolve`, which raises for links that go round in a circle.
    if out is not None and os.path.realpath(out) == os.path.realpath(ledger):
        fail("--out and --ledger must be different files")
    if out is not None and _has_content(out) and not _has_begun(ledger, job):
        fail(f"--out {out} has content, and this job is a new one: choose another file")
    name = "stdout" if out is None else str(out)

    notice = WaitNotice()

    async def create_and_write(junkie: JunkieClient) -> int:
        with (
            show_progress("Keys", prints_rows=out is None) as on_progress,
            exit_on_file_error(name),
        ):
            notice.on_progress = on_progress
            keys = junkie.keys.create_many(
                amount,
                provider_id=provider_id,
                ledger=ledger,
                job=job,
                concurrency=concurrency,
                reconcile_after=reconcile_after,
                on_progress=on_progress,
                **fields,
            )
            return await export_values(keys, open_rows() if out is None else out)

    try:
        written = run_with_client(
            context,
            create_and_write,
            describe_stop=lambda: _describe_stop(ledger, job, amount),
            hooks=[notice],
        )
    except typer.Exit as ended:
        # Below the error, as the last line: it is what to copy.
        if ended.exit_code in _RESUMABLE:
            typer.echo(f"To resume: {_quote_command_line(context.obj)}", err=True)
        raise
    typer.echo(f"{format_key_count(written)}, without duplicates, written to {name}", err=True)


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _has_begun(ledger: str, job: str | None) -> bool:
    """Whether an earlier run has begun the job, and so may have written its file."""
    try:
        return any(read_statuses(ledger, job or DEFAULT_JOB))
    except JunkieError:  # there is no ledger yet
        return False


def _describe_stop(ledger: str, job: str | None, amount: int) -> str:
    try:
        created = next(read_statuses(ledger, job or DEFAULT_JOB)).created
    except JunkieError:  # stopped before the ledger was written
        created = 0
    return f"stopped: {created:,} of {amount:,} keys created"


def _quote_command_line(settings: Settings) -> str:
    """Return this process's command line, quoted for a shell, without a proxy's password."""
    program = sys.argv[0]
    arguments = [settings.mask_proxy(argument) for argument in sys.argv[1:]]
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join([sys.executable, "-m", path.parent.name, *arguments])
    # Another `junkie` may come first on the PATH, such as one of another environment.
    found = shutil.which(path.name)
    is_on_path = found is not None and Path(found).resolve() == path.resolve()
    return shlex.join([path.name if is_on_path else program, *arguments])
