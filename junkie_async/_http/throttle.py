"""When a request may be sent: the in-flight ceiling, rate limits, and pauses after a 429."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
from collections.abc import Callable
from typing import Final, Self

import attrs

from .._errors import ClientClosedError, Outcome, RateLimitError, RequestTimeoutError
from .._protocol.rate_limit_headers import RateLimitState
from .._validation import check_integer, check_seconds
from .adaptive_rate import AdaptiveRate

_SCARCE: Final = 0.2
"""Below this share of the stated limit, the remaining requests are spread until the reset."""

# Event loops wake up late. Without catching up, each late slot would delay all that come after it,
# and the rate would stay below its limit.
_MAX_CATCH_UP: Final = 0.05
"""Seconds by which a slot may be due before the moment at which it is given."""


def _validate_positive(_: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(f"RateLimit.{field.name}", value)


@attrs.frozen
class RateLimit:
    """A limit of ``requests`` in any ``per`` seconds, in bursts of up to ``requests``.

    Attributes:
        requests: Number of requests, above 0.
        per: Seconds, above 0.

    Raises:
        InvalidRequestError: A value is out of its limits.
    """

    requests: float = attrs.field(validator=_validate_positive)
    per: float = attrs.field(default=1.0, validator=_validate_positive)


@attrs.define(eq=False)
class _LocalRate:
    """The caller's own rate limit by GCRA: a bucket that leaks, kept as one moment.

    Unlike a bucket's level, the moment tells when each waiting request can have its turn.
    """

    interval: float = 0.0  # seconds a request; 0 without a limit
    tolerance: float = 0.0  # seconds by which a burst may be early
    _arrival: float = -math.inf  # when the next request is due if there are no bursts

    @classmethod
    def from_limit(cls, limit: RateLimit) -> _LocalRate:
        interval = limit.per / limit.requests
        return cls(interval, max(0.0, limit.per - interval))

    def next_due(self) -> float:
        return self._arrival - self.tolerance

    def due_behind(self, ahead: int, now: float) -> float:
        """Compute when a request is due at the earliest, with so many ahead of it."""
        return max(self._arrival, now) + ahead * self.interval - self.tolerance

    def take(self, now: float) -> None:
        self._arrival = max(self._arrival, now) + self.interval


class Throttle:
    """Gives out request slots, one for each request, to all tasks of a client.

    Without a restraint, a slot costs one uncontended semaphore. After a 429, or when the limit that
    the service states is nearly used up, slots are given one after the other, first come, first
    served. A waiter can be cancelled at any point. A throttle belongs to one event loop.

    A waiter whose turn can't come before its deadline raises RateLimitError immediately, also when
    that becomes known while it waits behind others.

    A reset that the service states is believed up to ``max_reset`` seconds: then a request goes
    out, and its response may correct what was wrong. ``back_off`` computes the pause after a 429
    without ``Retry-After``, from the number of 429s in a row before it.
    """

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None = None,
        *,
        max_reset: float = 120.0,
        back_off: Callable[[int], float] = lambda refusals: 0.25 * 2.0 ** min(refusals, 5),
    ) -> None:
        self._max_in_flight = check_integer("max_in_flight", max_in_flight, 1, 10_000)
        self.ceiling = self._max_in_flight  # of slots in use at a time, now
        self._local_rate = _LocalRate.from_limit(rate_limit) if rate_limit else _LocalRate()
        self._max_reset = max_reset
        self._back_off = back_off
        self._successes = self._refusals = 0
        self._adaptive_rate = AdaptiveRate()
        self._paused_at = self._resumes_at = self._last_due = -math.inf
        self._challenged: str | None = None
        self._stated: RateLimitState | None = None
        self._resets_at = -math.inf
        self._restrained = rate_limit is not None
        self._closed = False
        self._free_all_slots()

    def renew(self) -> Self:
        """Make a throttle for another event loop, which has all slots and what this one learned.

        The calls of a closed event loop give no slot back, or give it back to this throttle.
        """
        renewed = copy.copy(self)
        renewed._free_all_slots()  # noqa: SLF001 - of this class
        return renewed

    def _free_all_slots(self) -> None:
        self._slots = asyncio.Semaphore(self._max_in_flight)
        self._gate = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()
        self._queued = 0  # waits that are in the queue, not in a back-off
        self._in_flight = 0

    async def acquire(self, deadline: float = math.inf, *, back_off: float = 0.0) -> None:
        """Wait for a slot until the deadline, on the event loop's clock. `release` gives it back.

        A retry waits ``back_off`` seconds before it queues for its slot.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._restrained or back_off or self._slots.locked():
            await self._wait_for_slot(deadline, back_off)
        else:
            await self._slots.acquire()  # returns without yielding to the event loop
        self._in_flight += 1

    def release(self) -> None:
        """Give a slot back."""
        self._in_flight -= 1
        self._slots.release()
        self._changed.set()

    def record_success(self, now: float, stated: RateLimitState | None) -> None:
        """Adapt to a response that is no 429, and to the rate limit that its headers state."""
        self._refusals = 0
        self._challenged = None
        self._adaptive_rate.record_success(now)
        # Additive increase: each full round of successes lets one more request through.
        if self.ceiling < self._max_in_flight:
            self._successes += 1
            if self._successes >= self.ceiling:
                self.ceiling, self._successes = self.ceiling + 1, 0
        self._stated = stated
        if stated is not None:
            self._resets_at = now + min(stated.reset, self._max_reset)
            if self._is_scarce(stated):
                self._restrained = True
                self._end_late_waits(now)

    def record_refusal(
        self, now: float, retry_after: float | None, *, sent: float, slow_down: bool = True
    ) -> float | None:
        """Pause every request that has no slot yet, and send more slowly afterwards.

        ``sent`` is when the refused request got its slot. ``slow_down`` is whether it was refused
        because of too many requests. Returns the seconds of the pause, None if one had begun.
        """
        # Requests that were in flight when the first one was refused say nothing new about the
        # rate. Counted each, 12 in flight would halve the ceiling 12 times, down to 1.
        begins = sent >= self._paused_at
        in_a_row = self._refusals if begins else self._refusals - 1
        wait = retry_after or 0.0
        # A service that refuses again after the time that it stated, 0 s for instance, was wrong.
        if retry_after is None or in_a_row > 0:
            wait = max(wait, self._back_off(max(0, in_a_row)))
        if begins:
            self._paused_at = now
            self._refusals += 1
            if slow_down:
                # Multiplicative decrease, from what was in use rather than from what was allowed.
                self.ceiling = max(1, min(self.ceiling, self._in_flight) // 2)
                self._successes = 0
                pause = max(wait, _MAX_CATCH_UP)  # `Retry-After: 0` must not divide by zero
                self._adaptive_rate.record_refusal(now, pause)
        self._resumes_at = max(self._resumes_at, now + wait)
        self._restrained = True
        self._changed.set()
        self._end_late_waits(now)
        return wait if begins else None

    def record_challenge(self, now: float, target: str, *, sent: float) -> float | None:
        """Pause as after a refusal, if the CDN also challenged the response before this one.

        A single challenge says nothing of other calls: a firewall may object to what one user
        typed. Nor do several of the same target.
        """
        before, self._challenged = self._challenged, target
        if before is None or before == target:
            return None
        return self.record_refusal(now, None, sent=sent, slow_down=False)

    def close(self) -> None:
        """Raise ClientClosedError in every task that waits for a slot, now or later."""
        self._closed = self._restrained = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0.0)

    async def _wait_for_slot(self, deadline: float, back_off: float) -> None:
        acquired, wait = False, asyncio.timeout_at(_finite_or_none(deadline))
        # `acquired` is set inside the scope, so that a time-out in the same iteration of the event
        # loop can't lose the slot.
        with contextlib.suppress(TimeoutError):
            async with wait:
                self._waits.add(wait)
                try:
                    if back_off:
                        self._check_turn(deadline)
                        await asyncio.sleep(back_off)
                    await self._pass_queue(deadline)
                    acquired = True
                finally:
                    self._waits.discard(wait)
        if acquired:
            return
        if self._closed:
            raise ClientClosedError("the client was closed while this call was waiting")
        if wait.when() != deadline:  # `_end_late_waits`
            now = asyncio.get_running_loop().time()
            raise _make_rate_limit_error(max(0.0, self._next_due(now, at_least=True) - now))
        raise RequestTimeoutError(
            "timed out waiting for a request slot (max_in_flight)", outcome=Outcome.NOT_EXECUTED
        )

    async def _pass_queue(self, deadline: float) -> None:
        self._check_turn(deadline, self._queued)
        self._queued += 1
        try:
            await self._slots.acquire()
            try:
                await self._pass_gate(deadline)
            except BaseException:
                self._slots.release()
                raise
        finally:
            self._queued -= 1

    async def _pass_gate(self, deadline: float) -> None:
        async with self._gate:
            await self._sleep_until_due(deadline)
        if self._closed:  # in the same iteration of the event loop that gave the slot
            raise TimeoutError

    async def _sleep_until_due(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self._restrained:
            self._changed.clear()
            now = loop.time()
            due = self._next_due(now)
            if due <= now:
                # Not before `now - _MAX_CATCH_UP`: a rate that was not used is not saved up.
                self._last_due = max(due, now - _MAX_CATCH_UP)
                self._local_rate.take(now)
                break
            self._check_turn(deadline)
            # Whoever releases a slot or reads a response sets the event: both may move the moment.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(_finite_or_none(due)):
                    await self._changed.wait()

    def _check_turn(self, deadline: float, ahead: int = 0) -> None:
        """Raise RateLimitError if a turn with so many requests ahead is after the deadline."""
        now = asyncio.get_running_loop().time()
        pause, queue = self._next_due(now, at_least=True), self._local_rate.due_behind(ahead, now)
        if max(deadline, now) < (due := max(pause, queue)):
            raise _make_rate_limit_error(due - now)

    def _end_late_waits(self, now: float) -> None:
        """End the waits that a pause outlasts. Only the first in the queue would notice itself."""
        due = self._next_due(now, at_least=True)
        for wait in self._waits:
            if (wait.when() or math.inf) < due and not wait.expired():
                wait.reschedule(0.0)

    def _next_due(self, now: float, *, at_least: bool = False) -> float:
        """Compute when the next slot may be given; infinity when that depends on a response.

        The latest of four: the end of the pause, the stated reset once nothing remains, the turn by
        the caller's own limit, and one interval of the lower rate (adaptive, or stated) after the
        slot before. With ``at_least``, what depends on a response is left out.
        """
        if self._in_flight >= self.ceiling and not at_least:
            return math.inf
        rate, due = self._adaptive_rate.rate(now), self._resumes_at
        stated = self._stated
        if stated is not None and now >= self._resets_at:
            stated = self._stated = attrs.evolve(stated, remaining=stated.limit or math.inf)
        if stated is not None and self._is_scarce(stated):
            # The statement is as old as its response. Requests sent since then are not in it.
            spare, left = stated.remaining - self._in_flight, self._resets_at - now
            if left <= 0:  # a response tells what is left now
                due = math.inf if self._in_flight and not at_least else due
            elif spare < 1:
                due = max(due, self._resets_at)
            else:
                rate = min(rate, spare / left)
        if not at_least:
            # Back to the fast path of `acquire` as soon as nothing restrains.
            free = rate == math.inf and due <= now and self.ceiling == self._max_in_flight
            self._restrained = self._closed or self._local_rate.interval > 0 or not free
        return max(due, self._local_rate.next_due(), self._last_due + 1 / rate)

    def _is_scarce(self, stated: RateLimitState) -> bool:
        """Whether the requests in flight could use up what remains of the stated limit."""
        enough = 2.0 * self._in_flight
        if stated.limit is not None:
            # At most half of the limit: a small limit must not count as scarce from the beginning.
            enough = min(max(enough, _SCARCE * stated.limit), stated.limit / 2)
        return stated.remaining <= max(enough, self._in_flight)


def _finite_or_none(moment: float) -> float | None:
    return None if moment == math.inf else moment


def _make_rate_limit_error(wait: float) -> RateLimitError:
    return RateLimitError(
        f"rate limited: retry in {wait:.0f} s",
        outcome=Outcome.NOT_EXECUTED,
        transient=False,
        status=429,
        retry_after=wait,
    )
