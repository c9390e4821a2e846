"""How many requests may be under way, how many a second, and the pause after a 429."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import attrs
from aiolimiter import AsyncLimiter

from ._params import integer, seconds


def _positive(_: object, field: attrs.Attribute[float], value: float) -> None:
    seconds(f"RateLimit.{field.name}", value)


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


class Throttle:
    """One turn for one request. A client's tasks share it; it belongs to one event loop.

    The turn is taken before any time-out starts: waiting for it is not the service's fault.
    """

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._turns = asyncio.Semaphore(integer("max_in_flight", max_in_flight, 1, 10_000))
        self._rate = _limiter(rate_limit) if rate_limit else None
        self._clock = clock
        self._sleep = sleep
        self._resume = 0.0

    async def __aenter__(self) -> None:
        await self._turns.acquire()
        if self._rate is None and not self._resume:
            return
        try:
            await self._wait()
        except BaseException:
            self._turns.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turns.release()

    def pause(self, wait: float) -> None:
        """Hold every request that has no turn yet for ``wait`` seconds from now."""
        self._resume = max(self._resume, self._clock() + wait)

    async def _wait(self) -> None:
        await self._rest()
        if self._rate is not None:
            await self._rate.acquire()
            while self._resume:  # a pause began while we queued
                await self._rest()
                await self._rate.acquire()

    async def _rest(self) -> None:
        while self._resume:
            left = self._resume - self._clock()
            if left <= 0:
                self._resume = 0.0
            else:
                await self._sleep(left)


def _limiter(limit: RateLimit) -> AsyncLimiter:
    """Make aiolimiter's bucket, which must hold one whole request at the least."""
    scale = max(1.0, 1.0 / limit.requests)
    return AsyncLimiter(limit.requests * scale, limit.per * scale)
