"""The caller's own rate limit: ``JunkieClient(rate_limit=...)``, without I/O."""

from __future__ import annotations

import math

import attrs
import msgspec

from .._validation import check_seconds


def _validate_positive(_: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(f"RateLimit.{field.name}", value)


@attrs.frozen
class RateLimit:
    """A limit of ``requests`` in ``per`` seconds on the average, in bursts of up to ``requests``.

    It is a bucket of so many tokens that is refilled evenly. After an idle time, ``per`` seconds
    may have a burst and the refill: not quite twice as many.

    Attributes:
        requests: Number of requests, above 0.
        per: Seconds, above 0.

    Raises:
        InvalidRequestError: A value is out of its limits.
    """

    requests: float = attrs.field(validator=_validate_positive)
    per: float = attrs.field(default=1.0, validator=_validate_positive)


class LocalRate(msgspec.Struct, eq=False):
    """The caller's own rate limit by GCRA: a bucket that leaks, kept as one moment.

    Unlike a bucket's level, the moment tells when each waiting request can have its turn.
    """

    interval: float = 0.0  # seconds a request; 0 without a limit
    tolerance: float = 0.0  # seconds by which a burst may be early
    _arrival: float = -math.inf  # when the next request is due if there are no bursts

    @classmethod
    def from_limit(cls, limit: RateLimit) -> LocalRate:
        """Make the rate of a caller's limit."""
        interval = limit.per / limit.requests
        return cls(interval, max(0.0, limit.per - interval))

    def next_due(self) -> float:
        """Compute when the next request is due."""
        return self._arrival - self.tolerance

    def due_behind(self, ahead: int, now: float) -> float:
        """Compute when a request is due at the earliest, with so many ahead of it."""
        return max(self._arrival, now) + ahead * self.interval - self.tolerance

    def take(self, now: float) -> None:
        """Count a request."""
        self._arrival = max(self._arrival, now) + self.interval
