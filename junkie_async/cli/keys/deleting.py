"""`junkie keys delete` and `purge`: what they would delete, a question, and the deed."""

import asyncio
import sys
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

import attrs
import typer

from ... import DeleteJob, DeleteReport, JunkieClient, Key, NotFoundError
from .._client import run
from .._options import FilterOptions, ViewOptions, spread
from .._output import ExitCode, counted, fail, say
from .._progress import progress
from .._references import ManyKeys
from .._view import key_writer, print_json, write
from .listing import show_keys

_AT_ONCE = 100


@attrs.frozen(kw_only=True)
class Consent:
    """Whether it is to be done, and asked for."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False


@spread
def delete(context: typer.Context, *, keys: ManyKeys, consent: Consent, view: ViewOptions) -> None:
    """Delete keys, by their values or IDs.

    A person is asked first; a script says --yes. Keys that are not there are counted: exit code 3
    if none was there, and 5 if some were not.
    """
    references = keys.references()
    if consent.dry_run:
        found = run(context, lambda junkie: _show_those_there(junkie, references, view))
        typer.echo(f"{_would_be(found)}; {len(references) - found:,} not there", err=True)
        return
    _ask(len(references), consent)
    report = _delete(context, references)
    _tell(report, view)
    if report.missing:
        raise typer.Exit(ExitCode.PARTLY if report.deleted else ExitCode.REFUSED)


@spread
def purge(
    context: typer.Context,
    *,
    filters: FilterOptions,
    everything: Annotated[
        bool, typer.Option("--everything", help="Delete all keys there are.")
    ] = False,
    consent: Consent,
    view: ViewOptions,
) -> None:
    """Delete all keys that the filters leave.

    As in `junkie keys purge --status expired`. The keys are gathered first, and a person is asked,
    with their number; a script says --yes. No other keys are deleted than those that were counted.
    """
    if bool(filters.given()) == everything:
        fail("purge needs a filter, or else --everything")
    if consent.dry_run:
        _, found = run(context, lambda junkie: show_keys(junkie, filters, view))
        typer.echo(_would_be(found), err=True)
        return
    _refuse_without_terminal(consent)
    ids = run(context, lambda junkie: _gather(junkie, filters))
    if ids:
        _ask(len(ids), consent)
        report = _delete(context, ids)
    else:
        report = DeleteReport(requested=0)
    _tell(report, view)


def _would_be(number: int) -> str:
    return f"{counted(number)} would be deleted"


def _refuse_without_terminal(consent: Consent) -> None:
    if not consent.yes and not sys.stdin.isatty():
        fail("there is nobody to ask: say --yes to delete, or --dry-run to see what it would be")


def _ask(number: int, consent: Consent) -> None:
    """Ask a person; everything but a yes is a no."""
    _refuse_without_terminal(consent)
    if consent.yes:
        return
    typer.echo(f"Delete {counted(number)}? [y/N] ", nl=False, err=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        typer.echo(err=True)
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        fail("stopped; nothing was deleted", ExitCode.STOPPED)


def _delete(context: typer.Context, keys: Sequence[int | str]) -> DeleteReport:
    job: DeleteJob | None = None

    async def act(junkie: JunkieClient) -> DeleteReport:
        nonlocal job
        with progress("Keys") as on_progress:
            job = junkie.keys.delete_many(keys, on_progress=on_progress)
            return await job

    def stopped() -> str:
        return f"stopped: {job.report.deleted if job else 0:,} of {counted(len(keys))} are deleted"

    return run(context, act, stopped=stopped)


def _tell(report: DeleteReport, view: ViewOptions) -> None:
    if view.json:
        print_json(report)
        return
    missing = f"; {report.missing:,} not there" if report.missing else ""
    say(f"{counted(report.deleted)} deleted{missing}")


async def _gather(junkie: JunkieClient, filters: FilterOptions) -> "array[int]":
    """Walk into the IDs alone, 8 bytes each."""
    ids = array("q")
    with progress("Keys found") as on_progress:
        async with aclosing(junkie.keys.list(strict=True, **filters.given()).pages()) as pages:
            async for page in pages:
                ids.extend(key.id for key in page.keys)
                on_progress(len(ids), page.pagination.total)
    return ids


async def _show_those_there(
    junkie: JunkieClient, references: Sequence[int | str], view: ViewOptions
) -> int:
    writer, found = key_writer(view), 0
    async with aclosing(_those_there(junkie, references)) as parts:
        async for keys in parts:
            await write(writer, keys)
            found += len(keys)
    return found


async def _those_there(
    junkie: JunkieClient, references: Sequence[int | str]
) -> AsyncGenerator[Sequence[Key], None]:
    async def look_up(reference: int | str) -> Key | None:
        try:
            return await junkie.keys.get(reference)
        except NotFoundError:
            return None

    seen: set[int] = set()  # one may be given by its value and its ID
    for at in range(0, len(references), _AT_ONCE):
        found = await asyncio.gather(*map(look_up, references[at : at + _AT_ONCE]))
        fresh = {key.id: key for key in found if key is not None and key.id not in seen}
        seen |= fresh.keys()
        yield list(fresh.values())
