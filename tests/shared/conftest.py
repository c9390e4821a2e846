"""A real Redis, a limited service, and clients that share its limit."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import redis.asyncio

from junkie_async import Hooks, JunkieClient, PauseEvent, RateLimit, SharedThrottleEvent
from junkie_async.emulator import Emulator
from junkie_async.redis import RedisThrottle
from tests.cpu_time import seconds_without_core
from tests.servers import RedisServer, start_redis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of ``$JUNKIE_TEST_REDIS``, or of a server that all tests of a worker share."""
    if url := os.environ.get("JUNKIE_TEST_REDIS"):
        yield url
        return
    for server in start_redis():
        yield server.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of the test's own, to be killed."""
    yield from start_redis()


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A service that admits 100 requests a second, with a burst of 10."""
    async with Emulator(rate_limit=100, rate_limit_burst=10, latency=0.02) as emulator:
        yield emulator


@attrs.define(eq=False)
class Recorder(Hooks):
    """Keeps the pauses and what became of Redis."""

    pauses: list[PauseEvent] = attrs.field(factory=list[PauseEvent])
    shared: list[SharedThrottleEvent] = attrs.field(factory=list[SharedThrottleEvent])

    def on_pause(self, event: PauseEvent) -> None:
        """Keep it."""
        self.pauses.append(event)

    def on_shared_throttle(self, event: SharedThrottleEvent) -> None:
        """Keep it."""
        self.shared.append(event)


@attrs.frozen
class Moment:
    """A point in time."""

    at: float
    granted: float
    """The same without the seconds for which the thread waited for a core.

    Other processes take those, not the client. One that blocks its own event loop is still slow.
    """

    @classmethod
    def now(cls) -> Moment:
        """Read the clock."""
        at = time.monotonic()
        return cls(at, at - seconds_without_core())


@attrs.define(eq=False)
class Fleet:
    """Clients as several processes have them, under one API key of the test's own."""

    service: Emulator
    stack: AsyncExitStack
    api_key: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    clients: list[JunkieClient] = attrs.field(factory=list[JunkieClient])
    done: list[list[tuple[Moment, Moment]]] = attrs.field(factory=list[list[tuple[Moment, Moment]]])
    """For each client the begin and the end of each call."""

    async def add(self, url: str, rate: float | None = 100.0, **options: Any) -> JunkieClient:
        """Add a client."""
        throttle = RedisThrottle(url, rate=RateLimit(rate) if rate else None)
        client = JunkieClient(self.api_key, base_url=self.service.url, throttle=throttle, **options)
        self.clients.append(await self.stack.enter_async_context(client))
        self.done.append([])
        return client

    async def work(self, seconds: float, *, workers: int = 4) -> None:
        """Let all clients make calls for so long, one after the other in each worker."""
        end = time.monotonic() + seconds

        async def make_calls(number: int) -> None:
            while (begin := Moment.now()).at < end:
                await self.clients[number].keys.folders()
                self.done[number].append((begin, Moment.now()))

        numbers = range(len(self.clients))
        await asyncio.gather(*(make_calls(each) for each in numbers for _ in range(workers)))

    @property
    def begin(self) -> float:
        """When the first call began."""
        return self.done[0][0][0].at

    @property
    def longest(self) -> float:
        """Seconds of the longest call, without those in which the machine gave it no core."""
        return max(end.granted - begin.granted for calls in self.done for begin, end in calls)

    def count(self, begin: float, end: float) -> list[int]:
        """Count each client's calls that ended between two moments."""
        return [sum(begin <= done.at < end for _, done in calls) for calls in self.done]

    def share(self, begin: float, end: float) -> float:
        """The part of the time between two moments in which the machine gave the fleet a core."""
        moments = [each for calls in self.done for call in calls for each in call]
        within = sorted((each.at, each.granted) for each in moments if begin <= each.at < end)
        (first, granted_first), (last, granted_last) = within[0], within[-1]
        return (granted_last - granted_first) / (last - first)


@pytest.fixture
async def fleet(service: Emulator) -> AsyncIterator[Fleet]:
    """No clients yet."""
    async with AsyncExitStack() as stack:
        yield Fleet(service, stack)


CountScripts = Callable[[], Awaitable[int]]


@pytest.fixture
async def count_scripts(redis_server: RedisServer) -> AsyncIterator[CountScripts]:
    """Counts the scripts that Redis has run."""
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:

        async def count() -> int:
            stats = await client.info("commandstats")
            return sum(
                int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))
                for name in ("eval", "evalsha")
            )

        yield count
