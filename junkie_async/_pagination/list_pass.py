"""One pass over a list: pages are fetched ahead of the reader and given in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import attrs

from .._errors import InvalidResponseError, JunkieError, Outcome
from .._http.coroutines import running_loop
from .._masking import error_boundary
from .._models import Key, KeyPage
from .seen_ids import SeenIDs

PendingPage: TypeAlias = Callable[[], Awaitable[KeyPage]]
"""Decodes a page that has arrived, or fetches it again when its body can't be decoded."""

FetchPage: TypeAlias = Callable[[int, int], Coroutine[Any, Any, PendingPage]]
"""Fetches a page by its number (from 1) and the most keys that it may have."""

# More pages in a row without a new key are an endless list, unless the service states what explains
# them (`_is_explained`). Explained ones are bounded too: 1000 of them need 100,000 keys created
# between two requests, or a filter that leaves none of 100,000 keys in a row.
_MAX_FRUITLESS_PAGES = 10
_MAX_EXPLAINED_PAGES = 1000

# Each try repairs what was deleted during the try before it. A list that still shrinks after five
# is left to the next pass of the strict walk. So is one that loses over 10,000 keys between two
# requests: for random totals, all pages so far would be fetched again and again.
_MAX_REFETCHES = 5
_MAX_REFETCHED_PAGES = 100


