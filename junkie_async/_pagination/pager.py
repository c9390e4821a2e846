"""Walks over a list of keys, page by page, while keys may be created and deleted."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import attrs

from .._errors import DriftError
from .._http.coroutines import UnansweredCoroutine, uses
from .._masking import error_boundary
from .._models import Key, KeyPage, Model
from .._validation import check_boolean, check_integer
from .list_end import ListEnd
from .list_pass import (
    FetchPage,
    ListPass,
    PendingPage,
    count_by_total,
    drop_seen,
    get_page,
    invalid_response,
)
from .seen_ids import SeenIDs

CheckRows: TypeAlias = Callable[[Iterable[Key], bool], None]

_MAX_PASSES = 10
_UNSTEADY_TOTALS = "the list states totals that fall although no keys have moved"


@attrs.frozen
class Drift(Model):
    """How a list changed while it was walked. It is falsy when no change was seen.

    Attributes:
        changes: How many times the stated total differed from that of the page before.
        repeats: Keys seen again on a later page, because new keys pushed them back. They were
            given once.
        missed: Keys that only a later pass of a strict walk found.
        contradictions: Pages whose pagination contradicts their keys, such as a total of 0 beside
            keys, if the end of the walk did not explain it. Keys may be missing where the list
            has fewer than it states. One more, where totals fell although no keys moved.
        unreadable: Rows that could not be read, which ``skip_bad_rows=True`` has skipped.
    """

    changes: int = 0
    repeats: int = 0
    missed: int = 0
    contradictions: int = 0
    unreadable: int = 0

    def __bool__(self) -> bool:
        return any(attrs.astuple(self))


class KeyPager(UnansweredCoroutine[KeyPage]):
    """A list of keys that is fetched while it is read.

    ``async for key in pager`` walks over every key. ``await pager`` fetches only the first
    `KeyPage`. Each walk starts again from the first page. Somebody waits for `await`, `first` and
    `count`, so they are interactive calls, and walks are not. A pager is a coroutine, so
    `asyncio.create_task` takes it, and it warns if it was never used.

    A walk fetches up to ``prefetch`` pages ahead of its reader, and gives them in order. The first
    page is fetched alone, so a reader who stops there has made one request.

    No key is given twice. What a walk finds depends on what the service states:

    - With totals, it gives every key that exists throughout, while keys are deleted or leave the
      list, or while keys are created. So a loop may delete or change the keys it walks over. Where
      a total is below that of the page before, the pages that keys may have moved to are fetched
      again, and the order is then not that of the list.
    - With totals, while keys are both deleted and created between two pages, it may miss some: the
      total does not show that. Without totals, it may also miss some while keys are deleted, or,
      in a list that is ordered by the last change, while keys are changed.
    - A ``strict`` walk makes up for all of these. It repeats the whole pass, giving what it missed,
      until a pass finds nothing more. Keys with a higher ID than all keys of the first pass count
      as new, not as missed.

    A walk ends where the pagination says so, as long as the keys agree. It goes on while pages are
    full or have fewer keys than stated, up to ten empty pages in a row beyond the stated end. A
    number below 0 is not stated. So a full last page costs a request more where its total may be a
    cap: up to 1,000, and at 10,000. What stays contradictory is counted by `drift`. It is an
    `InvalidResponseError` in a strict walk, and in what deletes the keys of a list or settles a job
    by them.

    `drift` counts the changes that the walk saw.

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
        self._certain = strict  # whether a contradiction is an error
        self._complete = strict  # whether fewer keys than stated are one
        self._fetch_unchecked, self._check = fetch, check
        self._filtered = check is not None
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
        """Refuse contradictions from now on, and keys that don't tell if the filters match."""
        self._fetch = self._check_pages(self._fetch_unchecked, certain=True)
        self._certain = self._complete = True

    def _require_completeness(self) -> None:
        """Refuse, from now on, fewer keys than the list states."""
        self._complete = True

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
        """Fetch the first key, or None when the list is empty.

        This takes one request. If the first page is empty although the service states more keys, it
        takes a walk up to the first key.
        """
        # A smaller page size would make any later page begin with another key.
        limit = 1 if self._page == 1 else self._limit
        page = await get_page(self._fetch_single, self._page, limit)
        found: Sequence[Key] = page.keys
        if not found and self._may_go_on(page, limit):
            found = await self.collect(1)
        return found[0] if found else None

    def _may_go_on(self, page: KeyPage, limit: int) -> bool:
        """Whether keys may follow an empty first page."""
        rows = (self._page - 1) * limit
        end = ListEnd(limit=limit, filtered=self._filtered, rows=rows)
        end.add_page(page, self._page, 0)
        return end.last_page > self._page

    @uses
    @error_boundary
    async def count(self) -> int:
        """Count the keys of the whole list.

        This takes one request for a list of less than a page, and two where the last page proves
        the total that the service states. Else it takes a walk.

        Raises:
            InvalidResponseError: The pages have fewer keys than the list states.
        """
        total = await count_by_total(self._check_pages(self._fetch_single, certain=True))
        if total is not None:
            return total
        fetch = self._check_pages(self._fetch_unchecked, certain=True)
        whole = KeyPager(fetch, limit=self._limit, prefetch=self._prefetch)
        whole._complete, whole._filtered = True, self._filtered
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
        seen, highest_id, count, given = SeenIDs(), -1, 0, 0
        self._drift = Drift()
        first = self._start_pass(seen)
        async with aclosing(first.pages()) as pages:
            async for page in pages:
                count += 1
                if self._strict:
                    highest_id = max([highest_id, *(key.id for key in page.keys)])
                    given += len(page.keys)
                yield page
        if self._strict and count > 1:  # a single page can't change between two requests
            async with aclosing(self._repeat_passes(seen, highest_id, given)) as pages:
                async for page in pages:
                    yield page
        else:
            self._check_end(first)

    async def _repeat_passes(
        self, seen: SeenIDs, highest_id: int, given: int
    ) -> AsyncGenerator[KeyPage, None]:
        """Walk again until a pass finds no key that the passes before it missed.

        Only keys up to the first pass's highest ID count. Were later ones counted too, a list into
        which keys are created all the time would never end.
        """
        for _ in range(_MAX_PASSES - 1):
            missed = repeated = 0
            again = self._start_pass(SeenIDs())
            async with aclosing(again.pages()) as pages:
                async for page in pages:
                    fresh = drop_seen(page, seen)
                    missed += sum(key.id <= highest_id for key in fresh.keys)
                    repeated += len(page.keys)
                    given += len(fresh.keys)
                    if fresh.keys:
                        yield fresh
            if not missed:
                self._check_end(again, further_keys=given - repeated)
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
            filtered=self._filtered,
            complete=self._complete,
        )

    def _check_end(self, walked: ListPass, further_keys: int = 0) -> None:
        """Report what the pagination states against the keys, and raise where that matters."""
        end, disbelieved = walked.end, not walked.believes_totals
        is_incomplete = end.is_incomplete(further_keys)
        contradictions = (end.contradictions or is_incomplete) + disbelieved
        self._drift = attrs.evolve(self._drift, contradictions=contradictions)
        if self._complete and is_incomplete:
            raise invalid_response(f"{end.describe_contradiction()}: keys may be missing")
        if self._certain and self._drift.contradictions:
            is_steady = end.contradictions or is_incomplete
            problem = end.describe_contradiction() if is_steady else _UNSTEADY_TOTALS
            raise invalid_response(
                f"{problem}: walk it without strict=True if what its pages have is enough"
            )

    def _add_drift(
        self, *, changes: int = 0, repeats: int = 0, missed: int = 0, unreadable: int = 0
    ) -> None:
        drift = self._drift
        self._drift = attrs.evolve(
            drift,
            changes=drift.changes + changes,
            repeats=drift.repeats + repeats,
            missed=drift.missed + missed,
            unreadable=drift.unreadable + unreadable,
        )


def complete_pages(pager: KeyPager) -> AsyncGenerator[KeyPage, None]:
    """Walk a list page by page, and raise at the end if it has fewer keys than it states."""
    pager._require_completeness()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return pager.pages()


_SMALL_ID: Final = 2**32


async def collect_ids(pager: KeyPager) -> array[int]:
    """Walk a list whose keys are to be deleted, and return its IDs: 4 bytes each, or 8."""
    pager._require_certainty()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    ids = array("I")
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            found = [key.id for key in page.keys]
            if found and not 0 <= min(found) <= max(found) < _SMALL_ID:
                for key_id in found:  # a larger one: JSON readers might round it to another key's
                    check_integer("key.id", key_id)
                ids = ids if ids.typecode == "q" else array("q", ids)
            ids.extend(found)
    return ids


async def iterate_ids_after_walk(pager: KeyPager) -> AsyncGenerator[int, None]:
    """Give the IDs once all are known, so that deleting their keys can't disturb the walk."""
    for key_id in await collect_ids(pager):
        yield key_id
