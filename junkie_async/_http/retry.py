"""When a failed call is sent again: decisions over values, without I/O."""

from __future__ import annotations

import math
import random
from typing import Final

import attrs

from .._errors import APIError, InvalidResponseError, JunkieError, Outcome, RequestTimeoutError
from .._validation import check_integer, check_seconds

_CAPACITY: Final = 500
_COST: Final = 5
_COST_OF_TIMEOUT: Final = 10
"""Botocore's standard mode: 100 retries to begin with, 50 after time-outs, and each success earns a
bit back (``botocore.retries.standard.RetryQuotaChecker``)."""


def _seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(f"RetryPolicy.{field.name}", value, zero=True)


def _attempts(_: object, field: attrs.Attribute[int], value: int) -> None:
    check_integer(f"RetryPolicy.{field.name}", value, 1, 100)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, and how patiently, a call is sent again. Waits grow twofold, with jitter.

    Attributes:
        attempts: Requests for one call at most, 1 to 100; 1 never sends one again.
        wait_initial: Seconds before the second attempt.
        wait_max: Seconds that a wait grows to at most; a ``Retry-After`` may ask for more.
        wait_jitter: Up to so many random seconds are added to each wait.
        retry_after_cap: A ``Retry-After`` of more seconds than this raises at once.
        deadline: Seconds for a call in all: waiting for its turn, its attempts, and the waits in
            between. Walks and jobs wait for their turns as long as it takes: for each of their
            calls it counts from the first failure.

    Raises:
        InvalidRequestError: A value is out of its limits.
    """

    attempts: int = attrs.field(default=5, validator=_attempts)
    wait_initial: float = attrs.field(default=0.25, validator=_seconds)
    wait_max: float = attrs.field(default=8.0, validator=_seconds)
    wait_jitter: float = attrs.field(default=0.5, validator=_seconds)
    retry_after_cap: float = attrs.field(default=120.0, validator=_seconds)
    deadline: float = attrs.field(default=180.0, validator=_seconds)

    def decide(
        self, error: JunkieError, *, idempotent: bool, attempt: int, left: float = math.inf
    ) -> bool | float:
        """Say whether the call is sent again.

        Args:
            error: How its latest attempt ended.
            idempotent: Whether the request may be sent again after an unknown outcome.
            attempt: The number of that attempt, from 1.
            left: Seconds left in which another attempt may begin.

        Returns:
            False for no, True for yes after the usual wait, or the seconds to wait.
        """
        if not error.transient or attempt >= self.attempts:
            return False
        if not idempotent and error.outcome is not Outcome.NOT_EXECUTED:
            return False
        if isinstance(error, InvalidResponseError) and attempt > 1:
            return False  # HTML or broken JSON twice is what the service has to say
        if isinstance(error, APIError) and error.retry_after is not None:
            return (
                error.retry_after if error.retry_after <= min(self.retry_after_cap, left) else False
            )
        return self._longest(attempt - 1) <= left

    def back_off(self, refusals: int) -> float:
        """Give the seconds to pause after so many refusals (from 0) that told none."""
        shortest = min(self.wait_initial * 2.0 ** min(refusals, 60), self.wait_max)
        return random.uniform(shortest, self._longest(refusals))  # noqa: S311 - no secret

    def _longest(self, waits: int) -> float:
        return min(self.wait_initial * 2.0 ** min(waits, 60) + self.wait_jitter, self.wait_max)


class RetryBudget:
    """A client-wide token bucket: an outage empties it, so that retries don't multiply the load."""

    def __init__(self) -> None:
        self._tokens = _CAPACITY

    def take(self, error: JunkieError) -> bool:
        """Pay for a retry after such a failure; False when the bucket can't."""
        cost = _COST_OF_TIMEOUT if isinstance(error, RequestTimeoutError) else _COST
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def earn(self, *, retried: bool = False) -> None:
        """Refill after a success: the whole cost if it took retries, a fifth of it otherwise."""
        if self._tokens < _CAPACITY:
            self._tokens = min(_CAPACITY, self._tokens + (_COST if retried else 1))
