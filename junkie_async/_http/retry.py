"""Whether and when a failed call is sent again: decisions over values, without I/O."""

from __future__ import annotations

import math
import os
import random
from typing import Final

import attrs

from .._errors import (
    APIError,
    InvalidResponseError,
    JunkieError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
)
from .._validation import check_integer, check_seconds

# The figures of botocore's standard mode (`botocore.retries.standard.RetryQuotaChecker`): 100
# retries in a row without a success, or 50 after time-outs, which cost an ailing service the most.
_BUDGET: Final = 500
_RETRY_COST: Final = 5
_TIMEOUT_COST: Final = 10

_TEST_PACE: Final = 0.001
_WAITS_OF_POLICY: Final = ("wait_initial", "wait_max", "wait_jitter", "outage")


def _validate_seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(f"RetryPolicy.{field.name}", value, zero=True)


def _validate_attempts(_: object, field: attrs.Attribute[int], value: int) -> None:
    check_integer(f"RetryPolicy.{field.name}", value, 1, 100)


@attrs.frozen(kw_only=True, cache_hash=True)  # each `verify` hashes it four times
class RetryPolicy:
    """How often and how long a call is retried. The back-off doubles each time, with jitter.

    Attributes:
        attempts: Maximum number of requests for one call, 1 to 100. 1 disables retries, also in an
            outage.
        wait_initial: Seconds to wait before the second attempt.
        wait_max: Maximum seconds of one back-off. A ``Retry-After`` may ask for more.
        wait_jitter: Maximum random seconds added to each back-off.
        retry_after_cap: A ``Retry-After`` of more seconds than this raises immediately. No good
            response stops the client for longer, whatever it states about the rate limit.
        deadline: Seconds for the whole call: waiting for a request slot, all attempts, and the
            waits between them. A call that would have to wait for longer, because of a rate limit
            or a pause, raises RateLimitError immediately. List walks and jobs wait for a slot
            without a limit; for each of their calls the deadline counts from the first failure.
        outage: Seconds for which list walks, exports and jobs go on while the service can't be
            reached, does not respond, or answers 5xx. 0 ends them after ``attempts`` or the
            ``deadline``. They count from the first failure of the call that fails. Meanwhile one
            of them at a time is sent, after up to ``wait_max`` seconds each, and `Hooks.on_outage`
            is called. Interactive calls do not wait.

    Raises:
        InvalidRequestError: A value is out of its limits.
    """

    attempts: int = attrs.field(default=5, validator=_validate_attempts)
    wait_initial: float = attrs.field(default=0.25, validator=_validate_seconds)
    wait_max: float = attrs.field(default=8.0, validator=_validate_seconds)
    wait_jitter: float = attrs.field(default=0.5, validator=_validate_seconds)
    retry_after_cap: float = attrs.field(default=120.0, validator=_validate_seconds)
    deadline: float = attrs.field(default=180.0, validator=_validate_seconds)
    outage: float = attrs.field(default=600.0, validator=_validate_seconds)
    _pace: float = attrs.field(default=1.0, init=False, repr=False, eq=False)

    def decide(
        self,
        error: JunkieError,
        *,
        idempotent: bool,
        attempt: int,
        left: float = math.inf,
        interactive: bool = True,
    ) -> bool | float:
        """Decide whether a failed call is sent again.

        Args:
            error: The error of its latest attempt.
            idempotent: Whether the request may be sent again after an unknown outcome.
            attempt: The number of that attempt, from 1.
            left: Seconds within which the next attempt must begin.
            interactive: Whether somebody waits for the call. Then the ``Retry-After`` of a gateway
                that failed is ignored: Cloudflare adds 60 to 120 s to every blip.

        Returns:
            False to give up, True to retry after `back_off`, or the seconds to wait instead.
        """
        if not error.transient or attempt >= self.attempts:
            return False
        if not idempotent and error.outcome is not Outcome.NOT_EXECUTED:
            return False
        # HTML or broken JSON is retried once: a gateway's page passes, a wrong base URL does not.
        if isinstance(error, InvalidResponseError) and attempt > 1:
            return False
        longest = min(self.retry_after_cap, left)
        if isinstance(error, APIError) and (wait := error.retry_after) is not None:
            if isinstance(error, RateLimitError) or error.status == 503:
                return wait * self._pace if wait <= longest else False
            if not interactive and wait <= longest:
                return wait * self._pace
        # With the full jitter, so that the decision does not depend on the dice.
        return self._back_off_with(self.wait_jitter, attempt - 1) <= left

    def rides_out(self, error: JunkieError, *, idempotent: bool, seconds: float) -> bool:
        """Decide whether a walk or a job goes on in an outage.

        Args:
            error: The error of the latest attempt.
            idempotent: Whether the request may be sent again after an unknown outcome.
            seconds: How long the call has been failing.
        """
        if self.attempts == 1 or not error.transient:
            return False
        if isinstance(error, InvalidResponseError | RateLimitError):
            return False  # the service responds
        if not idempotent and error.outcome is not Outcome.NOT_EXECUTED:
            return False
        wait = error.retry_after if isinstance(error, APIError) else None
        return seconds + (wait or 0.0) * self._pace < self.outage

    def back_off(self, failures: int) -> float:
        """Compute the seconds to wait before the next attempt.

        Args:
            failures: How many failures came before the latest one, from 0.
        """
        return self._back_off_with(random.uniform(0, self.wait_jitter), failures)  # noqa: S311 - no secret

    def _back_off_with(self, jitter: float, failures: int) -> float:
        # A float's exponent ends at 1024: 2.0 ** 1024 raises OverflowError. 60 is beyond any cap.
        return min(self.wait_initial * 2.0 ** min(failures, 60) + jitter, self.wait_max)


