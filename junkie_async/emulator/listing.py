"""Pages of filtered keys at any depth, with totals, without counting or skipping rows again.

A `Listing` is one filter's answer so far: its total, and a few anchors (so many matching rows
come up to this ID). A page starts at the nearest anchor, so a walk, in order or with a few pages
in flight, never skips far; only a first jump into the deep pays SQLite's OFFSET. Writes move the
anchors and totals of large listings and drop the small ones, which are cheap to make again.
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
# instr() is a case-sensitive match without wildcards. The first term of `hwid` repeats the
# condition of the partial index, so that keys without a HWID are never looked at.
_PARTIAL = {
    "key": "instr(key_value, :key)",
    "hwid": "hwids <> '[]' AND EXISTS (SELECT 1 FROM json_each(keys.hwids)"
    " WHERE instr(json_extract(value, '$.hwid'), :hwid))",
    "expires_before": "expires_at < :expires_before",
    "expires_after": "expires_at > :expires_after",
}
_MAX_ANCHORS = 64
_MAX_LISTINGS = 32
_MAX_FOLLOWED = 4
_LARGE = 5_000  # rows; counting fewer again takes about a millisecond


def _condition(name: str, value: Any, best: str | None, longest: int) -> str:
    if name in EXACT_FILTERS:
        # A unary plus keeps SQLite off an index: it has no statistics, the counters know better.
        return f"{'' if name == best else '+'}{name} = :{name}"
    if name == "key" and len(value) >= longest:
        return "key_value = :key"  # no key is longer, so it can't be a part of one
    return _STATUS[value] if name == "status" else _PARTIAL[name]


class Listing:
    """What is known of one filter's rows, in the store's order.

    Args:
        db: The store's connection; used in its thread only.
        filters: The contract's names and checked values; timestamps as the store renders them.
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
        self._born = now
        self._values = {**filters, "now": now}
        counters = Counters(db)
        tallies = {n: counters.of(n, filters[n]) for n in EXACT_FILTERS if n in filters}
        best = min(tallies, key=lambda name: tallies[name], default=None)
        terms = [_condition(name, value, best, longest) for name, value in filters.items()]
        self._where = " AND ".join(terms) or "TRUE"
        # Pages come in the order of IDs: an index on expires_at would have to sort all its rows.
        self._walk = self._where.replace("expires_at", "+expires_at")
        self.total = self._total(filters, tallies)
        self._horizon = self._next_expiry(now) if "status" in filters else None
        self._anchors: dict[int, int] = {}

    def serves(self, now: str) -> bool:
        """Tell whether no key's status has changed by the mere passing of time."""
        return "status" not in self._values or (
            self._born <= now and (self._horizon is None or now < self._horizon)
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
        # Where it starts, too: rows that don't match before it are not looked at again, which
        # a client that asks for the first page until it is empty would make SQLite do.
        self._remember(offset, rows[0][0] + (1 if self._newest_first else -1))
        self._remember(offset + len(rows), rows[-1][0])
        return [row[1] for row in rows]

    def page_sql(self, *, anchored: bool) -> str:
        """Return the statement of a page; a test reads its query plan."""
        sign, order = ("<", "DESC") if self._newest_first else (">", "ASC")
        anchor = f" AND id {sign} :anchor" if anchored else ""
        return (
            f"SELECT id, {KEY_JSON} FROM keys WHERE {self._walk}{anchor}"
            f" ORDER BY id {order} LIMIT :limit OFFSET :skip"
        )

    def matching(self, ids: str) -> list[int]:
        """Return which of these IDs (a JSON array) the filter lets through, ascending."""
        sql = f"SELECT keys.id FROM {GIVEN_IDS} WHERE {self._where} ORDER BY keys.id"
        return [row[0] for row in self._db.execute(sql, {**self._values, "ids": ids})]

    def shift(self, ids: Sequence[int], step: int) -> None:
        """Count these matching rows in (`step` 1) or out (-1).

        An anchor stays true when its own row goes: it says how many rows come up to that ID.
        """
        self.total += step * len(ids)
        self._anchors = {
            offset + step * self._up_to(anchor, ids): anchor
            for offset, anchor in self._anchors.items()
        }
        if "status" in self._values:
            self._horizon = self._next_expiry(self._born)

    def _up_to(self, anchor: int, ids: Sequence[int]) -> int:
        if self._newest_first:
            return len(ids) - bisect_left(ids, anchor)
        return bisect_right(ids, anchor)

    def _remember(self, offset: int, last_id: int) -> None:
        self._anchors.pop(offset, None)
        self._anchors[offset] = last_id
        if len(self._anchors) > _MAX_ANCHORS:
            del self._anchors[next(iter(self._anchors))]

    def _total(self, filters: Mapping[str, Any], tallies: Mapping[str, int]) -> int:
        if not filters:
            return Counters(self._db).total()
        if len(filters) == 1 and tallies:
            return next(iter(tallies.values()))
        count = f"SELECT count(*) FROM keys WHERE {self._where}"
        total: int = self._db.execute(count, self._values).fetchone()[0]
        return total

    def _next_expiry(self, now: str) -> str | None:
        sql = "SELECT min(expires_at) FROM keys WHERE expires_at > ?"
        moment: str | None = self._db.execute(sql, (now,)).fetchone()[0]
        return moment


class Listings:
    """The listings asked for lately; these and the counters stay true as keys come, change and go.

    Args:
        db: The store's connection; used in its thread only.
        newest_first: The order of every listing.
    """

    def __init__(self, db: sqlite3.Connection, *, newest_first: bool) -> None:
        self._db = db
        self._counters = Counters(db)
        self._newest_first = newest_first
        self._kept: OrderedDict[tuple[tuple[str, Any], ...], Listing] = OrderedDict()
        self.longest = 0

    def get(self, filters: Mapping[str, Any], now: str) -> Listing:
        """Return the listing of these filters, made anew when time has overtaken it."""
        name = tuple(sorted(filters.items()))
        listing = self._kept.get(name)
        if listing is None or not listing.serves(now):
            listing = Listing(
                self._db, filters, now, newest_first=self._newest_first, longest=self.longest
            )
            self._kept[name] = listing
        self._kept.move_to_end(name)
        if len(self._kept) > _MAX_LISTINGS:
            self._kept.popitem(last=False)
        return listing

    def leaving(self, ids: Sequence[int]) -> None:
        """Count keys out; called before they are deleted or changed."""
        self._follow(ids, -1)

    def joining(self, ids: Sequence[int]) -> None:
        """Count keys in; called after they were made or changed."""
        self._follow(ids, 1)

    def clear(self) -> None:
        """Forget the listings, as after a failed write."""
        self._kept.clear()

    def recount(self) -> None:
        """Forget the listings and count all keys anew, after a large write."""
        self._kept.clear()
        self._counters.recount()

    def _follow(self, ids: Sequence[int], step: int) -> None:
        listed = json.dumps(list(ids))
        self._counters.add(listed, step)
        large = [(name, one) for name, one in self._kept.items() if one.total >= _LARGE]
        self._kept = OrderedDict(large[-_MAX_FOLLOWED:])
        for listing in self._kept.values():
            listing.shift(listing.matching(listed), step)
