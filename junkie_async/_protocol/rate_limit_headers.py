"""Rate-limit headers: ``Retry-After``, ``RateLimit-*``, ``X-RateLimit-*`` and ``RateLimit``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs


@attrs.frozen
class RateLimitState:
    """The service's rate limit, as a response's headers state it, in requests and seconds."""

    remaining: float
    reset: float
    limit: float | None = None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait; None if it is absent or garbage.

    RFC 9110, section 10.2.3. A date is compared with the response's own ``Date``, so that a wrong
    local clock does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    moment = _parse_http_date(value)
    return None if moment is None else _seconds_until(moment.timestamp(), headers)


def read_rate_limit(headers: Mapping[str, str]) -> RateLimitState | None:
    """Return what a response states about the rate limit; None if it states nothing usable.

    Understands ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds) of
    draft-ietf-httpapi-ratelimit-headers-03, the same with ``X-`` (where a reset may also be a Unix
    time), and the single ``RateLimit`` field of the later drafts.
    """
    for prefix in ("RateLimit-", "X-RateLimit-"):
        if (remaining := headers.get(prefix + "Remaining")) is not None:
            reset, limit = headers.get(prefix + "Reset", ""), headers.get(prefix + "Limit", "")
            seconds = _first_number(reset)
            if seconds is not None and seconds >= _LEAST_UNIX_TIME:
                seconds = _seconds_until(seconds, headers)
            return _make_state(_first_number(remaining), seconds, _first_number(limit))
    if (line := headers.get("RateLimit")) is not None:
        # Draft 07 writes `limit=100, remaining=50, reset=5`, draft 08 and later `"name";r=50;t=5`.
        stated = {name: float(number) for name, number in _RATE_LIMIT_ITEM.findall(line)}
        left, seconds = stated.get("r", stated.get("remaining")), stated.get("t")
        return _make_state(left, seconds or stated.get("reset"), stated.get("limit"))
    return None


_RATE_LIMIT_ITEM = re.compile(r"\b(r|t|remaining|reset|limit)=(\d{1,15})\b")
_LEAST_UNIX_TIME = 1e9  # September 2001; as seconds to wait it would be 31 years


def _make_state(
    remaining: float | None, reset: float | None, limit: float | None
) -> RateLimitState | None:
    if remaining is None or reset is None:
        return None
    return RateLimitState(remaining, reset, limit)


def _first_number(text: str) -> float | None:
    """Read the number that a header begins with; it may go on, as in ``100, 100;w=1``."""
    # Fifteen digits keep whoever sends more from overflowing what is computed with the number.
    found = re.match(r"\s*(\d{1,15}(\.\d{1,9})?)", text)
    return float(found[1]) if found else None


def _seconds_until(unix_time: float, headers: Mapping[str, str]) -> float:
    now = _parse_http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, unix_time - now.timestamp())


def _parse_http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
