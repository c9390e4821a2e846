"""KeyPager over a list in memory that may change while it is walked."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    Drift,
    InvalidRequestError,
    InvalidResponseError,
    Key,
    KeyPage,
    KeyPager,
    Pagination,
    ServerError,
)
from junkie_async._pagination.pager import collect_ids

from .pages import as_pending


class Listing:
    """Serves IDs in pages, and records which pages were requested."""

    def __init__(self, ids: list[int], *, stated: bool = True) -> None:
        self.ids = ids
        self.stated = stated
        self.requested: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self.before_page: Callable[[int], None] = lambda page: None

    async def fetch(self, page: int, limit: int) -> KeyPage:
        """Return a page after one iteration of the event loop."""
        self.requested.append(page)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            self.before_page(page)
            return self.page(page, limit)
        finally:
            self.in_flight -= 1

    def page(self, page: int, limit: int) -> KeyPage:
        """Slice a page out of the current IDs."""
        rows = self.ids[(page - 1) * limit : page * limit]
        total = len(self.ids)
        return KeyPage(
            keys=tuple(Key(id=key_id, key_value=f"K{key_id}") for key_id in rows),
            pagination=Pagination(
                page=page, limit=limit, total=total, total_pages=-(-total // limit)
            )
            if self.stated
            else Pagination(),
        )

    def pager(self, *, page: int = 1, limit: int = 10, prefetch: int = 4) -> KeyPager:
        """Make a pager over these IDs."""
        return KeyPager(as_pending(self.fetch), page=page, limit=limit, prefetch=prefetch)


async def ids_of(keys: AsyncIterator[Key] | KeyPager) -> list[int]:
    """Walk to the end and return the IDs."""
    return [key.id async for key in keys]


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """No walk leaves a task running."""
    yield
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(
    total=st.integers(0, 95),
    limit=st.integers(1, 13),
    prefetch=st.integers(1, 7),
    stated=st.booleans(),
    order=st.sampled_from(["rising", "falling", "shuffled"]),
)
async def test_every_key_once_and_in_order(
    total: int, limit: int, prefetch: int, stated: bool, order: str
) -> None:
    """Keys arrive in the order of the service, for any page size and any order of IDs."""
    ids = list(range(1, total + 1))
    if order == "shuffled":
        random.Random(total).shuffle(ids)
    listing = Listing(ids if order != "falling" else ids[::-1], stated=stated)
    assert await ids_of(listing.pager(limit=limit, prefetch=prefetch)) == listing.ids
    assert listing.most_in_flight <= prefetch
    if stated:
        # A full last page may be that of a capped total: it costs one request more.
        assert sorted(listing.requested) == list(range(1, total // limit + 2))


async def test_awaiting_fetches_only_the_first_page() -> None:
    """``await`` makes one request."""
    listing = Listing(list(range(100)))
    page = await listing.pager()
    assert [key.id for key in page.keys] == list(range(10))
    assert page.pagination.total_pages == 10
    assert listing.requested == [1]


async def test_stopping_in_page_one_takes_one_request() -> None:
    """The first page is fetched alone."""
    listing = Listing(list(range(100)))
    async for key in listing.pager():
        if key.id == 9:
            break
    await asyncio.sleep(0)
    assert listing.requested == [1]


async def test_prefetch_limits_the_pages_ahead() -> None:
    """After a few pages, exactly `prefetch` pages are fetched while the reader is busy."""
    listing = Listing(list(range(1000)))
    async with aclosing(listing.pager().pages()) as pages:
        for _ in range(5):
            await anext(pages)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sorted(listing.requested) == list(range(1, 10))
        assert listing.most_in_flight == 4


async def test_pages_are_decoded_when_the_reader_gets_there() -> None:
    """Pages ahead of the reader stay bytes: only one page of models exists at a time."""
    listing, decoded = Listing(list(range(55))), []

    async def fetch(page: int, limit: int) -> Callable[[], Awaitable[KeyPage]]:
        fetched = await listing.fetch(page, limit)

        async def decode() -> KeyPage:
            decoded.append(page)
            return fetched

        return decode

    async with aclosing(KeyPager(fetch, limit=10).pages()) as pages:
        for number in range(1, 7):
            await anext(pages)
            for _ in range(10):
                await asyncio.sleep(0)
            assert decoded == list(range(1, number + 1))
    assert listing.requested == decoded


@pytest.mark.parametrize("how", ["break", "raise", "cancel"])
async def test_fetching_ends_with_the_reading(how: str) -> None:
    """A break, an exception or a cancellation stops all requests in flight."""
    listing = Listing(list(range(1000)))

    async def read() -> None:
        async for key in listing.pager():
            if key.id == 55:
                if how == "raise":
                    raise KeyError
                if how == "cancel":
                    await asyncio.Event().wait()
                break

    task = asyncio.create_task(read())
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert listing.in_flight == 0
    assert max(listing.requested) <= 10


async def test_no_repeats_while_keys_are_created() -> None:
    """New keys at the front push others onto the next page. Each is still given once."""
    listing = Listing(list(range(500, 0, -1)))
    newest = iter(range(501, 10_000))
    listing.before_page = lambda page: listing.ids.__setitem__(
        slice(0, 0), [next(newest), next(newest)]
    )
    found = await ids_of(listing.pager())
    assert len(found) == len(set(found))
    assert set(range(1, 501)) <= set(found)


@given(st.integers(0, 2**32), st.integers(1, 6))
async def test_no_key_is_missed_while_keys_are_created(seed: int, prefetch: int) -> None:
    """Concurrent requests are served in any order. Keys that exist throughout are all given."""
    noise = random.Random(seed)
    listing = Listing(list(range(200, 0, -1)))
    newest = iter(range(1000, 100_000))

    async def fetch(page: int, limit: int) -> KeyPage:
        for _ in range(noise.randrange(6)):
            await asyncio.sleep(0)
        if noise.random() < 0.5:
            new = [next(newest) for _ in range(noise.randrange(1, 8))]
            listing.ids[:0] = reversed(new)
        response = listing.page(page, limit)
        for _ in range(noise.randrange(6)):
            await asyncio.sleep(0)
        return response

    found = await ids_of(KeyPager(as_pending(fetch), limit=10, prefetch=prefetch))
    assert len(found) == len(set(found))
    assert set(range(1, 201)) <= set(found)


async def test_a_list_that_grows_at_its_end() -> None:
    """It is walked to its new end."""
    listing = Listing(list(range(100)))

    def grow(page: int) -> None:
        if len(listing.ids) < 250:
            listing.ids += range(len(listing.ids), len(listing.ids) + 7)

    listing.before_page = grow
    assert await ids_of(listing.pager()) == listing.ids
    assert len(listing.ids) >= 250


async def test_an_empty_page_does_not_end_the_walk() -> None:
    """Only the pagination ends it: a service that filters after paging leaves empty pages."""
    listing = Listing(list(range(100)))

    async def fetch(page: int, limit: int) -> KeyPage:
        full = listing.page(page, limit)
        if 3 <= page <= 8:
            return KeyPage(pagination=full.pagination)
        return full

    found = await ids_of(KeyPager(as_pending(fetch), limit=10))
    assert found == [*range(20), *range(80, 100)]


async def test_a_list_that_shrinks_ends() -> None:
    """Deleting all keys during the walk ends it without an error."""
    listing = Listing(list(range(100)))
    listing.before_page = lambda page: listing.ids.clear() if page == 3 else None
    assert await ids_of(listing.pager(prefetch=1)) == list(range(20))


async def test_ids_take_four_bytes_until_one_is_larger() -> None:
    """The IDs of what is to be deleted are exact at any size."""
    lists: list[tuple[list[int], int]] = [
        ([0, 7, 2**32 - 1], 4),
        ([7, 2**32, 1], 8),
        ([7, 8, 2**40, 9, 2**41], 8),
        ([-1], 8),
        ([], 4),
    ]
    for ids, size in lists:
        found = await collect_ids(Listing(ids).pager(limit=2))
        assert ([*found], found.itemsize) == (ids, size)
    with pytest.raises(InvalidRequestError) as caught:
        await collect_ids(Listing([2**53]).pager())
    assert caught.value.field == "key.id"


async def test_rows_of_what_is_to_be_deleted_have_to_match_the_filters() -> None:
    """A walk refuses rows that contradict them, and a deletion those that don't tell, too."""
    listing, certain = Listing([1, 2, 3]), list[bool]()

    def make_pager() -> KeyPager:
        certain.clear()
        fetch = as_pending(listing.fetch)
        return KeyPager(fetch, limit=2, check=lambda _, is_certain: certain.append(is_certain))

    assert await ids_of(make_pager()) == [1, 2, 3]
    assert set(certain) == {False}
    assert [*await collect_ids(make_pager())] == [1, 2, 3]
    assert set(certain) == {True}


