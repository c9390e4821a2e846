"""Pages for tests of the pager that need no service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

from junkie_async import KeyPage


def as_pending(
    fetch: Callable[[int, int], Awaitable[KeyPage]],
) -> Callable[[int, int], Coroutine[Any, Any, Callable[[], Awaitable[KeyPage]]]]:
    """Wrap a fetch of pages so that it returns what decodes each page, as a pager expects."""

    @wraps(fetch)
    async def fetch_pending(page: int, limit: int) -> Callable[[], Awaitable[KeyPage]]:
        fetched = await fetch(page, limit)

        async def decode() -> KeyPage:
            return fetched

        return decode

    return fetch_pending
