"""`junkie keys list` and `count`."""

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated

import typer

from ... import Filters, JunkieClient, KeyStatus
from .._client import run_with_client
from .._exits import fail
from .._key_output import make_key_writer, shows_table
from .._options import JSONOption, ViewOptions, spread_options
from .._stdout import print_json, print_line, print_table

_PAGE_SIZE = 100
_TABLE_LIMIT = 100  # a few screens; --limit shows more


@spread_options
def list_keys(
    context: typer.Context,
    *,
    filters: Filters,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Maximum number of keys.  [default: all; 100 in a table]"
        ),
    ] = None,
    view: ViewOptions,
) -> None:
    """List all keys, or those that match the filters.

    A terminal gets a table. Elsewhere each key is a line of tab-separated ID, value, status,
    expiry, devices, Discord ID and name; --json prints all fields. Key values are masked unless
    --show-values is given. Keys are printed as their pages arrive, in flat memory.
    """
    shown, total = run_with_client(context, lambda junkie: show_keys(junkie, filters, view, limit))
    if not shows_table(view):
        return
    if not shown:
        typer.echo("No keys match.", err=True)
    elif limit is None and shown < total:
        typer.echo(f"{shown:,} of {total:,} keys shown; --limit shows more", err=True)


@spread_options
def count(
    context: typer.Context,
    *,
    filters: Filters,
    by_status: Annotated[
        bool, typer.Option("--by-status", help="Count each status separately.")
    ] = False,
    output: JSONOption,
) -> None:
    """Count all keys, or those that match the filters."""
    if by_status and "status" in filters:
        fail("--by-status and --status can't be combined")
    counts = run_with_client(
        context, lambda junkie: _count_keys(junkie, filters, by_status=by_status)
    )
    if output.json:
        for status, number in counts.items():
            print_json({"status": status, "count": number} if status else {"count": number})
    elif by_status:
        rows = [(str(status), str(number)) for status, number in counts.items()]
        print_table(("Status", "Keys"), rows)
    else:
        print_line(str(counts[None]))


async def show_keys(
    junkie: JunkieClient, filters: Filters, view: ViewOptions, limit: int | None = None
) -> tuple[int, int]:
    """Print keys as their pages arrive, and return how many were printed and how many there are.

    A table always has a limit. The second number is the service's, which may be wrong.
    """
    most = limit or (_TABLE_LIMIT if shows_table(view) else sys.maxsize)
    # `--limit 7` requests one page of 7, not one of 100.
    pager = junkie.keys.list(limit=min(most, _PAGE_SIZE), **filters)
    write_keys, shown, total = make_key_writer(view), 0, 0
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            keys = page.keys[: most - shown]
            if keys:
                await write_keys(keys)
            shown += len(keys)
            # The total may be missing, or older than the last page.
            total = max(shown, page.pagination.total or 0)
            if shown == most:  # before the next page is requested, not after
                break
    return shown, total


async def _count_keys(
    junkie: JunkieClient, filters: Filters, *, by_status: bool
) -> dict[KeyStatus | None, int]:
    if not by_status:
        return {None: await junkie.keys.list(**filters).count()}
    counts = await asyncio.gather(
        *(junkie.keys.list(**(filters | {"status": status})).count() for status in KeyStatus)
    )
    return dict(zip(KeyStatus, counts, strict=True))
