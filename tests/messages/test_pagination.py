"""The texts of the pager's errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from junkie_async import JunkieError, Key, KeyPage, KeyPager, Pagination
from tests.unit.pages import as_pending


def _page(*ids: int, page: int | None = None, total_pages: int | None = None) -> KeyPage:
    return KeyPage(
        keys=tuple(Key(id=key_id, key_value=f"K{key_id}") for key_id in ids),
        pagination=Pagination(page=page, total_pages=total_pages),
    )


async def _always_page_one(page: int, limit: int) -> KeyPage:
    return _page(1, page=1, total_pages=2)


async def _endless(page: int, limit: int) -> KeyPage:
    return _page(1, page=page, total_pages=page + 1)


class _Changing:
    """Has a new key among the old ones in every pass."""

    def __init__(self) -> None:
        self.passes = 0

    async def fetch(self, page: int, limit: int) -> KeyPage:
        self.passes += page == 1
        ids = (page * 1000 - self.passes, page * 1000) if page < 3 else ()
        return _page(*ids, total_pages=2)


_ADVICE = ": walk it without strict=True if what its pages have is enough"


async def _total_0(page: int, limit: int) -> KeyPage:
    keys = _page(*range(100)).keys if page == 1 else ()
    return KeyPage(keys=keys, pagination=Pagination(total=0))


async def _two_of_three(page: int, limit: int) -> KeyPage:
    keys = _page(1, 2).keys if page == 1 else ()
    return KeyPage(keys=keys, pagination=Pagination(total=3))


async def _no_pages(page: int, limit: int) -> KeyPage:
    return _page(*([1] if page == 1 else []), total_pages=0)


class _Falling:
    """States a total that falls for each request, though no key moves."""

    def __init__(self) -> None:
        self.total = 10**6

    async def fetch(self, page: int, limit: int) -> KeyPage:
        self.total -= 1000
        ids = range(page * 100 - 100, page * 100) if page < 50 else ()
        total = self.total if page < 45 else 4900
        return KeyPage(keys=_page(*ids).keys, pagination=Pagination(total=total))


@pytest.mark.parametrize(
    ("fetch", "strict", "message"),
    [
        (
            _total_0,
            True,
            "the list states 0 keys, but its pages have 100 keys" + _ADVICE,
        ),
        (
            _two_of_three,
            True,
            "the list states 3 keys, but its pages have 2 keys: keys may be missing",
        ),
        (
            _no_pages,
            True,
            "the list states 0 pages, but its pages have 1 keys" + _ADVICE,
        ),
        (
            _Falling().fetch,
            True,
            "the list states totals that fall although no keys have moved" + _ADVICE,
        ),
        (_always_page_one, False, "requested page 2, but the response is page 1 (page 2)"),
        (
            _endless,
            False,
            "endless list: more than 10 pages in a row had no new key (page 12)",
        ),
        (
            _Changing().fetch,
            True,
            "the list was still changing after 10 passes: walk it later, or without strict=True",
        ),
    ],
    ids=[
        "too few stated",
        "too many stated",
        "no pages stated",
        "falling totals",
        "wrong page",
        "endless list",
        "too much drift",
    ],
)
async def test_walks(
    fetch: Callable[[int, int], Awaitable[KeyPage]], strict: bool, message: str
) -> None:
    """A walk that can't go on says why, and at which page."""
    with pytest.raises(JunkieError) as caught:
        async for _ in KeyPager(as_pending(fetch), strict=strict):
            pass
    assert str(caught.value) == message
