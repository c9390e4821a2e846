"""Pages of filtered keys at any depth, with totals, without counting or skipping rows twice.

A `Listing` is what is known of one filter's rows: their total, and a few anchors, each of which
says how many matching rows come up to an ID. A page starts at the nearest anchor, so a walk, in
order or with a few pages in flight, never skips far; only a first jump to a deep page pays for
SQLite's OFFSET. Writes update the anchors and totals of large listings and drop the small ones,
which are cheap to compute again.
"""

# ruff: noqa: S608 - statements are put together from names of this package only

import json
import sqlite3
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from .counters import Counters
from .schema import EXACT_FILTERS, GIVEN_IDS, KEY_JSON

_EXPIRED = "expires_at <= :now"
_UNEXPIRED = "(expires_at IS NULL OR expires_at > :now)"
# Mutually exclusive: invalidated, then expired, then used, then active.
_STATUS = {
    "invalidated": "is_invalidated",
    "expired": f"NOT is_invalidated AND {_EXPIRED}",
    "used": f"NOT is_invalidated AND {_UNEXPIRED} AND used_at IS NOT NULL",
    "active": f"NOT is_invalidated AND {_UNEXPIRED} AND used_at IS NULL",
}
# instr() matches case-sensitively and without wildcards. The first term of `hwid` repeats the
# condition of the partial index, so that keys without a HWID are never read.
_PARTIAL = {
    "key": "instr(key_value, :key)",
    "hwid": "hwids <> '[]' AND EXISTS (SELECT 1 FROM json_each(keys.hwids)"
    " WHERE instr(json_extract(value, '$.hwid'), :hwid))",
    "expires_before": "expires_at < :expires_before",
    "expires_after": "expires_at > :expires_after",
}
_MAX_ANCHORS = 64  # more than a client has pages in flight; a page scans them all
_MAX_LISTINGS = 32
_MAX_UPDATED = 4  # each large listing costs every write a query
_LARGE = 5_000  # rows; counting fewer again takes about a millisecond


def _filter_condition(name: str, value: Any, best: str | None, longest: int) -> str:
    if name in EXACT_FILTERS:
        # A unary plus keeps SQLite off an index: it has no statistics, the counters know better.
        return f"{'' if name == best else '+'}{name} = :{name}"
    if name == "key" and len(value) >= longest:
        return "key_value = :key"  # no key is longer, so it can't be a proper part of one
    return _STATUS[value] if name == "status" else _PARTIAL[name]