async def test_a_service_that_ignores_the_page_number() -> None:
    """Page 1 in place of page 2 is an error, not a page of repeats."""
    listing = Listing(list(range(100)))

    async def fetch(page: int, limit: int) -> KeyPage:
        return listing.page(1, limit)

    with pytest.raises(InvalidResponseError) as caught:
        await ids_of(KeyPager(as_pending(fetch), limit=10))
    assert caught.value.page == 2


FIRST = tuple(Key(id=key_id, key_value=f"K{key_id}") for key_id in range(100))


@pytest.mark.parametrize(
    ("rows", "total", "total_pages", "fruitless"),
    [
        ((), None, 10**18, 10),
        ((), 100, 10**18, 10),  # all keys were given
        ((), 200_000, 10**18, 10),  # the total does not agree with the pages
        ((), 10**20, 10**18, 1000),  # explained, and bounded even so
        (FIRST, None, 10**18, 10),
        (FIRST, 200_000, 2000, 10),  # the service ignores `page`, and the total did not grow
        (FIRST[:1], None, None, 10),
    ],
)
async def test_an_endless_list_is_an_error(
    rows: tuple[Key, ...], total: int | None, total_pages: int | None, fruitless: int
) -> None:
    """After the first page none has a new key: ten are enough where nothing explains them."""
    requested: list[int] = []

    async def fetch(page: int, limit: int) -> KeyPage:
        requested.append(page)
        assert len(requested) < 2000
        stated = Pagination(limit=limit, total=total, total_pages=total_pages)
        return KeyPage(keys=FIRST if page == 1 else rows, pagination=stated)

    found: list[Key] = []
    with pytest.raises(InvalidResponseError) as caught:
        async for key in KeyPager(as_pending(fetch)):
            found.append(key)
    assert tuple(found) == FIRST
    assert caught.value.page == 1 + fruitless + 1
    assert len(requested) <= caught.value.page + 4


