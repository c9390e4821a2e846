"""Pages of keys for tests that need no service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

from junkie_async import KeyPage


def unread(
    fetch: Callable[[int, int], Awaitable[KeyPage]],
) -> Callable[[int, int], Coroutine[Any, Any, Callable[[], Awaitable[KeyPage]]]]:
    """Have pages come as a pager wants them: to be read later."""

    @wraps(fetch)
    async def begin(page: int, limit: int) -> Callable[[], Awaitable[KeyPage]]:
        found = await fetch(page, limit)

        async def read() -> KeyPage:
            return found

        return read

    return begin
