"""How fast to send after a 429: an estimate of the service's limit, without I/O.

The figures in the comments are those of a job of 1,000 calls by eight workers at 50 ms latency,
simulated as in tests/unit/test_adaptive_rate.py, where bounds on time and refusals pin them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

_IDLE: Final = 1.0
"""Seconds without a request after which a new window begins."""

_MEMORY: Final = 64.0
"""Seconds of a window that count. Of a longer one the older half is dropped."""

# Each refusal costs a whole pause. With 1.0 a limiter of 10/s refuses 2.1% of the requests instead
# of 1.4%; with 0.8 it refuses 1.2%, but a job at 100/s takes 8% longer.
_MARGIN: Final = 0.95
"""The share of a measured limit that is used."""

_UNBOUND: Final = 100_000.0
"""Requests a second. A rate that has grown this far restrains nothing and is dropped."""


@attrs.frozen
class _Window:
    """What was admitted between a pause, or an idle time, and a refusal.

    A limiter that lets ``burst`` requests through immediately, and ``rate`` a second after that,
    admits at most ``burst + rate * seconds`` in any span of time.
    """

    admitted: int
    seconds: float
    pause: float
    ages: tuple[float, ...]
    """Seconds before the refusal at which the latest requests were admitted, oldest first."""

    @property
    def lower_bound(self) -> float:
        """The limit, if the pause refills all of the burst."""
        return self.admitted / (self.seconds + self.pause)

    @property
    def upper_bound(self) -> float:
        """The limit, if there was no burst."""
        return self.admitted / self.seconds if self.seconds else math.inf

    def limit_after_burst(self, burst: int) -> float:
        """Compute the limit that explains the admissions which a burst of this size does not."""
        count = len(self.ages)
        spans = (
            (count - index - burst) / age
            for index, age in enumerate(self.ages[: max(0, count - burst)])
            if age > 0
        )
        return max(spans, default=0.0)


class AdaptiveRate:
    """The requests a second that the service seems to accept, learned from refusals alone.

    The first refusal has two explanations: a burst that was too large, or a rate that was too high.
    The estimate then starts at its lower bound and doubles four times a pause, until a second
    refusal tells burst and rate apart. From there it grows slowly, so that refusals are rare, and
    faster the longer there are none, so that a limit that was lifted is forgotten.
    """

    def __init__(self) -> None:
        self._window_start = self._last_success = self._resumes_at = -math.inf
        self._admitted = 0
        self._success_times: deque[float] = deque(maxlen=512)
        self._base_rate = math.inf
        self._pause = 0.0
        self._previous: _Window | None = None
        self._is_measured = False

    def record_success(self, now: float) -> None:
        """Count a request that was not refused."""
        if now - self._last_success > _IDLE:
            self._window_start, self._admitted = now, 0
        elif now - self._window_start > _MEMORY:
            self._window_start = (self._window_start + now) / 2
            self._admitted //= 2
        self._admitted += 1
        self._last_success = now
        self._success_times.append(now)

    def record_refusal(self, now: float, pause: float, floor: float) -> None:
        """Learn from a refusal that is followed by a pause, which must be above 0 seconds.

        The rate does not fall below ``floor`` requests a second.
        """
        ages = tuple(now - moment for moment in self._success_times if moment >= self._window_start)
        window = _Window(self._admitted, max(0.0, now - self._window_start), pause, ages)
        rate = self.rate(now)
        if self._is_measured:
            base = max(window.lower_bound, _MARGIN * min(window.upper_bound, rate))
        elif self._previous is not None and rate < math.inf:
            # All that the first window admitted may have been its burst; the second window shows
            # what comes through beyond that.
            known = min(self._previous.lower_bound, window.upper_bound)
            after_burst = window.limit_after_burst(self._previous.admitted)
            base = _MARGIN * max(known, window.lower_bound, after_burst)
            self._is_measured = True
        else:
            base = window.lower_bound
        self._previous = window
        self._base_rate, self._pause = max(base, floor), pause
        self._window_start = self._last_success = self._resumes_at = now + pause
        self._admitted = 0

    def rate(self, now: float) -> float:
        """Compute the requests a second from now on; infinity while nothing restrains."""
        if self._base_rate == math.inf:
            return math.inf
        # Time is counted in pauses: a service that asks for long ones is probed less often.
        pauses = max(0.0, now - self._resumes_at) / self._pause
        if self._is_measured:
            # Linear near the limit: without the 1% a job at 10/s takes 2% longer, with 5% twice as
            # many requests are refused. Cubic far from it, as in CUBIC (RFC 9438, section 4.2):
            # next to nothing for ten pauses, twice the rate after 27, forty times after 100.
            growth = 1 + 0.01 * pauses + (pauses / 30) ** 3
        else:
            # Doubling twice a pause takes 7% longer against a window of 60 s. Eight times ends in
            # 0.8% refused at 100/s instead of 0.5%. 60 keeps the float finite.
            growth = 2.0 ** min(4 * pauses, 60)
        rate = self._base_rate * growth
        if rate > _UNBOUND:
            self._base_rate, self._previous, self._is_measured = math.inf, None, False
            return math.inf
        return rate
