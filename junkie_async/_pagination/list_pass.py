"""One pass over a list: pages are fetched ahead of the reader and given in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import attrs
import msgspec

from .._errors import APIError, InvalidResponseError, JunkieError, NotFoundError, Outcome
from .._http.coroutines import running_loop
from .._masking import error_boundary
from .._models import Key, KeyPage
from .list_end import ListEnd, contradicts_total, count_rows
from .seen_ids import SeenIDs

_log = logging.getLogger("junkie_async")

PendingPage: TypeAlias = Callable[[], Awaitable[KeyPage]]
"""Decodes a page that has arrived, or fetches it again when its body can't be decoded."""

FetchPage: TypeAlias = Callable[[int, int], Coroutine[Any, Any, PendingPage]]
"""Fetches a page by its number (from 1) and the most keys that it may have."""

# More pages in a row without a new key are an endless list, unless the service states what explains
# them (`_is_explained`), or the first page shows it (`_has_grown`). Explained ones are bounded too:
# 1000 of them need 100,000 keys created between two requests, or a filter that leaves none of
# 100,000 keys in a row.
_MAX_FRUITLESS_PAGES = 10
_MAX_EXPLAINED_PAGES = 1000

_LARGEST_PAGE = 100

# So many pages are not created while a page is read.
_FAR = 1000

# Pages that are looked at again and have no new key, in a row: more than these, and the stated
# totals are not believed any more. Keys deleted at the list's end cause about three for each page.
_MAX_VAIN_PAGES = 30
_MAX_VAIN_PAGES_A_PAGE = 4


def _ignore_drift(**_: int) -> None:
    pass


