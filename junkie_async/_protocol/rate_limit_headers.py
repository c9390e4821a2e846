"""What response headers say about waiting: ``Retry-After`` and the rate-limit fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs


@attrs.frozen
class RateLimitState:
    """What an answer's headers say of the service's limit.

    Attributes:
        remaining: Requests that are left.
        reset: Seconds until there are more.
        limit: Requests that there are in all, or None where it was not said.
    """

    remaining: float
    reset: float
    limit: float | None = None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds from now, None if absent or garbage.

    A date is measured against the answer's own ``Date``, so that a wrong local clock does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def read_rate_limit(headers: Mapping[str, str]) -> RateLimitState | None:
    """Read what an answer says of the rate limit; None where it says nothing that can be used.

    Known are ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds) of
    draft-ietf-httpapi-ratelimit-headers-03, the same with ``X-`` (where a reset may also be a Unix
    time), and the one ``RateLimit`` field of the later drafts.
    """
    for prefix in ("RateLimit-", "X-RateLimit-"):
        if (remaining := headers.get(prefix + "Remaining")) is not None:
            reset, limit = headers.get(prefix + "Reset", ""), headers.get(prefix + "Limit", "")
            return _state(_number(remaining), _until(_number(reset), headers), _number(limit))
    if (line := headers.get("RateLimit")) is not None:
        stated = {name: float(number) for name, number in _STATED.findall(line)}
        remaining_, reset_ = stated.get("r", stated.get("remaining")), stated.get("t")
        return _state(remaining_, reset_ or stated.get("reset"), stated.get("limit"))
    return None


_STATED = re.compile(r"\b(r|t|remaining|reset|limit)=(\d{1,15})\b")
_EPOCH = 1e9  # seconds; a reset beyond that is a moment, not a time to wait


def _state(
    remaining: float | None, reset: float | None, limit: float | None
) -> RateLimitState | None:
    if remaining is None or reset is None:
        return None
    return RateLimitState(remaining, reset, limit)


def _number(text: str) -> float | None:
    """Read the first number of a header that may go on (``100, 100;w=1``)."""
    found = re.match(r"\s*(\d{1,15}(\.\d{1,9})?)", text)
    return float(found[1]) if found else None


def _until(reset: float | None, headers: Mapping[str, str]) -> float | None:
    if reset is None or reset < _EPOCH:
        return reset
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, reset - now.timestamp())
