"""What the columns hold: random key values, timestamps as text, and HWID bindings as JSON.

Timestamps are RFC 3339 with milliseconds and ``Z``. Their width is fixed, so that text order is
time order in SQL. One beyond the year 9999 begins with a tilde, which sorts after all digits.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_MINUTES_OF_400_YEARS = 146_097 * 24 * 60
_RANDOM_BYTES = 10  # 80 bits, which base32 encodes as four groups of four characters


def make_key_values(amount: int) -> list[str]:
    """Return new, unguessable key values such as ``JNK-7Q2M-...``."""
    text = base64.b32encode(os.urandom(_RANDOM_BYTES * amount)).decode()
    return [f"JNK-{'-'.join(groups)}" for groups in re.findall("(....)" * 4, text)]


def render_time(moment: datetime, *, microseconds: int = 0) -> str:
    """Return a moment as ``2026-01-31T12:00:00.000Z``, cut to milliseconds.

    Args:
        moment: An aware datetime; a naive one is a ValueError.
        microseconds: To add. The sum is clamped to the end of the year 9999.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment must have a UTC offset, such as datetime.UTC")
    try:
        moment += timedelta(microseconds=microseconds)
    except OverflowError:
        moment = _LAST
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def render_expiry(start: datetime, minutes: int) -> str:
    """Return the moment so many minutes later. The contract sets no upper bound to a validity.

    A real service does not stop at the year 9999 either: ``~21039-12-17T04:39:00.000Z``.
    """
    try:
        return render_time(start + timedelta(minutes=minutes))
    except OverflowError:
        cycles, rest = divmod(minutes, _MINUTES_OF_400_YEARS)
    # The calendar repeats itself every 400 years.
    text = render_time(start.replace(year=start.year - 400) + timedelta(minutes=rest))
    return f"~{int(text[:4]) + 400 * (cycles + 1)}{text[4:]}"


def parse_time(text: str) -> datetime:
    """Parse a date-time that passed the contract's validation, clamped to `datetime`'s range."""
    text = text.upper()  # RFC 3339 (section 5.6) allows "t" and "z"
    leap = text[17:19] == "60"  # RFC 3339 has leap seconds, datetime has not
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=leap)
    except (ValueError, OverflowError):  # the year 0000, or an offset that leaves 0001 to 9999
        return _LAST if text.startswith("9999") else _FIRST


def encode_hwids(
    hwids: Iterable[str | Mapping[str, Any]],
    bound_at: str,
    existing: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the JSON array of the contract's HWID objects.

    Args:
        hwids: HWIDs, or HWID objects, whose moments may be aware datetimes. Of two with the same
            HWID the first counts.
        bound_at: The time of new bindings, rendered.
        existing: The bindings so far: a HWID that is bound already keeps its binding.
    """
    known = {binding["hwid"]: binding for binding in existing}
    default = {"executor_user_id": None, "bound_at": bound_at, "bound_by": "api"}
    bindings: dict[str, Mapping[str, Any]] = {}
    for one in hwids:
        given: Mapping[str, Any] = {"hwid": one} if isinstance(one, str) else one
        hwid = given["hwid"]
        bindings.setdefault(hwid, known.get(hwid) or {"hwid": hwid, **default, **given})
    return json.dumps([*bindings.values()], ensure_ascii=False, default=_render_moment)


def _render_moment(value: object) -> str:
    assert isinstance(value, datetime), f"a HWID object can't hold {value!r}"
    return render_time(value)
