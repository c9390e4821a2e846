"""`junkie keys delete` and `purge`: count, ask, delete."""

import asyncio
import contextlib
import sys
from array import array
from collections.abc import Sequence
from typing import Annotated

import attrs
import typer

from ... import DeleteJob, DeleteReport, Filters, JunkieClient, Key, NotFoundError
from .._client import run_with_client
from .._exits import ExitCode, fail
from .._key_arguments import ManyKeys, suggest_id
from .._key_output import make_key_writer
from .._options import ViewOptions, spread_options
from .._progress import show_progress
from .._stdout import format_key_count, print_json, print_line
from .list import show_keys

_LOOKUP_SIZE = 100  # keys that a dry run looks up and prints together


@attrs.frozen(kw_only=True)
class ConfirmOptions:
    """Whether to delete, and whether to ask first."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted; delete nothing.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False


@spread_options
def delete(
    context: typer.Context, *, keys: ManyKeys, confirm: ConfirmOptions, view: ViewOptions
) -> None:
    """Delete keys by their values or IDs.

    Asks first; --yes skips the question, and --dry-run only shows and counts the keys. The exit
    code is 1 when none of the keys existed, and 5 when some did not.
    """
    references = keys.read_references()
    if confirm.dry_run:
        found = run_with_client(context, lambda junkie: _show_existing(junkie, references, view))
        _print_dry_run(found, f"; {len(references) - found:,} not found")
        if found < len(references):
            _suggest_ids(references)
        return
    _ask_user(len(references), confirm)
    report = _delete_keys(context, references, view)
    if report.missing:
        _suggest_ids(references)
        raise typer.Exit(ExitCode.PARTLY if report.deleted else ExitCode.NEGATIVE)


@spread_options
def purge(
    context: typer.Context,
    *,
    filters: Filters,
    everything: Annotated[bool, typer.Option("--everything", help="Delete every key.")] = False,
    confirm: ConfirmOptions,
    view: ViewOptions,
) -> None:
    """Delete every key that matches the filters.

    For example `junkie keys purge --status expired`. The matching keys are counted, and you are
    asked before they are deleted; --yes skips the question, and --dry-run only shows and counts
    the keys. Keys that begin to match after the count are not deleted.
    """
    if bool(filters) == everything:
        fail("purge needs either a filter or --everything")
    if confirm.dry_run:
        _, found = run_with_client(context, lambda junkie: show_keys(junkie, filters, view))
        _print_dry_run(found)
        return
    # Before the walk: a script without --yes should fail in an instant.
    _require_answer(confirm)
    ids = run_with_client(context, lambda junkie: _collect_ids(junkie, filters))
    if ids:
        _ask_user(len(ids), confirm)
    # The job takes the counted IDs, not the filters, so that it deletes no other keys.
    _delete_keys(context, ids, view)


def _suggest_ids(references: Sequence[int | str]) -> None:
    """Say how to name keys by their IDs, if a value looks like one."""
    hints = filter(None, map(suggest_id, references))
    if (hint := next(hints, None)) is not None:
        typer.echo(f"Note: {hint}", err=True)


def _print_dry_run(found: int, not_found: str = "") -> None:
    typer.echo(f"{format_key_count(found)} would be deleted{not_found}", err=True)


def _require_answer(confirm: ConfirmOptions) -> None:
    if not confirm.yes and not sys.stdin.isatty():
        fail("stdin is not a terminal: pass --yes to delete without a question, or --dry-run")


def _ask_user(keys: int, confirm: ConfirmOptions) -> None:
    """Ask before keys are deleted; every answer but "y" or "yes" means no."""
    _require_answer(confirm)
    if confirm.yes:
        return
    _discard_typed_ahead()
    # Not `typer.confirm`, which asks again after "maybe" and after the end of the input.
    typer.echo(f"Delete {format_key_count(keys)}? [y/N] ", nl=False, err=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        typer.echo(err=True)
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        fail("stopped; nothing was deleted", ExitCode.STOPPED)


def _discard_typed_ahead() -> None:
    """Discard what was typed before the question: it can't be an answer to it."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        with contextlib.suppress(OSError, termios.error):  # stdin is a stand-in without a terminal
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _delete_keys(
    context: typer.Context, keys: Sequence[int | str], view: ViewOptions
) -> DeleteReport:
    job: DeleteJob | None = None

    async def run_job(junkie: JunkieClient) -> DeleteReport:
        nonlocal job
        with show_progress("Keys") as on_progress:
            # Kept for `describe_stop`: after Ctrl-C its report still counts the deleted keys.
            job = junkie.keys.delete_many(keys, on_progress=on_progress)
            return await job

    def describe_stop() -> str:
        deleted = 0 if job is None else job.report.deleted
        return f"stopped: {deleted:,} of {format_key_count(len(keys))} deleted"

    report = run_with_client(context, run_job, describe_stop=describe_stop)
    missing = f"; {report.missing:,} not found" if report.missing else ""
    if view.json:
        print_json(report)
    else:
        print_line(f"{format_key_count(report.deleted)} deleted{missing}")
    return report


async def _collect_ids(junkie: JunkieClient, filters: Filters) -> "array[int]":
    """Collect the IDs of the matching keys, in 8 bytes each: a million keys take 8 MB."""
    ids = array("q")
    with show_progress("Keys found") as on_progress:
        # strict: a list that changes during the walk must not lead to a wrong count.
        async with contextlib.aclosing(junkie.keys.list(strict=True, **filters).pages()) as pages:
            async for page in pages:
                ids.extend(key.id for key in page.keys)
                on_progress(len(ids), page.pagination.total)
    return ids


async def _show_existing(
    junkie: JunkieClient, references: Sequence[int | str], view: ViewOptions
) -> int:
    async def look_up(reference: int | str) -> Key | None:
        try:
            return await junkie.keys.get(reference)
        except NotFoundError:
            return None

    write_keys = make_key_writer(view)
    seen: set[int] = set()  # the same key may be given by its value and by its ID
    for start in range(0, len(references), _LOOKUP_SIZE):
        found = await asyncio.gather(*map(look_up, references[start : start + _LOOKUP_SIZE]))
        fresh = {key.id: key for key in found if key is not None and key.id not in seen}
        seen |= fresh.keys()
        await write_keys(list(fresh.values()))
    return len(seen)
