"""Walks over a list of keys, page by page, while keys may be created and deleted."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

import attrs

from .._errors import DriftError
from .._http.coroutines import LazyCoroutine, uses
from .._masking import error_boundary
from .._models import Key, KeyPage
from .._validation import check_boolean, check_integer
from .list_pass import FetchPage, ListPass, PendingPage, drop_seen, get_page
from .seen_ids import SeenIDs

CheckRows: TypeAlias = Callable[[Iterable[Key], bool], None]

_MAX_PASSES = 10


@attrs.frozen
class Drift:
    """How a list changed while it was walked. It is falsy when no change was seen.

    Attributes:
        changes: How many times the stated total differed from that of the page before.
        repeats: Keys seen again on a later page, because new keys pushed them back. They were
            given once.
        missed: Keys that only a later pass of a strict walk found.
    """

    changes: int = 0
    repeats: int = 0
    missed: int = 0

    def __bool__(self) -> bool:
        return bool(self.changes or self.repeats or self.missed)


class KeyPager(LazyCoroutine[KeyPage]):
    """A list of keys that is fetched while it is read.

    ``async for key in pager`` walks over every key. ``await pager`` fetches only the first
    `KeyPage`. Each walk starts again from the first page. Somebody waits for `await`, `first` and
    `count`, so they are interactive calls, and walks are not. A pager is a coroutine, so
    `asyncio.create_task` takes it, and it warns if it was never used.

    A walk fetches up to ``prefetch`` pages ahead of its reader, and gives them in order. The first
    page is fetched alone, so a reader who stops there has made one request.

    No key is given twice. Where the service states totals, keys created during the walk hide no
    other key. Keys deleted during the walk may: the keys behind them move onto pages that were
    read already. `drift` counts the changes that the walk saw. A ``strict`` walk makes up for
    them. It fetches the pages before a drop of the total again, and then repeats the whole pass,
    giving what it missed, until a pass finds nothing more. Keys with a higher ID than all keys of
    the first pass count as new, not as missed.

    A walk ends where the pagination says so. An empty page before that does not end it.

    Args:
        fetch: Fetches a page by its number, from 1, and its size. Returns what decodes it.
        page: The page to begin with, from 1.
        limit: Keys in a page, 1 to 100.
        prefetch: Pages in flight while walking, 1 to 64.
        strict: Repeat the pass until nothing more is found.
        fetch_single: Fetches a page outside of a walk. None means ``fetch``.
        check: Raises for keys that contradict the filters of the list, and if its second argument
            is true, for keys that don't tell.

    Raises:
        InvalidRequestError: An argument is out of its limits.
    """

    def __init__(
        self,
        fetch: FetchPage,
        *,
        page: int = 1,
        limit: int = 100,
        prefetch: int = 4,
        strict: bool = False,
        fetch_single: FetchPage | None = None,
        check: CheckRows | None = None,
    ) -> None:
        self._strict = check_boolean("strict", strict)
        self._fetch_unchecked, self._check = fetch, check
        self._fetch = self._check_pages(fetch, certain=strict)
        self._fetch_single = self._check_pages(fetch_single or fetch, certain=strict)
        self._page = check_integer("page", page, 1)
        self._limit = check_integer("limit", limit, 1, 100)
        self._prefetch = check_integer("prefetch", prefetch, 1, 64)
        self._drift = Drift()
        super().__init__("keys.list")

    def _check_pages(self, fetch: FetchPage, *, certain: bool) -> FetchPage:
        """Return what fetches a page and checks its rows against the filters."""
        check = self._check
        if check is None:
            return fetch

        async def fetch_and_check(number: int, limit: int) -> PendingPage:
            decode = await fetch(number, limit)

            async def decode_and_check() -> KeyPage:
                page = await decode()
                check(page.keys, certain)
                return page

            return decode_and_check

        return fetch_and_check

    def _require_certainty(self) -> None:
        """Refuse, from now on, keys that don't tell whether they match the filters."""
        self._fetch = self._check_pages(self._fetch_unchecked, certain=True)

    def __await__(self) -> Generator[Any, Any, KeyPage]:
        self._mark_used()
        return self._get_first_page().__await__()

    @error_boundary
    async def _get_first_page(self) -> KeyPage:
        return await get_page(self._fetch_single, self._page, self._limit)

    async def __aiter__(self) -> AsyncIterator[Key]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for key in page.keys:
                    yield key
                del page  # or it would stay in memory until the next one has come

    @property
    def drift(self) -> Drift:
        """How the list changed during the latest walk, up to now."""
        return self._drift

    @uses
    @error_boundary
    async def first(self) -> Key | None:
        """Fetch the first key, or None when the list is empty."""
        # A smaller page size would make any later page begin with another key.
        limit = 1 if self._page == 1 else self._limit
        page = await get_page(self._fetch_single, self._page, limit)
        return page.keys[0] if page.keys else None

    @uses
    @error_boundary
    async def count(self) -> int:
        """Count the keys of the whole list.

        This takes one request where the service states the total, else a walk.
        """
        fetch_single = self._check_pages(self._fetch_single, certain=True)
        total = (await get_page(fetch_single, 1, 1)).pagination.total
        if total is not None:
            return total
        fetch = self._check_pages(self._fetch_unchecked, certain=True)
        whole = KeyPager(fetch, limit=self._limit, prefetch=self._prefetch)
        return sum([len(page.keys) async for page in whole.pages()])

    @uses
    @error_boundary
    async def collect(self, limit: int | None = None) -> list[Key]:
        """Walk the list and return its keys.

        Args:
            limit: The most keys to return, 0 or more. None returns all.
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

    @error_boundary
    async def pages(self) -> AsyncGenerator[KeyPage, None]:
        """Walk page by page. The ``keys`` of a page are those that no page before it had.

        Raises:
            DriftError: A strict walk still found missed keys in its tenth pass.
            JunkieError: A page could not be fetched; ``error.page`` is its number. All pages before
                it have been given. ``list(page=error.page)`` walks the rest.
        """
        self._mark_used()
        seen, highest_id, count = SeenIDs(), -1, 0
        self._drift = Drift()
        async with aclosing(self._start_pass(seen).pages()) as pages:
            async for page in pages:
                count += 1
                if self._strict:
                    highest_id = max([highest_id, *(key.id for key in page.keys)])
                yield page
        if self._strict and count > 1:  # a single page can't change between two requests
            async with aclosing(self._repeat_passes(seen, highest_id)) as pages:
                async for page in pages:
                    yield page

    async def _repeat_passes(self, seen: SeenIDs, highest_id: int) -> AsyncGenerator[KeyPage, None]:
        """Walk again until a pass finds no key that the passes before it missed.

        Only keys up to the first pass's highest ID count. Were later ones counted too, a list into
        which keys are created all the time would never end.
        """
        for _ in range(_MAX_PASSES - 1):
            missed = 0
            again = self._start_pass(SeenIDs())
            async with aclosing(again.pages()) as pages:
                async for page in pages:
                    fresh = drop_seen(page, seen)
                    missed += sum(key.id <= highest_id for key in fresh.keys)
                    if fresh.keys:
                        yield fresh
            if not missed and not again.may_miss_keys:
                return
            self._add_drift(missed=missed)
        raise DriftError(
            f"the list was still changing after {_MAX_PASSES} passes: "
            "walk it later, or without strict=True"
        )

    def _start_pass(self, seen: SeenIDs) -> ListPass:
        return ListPass(
            fetch=self._fetch,
            seen=seen,
            report_drift=self._add_drift,
            first_page=self._page,
            limit=self._limit,
            prefetch=self._prefetch,
            strict=self._strict,
        )

    def _add_drift(self, *, changes: int = 0, repeats: int = 0, missed: int = 0) -> None:
        drift = self._drift
        self._drift = Drift(
            changes=drift.changes + changes,
            repeats=drift.repeats + repeats,
            missed=drift.missed + missed,
        )


async def collect_ids(pager: KeyPager) -> array[int]:
    """Walk a list whose keys are to be deleted, and return its IDs, 8 bytes each."""
    pager._require_certainty()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    ids = array("q")
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            # A larger ID can't be sent back: JSON readers might round it to that of another key.
            ids.extend(check_integer("key.id", key.id) for key in page.keys)
    return ids


async def iterate_ids_after_walk(pager: KeyPager) -> AsyncGenerator[int, None]:
    """Give the IDs once all are known, so that deleting their keys can't disturb the walk."""
    for key_id in await collect_ids(pager):
        yield key_id
