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


@attrs.define(eq=False)
class Fleet:
    """Clients as several processes have them, under one API key of the test's own."""

    service: Emulator
    stack: AsyncExitStack
    api_key: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    clients: list[JunkieClient] = attrs.field(factory=list[JunkieClient])
    done: list[list[tuple[float, float]]] = attrs.field(factory=list[list[tuple[float, float]]])
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
            while (begin := time.monotonic()) < end:
                await self.clients[number].keys.folders()
                self.done[number].append((begin, time.monotonic()))

        numbers = range(len(self.clients))
        await asyncio.gather(*(make_calls(each) for each in numbers for _ in range(workers)))

    def count(self, begin: float, end: float) -> list[int]:
        """Count each client's calls that ended between two moments."""
        return [sum(begin <= at < end for _, at in calls) for calls in self.done]

    @property
    def longest(self) -> float:
        """Seconds of the longest call."""
        return max(end - begin for calls in self.done for begin, end in calls)


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
