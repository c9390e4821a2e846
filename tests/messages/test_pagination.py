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
        return _page(page * 1000 - self.passes, page * 1000, total_pages=2)


@pytest.mark.parametrize(
    ("fetch", "strict", "message"),
    [
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
    ids=["wrong page", "endless list", "too much drift"],
)
async def test_walks(
    fetch: Callable[[int, int], Awaitable[KeyPage]], strict: bool, message: str
) -> None:
    """A walk that can't go on says why, and at which page."""
    with pytest.raises(JunkieError) as caught:
        async for _ in KeyPager(as_pending(fetch), strict=strict):
            pass
    assert str(caught.value) == message