class ListPass(msgspec.Struct, eq=False, kw_only=True):
    """One pass over a list, from its first page to its last."""

    fetch: FetchPage
    seen: SeenIDs  # their keys are dropped as repeats; the pass adds the IDs that it gives
    limit: int
    first_page: int = 1
    prefetch: int = 1
    filtered: bool = False  # whether only some keys are listed
    complete: bool = False  # whether to look beyond each end that is stated
    report_drift: Callable[..., None] = _ignore_drift  # takes what `Drift` counts

    end: ListEnd = msgspec.field(default_factory=lambda: ListEnd(limit=0))
    believes_totals: bool = True
    """Whether keys were found where the totals said that they had moved to."""

    _number: int = 1  # of the page that is given next
    _total: int | None = None  # as stated by the latest page
    _total_before_drop: int | None = None
    # The requests of the pages from `_number` on.
    _in_flight: deque[asyncio.Task[PendingPage]] = msgspec.field(
        default_factory=deque["asyncio.Task[PendingPage]"]
    )
    # The first page is fetched alone: it says how many pages there are, and many readers need no
    # more than it. Then the window doubles up to `prefetch`, so that a reader who stops early has
    # caused at most about twice the requests that it needed.
    _window: int = 1
    _given: int = 0  # keys, so far
    # Pages in a row without a new key, and the repeats on them.
    _fruitless_pages: int = 0
    _repeats_in_a_row: int = 0
    _newest_id: int = 0  # on the first page
    _total_at_new_key: int | None = None
    _vain_pages: int = 0  # looked at again, in a row
    # Up to this page, pages were requested before others were looked at again, and may repeat them.
    _last_stale_page: int = 0

    async def pages(self) -> AsyncGenerator[KeyPage, None]:
        """Give the pages without the keys seen before, in order as long as no key moves forward."""
        running_loop()
        self._number = self.first_page
        self.end = ListEnd(
            limit=self.limit,
            filtered=self.filtered,
            complete=self.complete,
            rows=(self.first_page - 1) * self.limit,
            last_page=self.first_page,
        )
        self._in_flight = deque()
        try:
            while self._number <= self.end.last_page or self._in_flight:
                is_beyond = self.end.is_beyond
                page = await self._next_page()
                if page is None:  # the list ends where it stated
                    break
                if page.keys or not is_beyond:
                    yield page
                del page  # a reader's page is freed before the next one is decoded
                if self._total_before_drop is not None:
                    async with aclosing(self._look_again()) as pages:
                        async for page in pages:
                            yield page
                            del page
        finally:
            for task in self._in_flight:
                task.cancel()
            if self._in_flight:  # else closing a finished walk gives no control to the loop
                await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _next_page(self) -> KeyPage | None:
        """Wait for the next page, check it, and request the pages after it."""
        try:
            page = await self._take_page()
            page = await self._refetch_if_shrunk(page)
            if not self._is_requested_page(page):
                return None
            self._report_unreadable(page)
            fresh = drop_seen(page, self.seen)
            if self.end.is_beyond and page.keys and not fresh.keys and await self._is_clamped():
                return None
            self.end.add_page(page, self._number, len(fresh.keys))
            if self._number == self.first_page:
                self._newest_id = _find_newest_id(page)
            if self._count_repeats(page, fresh) and not await self._has_grown():
                raise _endless_list(_MAX_FRUITLESS_PAGES)
        except JunkieError as error:
            if isinstance(error, NotFoundError) and self.end.is_beyond:
                return None
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
        while len(self._in_flight) < self._window and number <= self.end.last_page:
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
        - Keys were deleted. The keys behind them moved forward, onto pages already given. The
          second fetch still states a smaller total, and `_look_again` looks for them.
        """
        before, total = self._total, self._believed_total(page, self._number, self._total)
        if self._is_drop(total):
            self._vain_pages += 1
            page = await get_page(self.fetch, self._number, self.limit)
            total = self._believed_total(page, self._number, before)
            if self._is_drop(total):
                self._total_before_drop = before
        self._total = total
        if before is not None and total != before:
            self.report_drift(changes=1)
        return page

    async def _look_again(self) -> AsyncGenerator[KeyPage, None]:
        """Give the keys that moved forward past the reader: N deletions move a key by at most N.

        The pages are fetched backwards. A key that moves forward meanwhile is then on a page yet to
        come, so one look is enough, even if the reader deletes what it gets.
        """
        size, last = self.end.page_size or self.limit, self._number - 2
        before, total = self._total_before_drop or 0, self._total or 0
        self._total_before_drop = None
        number, lowest = last, total
        while number >= max(self.first_page, last + 1 - -(-(before - lowest) // size)):
            page = await self._fetch_again(number)
            latest, total = total, self._believed_total(page, number, total) or 0
            lowest = min(lowest, total)
            # Keys created at the front push others back, onto pages that were looked at.
            created = total - latest
            number = min(last + 1, number - -created // size) if created > 0 else number - 1
            fresh = drop_seen(page, self.seen)
            if fresh.keys:
                self._vain_pages = 0
                self._reset_fruitless(len(fresh.keys))
                yield fresh
            elif not self._is_worth_looking():
                break
        self._last_stale_page = self._number - 1 + len(self._in_flight)

    async def _fetch_again(self, number: int) -> KeyPage:
        try:
            return await get_page(self.fetch, number, self.limit)
        except JunkieError as error:
            error.page = number
            raise

    def _is_worth_looking(self) -> bool:
        """Whether totals that fall are still believed after one more page without a new key."""
        self._vain_pages += 1
        most = _MAX_VAIN_PAGES + _MAX_VAIN_PAGES_A_PAGE * (self._number - self.first_page)
        self.believes_totals = self._vain_pages <= most
        return self.believes_totals

    def _is_drop(self, total: int | None) -> bool:
        before = self._total
        dropped = before is not None and total is not None and total < before
        return dropped and self.believes_totals

    def _believed_total(self, page: KeyPage, number: int, default: int | None) -> int | None:
        """Return a page's total, or the default if its keys contradict it."""
        size = self.end.page_size or self.limit
        total = page.pagination.total
        return default if total is None or contradicts_total(page, number, size) else total

    def _is_requested_page(self, page: KeyPage) -> bool:
        stated = page.pagination.page  # another one than requested: the service ignores `page`
        if stated is None or stated == self._number:
            return True
        if self.end.is_beyond:
            return False
        raise invalid_response(f"requested page {self._number}, but the response is page {stated}")

    async def _is_clamped(self) -> bool:
        """Whether the service gives its last page again for all pages beyond it."""
        try:
            page = await get_page(self.fetch, self._number + _FAR, self.limit)
        except APIError:
            return False
        return bool(page.keys)

    def _report_unreadable(self, page: KeyPage) -> None:
        if page.unreadable:
            self.report_drift(unreadable=len(page.unreadable))
            line = "GET /keys: page %d has %d rows that can't be read and are skipped: %s"
            _log.warning(line, self._number, len(page.unreadable), page.unreadable[0])

    def _count_repeats(self, page: KeyPage, fresh: KeyPage) -> bool:
        """Report repeats, and return whether it is unclear why the last ten pages have no new key.

        Raises when the list goes on for long without new keys: it would never end.
        """
        if fresh.keys:
            self._reset_fruitless(len(fresh.keys))
        if self._number <= self._last_stale_page:
            return False
        repeats = len(page.keys) - len(fresh.keys)
        if repeats:
            self.report_drift(repeats=repeats)
        if fresh.keys:
            return False
        self._fruitless_pages += 1
        self._repeats_in_a_row += repeats
        if self._fruitless_pages > _MAX_EXPLAINED_PAGES:
            raise _endless_list(_MAX_EXPLAINED_PAGES)
        is_due = self._fruitless_pages % _MAX_FRUITLESS_PAGES == 1 and self._fruitless_pages > 1
        return is_due and not self._is_explained(page)

    async def _has_grown(self) -> bool:
        """Whether the first page has newer keys than when it was last read: they push others back.

        Totals that are missing, or capped, do not show that.
        """
        before = self._newest_id
        self._newest_id = _find_newest_id(await get_page(self.fetch, self.first_page, self.limit))
        return self._newest_id > before

    def _reset_fruitless(self, new_keys: int) -> None:
        self._given += new_keys
        self._fruitless_pages = self._repeats_in_a_row = 0
        self._total_at_new_key = self._total

    def _is_explained(self, page: KeyPage) -> bool:
        """Whether the service states why a page has no new key."""
        stated = page.pagination
        if stated.total is None or not self.believes_totals:
            return False
        if page.keys:  # keys created at the front pushed these back, one key for each of them
            before = self._total_at_new_key
            created = 0 if before is None else stated.total - before
            # A service may count the keys before it reads them: then the total lags behind.
            lag = _MAX_FRUITLESS_PAGES * self.limit
            return created > 0 and self._repeats_in_a_row <= created + lag
        # A service that filters after paging leaves empty pages, and states the unfiltered total.
        size = stated.limit or self.limit
        before_walk = (self.first_page - 1) * size
        return (
            stated.total_pages in (None, -(-stated.total // size))
            and stated.total > before_walk + self._given
        )


def _find_newest_id(page: KeyPage) -> int:
    return max((key.id for key in page.keys), default=0)


def _endless_list(most: int) -> InvalidResponseError:
    return invalid_response(f"endless list: more than {most} pages in a row had no new key")


async def get_page(fetch: FetchPage, number: int, limit: int) -> KeyPage:
    """Fetch one page and decode it."""
    decode = await fetch(number, limit)
    return await decode()


async def count_by_total(fetch: FetchPage) -> int | None:
    """Count the keys by the stated total, if the first page and the last one agree with it."""
    page = await get_page(fetch, 1, _LARGEST_PAGE)
    end = ListEnd(limit=_LARGEST_PAGE)
    end.add_page(page, 1, count_rows(page))
    total = end.total
    if total is None or end.contradictions or end.last_page == 1:
        return None if end.contradictions else total
    # A page size that leaves a part of a page at the end: having exactly that proves the end.
    limit = next((size for size in range(end.page_size, 1, -1) if total % size), None)
    if limit is None:
        return None
    number = total // limit + 1
    page = await get_page(fetch, number, limit)
    rows = count_rows(page)
    counted = (number - 1) * limit + rows
    return counted if 0 < rows < limit and counted == page.pagination.total else None


def drop_seen(page: KeyPage, seen: SeenIDs) -> KeyPage:
    """Drop the keys that were seen before, and remember the others."""
    keys = page.keys
    if _are_consecutive(keys) and seen.add_run(keys[0].id, keys[-1].id):
        return page
    new = seen.add_page([key.id for key in keys])
    if new is None:
        return page
    return attrs.evolve(page, keys=tuple(keys[index] for index in new))


def _are_consecutive(keys: Sequence[Key]) -> bool:
    """Whether each key's ID is the next one after that of the key before, up or down."""
    # Keys that were created in batches are. 100 of them then take 32,000 instructions, not 60,000.
    if len(keys) < 2 or abs(keys[0].id - keys[-1].id) != len(keys) - 1:
        return False
    falling = keys if keys[0].id > keys[-1].id else keys[::-1]
    before = falling[0].id + 1
    for key in falling:  # noqa: SIM110 - `all` with a generator takes twice as long
        if before <= (before := key.id):
            return False
    return True


def invalid_response(message: str) -> InvalidResponseError:
    """Return the error for responses that contradict each other."""
    return InvalidResponseError(message, outcome=Outcome.EXECUTED)
