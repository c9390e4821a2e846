"""`KeySearch` over lists that change while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from junkie_async import Key, KeyPage, Pagination
from junkie_async._jobs.key_search import KeySearch
from junkie_async._pagination.list_pass import PendingPage

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _make_key(number: int, name: str = "theirs") -> Key:
    created_at = _BEGIN + timedelta(seconds=number)
    return Key(id=number, key_value=f"K{number}", key_name=name, created_at=created_at)


class _ChangingList:
    """A list with the newest keys first, whose later pages are served before an earlier one.

    In between, somebody creates a key and somebody deletes the oldest one: the total stays the
    same, and the last key of the earlier page moves to the next one.
    """

    def __init__(self, amount: int, *, ours: Collection[int], slow_page: int) -> None:
        names = ["ours" if at in ours else "theirs" for at in range(amount)]
        self.keys = [_make_key(amount - at, name) for at, name in enumerate(names)]
        self._slow_page = slow_page
        self.requested: set[int] = set()
        self.served: list[int] = []

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Serve a page, the slow one after all pages that are requested beside it."""
        self.requested.add(page)
        if page == self._slow_page and page not in self.served:
            for _ in range(20):  # of the event loop's turns, in which others request and serve
                await asyncio.sleep(0)
            self.keys = [_make_key(self.keys[0].id + 1), *self.keys[:-1]]
        self.served.append(page)
        keys = tuple(self.keys[(page - 1) * limit : page * limit])
        stated = Pagination(page=page, limit=limit, total=len(self.keys))

        async def decode() -> KeyPage:
            return KeyPage(keys=keys, pagination=stated)

        return decode


async def test_a_key_that_moves_to_the_next_page_is_not_missed() -> None:
    """Since no page is served before the one before it: the totals would not show the change."""
    pages = _ChangingList(900, ours=(0, 299), slow_page=3)  # its last key moves
    search = KeySearch(
        fetch=pages.fetch,
        is_wanted=lambda key: key.key_name == "ours",
        since=_BEGIN + timedelta(seconds=250),  # so the walk ends before the end of the list
        is_plausible=bool,
    )
    assert len(await search.find()) == 2
    assert pages.served == sorted(pages.served)
