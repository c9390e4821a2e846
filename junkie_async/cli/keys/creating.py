"""`junkie keys create` and `junkie keys provision`."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ... import JunkieClient, JunkieError
from ...export import export_values
from ...provisioning import status
from .._client import run
from .._options import BatchOptions, CreateOptions, JSONOption, Provider, spread
from .._output import ExitCode, fail, file_errors, printable, say
from .._progress import progress
from .._view import is_drawn, prepare_stdout, print_json, rows_to_stdout


@spread
def create(
    context: typer.Context, *, provider_id: Provider, fields: CreateOptions, output: JSONOption
) -> None:
    """Create one key, and print its value.

    The value is all that goes to stdout; with --json it is the whole key, its value in full.
    """
    key = run(context, lambda junkie: junkie.keys.create(provider_id=provider_id, **fields.given()))
    if output.json:
        print_json(key)
    else:
        prepare_stdout()
        say(printable(key.key_value) if is_drawn() else key.key_value)
    typer.echo(f"1 key created, with the ID {key.id}", err=True)


@spread
def provision(
    context: typer.Context,
    *,
    amount: Annotated[
        int, typer.Argument(metavar="AMOUNT", min=1, help="How many keys there are to be.")
    ],
    provider_id: Provider,
    ledger: Annotated[
        Path,
        typer.Option(
            help="The job's record. The same one goes on with the job, another begins another.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file for the key values, which only you may read.  [default: stdout]"
        ),
    ] = None,
    fields: BatchOptions,
    concurrency: Annotated[int, typer.Option(metavar="N", help="Calls in flight at once.")] = 8,
    reconcile_after: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How long a lost call may still take effect.  [default: 120]"
        ),
    ] = None,
) -> None:
    """Create any number of keys, exactly, as a job that can go on.

    Their values are printed, one a line. The ledger lets the job go on: when it was stopped, or has
    failed, run it again with the same arguments, and it ends with AMOUNT keys, whatever happened.
    FILE is there at the end, with every key once; on stdout, a run that goes on prints the earlier
    keys again, first. The ledger has the key values, too: delete it when all is done.
    """
    options = fields.given() | (
        {} if reconcile_after is None else {"reconcile_after": reconcile_after}
    )
    if out is not None and out.resolve() == ledger.resolve():
        fail("--out and --ledger must be two files")

    async def make(junkie: JunkieClient) -> int:
        prepare_stdout()
        with progress("Keys", rows_too=out is None) as on_progress, file_errors(_named(out)):
            job = junkie.keys.create_many(
                amount,
                provider_id=provider_id,
                ledger=ledger,
                concurrency=concurrency,
                on_progress=on_progress,
                **options,
            )
            return await export_values(job, rows_to_stdout(sys.stdout) if out is None else out)

    try:
        written = run(context, make, stopped=lambda: _stopped(ledger, amount))
    except typer.Exit as ended:
        if ended.exit_code in _RESUMABLE:
            typer.echo(f"To go on: {_this_command()}", err=True)
        raise
    typer.echo(f"{written:,} keys, each once, written to {_named(out)}", err=True)


_RESUMABLE = (ExitCode.REFUSED, ExitCode.UNREACHABLE, ExitCode.PARTLY, ExitCode.STOPPED)


def _named(out: Path | None) -> str:
    return "stdout" if out is None else str(out)


def _stopped(ledger: Path, amount: int) -> str:
    try:
        created = status(ledger).created
    except JunkieError:  # it was stopped before there was a record
        created = 0
    return f"stopped: {created:,} of {amount:,} keys are created"


def _this_command() -> str:
    """Write the command line as it can be given to a shell again."""
    program, *arguments = sys.argv
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join([sys.executable, "-m", path.parent.name, *arguments])
    found = shutil.which(path.name)
    is_on_path = found is not None and Path(found).resolve() == path.resolve()
    return shlex.join([path.name if is_on_path else program, *arguments])
