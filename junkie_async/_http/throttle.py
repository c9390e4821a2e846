"""When a request may be sent: in-flight ceiling, rates, and pauses that the service asks for."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
from collections.abc import Callable
from typing import Final

import attrs
from aiolimiter import AsyncLimiter

from .._errors import ClientClosedError, Outcome, RateLimitError, RequestTimeoutError
from .._protocol.rate_limit_headers import RateLimitState
from .._validation import check_integer, check_seconds
from .adaptive_rate import AdaptiveRate

_SCARCE: Final = 0.2
"""The share of a stated limit below which what remains is spread over the time that is left."""

_SLACK: Final = 0.05
"""Seconds that a turn may make up for those that came late: event loops wake up late, too."""


def _positive(_: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(f"RateLimit.{field.name}", value)


@attrs.frozen
class RateLimit:
    """At most ``requests`` in any ``per`` seconds, in bursts of up to ``requests``.

    Attributes:
        requests: How many, above zero.
        per: Seconds, above zero.

    Raises:
        InvalidRequestError: A value is out of its limits.
    """

    requests: float = attrs.field(validator=_positive)
    per: float = attrs.field(default=1.0, validator=_positive)


class Priority(enum.Enum):
    """How urgent a call is. Interactive calls have a deadline; walks and jobs wait for a slot."""

    INTERACTIVE = "interactive"
    WALK = "walk"
    JOB = "job"


class Throttle:
    """Gives turns, one for each request. A client's tasks share it; it belongs to one event loop.

    While nothing restrains it, a turn costs a semaphore. After a refusal, or when little is left
    of a limit that the service states, turns are given one after the other behind a gate, in the
    order of asking. A waiter can be cancelled anywhere.

    Args:
        max_in_flight: Turns that may be out at once, 1 to 10,000.
        rate_limit: A rate of our own, or None.
        longest: Seconds; nobody waits longer than that for the service's sake.
        back_off: Gives the seconds to pause after so many refusals (from 0) without a word on it.
    """

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None = None,
        *,
        longest: float = 120.0,
        back_off: Callable[[int], float] = lambda refusals: 0.25 * 2.0 ** min(refusals, 5),
    ) -> None:
        self._most = self._ceiling = check_integer("max_in_flight", max_in_flight, 1, 10_000)
        self._rate = _limiter(rate_limit) if rate_limit else None
        self._longest = longest
        self._back_off = back_off
        self._turns = asyncio.Semaphore(self._most)
        self._gate = asyncio.Lock()
        self._news = asyncio.Event()
        self._waiting: set[asyncio.Timeout] = set()
        self._in_flight = self._well = self._refusals = 0
        self._pace = AdaptiveRate()
        self._paused = self._resume = self._latest = -math.inf
        self._allowance: RateLimitState | None = None
        self._resets = -math.inf
        self._restrained = self._rate is not None
        self._closed = False

    @property
    def ceiling(self) -> int:
        """How many turns may be out at once, now."""
        return self._ceiling

    async def acquire(self, deadline: float = math.inf) -> None:
        """Wait for a turn; `release` gives it back.

        Args:
            deadline: When to give up, on the event loop's clock.

        Raises:
            RateLimitError: The service asked for a longer wait than there is time for.
            RequestTimeoutError: The deadline came, and no turn.
            ClientClosedError: `close` was called meanwhile.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._restrained or self._turns.locked():
            await self._queue(deadline)
        else:
            await self._turns.acquire()  # at once
        self._in_flight += 1

    def release(self) -> None:
        """Give a turn back."""
        self._in_flight -= 1
        self._turns.release()
        self._news.set()

    def admitted(self, now: float, allowance: RateLimitState | None) -> None:
        """Take note of an answer that is no refusal, and of what it says of the limit."""
        self._refusals = 0
        self._pace.admitted(now)
        if self._ceiling < self._most:
            self._well += 1
            if self._well >= self._ceiling:
                self._ceiling, self._well = self._ceiling + 1, 0
        self._allowance = allowance
        if allowance is not None:
            self._resets = now + allowance.reset
            self._restrained = self._restrained or self._is_scarce(allowance)

    def refused(
        self, now: float, told: float | None, *, sent: float, slower: bool = True
    ) -> float | None:
        """Hold everybody who has no turn yet, and go on more slowly after that.

        Args:
            now: When the refusal came, on the event loop's clock.
            told: Seconds that the service asked to wait, or None.
            sent: When the refused request got its turn. What was under way when the first was
                refused tells nothing new, except for how long to wait.
            slower: Whether it was the number of requests that was refused.

        Returns:
            The seconds of the pause that begins, or None where one has begun already.
        """
        wait = self._back_off(self._refusals) if told is None else told
        begins = sent >= self._paused
        if begins:
            self._paused = now
            self._refusals += 1
            if slower:
                self._ceiling, self._well = max(1, min(self._ceiling, self._in_flight) // 2), 0
                pause = max(wait, _SLACK)
                self._pace.refused(now, pause, self._ceiling / pause)
        self._resume = max(self._resume, now + wait)
        self._restrained = True
        self._news.set()
        return wait if begins else None

    def close(self) -> None:
        """Turn away all who wait, and all who come."""
        self._closed = self._restrained = True
        for scope in self._waiting:
            wake(scope)

    async def _queue(self, deadline: float) -> None:
        has_turn = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_finite(deadline)) as scope:
                self._waiting.add(scope)
                try:
                    await self._turns.acquire()
                    try:
                        await self._pass_gate(deadline)
                    except BaseException:
                        self._turns.release()
                        raise
                    has_turn = True
                finally:
                    self._waiting.discard(scope)
        if not has_turn:
            if self._closed:
                raise ClientClosedError("the client was closed while the call waited")
            raise RequestTimeoutError("no turn came in time", outcome=Outcome.NOT_EXECUTED)

    async def _pass_gate(self, deadline: float) -> None:
        async with self._gate:
            await self._until_due(deadline)
            if self._rate is not None:
                await self._rate.acquire()
                await self._until_due(deadline)  # a pause may have begun

    async def _until_due(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self._restrained:
            self._news.clear()
            now = loop.time()
            due = self._due(now)
            if due <= now:
                self._latest = max(due, now - _SLACK)
                break
            if due < math.inf and due - now > min(self._longest, deadline - now):
                raise _too_long(due - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(_finite(due)):
                    await self._news.wait()

    def _due(self, now: float) -> float:
        """Give the moment of the next turn; infinity where that takes some news."""
        if self._in_flight >= self._ceiling:
            return math.inf
        rate, due = self._pace.rate(now), self._resume
        stated = self._allowance
        if stated is not None and now >= self._resets:  # whatever was used up is there again
            limit = math.inf if stated.limit is None else stated.limit
            stated = self._allowance = attrs.evolve(stated, remaining=limit)
        if stated is not None and self._is_scarce(stated):
            spare, left = stated.remaining - self._in_flight, self._resets - now
            if spare <= 0:
                due = max(due, math.inf if self._in_flight else self._resets)
            elif left > 0:
                rate = min(rate, spare / left)
        free = rate == math.inf and due <= now and self._ceiling == self._most
        self._restrained = self._closed or self._rate is not None or not free
        return max(due, self._latest + 1 / rate)

    def _is_scarce(self, allowance: RateLimitState) -> bool:
        """Whether those that are under way could use up what remains."""
        enough = 2.0 * self._in_flight
        if allowance.limit is not None:
            enough = min(max(enough, _SCARCE * allowance.limit), allowance.limit / 2)
        return allowance.remaining <= max(enough, self._in_flight)


def wake(scope: asyncio.Timeout) -> None:
    """End a time-out's scope at once."""
    if not scope.expired():
        scope.reschedule(0.0)


def _finite(moment: float) -> float | None:
    return None if moment == math.inf else moment


def _too_long(wait: float) -> RateLimitError:
    return RateLimitError(
        f"not sent: the service asked for a pause that has {wait:.0f} s to go",
        outcome=Outcome.NOT_EXECUTED,
        transient=False,
        status=429,
        retry_after=wait,
    )


def _limiter(limit: RateLimit) -> AsyncLimiter:
    """Make aiolimiter's bucket, which must hold one whole request at the least."""
    scale = max(1.0, 1.0 / limit.requests)
    return AsyncLimiter(limit.requests * scale, limit.per * scale)