@pytest.mark.parametrize("rows", [0, 1])
async def test_an_end_that_moves_away_is_an_error(rows: int) -> None:
    """So is a list that states one more page each time."""

    async def fetch(page: int, limit: int) -> KeyPage:
        key = Key(id=1, key_value="K")
        return KeyPage(keys=(key,) * rows, pagination=Pagination(page=page, total_pages=page + 1))

    with pytest.raises(InvalidResponseError) as caught:
        await ids_of(KeyPager(as_pending(fetch)))
    assert caught.value.page == 11 + rows


async def test_a_total_that_is_not_reached_explains_empty_pages() -> None:
    """A service that filters after paging may leave many pages empty before the last key."""
    listing = Listing(list(range(1000)))

    async def fetch(page: int, limit: int) -> KeyPage:
        full = listing.page(page, limit)
        return full if page in (1, 100) else KeyPage(pagination=full.pagination)

    assert await ids_of(KeyPager(as_pending(fetch), limit=10)) == [*range(10), *range(990, 1000)]
    resumed = KeyPager(as_pending(fetch), limit=10, page=50)
    assert await ids_of(resumed) == list(range(990, 1000))


async def test_a_total_that_grows_explains_repeats() -> None:
    """300 keys that are created at the front during a pause push back 30 pages of 10."""
    listing = Listing(list(range(500, 0, -1)))

    def create(page: int) -> None:
        if page == 31 and len(listing.ids) == 500:
            listing.ids[:0] = range(800, 500, -1)

    listing.before_page = create
    pager = listing.pager(prefetch=1)
    assert await ids_of(pager) == list(range(500, 0, -1))
    assert pager.drift == Drift(changes=1, repeats=300)


