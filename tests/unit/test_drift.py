"""Walks over a list that changes under them: what is noticed, and what strict walks make up for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

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

from .pages import unread


class Churn:
    """A list of keys into which some are put, and of which some are taken, before each page."""

    def __init__(
        self, amount: int, *, inserts: int, deletes: int, newest_first: bool, seed: int
    ) -> None:
        self._dice = random.Random(seed)
        self._inserts, self._deletes = inserts, deletes
        self._newest_first = newest_first
        self._next = amount + 1
        self.rows = list(range(1, amount + 1))
        self.throughout = set(self.rows)
        self.asked = 0

    async def fetch(self, number: int, limit: int) -> KeyPage:
        """Change the list, then cut a page of it."""
        self.asked += 1
        await asyncio.sleep(0)
        for _ in range(self._deletes):
            gone = self.rows.pop(self._dice.randrange(len(self.rows)))
            self.throughout.discard(gone)
        for _ in range(self._inserts):
            self.rows.append(self._next)
            self._next += 1
        total, begin = len(self.rows), (number - 1) * limit
        if self._newest_first:
            ids = self.rows[max(0, total - begin - limit) : max(0, total - begin)][::-1]
        else:
            ids = self.rows[begin : begin + limit]
        keys = tuple(Key(id=key, key_value=f"K{key}") for key in ids)
        return KeyPage(
            keys=keys,
            pagination=Pagination(
                page=number, limit=limit, total=total, total_pages=-(-total // limit)
            ),
        )


async def walk(pager: KeyPager) -> list[int]:
    """Give the IDs of a whole walk."""
    return [key.id async for key in pager]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("prefetch", [1, 4])
@pytest.mark.parametrize("seed", range(5))
async def test_a_strict_walk_misses_nothing(newest_first: bool, prefetch: int, seed: int) -> None:
    """20,000 keys under 5 inserts and deletes a page: no repeat, and all that stayed are found."""
    churn = Churn(20_000, inserts=5, deletes=5, newest_first=newest_first, seed=seed)
    pager = KeyPager(unread(churn.fetch), prefetch=prefetch, strict=True)
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert churn.throughout <= set(found)
    assert pager.drift


async def test_a_walk_that_is_not_strict_may_miss_some() -> None:
    """The same list, walked once: no repeat, but keys that slid onto pages already read are gone.

    With the newest first, the keys that are put in at the front make up for it here.
    """
    churn = Churn(20_000, inserts=5, deletes=5, newest_first=False, seed=1)
    pager = KeyPager(unread(churn.fetch))
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert len(churn.throughout - set(found)) > 100
    assert pager.drift.missed == 0


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("inserts", [1, 30])
async def test_inserts_alone_hide_nothing(newest_first: bool, inserts: int) -> None:
    """Without deletions one pass gives every key that existed throughout, and notices the drift."""
    churn = Churn(3000, inserts=inserts, deletes=0, newest_first=newest_first, seed=2)
    pager = KeyPager(unread(churn.fetch), prefetch=4)
    found = await walk(pager)
    assert len(found) == len(set(found))
    assert churn.throughout <= set(found)
    assert pager.drift.changes > 0
    assert (pager.drift.repeats > 0) == newest_first


async def test_a_list_at_rest_does_not_drift() -> None:
    """A strict walk over a list at rest takes two passes and finds nothing more."""
    churn = Churn(1000, inserts=0, deletes=0, newest_first=True, seed=3)
    pager = KeyPager(unread(churn.fetch), strict=True)
    assert len(await walk(pager)) == 1000
    assert churn.asked == 20
    assert pager.drift == Drift()
    assert not pager.drift


async def test_one_page_is_of_one_moment() -> None:
    """A list of one page needs no second look, even strictly."""
    churn = Churn(50, inserts=1, deletes=1, newest_first=True, seed=4)
    assert len(await walk(KeyPager(unread(churn.fetch), strict=True))) == 50
    assert churn.asked == 1


async def test_more_than_a_thousand_pages_are_walked_again() -> None:
    """Pages that bring nothing new are what a second pass is made of."""
    churn = Churn(12_000, inserts=0, deletes=0, newest_first=True, seed=5)
    assert len(await walk(KeyPager(unread(churn.fetch), limit=10, strict=True))) == 12_000
    assert churn.asked == 2400


async def test_a_list_that_never_comes_to_rest_is_an_error() -> None:
    """When ten passes each find what the others should have seen, the walk says so."""
    passes = 0

    async def fetch(number: int, limit: int) -> KeyPage:
        nonlocal passes
        passes += number == 1
        ids = [10_000 if number == 1 else 9999, passes] if number == 1 else [9999, 100 + passes]
        keys = tuple(Key(id=key, key_value=f"K{key}") for key in ids)
        return KeyPage(keys=keys, pagination=Pagination(page=number, total_pages=2))

    pager, found = KeyPager(unread(fetch), strict=True), []
    with pytest.raises(DriftError, match="10 passes"):
        async for key in pager:
            found.append(key.id)
    assert passes == 10
    assert sorted(found) == [*range(1, 11), *range(101, 111), 9999, 10_000]
    assert pager.drift.missed == 18


@pytest.mark.parametrize("make", [lambda: "yes", lambda: 1, lambda: None])
async def test_strict_is_true_or_false(make: Callable[[], object]) -> None:
    """Anything else is refused."""
    churn = Churn(1, inserts=0, deletes=0, newest_first=True, seed=0)
    with pytest.raises(InvalidRequestError) as caught:
        KeyPager(unread(churn.fetch), strict=make())  # type: ignore[arg-type]
    assert caught.value.field == "strict"
