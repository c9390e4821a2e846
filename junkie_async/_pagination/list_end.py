"""Where a list ends: what its pages state about that, believed while their keys agree."""

from __future__ import annotations

import msgspec

from .._models import KeyPage, Pagination

# Services that cap their totals cap them at 1,000 or less, or at 10,000, Elasticsearch's default.
# So any other total that the keys reach exactly is the end of the list.
_HIGHEST_COMMON_CAP = 1000
_ELASTICSEARCH_CAP = 10_000

# Where a filter is applied to pages that were cut before it, empty pages come amid a list.
_MAX_EMPTY_PAGES = 10


class ListEnd(msgspec.Struct, eq=False, kw_only=True):
    """Finds the last page of a list while its pages come, in order, and remembers contradictions.

    A page contradicts its own total where it has more keys than are left, or fewer although it is
    full by the total. Both hold at the moment that the service read the page, so changes of the
    list are no contradictions. After one of them the list goes on until a page is empty.
    """

    limit: int  # requested keys a page
    filtered: bool = False
    complete: bool = False  # whether to look beyond each end that is stated
    rows: int = 0  # on all pages so far, repeats included
    last_page: int = 1  # as far as is known
    is_beyond: bool = False
    """Whether the last page is beyond the stated end, to which all keys agree."""

    number: int = 0  # of the latest page
    page_size: int = 0  # the most rows of a page so far
    _unique: int = 0  # keys so far, each once
    _totals: set[int] = msgspec.field(default_factory=set[int])  # two at most
    _stated: Pagination = Pagination()  # the latest statement
    _excess_pages: int = 0  # with more keys than stated
    _short_pages: int = 0  # with fewer
    _empty_pages: int = 0  # in a row

    def __post_init__(self) -> None:
        self._unique = self.rows

    def add_page(self, page: KeyPage, number: int, new_keys: int) -> None:
        """Take the next page in order, with ``new_keys`` that no page before it had."""
        stated, all_rows = page.pagination, count_rows(page)
        granted = _granted_size(stated.limit, all_rows, self.limit)
        self.number = number
        self._unique += new_keys + len(page.unreadable)
        if stated.total is not None and len(self._totals) < 2:
            self._totals.add(stated.total)
        if stated.total is not None or stated.total_pages is not None:
            self._stated = stated
            self._compare(number, all_rows, granted)
        stated_end = self._find_stated_end(max(self.page_size, granted))
        # Beyond the end, keys that were created meanwhile push others back: these count once.
        is_given = stated_end >= number or not self.is_beyond
        rows = all_rows if is_given else new_keys
        is_full = rows >= (self.page_size or granted)
        self.rows += rows
        self.page_size = max(self.page_size, rows)
        self._empty_pages = 0 if rows else self._empty_pages + 1
        is_unclear = self._is_unclear()
        goes_on = self._may_follow() if is_unclear else is_full and self._may_be_capped(number)
        goes_on = goes_on or all_rows > rows == 0  # then all of its keys were pushed back
        self.is_beyond = goes_on and not is_unclear and stated_end <= number
        self.last_page = max(stated_end, number + goes_on)

    @property
    def states_more(self) -> bool:
        """Whether the list goes on, as far as is known."""
        return self.last_page > self.number and not self.is_beyond

    @property
    def contradictions(self) -> int:
        """Pages whose statements their keys contradict, if the list's end does not explain it."""
        return self._excess_pages + self._short_pages if self._is_contradictory() else 0

    @property
    def total(self) -> int | None:
        """The latest stated total."""
        return self._stated.total

    @property
    def misses_keys(self) -> bool:
        """Whether the pages had fewer keys than the list states."""
        return self.total is not None and self.rows < self.total and self._short_pages > 0

    def is_incomplete(self, further_keys: int = 0) -> bool:
        """Whether a list that has ended, and stated one total all the time, had fewer keys.

        ``further_keys`` are those that other passes over the list have given.
        """
        if self.misses_keys:
            return True
        return len(self._totals) == 1 and self._unique + further_keys < max(self._totals)

    def describe_contradiction(self) -> str:
        """Say what is stated, and what the pages have."""
        stated = f"{self.total} keys"
        if self.total is None:
            stated = f"{self._stated.total_pages} pages"
        return f"the list states {stated}, but its pages have {self._unique} keys"

    def _is_contradictory(self) -> bool:
        if not (self._excess_pages or self._short_pages):
            return False
        if self.total is None:
            return self._excess_pages > 0 and self._stated.total_pages is not None
        return self.misses_keys or (self.rows > self.total and self._excess_pages > 0)

    def _compare(self, number: int, rows: int, granted: int) -> None:
        """Compare a page's rows with what it states."""
        total = self._stated.total
        if total is None:
            self._excess_pages += rows > 0 and number > (self._stated.total_pages or 0)
            return
        size = max(self.page_size, rows, granted)
        left = total - (number - 1) * size
        self._excess_pages += rows > max(0, left, total - self.rows)
        self._short_pages += rows < min(size, left)

    def _find_stated_end(self, size: int) -> int:
        total, pages = self._stated.total, self._stated.total_pages or 0
        return pages if total is None else max(-(-total // size), pages)

    def _is_unclear(self) -> bool:
        """Whether nothing is stated that the keys agree with."""
        nothing = self._stated.total is None and self._stated.total_pages is None
        return nothing or self._is_contradictory()

    def _may_follow(self) -> bool:
        """Whether more keys may follow where only the keys themselves tell."""
        most = _MAX_EMPTY_PAGES if self.filtered or self.misses_keys else 1
        return self._empty_pages < most

    def _may_be_capped(self, number: int) -> bool:
        rows = number * self.page_size
        return self.complete or rows <= _HIGHEST_COMMON_CAP or rows == _ELASTICSEARCH_CAP


def count_rows(page: KeyPage) -> int:
    """Count the rows of a page, with those that were skipped."""
    return len(page.keys) + len(page.unreadable)


def contradicts_total(page: KeyPage, number: int, size: int) -> bool:
    """Whether a page has more keys than its total leaves for it."""
    total = page.pagination.total
    return total is not None and count_rows(page) > max(0, total - (number - 1) * size)


def _granted_size(stated: int | None, rows: int, limit: int) -> int:
    """Return how many keys a full page has; a service may grant fewer than were requested."""
    return stated if stated and rows <= stated <= limit else limit