@attrs.define(eq=False, kw_only=True)
class ListPass:
    """One pass over a list, from its first page to its last."""

    fetch: FetchPage
    seen: SeenIDs  # their keys are dropped as repeats; the pass adds the IDs that it gives
    report_drift: Callable[..., None]  # takes `changes=` or `repeats=`, as counted by `Drift`
    first_page: int
    limit: int
    prefetch: int
    strict: bool  # whether the pages before a shrunken one are fetched again too
    # Whether keys were deleted so fast that fetching pages again did not help.
    may_miss_keys: bool = attrs.field(default=False, init=False)

    _number: int = attrs.field(init=False)  # of the page that is given next
    _last_page: int = attrs.field(init=False)  # of the list, as stated by the latest page
    _total: int | None = attrs.field(default=None, init=False)  # as stated by the latest page
    # The requests of the pages from `_number` on.
    _in_flight: deque[asyncio.Task[PendingPage]] = attrs.field(init=False)
    # The first page is fetched alone: it says how many pages there are, and many readers need no
    # more than it. Then the window doubles up to `prefetch`, so that a reader who stops early has
    # caused at most about twice the requests that it needed.
    _window: int = attrs.field(default=1, init=False)
    _given: int = attrs.field(default=0, init=False)  # keys, so far
    # Pages in a row without a new key, and the repeats on them.
    _fruitless_pages: int = attrs.field(default=0, init=False)
    _repeats_in_a_row: int = attrs.field(default=0, init=False)
    _total_at_new_key: int | None = attrs.field(default=None, init=False)

    async def pages(self) -> AsyncGenerator[KeyPage, None]:
        """Give the pages in order, without the keys seen before."""
        running_loop()
        self._number = self._last_page = self.first_page
        self._in_flight = deque()
        try:
            while self._number <= self._last_page or self._in_flight:
                page = await self._next_page()
                yield page
                del page  # a reader's page is freed before the next one is decoded
        finally:
            for task in self._in_flight:
                task.cancel()
            if self._in_flight:  # else closing a finished walk gives no control to the loop
                await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _next_page(self) -> KeyPage:
        """Wait for the next page, check it, and request the pages after it."""
        try:
            page = await self._refetch_if_shrunk(await self._take_page())
            self._check_page_number(page)
            self._last_page = find_last_page(page, self._number, self.limit)
            fresh = drop_seen(page, self.seen)
            self._count_repeats(page, fresh)
        except JunkieError as error:
            error.page = self._number
            raise
        self._number += 1
        if self._window > 1:
            # Requests leave now rather than when the reader returns. Filling before the page is
            # decoded would send them no earlier: tasks start when the loop gets control.
            self._fill_window()
        self._window = min(self._window * 2, self.prefetch)
        return fresh

    async def _take_page(self) -> KeyPage:
        """Take the next page out of the window, and decode it."""
        self._fill_window()
        # The task leaves the window only once it is done, so that a cancellation finds it there.
        decode = await self._in_flight[0]
        self._in_flight.popleft()
        # Pages ahead stay bytes until now. The models then take the memory of the page before,
        # which its reader has finished with: a walk holds one page of models at a time.
        return await decode()

    def _fill_window(self) -> None:
        """Start fetching pages, as far as the window and the list go."""
        number = self._number + len(self._in_flight)
        while len(self._in_flight) < self._window and number <= self._last_page:
            self._in_flight.append(asyncio.create_task(self._fetch_page(number)))
            number += 1

    @error_boundary  # asyncio logs an error that nobody has waited for
    async def _fetch_page(self, number: int) -> PendingPage:
        return await self.fetch(number, self.limit)

    async def _refetch_if_shrunk(self, page: KeyPage) -> KeyPage:
        """Fetch a page again if its total is below that of the page before.

        Concurrent requests are served in any order, so a smaller total has two possible causes:

        - The service read this page first, keys were created at the front, and it read the page
          before this one last. The keys at the boundary are then on neither page. A second fetch
          is later than both, so it can only overlap.
        - Keys were deleted. The keys behind them moved forward, onto pages already given. Only a
          strict walk looks for those.
        """
        before, total = self._total, page.pagination.total
        if _has_shrunk(before, total):
            page = await self._refetch_range(page)
        self._total = page.pagination.total
        if before is not None and self._total != before:
            self.report_drift(changes=1)
        return page

    async def _refetch_range(self, page: KeyPage) -> KeyPage:
        """Fetch a page again; strictly, with the pages before it that its keys may have moved to.

        N deletions move a key forward by at most N / limit pages, rounded up. The range is fetched
        until no page of it states a smaller total than its first: then no key moved meanwhile.
        """
        if not self.strict:
            return await get_page(self.fetch, self._number, self.limit)
        keys: dict[int, Key] = {}
        before = self._total or 0
        for _ in range(_MAX_REFETCHES):
            deleted = before - (page.pagination.total or 0)
            pages_back = max(1, -(-deleted // self.limit))
            if pages_back > _MAX_REFETCHED_PAGES:
                pages_back, self.may_miss_keys = _MAX_REFETCHED_PAGES, True
            first = max(self.first_page, self._number - pages_back)
            numbers = range(first, self._number + 1)
            pages = [await get_page(self.fetch, number, self.limit) for number in numbers]
            keys |= {key.id: key for each in pages for key in each.keys}
            page, total = pages[-1], pages[0].pagination.total
            if not any(_has_shrunk(total, each.pagination.total) for each in pages):
                break
            before = total or 0
        else:
            self.may_miss_keys = True
        return attrs.evolve(page, keys=tuple(keys.values()))

    def _check_page_number(self, page: KeyPage) -> None:
        stated = page.pagination.page  # another one than requested: the service ignores `page`
        if stated is not None and stated != self._number:
            raise _invalid_response(
                f"requested page {self._number}, but the response is page {stated}"
            )

    def _count_repeats(self, page: KeyPage, fresh: KeyPage) -> None:
        """Report repeats, and raise when the list goes on without new keys: it would never end."""
        repeats = len(page.keys) - len(fresh.keys)
        if repeats:
            self.report_drift(repeats=repeats)
        if fresh.keys:
            self._given += len(fresh.keys)
            self._fruitless_pages = self._repeats_in_a_row = 0
            self._total_at_new_key = self._total
            return
        self._fruitless_pages += 1
        self._repeats_in_a_row += repeats
        limit = _MAX_EXPLAINED_PAGES if self._is_explained(page) else _MAX_FRUITLESS_PAGES
        if self._fruitless_pages > limit:
            raise _invalid_response(
                f"endless list: more than {limit} pages in a row had no new key"
            )

    def _is_explained(self, page: KeyPage) -> bool:
        """Whether the service states why a page has no new key."""
        stated = page.pagination
        if stated.total is None:
            return False
        if page.keys:  # keys created at the front pushed these back, one key for each of them
            before = self._total_at_new_key
            return before is not None and stated.total - before >= self._repeats_in_a_row
        # A service that filters after paging leaves empty pages, and states the unfiltered total.
        size = stated.limit or self.limit
        before_walk = (self.first_page - 1) * size
        return (
            stated.total_pages in (None, -(-stated.total // size))
            and stated.total > before_walk + self._given
        )


async def get_page(fetch: FetchPage, number: int, limit: int) -> KeyPage:
    """Fetch one page and decode it."""
    decode = await fetch(number, limit)
    return await decode()


def drop_seen(page: KeyPage, seen: SeenIDs) -> KeyPage:
    """Drop the keys that were seen before, and remember the others."""
    new = seen.add_page([key.id for key in page.keys])
    if new is None:
        return page
    return attrs.evolve(page, keys=tuple(page.keys[index] for index in new))


def _has_shrunk(before: int | None, total: int | None) -> bool:
    return before is not None and total is not None and total < before


def find_last_page(page: KeyPage, number: int, limit: int) -> int:
    """Find where the list ends as far as this page knows.

    The page's own limit counts: a service may grant fewer keys a page than were requested. Where
    nothing is stated, the list ends with its first empty page.
    """
    stated = page.pagination
    if stated.total_pages is not None:
        return stated.total_pages
    if stated.total is not None:
        return -(-stated.total // (stated.limit or limit))
    return number + 1 if page.keys else number


def _invalid_response(message: str) -> InvalidResponseError:
    return InvalidResponseError(message, outcome=Outcome.EXECUTED)
