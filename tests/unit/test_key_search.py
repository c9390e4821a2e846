"""`KeySearch` over lists that change while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from junkie_async import InvalidResponseError, Key, KeyPage, Pagination
from junkie_async._jobs.key_search import KeySearch
from junkie_async._pagination.list_pass import PendingPage

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _make_key(number: int, name: str = "theirs") -> Key:
    created_at = _BEGIN + timedelta(seconds=number)
    return Key(id=number, key_value=f"K{number}", key_name=name, created_at=created_at)


class _ChangingList:
    """A list with the newest keys first, which others change while it is read."""

    def __init__(self, amount: int, *, ours: Collection[int]) -> None:
        names = ["ours" if at in ours else "theirs" for at in range(amount)]
        self.keys = [_make_key(amount - at, name) for at, name in enumerate(names)]
        self.served: list[int] = []

    async def change(self, page: int) -> None:
        """Change the list just before a page is served."""
        raise NotImplementedError

    def create(self) -> None:
        """Let somebody create a key."""
        self.keys.insert(0, _make_key(self.keys[0].id + 1))

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Serve a page."""
        await self.change(page)
        self.served.append(page)
        keys = tuple(self.keys[(page - 1) * limit : page * limit])
        stated = Pagination(page=page, limit=limit, total=len(self.keys))

        async def decode() -> KeyPage:
            return KeyPage(keys=keys, pagination=stated)

        return decode

    async def find(self, since: datetime | None = _BEGIN + timedelta(seconds=250)) -> int:
        """Search it for our keys that were created since then; return how many were found."""
        search = KeySearch(
            fetch=self.fetch,
            is_wanted=lambda key: key.key_name == "ours",
            since=since,
            is_plausible=bool,
        )
        return len(await search.find())


class _UnorderedList(_ChangingList):
    """Its third page is served after all those that are requested beside it.

    In between, somebody creates a key and somebody deletes the oldest one: the total stays the
    same, and the last key of the third page moves to the next one.
    """

    async def change(self, page: int) -> None:
        """Let others go first."""
        if page == 3 and page not in self.served:
            for _ in range(20):  # of the event loop's turns, in which others request and serve
                await asyncio.sleep(0)
            self.create()
            del self.keys[-1]


class _TornList(_ChangingList):
    """A key moves to the second page when that was read, and back when it is looked at again."""

    async def change(self, page: int) -> None:
        """Delete a key before the third page, and create one before the second one comes again."""
        if page == 3 and page not in self.served:
            del self.keys[50]
        if page == 2 and 3 in self.served and 2 not in self.served[self.served.index(3) :]:
            self.create()


class _ShortList(_ChangingList):
    """It has one key twice, and so one less than it states."""

    async def change(self, page: int) -> None:
        """Repeat a key."""
        self.keys[400] = self.keys[399]


async def test_a_key_that_moves_to_the_next_page_is_not_missed() -> None:
    """Since no page is served before the one before it: the totals would not show the change."""
    pages = _UnorderedList(900, ours=(0, 299))
    assert await pages.find() == 2
    assert pages.served == sorted(pages.served)


async def test_a_key_that_moves_back_and_forth_is_not_missed() -> None:
    """Since the list is read again from its beginning, as the totals show that change."""
    pages = _TornList(900, ours=(0, 200))
    assert await pages.find() == 2


async def test_a_list_that_changes_without_a_change_of_its_total_is_read_again() -> None:
    """It has fewer keys than it states, since the walk has not seen the one that was created."""
    pages = _UnorderedList(700, ours=(0, 299))
    assert await pages.find(since=None) == 2


async def test_a_list_that_lacks_keys_is_refused() -> None:
    """Each walk over it finds fewer keys than it states."""
    pages = _ShortList(700, ours=(0, 299))
    with pytest.raises(InvalidResponseError):
        await pages.find(since=None)
    assert pages.served.count(5) == 2