class Listing:
    """The rows of one filter, in the store's order.

    Args:
        db: The store's connection; used in its thread only.
        filters: The contract's names and validated values; timestamps as the store renders them.
        now: The moment that decides on statuses, rendered.
        newest_first: The order of IDs, descending or ascending.
        longest: No key value has more bytes than this.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        filters: Mapping[str, Any],
        now: str,
        *,
        newest_first: bool,
        longest: int,
    ) -> None:
        self._db = db
        self._newest_first = newest_first
        self._computed_at = now
        self._values = {**filters, "now": now}
        counters = Counters(db)
        counts = {n: counters.matching(n, filters[n]) for n in EXACT_FILTERS if n in filters}
        best = min(counts, key=lambda name: counts[name], default=None)
        terms = [_filter_condition(name, value, best, longest) for name, value in filters.items()]
        self._where = " AND ".join(terms) or "TRUE"
        # Pages come in the order of IDs: an index on expires_at would have to sort all its rows.
        self._page_where = self._where.replace("expires_at", "+expires_at")
        self.total: int = self._count_rows(filters, counts)
        self._next_expiry = self._find_next_expiry() if "status" in filters else None
        self._anchors: dict[int, int] = {}  # offset -> the ID of the last row before it

    def is_current(self, now: str) -> bool:
        """Return whether no key has changed its status by the mere passing of time."""
        # The lower bound matters when a test, or an operator, sets the clock back.
        return "status" not in self._values or (
            self._computed_at <= now and (self._next_expiry is None or now < self._next_expiry)
        )

    def page(self, offset: int, limit: int) -> list[str]:
        """Return the JSON of at most `limit` rows after the first `offset`."""
        if offset >= self.total:
            return []
        start = max((known for known in self._anchors if known <= offset), default=0)
        anchor = self._anchors.get(start)
        rows = self._db.execute(
            self.page_sql(anchored=anchor is not None),
            {**self._values, "anchor": anchor, "limit": limit, "skip": offset - start},
        ).fetchall()
        # The start gets an anchor too: a client that asks for page 1 until it is empty would
        # otherwise make SQLite scan the rows before it, which don't match, each time again.
        self._add_anchor(offset, rows[0][0] + (1 if self._newest_first else -1))
        self._add_anchor(offset + len(rows), rows[-1][0])
        return [row[1] for row in rows]

    def page_sql(self, *, anchored: bool) -> str:
        """Return the statement of a page; a test reads its query plan."""
        sign, order = ("<", "DESC") if self._newest_first else (">", "ASC")
        anchor = f" AND id {sign} :anchor" if anchored else ""
        return (
            f"SELECT id, {KEY_JSON} FROM keys WHERE {self._page_where}{anchor}"
            f" ORDER BY id {order} LIMIT :limit OFFSET :skip"
        )

    def matching_ids(self, ids: str) -> list[int]:
        """Return which of these IDs (a JSON array) match the filter, ascending."""
        sql = f"SELECT keys.id FROM {GIVEN_IDS} WHERE {self._where} ORDER BY keys.id"
        return [row[0] for row in self._db.execute(sql, {**self._values, "ids": ids})]

    def add_rows(self, ids: Sequence[int], step: int) -> None:
        """Add matching rows to the total and the anchors (`step` 1), or subtract them (-1).

        An anchor outlives the row of its ID: it only says how many rows come up to that ID.
        """
        self.total += step * len(ids)
        self._anchors = {
            offset + step * self._rows_up_to(anchor, ids): anchor
            for offset, anchor in self._anchors.items()
        }
        if "status" in self._values:
            self._next_expiry = self._find_next_expiry()

    def _rows_up_to(self, anchor: int, ids: Sequence[int]) -> int:
        if self._newest_first:
            return len(ids) - bisect_left(ids, anchor)
        return bisect_right(ids, anchor)

    def _add_anchor(self, offset: int, last_id: int) -> None:
        self._anchors.pop(offset, None)  # dicts keep the order of insertion: renew its place
        self._anchors[offset] = last_id
        if len(self._anchors) > _MAX_ANCHORS:
            del self._anchors[next(iter(self._anchors))]

    def _count_rows(self, filters: Mapping[str, Any], counts: Mapping[str, int]) -> int:
        if not filters:
            return Counters(self._db).total()
        if len(filters) == 1 and counts:
            return next(iter(counts.values()))
        count = f"SELECT count(*) FROM keys WHERE {self._where}"
        total: int = self._db.execute(count, self._values).fetchone()[0]
        return total

    def _find_next_expiry(self) -> str | None:
        sql = "SELECT min(expires_at) FROM keys WHERE expires_at > ?"
        moment: str | None = self._db.execute(sql, (self._computed_at,)).fetchone()[0]
        return moment


class Listings:
    """A cache of recent listings; it and the counters are updated as keys are written.

    Args:
        db: The store's connection; used in its thread only.
        newest_first: The order of every listing.
    """

    def __init__(self, db: sqlite3.Connection, *, newest_first: bool) -> None:
        self._db = db
        self._counters = Counters(db)
        self._newest_first = newest_first
        self._cached: OrderedDict[tuple[tuple[str, Any], ...], Listing] = OrderedDict()
        self.longest = 0  # no key value has more bytes

    def get(self, filters: Mapping[str, Any], now: str) -> Listing:
        """Return the listing of these filters, computed again if statuses may have changed."""
        name = tuple(sorted(filters.items()))
        listing = self._cached.get(name)
        if listing is None or not listing.is_current(now):
            listing = Listing(
                self._db, filters, now, newest_first=self._newest_first, longest=self.longest
            )
            self._cached[name] = listing
        self._cached.move_to_end(name)
        if len(self._cached) > _MAX_LISTINGS:
            self._cached.popitem(last=False)
        return listing

    def remove_keys(self, ids: Sequence[int]) -> None:
        """Subtract keys; call it before they are deleted or changed."""
        self._update(ids, -1)

    def add_keys(self, ids: Sequence[int]) -> None:
        """Add keys; call it after they were created or changed."""
        self._update(ids, 1)

    def clear(self) -> None:
        """Drop the cache, as after a failed write."""
        self._cached.clear()

    def recount(self) -> None:
        """Drop the cache and count all keys again, after a large write."""
        self._cached.clear()
        self._counters.recount()

    def _update(self, ids: Sequence[int], step: int) -> None:
        listed = json.dumps(list(ids))
        self._counters.add(listed, step)
        large = [item for item in self._cached.items() if item[1].total >= _LARGE]
        self._cached = OrderedDict(large[-_MAX_UPDATED:])
        for listing in self._cached.values():
            listing.add_rows(listing.matching_ids(listed), step)
