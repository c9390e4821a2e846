"""How many requests a second are let in: the generic cell rate algorithm, without I/O."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_ROUNDING = 1e-9  # a caller exactly on pace must not be refused for the last bit of a float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limiter says of one request.

    Attributes:
        admitted: Whether it may pass.
        retry_after: Whole seconds, rounded up and at least 1, until one like it would pass;
            0 when admitted. HTTP has no smaller unit.
        limit: Requests admitted in a window; the window is a second, or for rates below one
            a second the time between two requests.
        remaining: How many of `limit` the last window leaves; 0 when refused.
        reset: Whole seconds, rounded up, until the window has room for another; 0 when unused.
    """

    admitted: bool
    retry_after: int
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-03."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimiter:
    """Admits `rate` requests a second, evenly, with a burst of a tenth of a second's worth.

    The burst is at least one request, so any second sees at most ``rate + max(1, rate / 10)``.

    Args:
        rate: Requests per second, finite and above 0.
        clock: Seconds that never go back; `time.monotonic` unless given.

    Raises:
        ValueError: The rate is not a finite number above 0.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"rate_limit must be a finite number above 0, not {rate!r}")
        self.rate = rate
        self._clock = clock
        self._interval = 1 / rate
        self._tolerance = (max(1, int(rate / 10)) - 1) * self._interval
        self._due = -math.inf  # when the next request would come, were they evenly spaced
        self._limit = max(1, int(rate))
        self._window = max(1.0, self._interval)
        self._recent: deque[float] = deque()

    def admit(self) -> Verdict:
        """Judge a request that comes now; an admitted one is counted."""
        now = self._clock()
        wait = self._due - self._tolerance - now
        admitted = wait <= _ROUNDING
        if admitted:
            self._due = max(self._due, now) + self._interval
            self._recent.append(now)
        return self._verdict(now, 0 if admitted else max(1, math.ceil(wait)))

    def _verdict(self, now: float, retry_after: int) -> Verdict:
        while self._recent and self._recent[0] <= now - self._window:
            self._recent.popleft()
        free = 0 if retry_after else max(0, self._limit - len(self._recent))
        reset = math.ceil(self._recent[0] + self._window - now) if self._recent else 0
        return Verdict(not retry_after, retry_after, self._limit, free, max(reset, retry_after))
