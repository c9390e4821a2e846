"""Walks a list that comes in pages, ahead of its reader."""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
)
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import attrs

from .._errors import DriftError, InvalidResponseError, JunkieError, Outcome
from .._models import Key, KeyPage
from .._validation import check_boolean, check_integer
from .seen_ids import SeenIDs

T = TypeVar("T")

PendingPage: TypeAlias = Callable[[], Awaitable[KeyPage]]
"""Reads a page that has come, or fetches it again if it can't be read."""

_FRUITLESS = 1000
"""Pages in a row without a new key, after which a list that goes on is taken for a broken one."""

_PASSES = 10
"""Passes in all, after which a list that is walked strictly is said to drift too fast."""

_LOOKS = 5
"""Times that pages are looked at again after keys were deleted between them."""


@attrs.frozen
class Drift:
    """What moved in a list while it was walked. False when nothing was noticed.

    Attributes:
        changes: How often the stated total was another than on the page before.
        repeats: Keys that came again, because others pushed them onto a later page.
        missed: Keys that a strict walk found in a later pass alone.
    """

    changes: int = 0
    repeats: int = 0
    missed: int = 0

    def __bool__(self) -> bool:
        return bool(self.changes or self.repeats or self.missed)


class KeyPager:
    """A list of keys, walked page by page as it is read.

    ``async for key in pager`` gives every key; ``await pager`` the first `KeyPage` alone. Each
    walk starts anew.

    While the reader is at work, up to ``prefetch`` further pages are fetched at once and delivered
    in order; the first page comes alone, so that a reader who needs no more has made one request.

    No key is given twice, though keys that are created during a walk push others onto the next
    page; and where the service states totals, none that existed throughout is missed on their
    account. Keys that are deleted during a walk may take others out of its sight: `drift` tells
    what was noticed of that. A ``strict`` walk therefore goes over the list again, and gives what
    it has missed, until a pass finds nothing more (a key with a higher ID than all of the first
    pass counts as new); where the total falls, it looks again at the pages that keys may have
    slipped onto. A walk ends where the pagination says so;
    an empty page on the way does not end it.

    Args:
        fetch: Fetches page number N (from 1) of at most so many keys, and gives what reads it.
        page: Where to begin: where a walk that failed left off, say.
        limit: Keys in a page, 1 to 100.
        prefetch: Pages fetched at once, 1 to 64.
        strict: Whether walks go over the list until two passes agree.

    Raises:
        InvalidRequestError: A number is out of its limits.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], Coroutine[Any, Any, PendingPage]],
        *,
        page: int = 1,
        limit: int = 100,
        prefetch: int = 4,
        strict: bool = False,
    ) -> None:
        self._fetch = fetch
        self._strict = check_boolean("strict", strict)
        self._drift = Drift()
        self._torn = False  # the current pass can't be relied on
        self._page = check_integer("page", page, 1)
        self._limit = check_integer("limit", limit, 1, 100)
        self._prefetch = check_integer("prefetch", prefetch, 1, 64)

    def __await__(self) -> Generator[None, None, KeyPage]:
        return self._get(self._page, self._limit).__await__()

    async def __aiter__(self) -> AsyncIterator[Key]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for key in page.keys:
                    yield key
                del page  # or it would live on until the next one is there

    @property
    def drift(self) -> Drift:
        """What was noticed to move during the latest walk, so far."""
        return self._drift

    async def first(self) -> Key | None:
        """Fetch the first key alone; None when there is none."""
        limit = 1 if self._page == 1 else self._limit
        page = await self._get(self._page, limit)
        return page.keys[0] if page.keys else None

    async def count(self) -> int:
        """Tell how many keys the list has, by one request where the service states the total."""
        total = (await self._get(1, 1)).pagination.total
        if total is not None:
            return total
        whole = KeyPager(self._fetch, limit=self._limit, prefetch=self._prefetch)
        return sum([len(page.keys) async for page in whole.pages()])

    async def collect(self, limit: int | None = None) -> list[Key]:
        """Walk into a list.

        Args:
            limit: Stop after so many keys, 0 or more; all by default.
        """
        keys: list[Key] = []
        most = None if limit is None else check_integer("limit", limit, 0)
        if most == 0:
            return keys
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                keys += page.keys
                if most is not None and len(keys) >= most:
                    break
        return keys[:most]

    async def pages(self) -> AsyncGenerator[KeyPage, None]:
        """Walk page by page. A page's ``keys`` lack those that an earlier page has given.

        Raises:
            DriftError: Of a strict walk: ten passes did not agree.
            JunkieError: A page can't be had. ``error.page`` is its number; the pages before it
                have been given, and ``list(page=error.page)`` goes on from there.
        """
        seen, highest, number = SeenIDs(), -1, 0
        self._drift = Drift()
        async with aclosing(self._pass(seen)) as pages:
            async for page in pages:
                number += 1
                highest = max([highest, *(key.id for key in page.keys)]) if self._strict else 0
                yield page
        if self._strict and number > 1:  # one page is of one moment
            async with aclosing(self._later_passes(seen, highest)) as pages:
                async for page in pages:
                    yield page

    async def _later_passes(self, seen: SeenIDs, highest: int) -> AsyncGenerator[KeyPage, None]:
        """Walk again until a pass finds no key that was there, by its ID, during the first one."""
        for _ in range(_PASSES - 1):
            missed, self._torn = 0, False
            async with aclosing(self._pass(seen, again=True)) as pages:
                async for page in pages:
                    missed += sum(key.id <= highest for key in page.keys)
                    if page.keys:
                        yield page
            if not missed and not self._torn:
                return
            self._drift = attrs.evolve(self._drift, missed=self._drift.missed + missed)
        raise DriftError(f"{_PASSES} passes over the list did not agree: it changes too fast")

    async def _pass(self, seen: SeenIDs, *, again: bool = False) -> AsyncGenerator[KeyPage, None]:
        ahead: deque[asyncio.Task[PendingPage]] = deque()
        number, last, window = self._page, self._page, 1
        total: int | None = None
        fruitless, promised = 0, 0
        in_pass = SeenIDs() if again else seen
        try:
            while True:
                self._fill(ahead, number, last, window)
                read = await _numbered(ahead[0], number)
                ahead.popleft()
                page = await _numbered(read(), number)
                del read
                if _shrank(total, page.pagination.total):
                    page = await _numbered(self._look_again(number, total, page), number)
                self._notice(total, page.pagination.total)
                total = page.pagination.total
                stated = page.pagination.page
                if stated is not None and stated != number:
                    raise _broken(f"page {number} was asked for, and page {stated} came", number)
                last = _last_page(page, number, self._limit)
                if window > 1:  # the first page comes alone: its reader may need no more
                    self._fill(ahead, number + 1, last, window)
                window = min(window * 2, self._prefetch)
                came, fresh = page.keys, _without_repeats(page, in_pass)
                page = _without_repeats(page, seen) if again else fresh
                if len(fresh.keys) < len(came):
                    repeats = self._drift.repeats + len(came) - len(fresh.keys)
                    self._drift = attrs.evolve(self._drift, repeats=repeats)
                if fresh.keys:
                    fruitless, promised = 0, last
                elif came or last > promised:  # promised pages that are empty end by themselves
                    fruitless += 1
                    if fruitless > _FRUITLESS:
                        raise _broken("the list goes on and on without a new key", number)
                del came, fresh
                yield page
                del page
                if number >= last and not ahead:
                    return
                number += 1
        finally:
            await _drop(ahead)

    def _fill(
        self, ahead: deque[asyncio.Task[PendingPage]], number: int, last: int, most: int
    ) -> None:
        """Start fetching from page ``number`` on, as far as the list is known to go."""
        while len(ahead) < most and number + len(ahead) <= last:
            fetch = self._fetch(number + len(ahead), self._limit)
            ahead.append(asyncio.create_task(fetch))

    async def _look_again(self, number: int, total: int | None, page: KeyPage) -> KeyPage:
        """Fetch a page that may have been cut before the one in front of it, or after a deletion.

        Strictly, the pages are fetched with it that its keys may have slipped onto, until all of
        them are of one total.
        """
        if not self._strict:
            return await self._get(number, self._limit)
        keys: dict[int, Key] = {}
        for _ in range(_LOOKS):
            fell = (total or 0) - (page.pagination.total or 0)
            first = max(self._page, number - max(1, -(-fell // self._limit)))
            looks = [await self._get(at, self._limit) for at in range(first, number + 1)]
            keys |= {key.id: key for look in looks for key in look.keys}
            page, total = looks[-1], looks[0].pagination.total
            if not any(_shrank(total, look.pagination.total) for look in looks):
                break
        else:
            self._torn = True
        return attrs.evolve(page, keys=tuple(keys.values()))

    def _notice(self, before: int | None, now: int | None) -> None:
        if before is not None and now != before:
            self._drift = attrs.evolve(self._drift, changes=self._drift.changes + 1)

    async def _get(self, page: int, limit: int) -> KeyPage:
        read = await self._fetch(page, limit)
        return await read()


def _shrank(before: int | None, now: int | None) -> bool:
    """Whether a page may have been cut before the one in front of it, so that keys lie between.

    Pages fetched at once are cut in any order. Were keys created in between, then the earlier page
    knows fewer of them, and is fetched again: now it is the later one, and can only overlap.
    """
    return before is not None and now is not None and now < before


async def _numbered(fetch: Awaitable[T], number: int) -> T:
    try:
        return await fetch
    except JunkieError as error:
        error.page = number
        raise


def _last_page(page: KeyPage, number: int, limit: int) -> int:
    """Where the list ends, as far as this page knows; without a word on it, where a page is empty.

    The page's own limit counts, since a service may grant fewer keys a page than were asked for.
    """
    stated = page.pagination
    if stated.total_pages is not None:
        return stated.total_pages
    if stated.total is not None:
        return -(-stated.total // (stated.limit or limit))
    return number + 1 if page.keys else number


def _without_repeats(page: KeyPage, seen: SeenIDs) -> KeyPage:
    fresh = seen.fresh([key.id for key in page.keys])
    if fresh is None:
        return page
    return attrs.evolve(page, keys=tuple(page.keys[index] for index in fresh))


def _broken(message: str, number: int) -> InvalidResponseError:
    error = InvalidResponseError(message, outcome=Outcome.EXECUTED)
    error.page = number
    return error


async def _drop(tasks: deque[asyncio.Task[PendingPage]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


async def gather(pager: KeyPager) -> array[int]:
    """Walk into the IDs alone, 8 bytes each."""
    ids = array("q")
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            # No larger ID could be sent: the service might round it to that of another key.
            ids.extend(check_integer("key.id", key.id) for key in page.keys)
    return ids


async def gathered(pager: KeyPager) -> AsyncGenerator[int, None]:
    """Give the IDs once all of them are known, so that their keys may be deleted meanwhile."""
    for key_id in await gather(pager):
        yield key_id
