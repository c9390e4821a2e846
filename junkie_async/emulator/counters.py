"""Running counts of the keys, in all and per value of each exact filter, in a table beside them.

COUNT(*) over a million keys takes tens of milliseconds, a counter one look-up. Triggers would
update the counters once per row, which doubles the price of a batch; this does so once per write.
"""

# ruff: noqa: S608 - statements are put together from names of this package only

import sqlite3
from collections import Counter
from typing import Any

from .schema import EXACT_FILTERS, GIVEN_IDS

_ALL = ("all", 0)
_VALUES = f"SELECT {', '.join(EXACT_FILTERS)} FROM {GIVEN_IDS}"
_ADD = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
_RECOUNT = [
    "DELETE FROM counts",
    "INSERT INTO counts SELECT 'all', 0, count(*) FROM keys",
    *(
        f"INSERT INTO counts SELECT '{name}', {name}, count(*) FROM keys "
        f"WHERE {name} IS NOT NULL GROUP BY {name}"
        for name in EXACT_FILTERS
    ),
]


class Counters:
    """Reads and updates the table `counts`.

    Args:
        db: The store's connection; writes happen inside its transactions.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def total(self) -> int:
        """Return the number of keys."""
        return self.matching(*_ALL)

    def matching(self, field: str, value: Any) -> int:
        """Return the number of keys with this value in a field of the exact filters."""
        sql = "SELECT n FROM counts WHERE field = ? AND value = ?"
        row = self._db.execute(sql, (field, value)).fetchone()
        return row[0] if row else 0

    def add(self, ids: str, step: int) -> None:
        """Add keys to the counters, or subtract them.

        Args:
            ids: A JSON array of IDs. The keys must exist during the call.
            step: 1 to add the keys, -1 to subtract them.
        """
        rows = self._db.execute(_VALUES, {"ids": ids}).fetchall()
        changes = [(*_ALL, step * len(rows))]
        # zip(*[]) has no columns at all, so the lengths can only be compared where there are rows.
        for name, column in zip(EXACT_FILTERS, zip(*rows, strict=True), strict=bool(rows)):
            tally = Counter(value for value in column if value is not None)
            changes += [(name, value, step * n) for value, n in tally.items()]
        self._db.executemany(_ADD, changes)

    def recount(self) -> None:
        """Count all keys again, which after a large write is faster than adding it."""
        for statement in _RECOUNT:
            self._db.execute(statement)