async def test_a_total_that_lags_behind_explains_repeats() -> None:
    """A service counts its keys, and reads a page of them when ten more have been created."""
    listing = Listing(list(range(500, 0, -1)))

    async def fetch(page: int, limit: int) -> KeyPage:
        total = len(listing.ids)
        if page > 30 and total < 1000:
            listing.ids[:0] = range(total + 10, total, -1)
        full = listing.page(page, limit)
        return attrs.evolve(full, pagination=attrs.evolve(full.pagination, total=total))

    pager = KeyPager(as_pending(fetch), limit=10, prefetch=1)
    assert await ids_of(pager) == list(range(500, 0, -1))


async def test_a_failed_page_is_named_and_the_walk_can_resume() -> None:
    """The pages before it are given, and ``list(page=error.page)`` gives the rest."""
    listing = Listing(list(range(100)))
    broken = True

    def fail(page: int) -> None:
        if page == 6 and broken:
            raise ServerError("down", status=500)

    listing.before_page = fail
    found: list[int] = []
    with pytest.raises(ServerError) as caught:
        async for key in listing.pager():
            found.append(key.id)
    assert caught.value.page == 6
    broken = False
    assert found + await ids_of(listing.pager(page=6)) == listing.ids


async def test_first_count_collect() -> None:
    """They make no more requests than they need."""
    listing = Listing(list(range(95)))
    first = await listing.pager().first()
    assert first is not None
    assert first.id == 0
    assert await listing.pager().count() == 95
    assert [key.id for key in await listing.pager().collect(12)] == list(range(12))
    assert await listing.pager().collect(0) == []
    assert len(listing.requested) <= 5
    assert len(await listing.pager().collect()) == 95
    assert await Listing([]).pager().first() is None
    resumed = await listing.pager(page=3).first()
    assert resumed is not None
    assert resumed.id == 20


async def test_count_walks_where_no_total_is_stated() -> None:
    """Without a stated total, the keys are counted by walking."""
    assert await Listing(list(range(95)), stated=False).pager().count() == 95


@pytest.mark.parametrize(
    ("field", "value"), [("page", 0), ("limit", 101), ("limit", 0), ("prefetch", 0), ("page", True)]
)
async def test_limits(field: str, value: int) -> None:
    """Arguments out of their limits are refused before a request."""
    listing = Listing([1])
    with pytest.raises(InvalidRequestError) as caught:
        KeyPager(as_pending(listing.fetch), **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert not listing.requested


async def test_flat_memory() -> None:
    """A walk ten times as long takes no more memory, apart from the seen IDs."""

    async def fetch(page: int, limit: int) -> KeyPage:
        rows = limit if page <= pages else 0
        keys = tuple(Key(id=page * 1000 + at, key_value=f"K{page}-{at}") for at in range(rows))
        return KeyPage(keys=keys, pagination=Pagination(page=page, total_pages=pages))

    async def peak() -> int:
        gc.collect()
        tracemalloc.start()
        try:
            async for _ in KeyPager(as_pending(fetch)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    pages = 10
    short = await peak()
    pages = 100
    assert await peak() - short < 50_000  # 9,000 keys more
