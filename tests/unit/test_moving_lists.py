"""Walks over lists whose keys move while they are read: none is missed, and none is given twice."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    Drift,
    InvalidResponseError,
    Key,
    KeyPage,
    KeyPager,
    Pagination,
    ServerError,
)
from junkie_async._pagination.pager import complete_pages

from .lying_service import Lie, LyingService
from .pages import as_pending


@functools.cache
def make_key(key_id: int) -> Key:
    """Make each key once."""
    return Key(id=key_id, key_value=f"K{key_id}")


class Moving:
    """A list in memory. `wait` comes before and after a page is read, `change` just before."""

    def __init__(self, ids: list[int], *, stated: bool = True) -> None:
        self.ids = ids
        self.requests: list[int] = []
        self.change: Callable[[], None] = lambda: None
        self.dice = random.Random(0)
        self._stated = stated

    async def fetch(self, page: int, limit: int) -> KeyPage:
        """Read a page at a random moment between its request and its response."""
        self.requests.append(page)
        await self._wait()
        self.change()
        total = len(self.ids)
        ids = self.ids[(page - 1) * limit : page * limit]
        stated = Pagination(page=page, limit=limit, total=total, total_pages=-(-total // limit))
        await self._wait()
        return KeyPage(
            keys=tuple(map(make_key, ids)), pagination=stated if self._stated else Pagination()
        )

    def pager(self, *, limit: int = 100, prefetch: int = 4, strict: bool = False) -> KeyPager:
        """Make a pager over it."""
        return KeyPager(as_pending(self.fetch), limit=limit, prefetch=prefetch, strict=strict)

    async def _wait(self) -> None:
        for _ in range(self.dice.randrange(5)):
            await asyncio.sleep(0)


async def _read(pager: KeyPager) -> list[int]:
    found = [key.id async for key in pager]
    assert len(found) == len(set(found))
    return found


_PREFETCH = pytest.mark.parametrize("prefetch", [1, 4, 16])
_ORDER = pytest.mark.parametrize("newest_first", [True, False], ids=["newest", "oldest"])


@pytest.mark.parametrize("how", ["delete", "invalidate"])
@_PREFETCH
@_ORDER
async def test_a_loop_may_delete_or_change_what_it_walks_over(
    how: str, prefetch: int, newest_first: bool
) -> None:
    """Each key leaves the list while it is walked: all are seen, none twice."""
    amount = 1100
    service = LyingService(Lie(), amount, newest_first=newest_first)
    for row in service.rows.values():
        row["is_invalidated"] = False
    keys, found = service.keys, list[int]()
    async for key in keys.list(status="active", prefetch=prefetch):
        found.append(key.id)
        await (keys.delete(key) if how == "delete" else keys.invalidate(key))
    assert sorted(found) == list(range(1, amount + 1))
    # Pages that were fetched ahead are in vain; each page of keys is fetched about once.
    assert service.lists <= 3 * (amount // 100 + 1) + 2 * prefetch


@_PREFETCH
@_ORDER
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
async def test_a_loop_may_take_20_000_keys_out_of_its_list(
    share: float, prefetch: int, newest_first: bool
) -> None:
    """All of them, or a share: for a filtered list it is the same to change or to delete a key."""
    rows = dict.fromkeys(range(20_000)[:: -1 if newest_first else 1])
    moving = Moving([])
    moving.change = lambda: moving.ids.__setitem__(slice(None), rows)
    found: list[int] = []
    async for key in moving.pager(prefetch=prefetch):
        found.append(key.id)
        if moving.dice.random() < share:
            del rows[key.id]
    assert len(found) == len(set(found)) == 20_000
    assert len(moving.requests) <= 5 * 200


async def test_a_condition_in_delete_many() -> None:
    """The form that people write: what matches is deleted, all of it."""
    service = LyingService(Lie(), 5000)
    keys = service.keys
    report = await keys.delete_many(k async for k in keys.list() if not k.is_invalidated)
    assert (report.requested, report.deleted) == (2500, 2500)
    assert all(row["is_invalidated"] for row in service.rows.values())


async def _walk_while(
    seed: int, amount: int, limit: int, prefetch: int, change: Callable[[Moving], None]
) -> tuple[set[int], list[int], Drift]:
    """Walk at random moments; return the IDs that were there throughout, those found, the drift."""
    moving = Moving(list(range(1000, 1000 + amount)))
    moving.dice.seed(seed)
    if seed % 2:
        moving.ids.reverse()
    before = set(moving.ids)
    moving.change = lambda: change(moving)
    pager = moving.pager(limit=limit, prefetch=prefetch)
    found = await _read(pager)
    return before & set(moving.ids), found, pager.drift


_WALKS = given(
    seed=st.integers(0, 2**32),
    amount=st.integers(0, 300),
    limit=st.sampled_from([3, 7, 10, 50]),
    prefetch=st.sampled_from([1, 2, 4, 16]),
    most=st.sampled_from([1, 5, 40]),
)


@_WALKS
async def test_deletions_hide_no_key(
    seed: int, amount: int, limit: int, prefetch: int, most: int
) -> None:
    """At the front, at the back and amid, and pages are read out of order."""

    def delete(moving: Moving) -> None:
        for _ in range(moving.dice.choice([0, 0, moving.dice.randint(1, most)])):
            if moving.ids:
                ends = (0, -1, moving.dice.randrange(len(moving.ids)))
                del moving.ids[moving.dice.choice(ends)]

    stayed, found, _ = await _walk_while(seed, amount, limit, prefetch, delete)
    assert stayed <= set(found)


@_WALKS
async def test_creations_hide_no_key(
    seed: int, amount: int, limit: int, prefetch: int, most: int
) -> None:
    """As many keys as the list had, anywhere."""
    newest = iter(range(10**6, 10**7))

    def create(moving: Moving) -> None:
        if len(moving.ids) < 2 * amount and moving.dice.random() < 0.4:
            for _ in range(moving.dice.randint(1, min(most, limit))):
                ends = (0, len(moving.ids), moving.dice.randrange(len(moving.ids) + 1))
                moving.ids.insert(moving.dice.choice(ends), next(newest))

    stayed, found, drift = await _walk_while(seed, amount, limit, prefetch, create)
    assert stayed <= set(found)
    assert not drift.contradictions


@_PREFETCH
async def test_creations_amid_a_second_look(prefetch: int) -> None:
    """Keys that are deleted once, and keys that are created while the walk looks again."""
    moving = Moving(list(range(3000)))
    newest = iter(range(10**6, 10**7))
    seen: set[int] = set()

    def change() -> None:
        if len(moving.requests) == 12:
            del moving.ids[:500]
        if 12 < len(moving.requests) < 20:
            moving.ids.insert(0, next(newest))

    moving.change = change
    seen.update(await _read(moving.pager(prefetch=prefetch)))
    assert set(range(1000, 3000)) <= seen


@_PREFETCH
@pytest.mark.parametrize("states_page", [True, False])
@pytest.mark.parametrize("created", [1, 99, 100, 101, 250, 1000])
async def test_creations_where_a_capped_total_ends(
    created: int, states_page: bool, prefetch: int
) -> None:
    """Keys that were pushed back to the page beyond the stated end are not its last page again."""
    moving = Moving(list(range(5000, 0, -1)))

    async def fetch(page: int, limit: int) -> KeyPage:
        if page == 11 and len(moving.ids) == 5000:
            moving.ids[:0] = range(5000 + created, 5000, -1)
        fetched = await moving.fetch(page, limit)
        number = page if states_page else None
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=number, total=1000))

    for complete in (False, True):
        moving.ids = list(range(5000, 0, -1))
        pager = KeyPager(as_pending(fetch), prefetch=prefetch)
        walk = complete_pages(pager) if complete else pager.pages()
        found = [key.id async for page in walk for key in page.keys]
        assert sorted(found)[:5000] == list(range(1, 5001))
        assert len(found) == len(set(found))
        assert pager.drift.contradictions


@pytest.mark.parametrize("total", [None, 1000])
@pytest.mark.parametrize("created", [30, 100, 130])
async def test_creations_as_fast_as_pages_are_read(created: int, total: int | None) -> None:
    """Page after page has only repeats. The newest keys show why, where totals do not."""
    moving = Moving(list(range(1500, 0, -1)))

    def create() -> None:
        if len(moving.requests) > 2 and len(moving.ids) < 6000:
            newest = len(moving.ids)
            moving.ids[:0] = range(newest + created, newest, -1)

    moving.change = create

    async def fetch(page: int, limit: int) -> KeyPage:
        fetched = await moving.fetch(page, limit)
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=total))

    assert {*range(1, 1501)} <= {*await _read(KeyPager(as_pending(fetch), prefetch=1))}


@pytest.mark.parametrize("rows", [100, 50])
@pytest.mark.parametrize(("first", "others"), [(None, None), (5000, 5000), (None, 5000)])
async def test_a_list_that_repeats_itself_is_endless(
    rows: int, first: int | None, others: int | None
) -> None:
    """It takes ten pages, and the first one once more."""
    moving = Moving(list(range(rows)))

    async def fetch(page: int, limit: int) -> KeyPage:
        fetched = await moving.fetch(1, limit)
        total = others if len(moving.requests) > 1 else first
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=total))

    with pytest.raises(InvalidResponseError, match="endless"):
        await _read(KeyPager(as_pending(fetch), prefetch=1))
    assert len(moving.requests) == 1 + 11 + 1


@_PREFETCH
async def test_a_last_page_that_comes_again_takes_two_requests(prefetch: int) -> None:
    """One for the page beyond it, and one for a page far beyond, which a longer list has not."""
    moving = Moving(list(range(1000)))

    async def fetch(page: int, limit: int) -> KeyPage:
        fetched = await moving.fetch(min(page, 10), limit)
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=1000))

    pager = KeyPager(as_pending(fetch), prefetch=prefetch, strict=True)
    assert await _read(pager) == moving.ids
    assert len(moving.requests) == 2 * (10 + 2)
    assert not pager.drift


@_PREFETCH
async def test_a_page_of_repeats_that_is_not_the_last_one(prefetch: int) -> None:
    """A service that refuses a page far beyond does not give its last page for it."""
    moving = Moving([*range(1000), *range(900, 1000), *range(1000, 1050)])

    async def fetch(page: int, limit: int) -> KeyPage:
        if page > 100:
            raise ServerError("no such page", status=501)
        fetched = await moving.fetch(page, limit)
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=1000))

    assert await _read(KeyPager(as_pending(fetch), prefetch=prefetch)) == [*range(1050)]


_SIZES = [*range(12), 19, 20, 21, 99, 100, 101, 350, 1000, 2500, 9900, 9990, 10_000, 10_010, 10_100]


@pytest.mark.parametrize("limit", [10, 100])
@_PREFETCH
async def test_an_undisturbed_walk_makes_as_many_requests_as_it_has_pages(
    limit: int, prefetch: int
) -> None:
    """A full last page takes one more, where its total may be one of the caps that are in use."""
    for amount in (*_SIZES, 20_000, 20_001):
        moving = Moving(list(range(amount)))
        pager = moving.pager(limit=limit, prefetch=prefetch)
        assert await _read(pager) == moving.ids
        pages = max(1, -(-amount // limit))
        is_full = amount > 0 and amount % limit == 0 and (amount <= 1000 or amount == 10_000)
        assert sorted(moving.requests) == list(range(1, pages + is_full + 1))
        assert not pager.drift


async def test_without_totals_only_a_strict_walk_misses_nothing() -> None:
    """A plain walk sees no page shrink; the second pass of a strict one finds what moved."""
    for strict in (False, True):
        moving = Moving(list(range(1000)), stated=False)

        def delete(moving: Moving = moving) -> None:
            if len(moving.requests) == 5:
                del moving.ids[:150]

        moving.change = delete
        found = await _read(moving.pager(prefetch=1, strict=strict))
        assert (set(range(150, 1000)) <= set(found)) == strict


async def test_totals_that_fall_though_no_key_moves_are_not_believed() -> None:
    """The cost is bounded, and it is told; a strict walk over it raises."""
    moving = Moving(list(range(20_000)))

    async def fetch(page: int, limit: int) -> KeyPage:
        fetched = await moving.fetch(page, limit)
        total = 10**6 - 1000 * len(moving.requests) if page < 200 else 20_000
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=total))

    pager = KeyPager(as_pending(fetch))
    assert await _read(pager) == moving.ids
    assert len(moving.requests) <= 5 * 200 + 30
    assert pager.drift.contradictions == 1


@pytest.mark.parametrize(("first", "vain"), [(1, 83), (50, 83)])
async def test_what_totals_that_fall_cost(first: int, vain: int) -> None:
    """It does not depend on the page that a walk begins with."""
    moving = Moving(list(range(20_000)))

    async def fetch(page: int, limit: int) -> KeyPage:
        fetched = await moving.fetch(page, limit)
        total = 10**6 - 1000 * len(moving.requests) if page < 200 else 20_000
        return KeyPage(keys=fetched.keys, pagination=Pagination(page=page, total=total))

    await _read(KeyPager(as_pending(fetch), page=first, prefetch=1))
    assert len(moving.requests) == 200 - (first - 1) + vain


async def test_a_second_look_names_the_page_that_failed() -> None:
    """As any page of a walk does."""
    moving = Moving(list(range(1000)))

    def fail() -> None:
        if len(moving.requests) == 4:
            del moving.ids[:150]
        if len(moving.requests) > 5 and moving.requests[-1] == 2:
            raise ServerError("down", status=500)

    moving.change = fail
    with pytest.raises(ServerError) as caught:
        await _read(moving.pager(prefetch=1))
    assert caught.value.page == 2


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """No walk leaves a task running."""
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
