"""Clients that share a rate in a real Redis."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio

from junkie_async import JunkieClient, RateLimit, RateLimitError
from junkie_async.emulator import Emulator
from junkie_async.pytest_plugin import running_emulator
from junkie_async.redis import RedisThrottle
from tests.servers import RedisServer, find_free_port, start_redis

from .conftest import CountScripts, Fleet, Recorder


async def test_clients_share_a_rate(
    fleet: Fleet, redis_server: RedisServer, count_scripts: CountScripts
) -> None:
    """Five clients use the limit, refuse nothing, share evenly and run one script a call."""
    fleet.service.rate_limit_burst = 30  # a busy machine's stall sends what was due meanwhile
    for _ in range(5):
        await fleet.add(redis_server.url)
    await fleet.work(3.0)
    window = fleet.begin + 0.5, fleet.begin + 2.5
    shares = fleet.count(*window)
    assert 120 * fleet.share(*window) <= sum(shares) <= 210  # above 195 after a stall
    assert max(shares) - min(shares) <= 0.15 * sum(shares) / 5
    assert fleet.service.statuses[429] == 0
    assert await count_scripts() <= 1.2 * fleet.service.requests  # 1.0, but for stalls


async def test_busy_clients_take_what_idle_ones_leave(fleet: Fleet, redis_url: str) -> None:
    """One busy client of three uses the whole limit."""
    for _ in range(3):
        await fleet.add(redis_url)
    for client in fleet.clients:
        await client.keys.folders()
    fleet.clients = fleet.clients[:1]
    await fleet.work(1.5, workers=8)
    window = fleet.begin + 0.25, fleet.begin + 1.25
    assert sum(fleet.count(*window)) >= 60 * fleet.share(*window)


async def test_api_keys_do_not_share(fleet: Fleet, redis_url: str) -> None:
    """Another API key has a limit of its own."""
    await fleet.add(redis_url, rate=10)
    fleet.api_key += "2"
    await fleet.add(redis_url, rate=10)
    await fleet.work(1.0)
    assert all(6 <= len(calls) <= 16 for calls in fleet.done)


async def test_interactive_calls_come_first(fleet: Fleet, redis_url: str) -> None:
    """A call beside a job takes the next slot, though the job reserved it."""
    fleet.service.rate_limit = None
    client = await fleet.add(redis_url, rate=20)
    job = asyncio.ensure_future(client.keys.create_many(10_000, provider_id=1))
    waits = []
    await asyncio.sleep(0.3)
    for _ in range(5):
        begin = time.monotonic()
        await client.keys.folders()
        waits.append(time.monotonic() - begin)
        await asyncio.sleep(0.1)
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job
    assert max(waits) < 0.25  # eight workers of the job wait for 0.4 s of slots


@pytest.mark.parametrize("rate", [100.0, None])
async def test_a_429_pauses_all_clients(fleet: Fleet, redis_url: str, rate: float | None) -> None:
    """100 ms after a 429 of one client no other sends, though they hold reservations."""
    for _ in range(4):
        await fleet.add(redis_url, rate)
    work = asyncio.create_task(fleet.work(2.0))
    await asyncio.sleep(0.5)
    fleet.service.rate_limit_burst, fleet.service.rate_limit = 1, 0.01
    while not fleet.service.statuses[429]:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    arrived = fleet.service.requests
    await asyncio.sleep(0.5)
    assert fleet.service.requests - arrived == 0
    work.cancel()
    with suppress(asyncio.CancelledError, RateLimitError):
        await work


@pytest.mark.parametrize("ahead", [0.1, 0.4])
async def test_reservations_are_dropped_at_a_pause(
    fleet: Fleet, redis_url: str, ahead: float
) -> None:
    """A client that has long reserved its slot learns of a pause 100 ms before it would send."""
    client = await fleet.add(redis_url, rate=2)
    store = RedisThrottle(redis_url).open_store(fleet.api_key, fleet.service.url)
    await client.keys.folders()
    begin = time.monotonic()
    call = asyncio.create_task(client.keys.folders())  # its slot is half a second ahead
    await asyncio.sleep(0.45 - ahead)
    await store.pause(1.0, 0, 0.0)
    await call
    await store.close()
    assert time.monotonic() - begin > 1.4 - ahead


async def test_an_unknown_limit_is_learned_by_all(fleet: Fleet, redis_url: str) -> None:
    """After the first refusal four clients use most of the limit, and are hardly refused."""
    for _ in range(4):
        await fleet.add(redis_url, rate=None)
    await fleet.work(6.0)
    window = fleet.begin + 3.5, fleet.begin + 5.5
    assert sum(fleet.count(*window)) >= 100 * fleet.share(*window)
    assert 1 <= fleet.service.statuses[429] <= 0.05 * fleet.service.requests + 3


def test_clocks_do_not_matter(redis_url: str) -> None:
    """Event loops whose clocks are an hour apart share the rate."""

    class OtherClock(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + 3600

    with running_emulator() as service:

        async def main() -> int:
            throttle = RedisThrottle(redis_url, rate=RateLimit(100))
            async with JunkieClient("clock", base_url=service.url, throttle=throttle) as client:

                async def work() -> int:
                    end, done = asyncio.get_running_loop().time() + 1.5, 0
                    while asyncio.get_running_loop().time() < end:
                        await client.keys.folders()
                        done += 1
                    return done

                return sum(await asyncio.gather(*(work() for _ in range(4))))

        def run(loop_factory: type[asyncio.SelectorEventLoop]) -> int:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                return runner.run(main())

        with ThreadPoolExecutor(2) as pool:
            shares = list(pool.map(run, (asyncio.SelectorEventLoop, OtherClock)))
    assert 100 <= sum(shares) <= 170
    assert abs(shares[0] - shares[1]) <= 40


def test_one_event_loop_after_another(redis_url: str) -> None:
    """A client that is made once shares the rate in each of the loops that use it."""
    with running_emulator() as service:
        throttle = RedisThrottle(redis_url, rate=RateLimit(100))
        client = JunkieClient(
            "loops", base_url=service.url, throttle=throttle, hooks=(r := Recorder())
        )

        async def main() -> None:
            await asyncio.gather(*(client.keys.folders() for _ in range(5)))

        for _ in range(3):
            asyncio.run(main())
        asyncio.run(client.close())
    assert r.shared == []


async def test_a_cluster_is_used_as_given() -> None:
    """A RedisCluster of the caller's own keeps the state, and passes pauses on."""
    # Its own choice, 10,000 above the other port, may be above 65,535: then Redis does not start.
    bus = str(find_free_port())
    for server in start_redis("--cluster-enabled", "yes", "--cluster-port", bus):
        node = redis.asyncio.Redis.from_url(server.url)
        await node.cluster("ADDSLOTSRANGE", 0, 16383)
        get_info: Any = node.execute_command
        while b"cluster_state:ok" not in await get_info("CLUSTER", "INFO"):
            await asyncio.sleep(0.01)
        await node.aclose()
        async with redis.asyncio.RedisCluster.from_url(server.url) as cluster:
            throttle = RedisThrottle(cluster, rate=RateLimit(100))
            store = throttle.open_store("key", "url")
            reservation = await store.reserve(3, 0.1)
            assert reservation.waits == pytest.approx((0.0, 0.0, 0.0), abs=0.03)
            if hasattr(cluster, "pubsub"):  # before redis-py 8, pauses come with the reservations
                pauses: asyncio.Queue[float] = asyncio.Queue()
                listening = asyncio.create_task(store.listen(pauses.put_nowait))
                await asyncio.sleep(0.3)
                await store.pause(5.0, 0, 0.0)
                assert await asyncio.wait_for(pauses.get(), 1.0) == pytest.approx(5.0, abs=0.1)
                listening.cancel()
                await asyncio.wait([listening])
            assert (await store.reserve(1, 0.1)).pause == pytest.approx(5.0, abs=1.0)


async def test_a_wrong_password_fails_no_call(redis_url: str) -> None:
    """A Redis that refuses the client is one that can't be used."""
    recorder = Recorder()
    url = redis_url.replace("redis://", "redis://nobody:hunter2@")
    async with (
        Emulator() as service,
        JunkieClient(
            "k", base_url=service.url, throttle=RedisThrottle(url), hooks=recorder
        ) as client,
    ):
        await client.keys.folders()
    [event] = recorder.shared
    assert event.error == "AuthenticationError"
    assert "hunter2" not in repr(event)


async def test_a_given_client_is_not_closed(redis_url: str) -> None:
    """The caller's own Redis is used, and still open after the client was closed."""
    async with redis.asyncio.Redis.from_url(redis_url) as mine, Emulator() as service:
        throttle = RedisThrottle(mine, rate=RateLimit(100))
        assert repr(throttle) == "<RedisThrottle the given Redis>"
        async with JunkieClient("given", base_url=service.url, throttle=throttle) as client:
            await client.keys.folders()
        assert await mine.ping()
        assert any([key async for key in mine.scan_iter("junkie_async:throttle:*")])
