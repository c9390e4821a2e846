"""Rate-limit headers: ``Retry-After``, ``RateLimit-*``, ``X-RateLimit-*`` and ``RateLimit``."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec


class RateLimitState(msgspec.Struct, frozen=True):
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
    if re.fullmatch(r"[0-9]{1,300}(\.[0-9]{1,300})?", value):  # beyond that a float is infinite
        return float(value)
    return _seconds_until(_parse_date(value), headers)


def read_rate_limit(headers: Mapping[str, str]) -> RateLimitState | None:
    """Return what a response states about the rate limit; None if it states nothing usable.

    Understands ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` of
    draft-ietf-httpapi-ratelimit-headers-03, the same with ``X-``, and the single ``RateLimit``
    field of the later drafts. A reset is in seconds, or a moment: a date, or a Unix time in seconds
    or milliseconds. Of several limits the tightest counts.
    """
    for prefix in ("RateLimit-", "X-RateLimit-"):
        if (remaining := headers.get(prefix + "Remaining")) is not None:
            reset = _read_reset(headers.get(prefix + "Reset", ""), headers)
            limit = _read_number(headers.get(prefix + "Limit", ""))
            return _make_state(_read_number(remaining), reset, limit)
    if "RateLimit" in headers:
        # A list may be spread over several fields (RFC 9110, section 5.3).
        line = ",".join(value for name, value in headers.items() if name.lower() == "ratelimit")
        return min(_read_policies(line), key=_allowed_rate, default=None)
    return None


def read_date(headers: Mapping[str, str]) -> datetime | None:
    """Return when a response was made, by the service's own clock; None if it does not say."""
    seconds = _parse_date(headers.get("Date", ""))
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# Draft 07 writes `limit=100, remaining=50, reset=5`, draft 08 and later `"name";r=50;t=5, ...`.
_RATE_LIMIT_ITEM = (
    r'"[^"]*"|(?P<next>,)|\b(?P<name>r|t|remaining|reset|limit)=(?P<number>[0-9]{1,15})\b'
)


def _read_policies(line: str) -> Iterator[RateLimitState]:
    policies: list[dict[str, float]] = [{}]
    for item in re.finditer(_RATE_LIMIT_ITEM, line):
        if item["name"]:
            policies[-1][item["name"]] = float(item["number"])
        elif item["next"] and "r" in policies[-1]:
            policies.append({})
    for policy in policies:
        state = _make_state(
            policy.get("r", policy.get("remaining")),
            policy.get("t", policy.get("reset")),
            policy.get("limit"),
        )
        if state is not None:
            yield state


def _allowed_rate(state: RateLimitState) -> tuple[float, float]:
    """Order limits by what they allow: requests a second until the reset; the later reset first."""
    return state.remaining / max(state.reset, 1e-9), -state.reset


def _make_state(
    remaining: float | None, reset: float | None, limit: float | None
) -> RateLimitState | None:
    if remaining is None or reset is None:
        return None
    return RateLimitState(remaining, reset, limit)


_LEAST_UNIX_TIME = 1e9  # September 2001; as seconds to wait it would be 31 years
_LEAST_UNIX_MILLISECONDS = 1e12


def _read_reset(text: str, headers: Mapping[str, str]) -> float | None:
    number = _read_number(text)
    if number is None:
        return _seconds_until(_parse_date(text), headers)
    if number < _LEAST_UNIX_TIME:
        return number
    return _seconds_until(number / (1e3 if number >= _LEAST_UNIX_MILLISECONDS else 1), headers)


def _read_number(text: str) -> float | None:
    """Read the number that a header begins with; it may go on, as in ``100, 100;w=1``."""
    # Fifteen digits keep whoever sends more from overflowing what is computed with the number. A
    # date begins with a number, too.
    found = re.match(r"\s*([0-9]{1,15}(\.[0-9]{1,9})?)(?![0-9:/-])", text)
    return float(found[1]) if found else None


def _seconds_until(unix_time: float | None, headers: Mapping[str, str]) -> float | None:
    if unix_time is None:
        return None
    now = _parse_date(headers.get("Date", "")) or datetime.now(UTC).timestamp()
    return max(0.0, unix_time - now)


@functools.lru_cache(maxsize=16)  # all responses of a second have the same: 16,000 instructions
def _parse_date(value: str) -> float | None:
    """Read an HTTP date, or one of ISO 8601, as a Unix time."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with contextlib.suppress(ValueError, IndexError, OverflowError):
            moment = parse(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
