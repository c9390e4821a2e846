"""Redis is killed, hangs, and starts anew amid traffic: no call fails, and none waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from io import StringIO

import pytest
import structlog

from junkie_async.ext.logging import LoggingHooks
from junkie_async.ext.structlog import StructlogHooks
from tests.servers import RedisServer

from .conftest import Fleet, Recorder

HELD = 0.25
"""Seconds that a call may wait for Redis."""

QUEUE = 0.35
"""Seconds that calls of this fleet take besides: 16 workers at 100 slots a second, 20 ms latency,
and as much again on a busy machine. tests/unit/test_shared_rate.py measures the hold exactly."""


async def kill(server: RedisServer) -> None:
    """Kill Redis; it comes back without data two seconds later."""
    server.kill()
    await asyncio.sleep(2.0)
    await asyncio.to_thread(server.start)


async def suspend(server: RedisServer) -> None:
    """Let Redis hang for two seconds."""
    server.suspend()
    await asyncio.sleep(2.0)
    server.resume()


async def restart(server: RedisServer) -> None:
    """Restart Redis without data, as fast as it can."""
    server.kill()
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize("disturb", [kill, suspend, restart])
async def test_no_call_fails_or_waits(
    fleet: Fleet,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    disturb: Callable[[RedisServer], Awaitable[None]],
) -> None:
    """Each client goes on at its share, says so once, and shares again when Redis is back."""
    caplog.set_level(logging.INFO, "junkie_async")
    fleet.service.rate_limit = None  # a machine's stall and a 429 would be taken for a hold
    recorders = [Recorder() for _ in range(4)]
    for recorder in recorders:
        await fleet.add(redis_server.url, hooks=recorder)
    work = asyncio.create_task(fleet.work(5.0))
    await asyncio.sleep(1.0)
    lost_at = time.monotonic()
    await disturb(redis_server)
    back_at = time.monotonic()
    await work  # raises what a call raised
    assert fleet.longest < HELD + QUEUE
    lost, back = (lost_at, lost_at + 2.0), (back_at + 0.8, back_at + 1.8)
    assert 110 * fleet.share(*lost) <= sum(fleet.count(*lost)) <= 230
    assert 70 * fleet.share(*back) <= sum(fleet.count(*back)) <= 115
    for recorder in recorders:
        assert [event.available for event in recorder.shared] in ([False, True], [])
        assert all(20 <= (event.rate or 25) <= 30 for event in recorder.shared)
    informed = sum(bool(recorder.shared) for recorder in recorders)
    assert informed == 4 or disturb is restart
    messages = [
        record.getMessage() for record in caplog.records if "redis://" in record.msg % record.args
    ]
    assert len(messages) == 2 * informed


async def test_what_was_learned_outlives_redis(fleet: Fleet, redis_server: RedisServer) -> None:
    """A Redis that lost its data is told the learned rate by the clients."""
    for _ in range(2):
        await fleet.add(redis_server.url, rate=None)
    await fleet.work(3.5)
    redis_server.kill()
    redis_server.start()
    fleet.done = [[], []]
    await fleet.work(3.0)
    window = fleet.begin + 1.5, fleet.begin + 2.5
    assert sum(fleet.count(*window)) >= 60 * fleet.share(*window)


async def test_a_busy_client_goes_on_at_its_share(fleet: Fleet, redis_server: RedisServer) -> None:
    """What a client took of the others' shares before does not hold it back afterwards."""
    for _ in range(4):
        await fleet.add(redis_server.url)
    for client in fleet.clients:
        await client.keys.folders()
    fleet.clients = fleet.clients[:1]
    await fleet.work(1.0)
    redis_server.kill()
    fleet.done = [[]]
    await fleet.work(2.0)
    share = fleet.share(fleet.begin, fleet.begin + 2.0)
    assert 35 * share <= len(fleet.done[0]) <= 60
    assert fleet.longest < HELD + QUEUE


async def test_hooks_log_the_loss(
    fleet: Fleet, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The ready-made hooks log that Redis was lost, and that it is back."""
    caplog.set_level(logging.INFO, "junkie_async.ext.logging")
    output = StringIO()
    structured = structlog.wrap_logger(structlog.PrintLogger(output))
    client = await fleet.add(redis_server.url, hooks=[LoggingHooks(), StructlogHooks(structured)])
    await client.keys.folders()
    redis_server.kill()
    await client.keys.folders()
    redis_server.start()
    await asyncio.sleep(0.8)
    messages = [each.getMessage() for each in caplog.records if each.name.endswith("ext.logging")]
    name = redis_server.url
    assert f"shared throttle: {name} was lost (ConnectionError)" in messages
    assert f"shared throttle: {name} is back" in messages
    assert output.getvalue().count("junkie.shared_throttle") == 2
