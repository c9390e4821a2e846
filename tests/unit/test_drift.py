"""Walks over a list that changes meanwhile: what `drift` reports and what strict walks repair."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import aclosing
from functools import cache

import attrs
import pytest

from junkie_async import (
    Drift,
    DriftError,
    InvalidRequestError,
    Key,
    KeyPage,
    KeyPager,
    Pagination,
)

from .pages import as_pending


@cache
def make_key(key_id: int) -> Key:
    """Make each key once: a strict walk over 20,000 keys fetches them several times."""
    return Key(id=key_id, key_value=f"K{key_id}")


class Churn:
    """A list of keys with inserts and deletes before each page."""

    def __init__(
        self, amount: int, *, inserts: int, deletes: int, newest_first: bool, seed: int
    ) -> None:
        self._random = random.Random(seed)
        self._inserts, self._deletes = inserts, deletes
        self._newest_first = newest_first
        self._next = amount + 1
        self.rows = list(range(1, amount + 1))
        self.throughout = set(self.rows)
        self.requests = 0

    async def fetch(self, number: int, limit: int) -> KeyPage:
        """Change the list, then return a page of it."""
        self.requests += 1
        await asyncio.sleep(0)
        for _ in range(self._deletes):
            deleted = self.rows.pop(self._random.randrange(len(self.rows)))
            self.throughout.discard(deleted)
        for _ in range(self._inserts):
            self.rows.append(self._next)
            self._next += 1
        total, begin = len(self.rows), (number - 1) * limit
        if self._newest_first:
            ids = self.rows[max(0, total - begin - limit) : max(0, total - begin)][::-1]
        else:
            ids = self.rows[begin : begin + limit]
        return KeyPage(
            keys=tuple(map(make_key, ids)),
            pagination=Pagination(
                page=number, limit=limit, total=total, total_pages=-(-total // limit)
            ),
        )


async def walk(pager: KeyPager) -> list[int]:
    """Walk to the end and return the IDs."""
    return [key.id async for key in pager]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize("seed", range(5))
async def test_a_strict_walk_misses_nothing(newest_first: bool, prefetch: int, seed: int) -> None:
    """20,000 keys, 5 inserts and deletes a page: no repeats, and every key that stayed is found."""
    churn = Churn(20_000, inserts=5, deletes=5, newest_first=newest_first, seed=seed)
    pager = KeyPager(as_pending(churn.fetch), prefetch=prefetch, strict=True)
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert churn.throughout <= set(found)
    assert pager.drift


async def test_a_walk_that_is_not_strict_may_miss_some() -> None:
    """A single pass gives no repeats, but misses keys that moved onto pages already read.

    With the newest first this doesn't show: the inserts at the front push the keys back again.
    """
    churn = Churn(20_000, inserts=5, deletes=5, newest_first=False, seed=1)
    pager = KeyPager(as_pending(churn.fetch))
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert len(churn.throughout - set(found)) > 100
    assert pager.drift.missed == 0


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("inserts", [1, 30])
async def test_inserts_alone_hide_no_key(newest_first: bool, inserts: int) -> None:
    """Without deletions one pass gives every key that existed throughout, and reports drift."""
    churn = Churn(3000, inserts=inserts, deletes=0, newest_first=newest_first, seed=2)
    pager = KeyPager(as_pending(churn.fetch), prefetch=4)
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert churn.throughout <= set(found)
    assert pager.drift.changes > 0
    assert (pager.drift.repeats > 0) == newest_first


async def test_an_unchanged_list_has_no_drift() -> None:
    """A strict walk over a list that does not change takes two passes and finds nothing more."""
    churn = Churn(1000, inserts=0, deletes=0, newest_first=True, seed=3)
    pager = KeyPager(as_pending(churn.fetch), strict=True)
    assert len(await walk(pager)) == 1000
    assert churn.requests == 22  # each pass looks beyond the full last page
    assert pager.drift == Drift()
    assert not pager.drift


async def test_a_single_page_needs_one_pass() -> None:
    """A list of one page can't change between two requests, so a strict walk fetches it once."""
    churn = Churn(50, inserts=1, deletes=1, newest_first=True, seed=4)
    assert len(await walk(KeyPager(as_pending(churn.fetch), strict=True))) == 50
    assert churn.requests == 1


async def test_a_second_pass_may_have_over_1000_pages() -> None:
    """The limit of pages without new keys counts within a pass, not over all passes."""
    churn = Churn(12_000, inserts=0, deletes=0, newest_first=True, seed=5)
    assert len(await walk(KeyPager(as_pending(churn.fetch), limit=10, strict=True))) == 12_000
    assert churn.requests == 2402


async def test_a_drop_of_any_size_costs_a_bounded_number_of_requests() -> None:
    """Random totals must not have all pages so far fetched again, five times for each page."""
    churn = Churn(12_000, inserts=0, deletes=0, newest_first=True, seed=6)
    totals = itertools.cycle([10**18, 12_000])

    async def fetch(number: int, limit: int) -> KeyPage:
        page = await churn.fetch(number, limit)
        return attrs.evolve(page, pagination=attrs.evolve(page.pagination, total=next(totals)))

    pages = KeyPager(as_pending(fetch), limit=10, prefetch=1, strict=True).pages()
    async with aclosing(pages):
        for number in range(1, 151):
            before = churn.requests
            page = await anext(pages)
            assert [key.id for key in page.keys] == list(
                range(12_010 - number * 10, 12_000 - number * 10, -1)
            )
            assert churn.requests - before <= 1 + 5 * 101


async def test_a_list_that_never_settles_is_an_error() -> None:
    """A strict walk gives up when each of ten passes finds keys that the others missed."""
    passes = 0

    async def fetch(number: int, limit: int) -> KeyPage:
        nonlocal passes
        passes += number == 1
        ids = [10_000 if number == 1 else 9999, passes] if number == 1 else [9999, 100 + passes]
        keys = tuple(Key(id=key, key_value=f"K{key}") for key in ids)
        return KeyPage(keys=keys, pagination=Pagination(page=number, total_pages=2))

    pager, found = KeyPager(as_pending(fetch), strict=True), []
    with pytest.raises(DriftError):
        async for key in pager:
            found.append(key.id)
    assert passes == 10
    assert sorted(found) == [*range(1, 11), *range(101, 111), 9999, 10_000]
    assert pager.drift.missed == 18


@pytest.mark.parametrize("make", [lambda: "yes", lambda: 1, lambda: None])
async def test_strict_is_true_or_false(make: Callable[[], object]) -> None:
    """Other types are refused."""
    churn = Churn(1, inserts=0, deletes=0, newest_first=True, seed=0)
    with pytest.raises(InvalidRequestError) as caught:
        KeyPager(as_pending(churn.fetch), strict=make())  # type: ignore[arg-type]
    assert caught.value.field == "strict"
