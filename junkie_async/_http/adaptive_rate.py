"""How fast to send once the service has said "too many": an estimate of its limit, without I/O."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

_IDLE: Final = 1.0
"""Seconds without a request after which a new stretch of work begins."""

_MEMORY: Final = 64.0
"""Seconds of a stretch that count; of a longer one the older half is forgotten."""

_MARGIN: Final = 0.95
"""Of a limit that was measured, so much is used: each refusal costs a whole pause."""

_UNBOUND: Final = 100_000.0
"""Requests a second; a pace that has grown so far restrains nobody and is forgotten."""


@attrs.frozen
class _Stretch:
    """What was admitted between a pause, or an idle time, and a refusal.

    A limiter that lets ``burst`` requests through at once, and ``rate`` a second after that, has
    admitted at most ``burst + rate * seconds`` in any span of time.
    """

    admitted: int
    seconds: float
    pause: float
    latest: tuple[float, ...]
    """Seconds before the refusal at which the latest ones were admitted, the longest ago first."""

    @property
    def least(self) -> float:
        """The limit, if all of the burst comes back within the pause."""
        return self.admitted / (self.seconds + self.pause)

    @property
    def most(self) -> float:
        """The limit, if there was no burst."""
        return self.admitted / self.seconds if self.seconds else math.inf

    def limit(self, burst: int) -> float:
        """Give the limit that is left when so large a burst explains a part of it."""
        count = len(self.latest)
        spans = (
            (count - index - burst) / ago
            for index, ago in enumerate(self.latest[: max(0, count - burst)])
            if ago > 0
        )
        return max(spans, default=0.0)


class AdaptiveRate:
    """Requests a second that the service seems to bear, learned from its refusals alone.

    The first refusal says little: a burst may have been too large, or the rate too high. From
    there the pace starts low and doubles four times a pause, until a second refusal tells burst
    and rate apart. After that it creeps, so that refusals, each of which costs a pause, are rare,
    and leaps in the end, so that a limit that was lifted is not obeyed for ever.
    """

    def __init__(self) -> None:
        self._begin = self._last = self._resume = -math.inf
        self._admitted = 0
        self._latest: deque[float] = deque(maxlen=512)
        self._base = math.inf
        self._pause = 0.0
        self._before: _Stretch | None = None
        self._sure = False

    def admitted(self, now: float) -> None:
        """Count a request that was not refused."""
        if now - self._last > _IDLE:
            self._begin, self._admitted = now, 0
        elif now - self._begin > _MEMORY:
            self._begin, self._admitted = (self._begin + now) / 2, self._admitted // 2
        self._admitted += 1
        self._last = now
        self._latest.append(now)

    def refused(self, now: float, pause: float, floor: float) -> None:
        """Learn from a refusal.

        Args:
            now: When it came, in seconds.
            pause: Seconds for which nothing will be sent now, above 0.
            floor: Requests a second that are tried in any case.
        """
        ago = tuple(now - moment for moment in self._latest if moment >= self._begin)
        stretch = _Stretch(self._admitted, max(0.0, now - self._begin), pause, ago)
        rate = self.rate(now)
        if self._sure:
            base = max(stretch.least, _MARGIN * min(stretch.most, rate))
        elif self._before is not None and rate < math.inf:
            known = min(self._before.least, stretch.most)
            base = _MARGIN * max(known, stretch.least, stretch.limit(self._before.admitted))
            self._sure = True
        else:
            base = stretch.least
        self._before = stretch
        self._base, self._pause = max(base, floor), pause
        self._begin = self._last = self._resume = now + pause
        self._admitted = 0

    def rate(self, now: float) -> float:
        """Requests a second from now on; infinity while nothing restrains."""
        if self._base == math.inf:
            return math.inf
        pauses = max(0.0, now - self._resume) / self._pause
        growth = 1 + 0.01 * pauses + (pauses / 30) ** 3 if self._sure else 2 ** min(4 * pauses, 60)
        rate = self._base * growth
        if rate > _UNBOUND:
            self._base, self._before, self._sure = math.inf, None, False
            return math.inf
        return rate
