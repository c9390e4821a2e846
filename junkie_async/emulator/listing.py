"""Pages of filtered keys at any depth, with totals, without counting or skipping rows twice.

A `Listing` is what is known of one filter's rows: their total, and a few anchors, each of which
says how many matching rows come up to an ID. A page starts at the nearest anchor, so a walk, in
order or with a few pages in flight, never skips far; only a first jump to a deep page pays for
SQLite's OFFSET. Writes update the anchors and totals of large listings and drop the small ones,
which are cheap to compute again.

COUNT(*) over a million keys takes tens of milliseconds. The table `counts` has the number of keys,
in all and per value of each exact filter.
"""

# ruff: noqa: S608 - statements are put together from names of this package only

import json
import sqlite3
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

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

# Triggers would update the counts once per row, which doubles the price of a batch.
_COUNTED = f"SELECT 0, {', '.join(EXACT_FILTERS)} FROM {GIVEN_IDS}"
_ADD_COUNT = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
_RECOUNT = "INSERT INTO counts SELECT 'all', 0, count(*) FROM keys" + "".join(
    f" UNION ALL SELECT '{name}', {name}, count(*) FROM keys WHERE {name} IS NOT NULL GROUP BY 2"
    for name in EXACT_FILTERS
)


def _read_count(db: sqlite3.Connection, field: str, value: Any) -> int:
    sql = "SELECT n FROM counts WHERE field = ? AND value = ?"
    row = db.execute(sql, (field, value)).fetchone()
    return row[0] if row else 0


def _filter_condition(name: str, value: Any, best: str | None, longest: int) -> str:
    if name in EXACT_FILTERS:
        # A unary plus keeps SQLite off an index: it has no statistics, the counts know better.
        return f"{'' if name == best else '+'}{name} = :{name}"
    if name == "key" and len(value) >= longest:
        return "key_value = :key"  # no key is longer, so it can't be a proper part of one
    return _STATUS[value] if name == "status" else _PARTIAL[name]


class Listing:
    """The rows of one filter, in descending (`newest_first`) or ascending order of their IDs.

    Args:
        db: The store's connection.
        filters: The contract's names and validated values; timestamps as the store renders them.
        now: The moment that decides on statuses, rendered.
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
        counts = {n: _read_count(db, n, filters[n]) for n in EXACT_FILTERS if n in filters}
        best = min(counts, key=lambda name: counts[name], default=None)
        terms = [_filter_condition(name, value, best, longest) for name, value in filters.items()]
        self._where = " AND ".join(terms) or "TRUE"
        # Pages come in the order of IDs: an index on expires_at would have to sort all its rows.
        self._page_where = self._where.replace("expires_at", "+expires_at")
        self.total: int = self._count_rows(filters, counts)
        self._next_expiry: str | None = None
        self._find_next_expiry()
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

    def update(self, ids: str, step: int) -> None:
        """Add (`step` 1) or subtract (-1) those of some IDs, a JSON array, that match the filter.

        An anchor outlives the row of its ID: it only says how many rows come up to that ID.
        """
        sql = f"SELECT keys.id FROM {GIVEN_IDS} WHERE {self._where} ORDER BY keys.id"
        matching = [row[0] for row in self._db.execute(sql, {**self._values, "ids": ids})]
        self.total += step * len(matching)
        self._anchors = {
            offset + step * self._rows_up_to(anchor, matching): anchor
            for offset, anchor in self._anchors.items()
        }
        self._find_next_expiry()

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
            return _read_count(self._db, "all", 0)
        if len(filters) == 1 and counts:
            return next(iter(counts.values()))
        count = f"SELECT count(*) FROM keys WHERE {self._where}"
        [(total,)] = self._db.execute(count, self._values)
        return int(total)

    def _find_next_expiry(self) -> None:
        if "status" in self._values:
            sql = "SELECT min(expires_at) FROM keys WHERE expires_at > ?"
            [(self._next_expiry,)] = self._db.execute(sql, (self._computed_at,))


class Listings:
    """A cache of recent listings; it and the table `counts` are updated as keys are written."""

    def __init__(self, db: sqlite3.Connection, *, newest_first: bool) -> None:
        self._db = db
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

    def update(self, ids: Sequence[int], step: int) -> None:
        """Add keys (`step` 1) that were created or changed, or subtract them (-1) before that.

        Deleted keys are subtracted before they are deleted: the keys must exist during the call.
        """
        listed = json.dumps(list(ids))
        self._update_counts(listed, step)
        large = [item for item in self._cached.items() if item[1].total >= _LARGE]
        self._cached = OrderedDict(large[-_MAX_UPDATED:])
        for listing in self._cached.values():
            listing.update(listed, step)

    def clear(self) -> None:
        """Drop the cache, as after a failed write."""
        self._cached.clear()

    def recount(self) -> None:
        """Drop the cache and count all keys, which after a large write is faster than `update`."""
        self._cached.clear()
        self._db.execute("DELETE FROM counts")
        self._db.execute(_RECOUNT)

    def _update_counts(self, ids: str, step: int) -> None:
        rows = self._db.execute(_COUNTED, {"ids": ids}).fetchall()
        columns = zip(("all", *EXACT_FILTERS), zip(*rows, strict=True), strict=bool(rows))
        changes = (
            (name, value, step * n)
            for name, column in columns
            for value, n in Counter(column).items()
            if value is not None
        )
        self._db.executemany(_ADD_COUNT, changes)
