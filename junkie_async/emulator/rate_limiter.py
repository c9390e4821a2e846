"""Limit the rate of requests: a token bucket, without I/O."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

# Tokens beyond the burst. Without them, float rounding refuses a third to a half of the requests of
# a client that sends exactly at the rate (burst 1); test_the_exact_rate_is_never_refused pins it.
_SLACK = 1e-4


class Admission(NamedTuple):
    """The limiter's decision on one request.

    Attributes:
        retry_after: Whole seconds until such a request would pass, rounded up and at least 1,
            since HTTP has no smaller unit; 0 when admitted.
        limit: Requests that a full bucket holds, rounded down.
        remaining: Requests that would pass now, one after the other.
        reset: Whole seconds, rounded up and at least 1, until `remaining` is `limit` again if no
            request arrives meanwhile.
    """

    admitted: bool
    retry_after: int
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-03.

        In that draft the whole quota resets after ``RateLimit-Reset`` seconds, not just the next
        request. A client that spreads the remaining requests over that time is never refused.
        """
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimiter:
    """Admits bursts of `burst` requests, and `rate` requests a second in the long run.

    The bucket starts full, so any one second admits at most ``burst + rate`` requests.

    Args:
        rate: Tokens that the bucket gains per second, finite and > 0.
        burst: Tokens that it holds, finite and >= 1; None is one second's worth, at least 1.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self._capacity = (max(1.0, rate) if burst is None else burst) + _SLACK
        self._limit = int(self._capacity)
        self._clock = clock
        self._tokens = self._capacity
        self._filled_at = clock()

    def admit(self) -> Admission:
        """Decide on a request that arrives now; an admitted one takes a token."""
        now = self._clock()
        gained = (now - self._filled_at) * self.rate
        self._tokens = min(self._capacity, self._tokens + gained)
        self._filled_at = now
        admitted = self._tokens >= 1
        if admitted:
            self._tokens -= 1
        wait = 0 if admitted else self._seconds_until(1)
        return Admission(
            admitted, wait, self._limit, int(self._tokens), self._seconds_until(self._limit)
        )

    def _seconds_until(self, tokens: int) -> int:
        # Without half of the slack, rounding could announce a wait that is an instant too short;
        # with all of it, a wait that comes out even would be rounded up by a second.
        return math.ceil((tokens + _SLACK / 2 - self._tokens) / self.rate)