def hurry(policy: RetryPolicy, base_url: str) -> RetryPolicy:
    """Return the policy whose waits pass a thousand times faster, in tests that ask for it.

    What is decided, and in which order things happen, stays the same. The variable has no effect
    over TLS, and so none on a client of the real service.
    """
    if not os.environ.get("JUNKIE_TEST_INSTANT_WAITS") or not base_url.startswith("http://"):
        return policy
    hurried = attrs.evolve(
        policy, **{name: getattr(policy, name) * _TEST_PACE for name in _WAITS_OF_POLICY}
    )
    object.__setattr__(hurried, "_pace", _TEST_PACE)  # frozen, so that no caller can
    return hurried


def shorten_wait(policy: RetryPolicy, seconds: float) -> float:
    """Return how long a wait takes that somebody else has set, such as a ``Retry-After``."""
    return seconds * policy._pace  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class RetryBudget:
    """A client-wide token bucket for retries.

    Each retry takes tokens and each success returns some. An outage empties the bucket, so that
    retries don't multiply the load on a service that is already failing.
    """

    def __init__(self) -> None:
        self._interactive = self._others = _BUDGET

    def take(self, error: JunkieError, *, interactive: bool = True) -> bool:
        """Pay for a retry after this error. False when too few tokens are left.

        Walks and jobs have tokens of their own, so that they leave those of interactive calls.
        """
        cost = _TIMEOUT_COST if isinstance(error, RequestTimeoutError) else _RETRY_COST
        left = (self._interactive if interactive else self._others) - cost
        if left < 0:
            return False
        if interactive:
            self._interactive = left
        else:
            self._others = left
        return True

    def earn(self, *, retried: bool = False) -> None:
        """Refill after a success: by the full cost after a retry, by a fifth of it otherwise."""
        if self._interactive + self._others < 2 * _BUDGET:
            earned = _RETRY_COST if retried else 1
            self._interactive = min(_BUDGET, self._interactive + earned)
            self._others = min(_BUDGET, self._others + earned)
