"""How many requests a second are let in: a token bucket, without I/O."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

_SLACK = 1e-4  # requests beyond the burst, so that rounding refuses nobody who is exactly on pace


class Verdict(NamedTuple):
    """What the limiter says of one request.

    Attributes:
        admitted: Whether it may pass.
        retry_after: Whole seconds, rounded up and at least 1, until one like it would pass;
            0 when admitted. HTTP has no smaller unit.
        limit: Requests that a full bucket holds, rounded down.
        remaining: How many requests would pass now, one after the other.
        reset: Whole seconds, rounded up and at least 1, until `remaining` is `limit` again if
            nothing is asked meanwhile.
    """

    admitted: bool
    retry_after: int
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-03.

        There the quota "resets" after ``RateLimit-Reset`` seconds: the whole of it, so not just
        the next request. Whoever spreads the remaining requests over that time is slower than
        the rate with a bucket less than half full, faster with one more than half full, and is
        never refused. ``Retry-After``, which takes precedence, comes earlier in a deep bucket.
        """
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimiter:
    """Admits `burst` requests at once, and `rate` a second in the long run.

    The bucket begins full, so any second sees at most ``burst + rate`` requests.

    Args:
        rate: Requests that the bucket gains per second, finite and above 0.
        burst: Requests that it holds, finite and from 1; None is a second's worth, at least 1.
        clock: Seconds that never go back; `time.monotonic` unless given.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"rate_limit must be a finite number above 0, not {rate!r}")
        self.rate = rate
        self._capacity = (max(1.0, rate) if burst is None else checked_burst(burst)) + _SLACK
        self._limit = int(self._capacity)
        self._clock = clock
        self._tokens = self._capacity
        self._filled_at = clock()

    def admit(self) -> Verdict:
        """Judge a request that comes now; an admitted one is counted."""
        now = self._clock()
        gained = (now - self._filled_at) * self.rate
        self._tokens = min(self._capacity, self._tokens + gained)
        self._filled_at = now
        admitted = self._tokens >= 1
        if admitted:
            self._tokens -= 1
        wait = 0 if admitted else self._seconds_until(1)
        return Verdict(
            admitted, wait, self._limit, int(self._tokens), self._seconds_until(self._limit)
        )

    def _seconds_until(self, tokens: int) -> int:
        # Half of the slack keeps rounding from breaking the promise, half from raising it.
        return math.ceil((tokens + _SLACK / 2 - self._tokens) / self.rate)


def checked_burst(burst: float) -> float:
    """Return a burst that a limiter takes.

    Raises:
        ValueError: It is not a finite number from 1.
    """
    if not (burst >= 1 and math.isfinite(burst)):
        raise ValueError(f"rate_limit_burst must be a finite number from 1, not {burst!r}")
    return burst
