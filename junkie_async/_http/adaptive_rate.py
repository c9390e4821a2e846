"""How fast to send after a 429: an estimate of the service's limit, without I/O.

The figures in the comments are those of a job of 1,000 calls by eight workers at 50 ms latency,
simulated as in tests/unit/test_adaptive_rate.py, where bounds on time and refusals pin them.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cached_property
from typing import Final

import attrs

_IDLE: Final = 1.0
"""Seconds without a request after which a new window begins."""

_MEMORY: Final = 64.0
"""Seconds of a window that count. Of a longer one the older half is dropped."""

# Each refusal costs a whole pause. With 1.0 a limiter of 10/s refuses 1.7% of the requests instead
# of 1.4%.
_MARGIN: Final = 0.95
"""The share of a measured limit that is used."""

# A service that refuses at random for some seconds makes windows of one or two requests. If these
# were believed, a web app would get a call in five seconds for minutes.
_EVIDENCE: Final = 5
"""Requests. A window of fewer measures nothing."""

_CONFIRMING_BURST: Final = 20
"""Requests. A second window of fewer, which has measured beyond a burst, confirms nothing."""

# After fewer, random refusals seem to confirm each other: visitors then wait for minutes.
_CONFIRMING_EVIDENCE: Final = 100
"""Requests. A later window of fewer confirms nothing."""

_AGREEMENT: Final = 0.1
"""The share by which two measurements of one limit differ at most."""

# A second window's rate doubles each second, so that 0.57 of the last one are used on the average.
_USED: Final = 0.4
"""The share of the refused rate that was used at least, if it was the rate that was refused."""

_EXCESS: Final = 1.05
"""A refused rate that is below so many times the limit does not confirm it: chance refuses, too."""

_CONFIRMED: Final = 130.0
"""Seconds after which a limit that was measured twice is doubled."""

_RECOVERY: Final = 150.0
"""Seconds after which any other limit is doubled, at the latest."""

_START: Final = 1.0
"""Requests a second at least, until a window has measured something."""

_UNBOUND: Final = 100_000.0
"""Requests a second. A rate that has grown this far restrains nothing and is dropped."""


@attrs.frozen(eq=False, repr=False)
class _Window:
    """What was admitted after a pause, or an idle time, and the pause that ended it.

    A limiter that lets ``burst`` requests through immediately, and ``rate`` a second after that,
    admits at most ``burst + rate * seconds`` in any span of time. One that counts in windows of a
    minute admits as many in each cycle, however fast they come.
    """

    number: int
    """1 for the first."""
    admitted: int
    seconds: float
    ages: tuple[float, ...]
    """Seconds before the refusal at which the latest requests were admitted, oldest first."""
    rate: float
    """The rate that was allowed when a request was refused."""
    burst: int
    """What the window before admitted: all of it may have been a burst."""
    refused_at: float
    pause: float
    limit_before: float | None
    """The limit that the window before measured."""

    @property
    def cycle(self) -> float:
        """Seconds from the end of the pause before to the end of this one."""
        return self.seconds + self.pause

    @cached_property
    def limit(self) -> float:
        """The rate to begin with after the pause, estimated as `AdaptiveRate` explains."""
        lower = rate = self.admitted / self.cycle
        if self.number == 2:
            rate = max(lower, _MARGIN * self._limit_after_burst())
        elif self.number > 2:
            upper = min(self.rate, self.admitted / self.seconds if self.seconds else math.inf)
            rate = max(lower, _MARGIN * math.sqrt(lower * upper))
        measured = self.number > 1 and self.admitted >= _EVIDENCE
        return rate if measured else max(rate, _START)

    @property
    def is_confirmed(self) -> bool:
        """Whether the window before measured about the same limit, and no chance did."""
        before, is_second = self.limit_before, self.number == 2  # which measures in its own way
        least = _CONFIRMING_BURST if is_second else _CONFIRMING_EVIDENCE
        if before is None or self.admitted < max(least, _USED * self.rate * self.seconds):
            return False
        is_exceeded = is_second or self.rate >= _EXCESS * before
        return is_exceeded and abs(self.limit / before - 1) <= _AGREEMENT

    def add_late_success(self) -> _Window:
        """Count a request that was admitted before the refusal, and answered after it."""
        return attrs.evolve(self, admitted=self.admitted + 1, ages=(*self.ages, 0.0))

    def _limit_after_burst(self) -> float:
        """Compute the limit that explains the admissions which the burst does not."""
        count = len(self.ages)
        spans = (
            (count - index - self.burst) / age
            for index, age in enumerate(self.ages[: max(0, count - self.burst)])
            if age > 0
        )
        return max(spans, default=0.0)

    def growth_after(self, seconds: float) -> float:
        """Compute by how much the rate has grown so many seconds after the pause."""
        if self.number < 2:
            # Twice as fast ends in 1.7% refused at 10/s instead of 1.4%. 60 keeps the float finite.
            return math.exp2(min(seconds / min(self.pause / 2, 1.0), 60))
        if self.is_confirmed:
            # Each refusal pauses interactive calls, too. At 20/s, with bursts of 20, this leaves
            # two pauses in the first minute instead of four, so that 95% of these calls meet none.
            return _double_after(_CONFIRMED, seconds)
        # Linear near the limit: 1% a pause, and at most 1% in ten requests, or slow limits refuse
        # too often.
        steady = max(self.pause, 10 / self.limit)
        recovery = self.cycle * min(max(self.admitted / _EVIDENCE, 1), 10)
        return (1 + 0.01 * seconds / steady) * _double_after(min(recovery, _RECOVERY), seconds)


def _double_after(recovery: float, seconds: float) -> float:
    """Compute a growth that is next to nothing at first, and ever faster later.

    As in CUBIC (RFC 9438, section 4.2), but in the exponent: twice the rate after ``recovery``
    seconds, and a hundred times the rate after not quite twice as many.
    """
    return math.exp2(min((seconds / recovery) ** 3, 60))  # 60 keeps the float finite


class AdaptiveRate:
    """The requests a second that the service seems to accept, learned from refusals alone.

    Refusals in a row are one refusal, whose pause lasts until a request is admitted. So the pause
    is known without ``Retry-After``, too, and with it the limit of a service that counts in windows
    of a minute: what it admitted, divided by the time from pause to pause. For other services that
    is a lower bound, as they may have admitted more without the pause.

    - Before anything was admitted, nothing is known: no rate.
    - The first refusal has three explanations: a burst that was too large, a rate that was too
      high, or a service that was ill for a moment. The rate starts at the lower bound and doubles
      each second, or faster, until a second refusal tells them apart.
    - The second shows what was admitted beyond the burst of the first. A service that counts in
      windows admits nothing beyond it: there the lower bound is the limit.
    - Each later one puts the rate between its lower bound and the rate that was refused.

    From the second on the rate grows slowly, so that refusals are rare, and faster the longer there
    are none, so that a limit that was lifted is forgotten.
    """

    def __init__(self) -> None:
        self._window_start = self._last_success = self._resumes_at = -math.inf
        self._admitted = 0
        self._success_times: deque[float] = deque(maxlen=512)
        self._window: _Window | None = None  # the latest that a refusal ended

    def record_success(self, now: float) -> None:
        """Count a request that was not refused."""
        if now < self._resumes_at:  # it was sent before the refusal
            if self._window is not None:
                self._window = self._window.add_late_success()
            return
        if now - self._last_success > _IDLE:
            self._window_start, self._admitted = now, 0
        elif now - self._window_start > _MEMORY:
            self._window_start = (self._window_start + now) / 2
            self._admitted //= 2
        self._admitted += 1
        self._last_success = now
        self._success_times.append(now)

    def record_refusal(self, now: float, pause: float) -> None:
        """Learn from a refusal that is followed by a pause, which must be above 0 seconds."""
        rate, window = self.rate(now), self._window
        if self._admitted:
            self._window = self._end_window(now, pause, rate, window)
        elif window is not None:
            # Until now, not until the next attempt: without `Retry-After` that may come 8 s late,
            # and the rate would use only 73% of a window of a minute.
            self._window = attrs.evolve(window, pause=max(window.pause, now - window.refused_at))
        self._window_start = self._last_success = self._resumes_at = now + pause
        self._admitted = 0

    def _end_window(self, now: float, pause: float, rate: float, before: _Window | None) -> _Window:
        number, burst = (before.number, before.admitted) if before else (0, 0)
        return _Window(
            number=number + 1,
            admitted=self._admitted,
            seconds=max(0.0, now - self._window_start),
            ages=tuple(now - at for at in self._success_times if at >= self._window_start),
            rate=rate,
            burst=burst,
            refused_at=now,
            pause=pause,
            limit_before=before.limit if before else None,
        )

    def rate(self, now: float) -> float:
        """Compute the requests a second from now on; infinity while nothing restrains."""
        if (window := self._window) is None:
            return math.inf
        rate = window.limit * window.growth_after(max(0.0, now - self._resumes_at))
        if rate > _UNBOUND:
            self._window = None
            return math.inf
        return rate
