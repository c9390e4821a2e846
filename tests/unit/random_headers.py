"""Random headers that state something about waiting, true or not."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime

_NAMES = (
    *("RateLimit", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "Date"),
)
_NUMBERS = (0, 1, 2, 50, 119, 120, 121, 999_999_999, 1_577_836_860, 4_000_000_000, 10**15 - 1)
_MOMENTS = [
    datetime.fromtimestamp(1_577_836_800 + seconds, UTC) for seconds in (-60, 0, 5, 119, 121, 10**8)
]
_VALUES = (
    *("0", "", "soon", "nan", "9" * 400, "2.5", "0.001"),
    *map(str, _NUMBERS),
    *(f"{number}000" for number in _NUMBERS),
    *(f"-{number}" for number in _NUMBERS),
    *(moment.isoformat() for moment in _MOMENTS),
    *(format_datetime(moment, usegmt=True) for moment in _MOMENTS),
    *(f'"a";r={number};t=2, "b";r=0;t={number}' for number in _NUMBERS),
    *(f"limit={number}, remaining=0, reset={number}" for number in _NUMBERS),
)


def random_headers(dice: random.Random) -> dict[str, str]:
    """Make one to six headers; the rest of the limit is often used up."""
    headers = {name: dice.choice(_VALUES) for name in dice.choices(_NAMES, k=dice.randrange(1, 7))}
    if dice.random() < 0.5:
        headers["X-RateLimit-Remaining"] = "0"
    return headers
