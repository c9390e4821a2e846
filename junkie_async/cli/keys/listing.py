"""`junkie keys list` and `junkie keys count`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

import typer

from ... import JunkieClient, Key, KeyPager, KeyStatus
from .._client import run
from .._options import FilterOptions, JSONOption, ViewOptions, spread
from .._output import fail, say
from .._view import is_table, key_writer, print_json, print_table, write

_PAGE = 100
_SCREEN = 100
"""Keys that a terminal shows unless it is asked for more."""


@spread
def list_keys(
    context: typer.Context,
    *,
    filters: FilterOptions,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many keys in all.  [default: all; 100 in a table]"
        ),
    ] = None,
    view: ViewOptions,
) -> None:
    """List keys, all of them or those that the filters leave.

    In a terminal they are a table; elsewhere each is a line, with tabs between its ID, value,
    status, expiry, devices, Discord ID and name. --json has all fields. Key values are masked,
    unless --show-values is given. Any number of keys will do: they are printed as they come.
    """
    shown, total = run(context, lambda junkie: show_keys(junkie, filters, view, limit))
    if not is_table(view):
        return
    if not shown:
        typer.echo("There are no such keys.", err=True)
    elif limit is None and shown < total:
        typer.echo(f"{shown:,} of {total:,} keys are shown; --limit shows more", err=True)


@spread
def count(
    context: typer.Context,
    *,
    filters: FilterOptions,
    by_status: Annotated[
        bool, typer.Option("--by-status", help="Count each status by itself.")
    ] = False,
    output: JSONOption,
) -> None:
    """Count keys, all of them or those that the filters leave."""
    if by_status and filters.status is not None:
        fail("--by-status and --status contradict each other")
    counts = run(context, lambda junkie: _count(junkie, filters, by_status=by_status))
    if output.json:
        for status, number in counts.items():
            print_json({"status": status, "count": number} if status else {"count": number})
    elif by_status:
        rows = [(str(status), str(number)) for status, number in counts.items()]
        print_table(("Status", "Keys"), rows)
    else:
        say(str(counts[None]))


async def show_keys(
    junkie: JunkieClient, filters: FilterOptions, view: ViewOptions, limit: int | None = None
) -> tuple[int, int]:
    """Print keys as they come: all, or up to a limit, which a table has in any case.

    Returns:
        How many were printed, and how many there are, as far as the service tells.
    """
    most = limit or (_SCREEN if is_table(view) else None)
    pager = junkie.keys.list(limit=min(most or _PAGE, _PAGE), **filters.given())
    writer, shown, total = key_writer(view), 0, 0
    async with aclosing(_parts(pager, most)) as parts:
        async for keys, stated in parts:
            await write(writer, keys)
            shown += len(keys)
            total = max(shown, stated or 0)
    return shown, total


async def _parts(
    pager: KeyPager, most: int | None
) -> AsyncGenerator[tuple[Sequence[Key], int | None], None]:
    left = most
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            keys = page.keys[:left]
            if keys:
                yield keys, page.pagination.total
            if left is not None and (left := left - len(keys)) <= 0:
                return


async def _count(
    junkie: JunkieClient, filters: FilterOptions, *, by_status: bool
) -> dict[KeyStatus | None, int]:
    given = filters.given()
    if not by_status:
        return {None: await junkie.keys.list(**given).count()}
    counts = await asyncio.gather(
        *(junkie.keys.list(**{**given, "status": status}).count() for status in KeyStatus)
    )
    return dict(zip(KeyStatus, counts, strict=True))
