"""How many keys there are, in all and for each value of the exact filters, kept beside the keys.

COUNT(*) over a million keys takes tens of milliseconds; these are at hand. Triggers would do the
same for each row, which doubles the price of a batch; this is done once for a whole write.
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
    """Reads and keeps the table `counts`.

    Args:
        db: The store's connection; writes happen inside its transactions.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def total(self) -> int:
        """Return how many keys there are."""
        return self.of(*_ALL)

    def of(self, field: str, value: Any) -> int:
        """Return how many keys have this value in a field of the exact filters."""
        sql = "SELECT n FROM counts WHERE field = ? AND value = ?"
        row = self._db.execute(sql, (field, value)).fetchone()
        return row[0] if row else 0

    def add(self, ids: str, step: int) -> None:
        """Count keys in (`step` 1) or out (-1).

        Args:
            ids: A JSON array of IDs; the keys are there at this moment.
            step: What each key adds.
        """
        rows = self._db.execute(_VALUES, {"ids": ids}).fetchall()
        added = [(*_ALL, step * len(rows))]
        for name, column in zip(EXACT_FILTERS, zip(*rows, strict=True), strict=bool(rows)):
            tally = Counter(value for value in column if value is not None)
            added += [(name, value, step * n) for value, n in tally.items()]
        self._db.executemany(_ADD, added)

    def recount(self) -> None:
        """Count everything anew, which for a large write is faster than adding it."""
        for statement in _RECOUNT:
            self._db.execute(statement)
