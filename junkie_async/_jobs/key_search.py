"""Searching a list for the keys of a job, which are among the newest ones.

What a search relies on: no call of the job is in flight, and nobody else deletes or renames its
keys. So these keys only move when others are created or deleted.

- In a list that begins with its newest keys, a walk whose pages are read in order can miss a key
  only when more keys before it are deleted than are created at the front. The stated total falls
  then, and a walk looks again at the pages before (see `ListPass`). One walk is enough where totals
  are stated.
- A list that ends with its newest keys is read backwards. Deletions move a key to pages that are
  still to be read, and creations move no key. One walk is enough, whatever the totals are.
- In a list of any other order, the list is walked until a walk finds no key of the job that those
  before it missed. Changes among other people's keys don't prolong that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from .._errors import DriftError, NotFoundError
from .._models import Key, KeyPage
from .._pagination.list_pass import (
    FetchPage,
    ListPass,
    PendingPage,
    drop_seen,
    get_page,
    invalid_response,
)
from .._pagination.seen_ids import SeenIDs

_MAX_WALKS: Final = 10
_FIRST_WAIT: Final = 0.02  # seconds after the first disturbed walk; twice as many after the next
_MAX_PAGES_BEYOND: Final = 10  # empty pages at the end that was stated, or full ones after it
_PAGE_SIZE: Final = 100

# Pages ahead are served in any order. If a key is created when a page was served and the page
# before it was not, a key moves from one to the other and is on neither. The total shows that,
# unless another key is deleted in the same moment.
_PREFETCH: Final = 1


class KeySearch(msgspec.Struct, eq=False):
    """A search for the keys that a job may have created.

    Attributes:
        fetch: Fetches a page of the list.
        is_wanted: Whether a key is one of the job's.
        since: A moment surely before the job's first key was created, or None if none is known.
        is_plausible: Whether the keys found so far confirm that moment. If clocks were wrong, the
            job's keys may be older than it.
    """

    fetch: FetchPage
    is_wanted: Callable[[Key], bool]
    since: datetime | None
    is_plausible: Callable[[Collection[Key]], bool]
    _found: dict[int, Key] = msgspec.field(default_factory=dict[int, Key])
    # Whether keys were created just while a walk looked again at earlier pages: they may have
    # pushed a key onto a page that it has left.
    _is_torn: bool = False
    _was_incomplete: bool = False  # the walk before
    _latest: tuple[int, int] = (0, 0)  # page and total

    async def find(self) -> list[Key]:
        """Return all wanted keys.

        Raises:
            DriftError: Each of ten walks found keys that those before it missed.
            InvalidResponseError: What the list states about its end contradicts its keys.
        """
        if await self._read_backwards():
            return [*self._found.values()]
        for number in range(_MAX_WALKS):
            before = len(self._found)
            is_enough = await self._walk_forwards()
            is_confirmed = number and len(self._found) == before and not self._is_torn
            if is_enough or is_confirmed:
                return [*self._found.values()]
            if self._is_torn:
                await asyncio.sleep(_FIRST_WAIT * 2.0**number)  # until others make fewer changes
        raise DriftError(
            f"others changed the provider's keys during each of {_MAX_WALKS} walks over them, or it"
            " found other keys of the job: run it again later"
        )

    async def _walk_forwards(self) -> bool:
        """Walk the list, and return whether that is enough."""
        # A pass looks again where the total falls, and is not repeated as a whole.
        walk = ListPass(
            fetch=self._fetch_watched,
            seen=SeenIDs(),
            limit=_PAGE_SIZE,
            prefetch=_PREFETCH,
            filtered=True,
            complete=True,
        )
        order, number, states_totals, is_enough = _Order(), 0, True, False
        is_incomplete = self._is_torn = False
        self._latest = highest, total = 0, 0
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                number += 1
                self._add(page.keys)
                states_totals &= page.pagination.total is not None
                is_enough = order.add(page.keys) and states_totals and walk.believes_totals
                is_enough = is_enough and not self._is_torn
                # Where the total has fallen, a walk looks again after this page.
                (at, total), before = self._latest, total
                is_steady, highest = at > highest and total >= before, max(at, highest)
                if is_enough and is_steady and self._is_past_since(page.keys[-1:]):
                    break
                del page  # or it would stay in memory until the next one has come
            else:
                is_incomplete = walk.end.is_incomplete()
        if walk.end.contradictions or (is_incomplete and self._was_incomplete):
            raise invalid_response(
                f"{walk.end.describe_contradiction()}: keys of the job may be missing"
            )
        # A key that was created and another that was deleted in one moment look like that, too.
        self._was_incomplete = is_incomplete
        self._is_torn |= is_incomplete
        return (number <= 1 or is_enough) and not is_incomplete

    async def _read_backwards(self) -> bool:
        """Read the list backwards if its newest keys come last, and return whether it was read."""
        first = await self._get_page(1)
        order, seen, number, empty_pages = _Order(), SeenIDs(), 0, 0
        if _ends_with_newest(first):
            number = await self._find_last_page(first)
        while number:
            page = await self._get_page(number)
            if not _is_as_stated(page, number):
                return False  # what is stated does not lead to the end
            empty_pages += not page.keys
            # Deletions move keys that were read onto this page: they come again.
            keys = drop_seen(attrs.evolve(page, keys=page.keys[::-1]), seen).keys
            self._add(keys)
            if not order.add(keys) or empty_pages > _MAX_PAGES_BEYOND:
                return False
            if number == 1 or self._is_past_since(keys[-1:]):
                return True
            number -= 1
        return False

    async def _find_last_page(self, first: KeyPage) -> int:
        """Find the last page that has keys, or 0 where what is stated does not lead there."""
        stated, size = first.pagination.total or 0, first.pagination.limit or len(first.keys)
        number = -(-stated // max(size, 1))
        for _ in range(_MAX_PAGES_BEYOND):
            if not await self._has_keys(number + 1):
                return number
            number += 1
        return 0

    async def _has_keys(self, number: int) -> bool:
        try:
            page = await self._get_page(number)
        except NotFoundError:  # that is how some services put that there is no such page
            return False
        # Others give their last page for all numbers beyond it.
        return bool(page.keys) and page.pagination.page in (None, number)

    async def _fetch_watched(self, number: int, limit: int) -> PendingPage:
        decode = await self.fetch(number, limit)

        async def decode_and_watch() -> KeyPage:
            page = await decode()
            (before, total_before), total = self._latest, page.pagination.total or 0
            if number <= before and total > total_before:
                self._is_torn = True
            self._latest = number, total
            return page

        return decode_and_watch

    def _get_page(self, number: int) -> Coroutine[Any, Any, KeyPage]:
        return get_page(self.fetch, number, _PAGE_SIZE)

    def _add(self, keys: Iterable[Key]) -> None:
        self._found |= {key.id: key for key in keys if self.is_wanted(key)}

    def _is_past_since(self, oldest: Sequence[Key]) -> bool:
        created_at = oldest[0].created_at if oldest else None
        if self.since is None or created_at is None or created_at >= self.since:
            return False
        return self.is_plausible(self._found.values())


def _is_as_stated(page: KeyPage, number: int) -> bool:
    """Whether a page has exactly the keys that its own total leaves for it."""
    total, size = page.pagination.total or 0, page.pagination.limit or _PAGE_SIZE
    return len(page.keys) == min(size, max(0, total - (number - 1) * size))


def _ends_with_newest(page: KeyPage) -> bool:
    """Whether a first page shows that the newest keys are on the last one."""
    keys = page.keys
    return len(keys) > 1 and page.pagination.total is not None and _Order().add(keys[::-1])


class _Order:
    """Whether all keys so far came with the newest first, by their IDs and by their dates."""

    def __init__(self) -> None:
        self.is_newest_first = True
        self._last: Key | None = None

    def add(self, keys: tuple[Key, ...]) -> bool:
        """Add the keys of a page, and return whether they continue the order."""
        for key in keys:
            if self._last is not None and not _is_older(key, self._last):
                self.is_newest_first = False
            self._last = key
        return self.is_newest_first


def _is_older(key: Key, than: Key) -> bool:
    if key.created_at is None or than.created_at is None:
        return key.id < than.id
    return key.id < than.id and key.created_at <= than.created_at
