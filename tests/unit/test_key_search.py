"""`KeySearch` over lists that change while they are read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from junkie_async import (
    DriftError,
    InvalidResponseError,
    Key,
    KeyPage,
    NotFoundError,
    Outcome,
    Pagination,
)
from junkie_async._jobs.key_search import KeySearch
from junkie_async._pagination.list_pass import PendingPage

from .clock import run
from .scripted import now

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


class _ShrinkingList(_ChangingList):
    """A key is deleted before the third page, so that one moves to the second page."""

    async def change(self, page: int) -> None:
        """Delete a key."""
        if page == 3 and page not in self.served:
            del self.keys[50]


class _AlwaysTornList(_ChangingList):
    """Each walk looks again at the second page just when another key was created."""

    async def change(self, page: int) -> None:
        """Delete a key whenever the third page comes after the second, and create one after it."""
        if page == 3 and self.served[-1] == 2:
            del self.keys[50]
        elif page == 2 and self.served[-1] == 3:
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


def test_a_key_that_moves_to_an_earlier_page_is_found_at_once() -> None:
    """The walk looks again at the page before. Another one confirms it, without a pause."""
    pages = _ShrinkingList(900, ours=(0, 200))

    async def find() -> tuple[int, float]:
        return await pages.find(), now()

    found, ended = run(find())
    assert (found, round(ended - 1000, 3)) == (2, 0)
    assert pages.served == [1, 1, 2, 3, 3, 2, *range(4, 10), *range(1, 8)]


async def test_a_key_that_leaves_the_last_page_of_a_search_is_found() -> None:
    """The page where the search could end has a lower total: the page before comes first."""
    pages = _ShrinkingList(900, ours=(0, 200))
    assert await pages.find(since=_BEGIN + timedelta(seconds=650)) == 2


def test_a_list_that_others_keep_changing_is_read_again_later() -> None:
    """Each walk is followed by a longer pause than the one before it, 20 s in all."""
    pages = _AlwaysTornList(900, ours=(0, 200))

    async def find() -> float:
        with pytest.raises(DriftError):
            await pages.find()
        return now()

    assert 20 < run(find()) - 1000 < 21


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


_NEWEST_FIRST = [_make_key(900 - at, "ours" if at < 150 else "theirs") for at in range(900)]
_OLDEST_FIRST = _NEWEST_FIRST[::-1]


class _FixedList:
    """A list that nobody changes, and what a service may state of it."""

    def __init__(self, keys: Sequence[Key], beyond: str = "empty", lags: int = 0) -> None:
        self.keys = [*keys]
        self.beyond = beyond
        self.lags = lags  # keys that the first response does not state yet
        self.states_totals = True
        self.states_limits = True
        self.size = 100  # of a page, at most
        self.served: list[int] = []

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Serve a page; those beyond the last one as the service at hand does."""
        self.served.append(page)
        limit = min(limit, self.size)
        last = -(-len(self.keys) // limit)
        if page > last and self.beyond == "404":
            raise NotFoundError("no such page", status=404, outcome=Outcome.NOT_EXECUTED)
        at = last if page > last and self.beyond == "last" else page
        total = len(self.keys) - (self.lags if len(self.served) == 1 else 0)
        stated = Pagination(
            page=at,
            limit=limit if self.states_limits else None,
            total=total if self.states_totals else None,
        )
        keys = tuple(self.keys[(at - 1) * limit : at * limit])

        async def decode() -> KeyPage:
            return KeyPage(keys=keys, pagination=stated)

        return decode

    async def find(
        self,
        since: datetime | None = _BEGIN + timedelta(seconds=750),
        is_plausible: Callable[[Collection[Key]], bool] = bool,
    ) -> set[int]:
        """Search it for our keys; return their IDs."""
        search = KeySearch(
            fetch=self.fetch,
            is_wanted=lambda key: key.key_name == "ours",
            since=since,
            is_plausible=is_plausible,
        )
        return {key.id for key in await search.find()}


_OURS = {*range(751, 901)}


async def test_the_newest_keys_come_first() -> None:
    """The search ends with the first page whose last key is from before the job."""
    pages = _FixedList(_NEWEST_FIRST)
    assert await pages.find() == _OURS
    assert pages.served == [1, 1, 2]


async def test_the_last_key_of_a_page_is_the_first_from_before_the_job() -> None:
    """No other page is read, from either end of the list. One of that very moment is not."""
    newest, oldest = _FixedList(_NEWEST_FIRST), _FixedList(_OLDEST_FIRST)
    since = _BEGIN + timedelta(seconds=802)
    assert await newest.find(since) == await oldest.find(since) == {*range(801, 901)}
    assert (newest.served, oldest.served) == ([1, 1], [1, 10, 9])
    newest.served.clear()
    assert await newest.find(_BEGIN + timedelta(seconds=801)) == _OURS
    assert newest.served == [1, 1, 2]


@pytest.mark.parametrize(
    ("since", "is_plausible"),
    [(None, bool), (_BEGIN + timedelta(seconds=750), lambda _: False), (_BEGIN, bool)],
)
async def test_it_is_not_known_where_the_job_began(
    since: datetime | None, is_plausible: Callable[[Collection[Key]], bool]
) -> None:
    """Without that moment, or with one that is not plausible, or none so old, all are read once."""
    pages = _FixedList(_NEWEST_FIRST)
    assert await pages.find(since, is_plausible) == _OURS
    assert [*dict.fromkeys(pages.served)] == [*range(1, 11)]
    backwards = _FixedList(_OLDEST_FIRST)
    assert await backwards.find(since, is_plausible) == _OURS
    assert backwards.served == [1, 10, *range(9, 0, -1)]


@pytest.mark.parametrize("beyond", ["empty", "404", "last"])
@pytest.mark.parametrize("amount", [900, 850])
async def test_the_newest_keys_come_last(beyond: str, amount: int) -> None:
    """The list is read backwards, whatever the service does with pages beyond the last one."""
    pages = _FixedList(_OLDEST_FIRST[900 - amount :], beyond)
    assert await pages.find() == _OURS
    assert pages.served == [1, 10, 9, 8] + [7] * (amount == 850)


async def test_the_newest_keys_come_last_and_page_sizes_are_not_stated() -> None:
    """A page is as large as the first one."""
    pages = _FixedList(_OLDEST_FIRST)
    pages.states_limits = False
    assert await pages.find() == _OURS
    assert pages.served == [1, 10, 9, 8]


async def test_the_newest_keys_come_last_on_smaller_pages() -> None:
    """A service may grant fewer keys than are requested."""
    pages = _FixedList(_OLDEST_FIRST)
    pages.size = 50
    assert await pages.find() == _OURS
    assert pages.served == [1, 19, 18, 17, 16, 15]


class _CutList(_FixedList):
    """Its last pages are deleted once the search has found them."""

    left = 0

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Delete them before the third request."""
        if len(self.served) == 2:
            del self.keys[self.left :]
        return await super().fetch(page, limit)


@pytest.mark.parametrize("empty_pages", [1, 10, 11])
async def test_the_newest_keys_come_last_and_are_deleted(empty_pages: int) -> None:
    """Empty pages are passed, up to ten: then the list is read forwards instead."""
    keys = [_make_key(number) for number in range(1, 2001)]
    pages = _CutList(keys)
    pages.left = 2000 - 100 * empty_pages
    ours = range(pages.left - 49, pages.left + 1)
    pages.keys = [attrs.evolve(key, key_name="ours") if key.id in ours else key for key in keys]
    found = await pages.find(_BEGIN + timedelta(seconds=pages.left - 150))
    assert found == {*ours}
    if empty_pages > 10:
        assert pages.served[:15] == [1, 21, *range(20, 9, -1), 1, 2]
    else:
        assert pages.served == [1, 21, *range(20, 18 - empty_pages, -1)]


async def test_the_newest_keys_come_last_in_a_list_that_grows() -> None:
    """What the first page stated is less than there is: the end is looked for."""
    pages = _FixedList(_OLDEST_FIRST, lags=250)
    assert await pages.find() == _OURS
    assert pages.served == [1, 8, 9, 10, 9, 8]


async def test_the_end_is_far_from_what_was_stated() -> None:
    """After ten pages more than stated the list is read forwards instead."""
    keys = [_make_key(number, "ours" if number > 2950 else "theirs") for number in range(1, 3001)]
    pages = _FixedList(keys, lags=2500)
    assert await pages.find(_BEGIN + timedelta(seconds=2900)) == {*range(2951, 3001)}
    assert pages.served[:12] == [1, *range(6, 16), 1]


@pytest.mark.parametrize("seed", range(3))
async def test_keys_in_no_order(seed: int) -> None:
    """A second walk has to find the same keys, for any of them may be anywhere."""
    keys = [*_NEWEST_FIRST]
    random.Random(seed).shuffle(keys)
    pages = _FixedList(keys)
    assert await pages.find() == _OURS
    assert pages.served.count(5) == 2


@pytest.mark.parametrize("keys", [_NEWEST_FIRST, _OLDEST_FIRST])
async def test_a_list_without_totals(keys: Sequence[Key]) -> None:
    """Nothing shows whether it has changed: it is walked until nothing new comes."""
    pages = _FixedList(keys)
    pages.states_totals = False
    assert await pages.find() == _OURS
    assert pages.served.count(5) == 2


@pytest.mark.parametrize(("amount", "walks"), [(50, 1), (150, 2)])
async def test_one_page_in_no_order(amount: int, walks: int) -> None:
    """It is enough to walk it once, unlike more of them."""
    keys = [*_NEWEST_FIRST[:amount]]
    random.Random(1).shuffle(keys)
    pages = _FixedList(keys)
    assert len(await pages.find()) == amount
    assert pages.served.count(1) == 1 + walks  # the first one was to see the order


class _OddList(_FixedList):
    """It has one empty page, as where a filter is applied to pages, and may cap its totals."""

    empty_page = 0
    cap: int | None = None

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Serve a page."""
        decode = await super().fetch(page, limit)

        async def decode_oddly() -> KeyPage:
            found = await decode()
            keys = () if page == self.empty_page else found.keys
            stated = attrs.evolve(found.pagination, total=self.cap)
            return attrs.evolve(found, keys=keys, pagination=stated)

        return decode_oddly


async def test_an_empty_page_amid_a_list_is_not_its_end() -> None:
    """Nothing is stated, so that only a row of empty pages is the end."""
    pages = _OddList(_NEWEST_FIRST)
    pages.empty_page = 1
    assert await pages.find(None) == {*range(751, 801)}


async def test_the_newest_keys_come_last_and_one_page_lacks_them() -> None:
    """What is stated does not lead to the end: keys may be missing."""
    pages = _OddList(_OLDEST_FIRST)
    pages.empty_page, pages.cap = 9, 900
    with pytest.raises(InvalidResponseError):
        await pages.find(None)


async def test_a_list_with_more_keys_than_it_states_is_refused() -> None:
    """The walk goes on beyond the stated end, and does not take it for the end."""
    keys = [_make_key(number) for number in range(1500)]
    random.Random(1).shuffle(keys)
    pages = _OddList(keys)
    pages.cap = 1200
    with pytest.raises(InvalidResponseError):
        await pages.find(None)


@pytest.mark.parametrize("keys", [_NEWEST_FIRST, _OLDEST_FIRST])
async def test_dates_that_say_nothing_of_the_order(keys: Sequence[Key]) -> None:
    """Without dates, or with some, or with the same for all keys, the IDs show it."""
    for step in (1, 2):
        undated = _FixedList(
            [attrs.evolve(key, created_at=None) if key.id % step == 0 else key for key in keys]
        )
        assert await undated.find(None) == _OURS
        assert undated.served.count(5) == 1
    same = _FixedList([attrs.evolve(key, created_at=_BEGIN) for key in keys])
    assert await same.find(None) == _OURS
    assert same.served.count(5) == 1


async def test_dates_that_contradict_the_ids() -> None:
    """Then nothing is known of the order."""
    keys = [
        attrs.evolve(key, created_at=_make_key(901 - key.id).created_at) for key in _NEWEST_FIRST
    ]
    pages = _FixedList(keys)
    assert await pages.find() == _OURS
    assert pages.served.count(5) == 2


@pytest.mark.parametrize("amount", [0, 1, 50, 100])
async def test_one_page(amount: int) -> None:
    """It is enough to read it once, in whichever order it is."""
    for keys in (_NEWEST_FIRST[:amount], _NEWEST_FIRST[:amount][::-1]):
        pages = _FixedList(keys)
        assert len(await pages.find()) == amount
        assert pages.served.count(1) == 2


class _GrowingList(_FixedList):
    """Each walk meets another key of ours where the one before it has passed."""

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Add a key before the list is read once more."""
        if page == 1:
            key = _make_key(1000 + len(self.served), "ours")
            self.keys.insert(random.Random(page).randrange(100), key)
        return await super().fetch(page, limit)


async def test_keys_that_never_come_to_an_end() -> None:
    """After ten walks the search says that others are to blame."""
    keys = [*_NEWEST_FIRST[:300]]
    random.Random(1).shuffle(keys)
    pages = _GrowingList(keys)
    with pytest.raises(DriftError):
        await pages.find()
    assert pages.served.count(2) == 10
