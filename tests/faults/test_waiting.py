"""Waits: after a 429 for the whole client, between attempts for one call, and for a slot."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from junkie_async import (
    JunkieClient,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
)

from .faults import HTML, answers, good, run_loop
from .operations import (
    IDEMPOTENT,
    LONG_WAITS,
    NON_IDEMPOTENT,
    SAMPLES,
    Operation,
    connect,
    on_virtual_clock,
    with_each,
)
from .server import HEALTHY, Exchange, Fault, FaultServer

SLACK = 0.01  # a loop's timers may fire early by the clock's resolution
SOON = RetryPolicy(wait_initial=0.1, wait_max=0.1, wait_jitter=0.0, outage=0.0)


class Clock:
    """Notes when requests arrive."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, fault: Fault) -> Fault:
        """Note when this fault is met."""

        async def play(exchange: Exchange) -> None:
            self.times.append(asyncio.get_running_loop().time())
            await fault.play(exchange)

        return Fault(play, commits=fault.commits)

    def since_first(self) -> list[float]:
        """The seconds from the first request to each of the others."""
        return [time - self.times[0] for time in self.times[1:]]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "1"},
        {  # a server whose clock is far behind
            "retry_after": "Sat, 01 Jan 2000 00:00:01 GMT",
            "date": "Sat, 01 Jan 2000 00:00:00 GMT",
        },
    ],
    ids=["seconds", "date"],
)
@on_virtual_clock
async def test_a_429_pauses_the_whole_client(headers: dict[str, str]) -> None:
    """Calls of either kind, begun before or after it, wait for as long as the service asked."""
    clock = Clock()
    async with FaultServer() as server:
        server.script.extend([clock(answers(429, **headers)), *[clock(HEALTHY)] * 4])
        async with connect(server, max_in_flight=1) as client, asyncio.TaskGroup() as group:
            group.create_task(client.keys.get(1))
            group.create_task(client.keys.folders())  # waits for its slot by now
            while not clock.times:
                await asyncio.sleep(0)
            await run_loop()
            group.create_task(client.keys.create(provider_id=1))
            group.create_task(client.keys.update(1, key_name="x"))
    assert len(clock.since_first()) == 4
    assert min(clock.since_first()) >= 1.0 - SLACK


@with_each(SAMPLES)
async def test_a_429_with_a_page_pauses_the_other_calls(
    server: FaultServer, operation: Operation
) -> None:
    """The refused call fails immediately; the next one waits for the back-off first."""
    clock = Clock()
    server.script.extend([clock(answers(429, HTML, content_type="text/html")), clock(HEALTHY)])
    async with connect(server, retry=SOON) as client:
        with pytest.raises(RateLimitError) as caught:
            await operation.call(client)
        assert caught.value.challenge
        await client.keys.get(2)
    assert min(clock.since_first()) >= 0.1 - SLACK


async def test_a_value_that_a_firewall_objects_to_slows_nobody(server: FaultServer) -> None:
    """While one visitor's values are answered by pages, the calls of all others go on."""
    server.script.extend([answers(403, HTML, content_type="text/html"), HEALTHY] * 20)
    async with connect(server, retry=LONG_WAITS) as client, asyncio.timeout(5):
        for number in range(20):
            with pytest.raises(PermissionDeniedError):
                await client.keys.list(key=f"<script>{number}")
            await client.keys.get(2)
    assert len(server.arrivals) == 40


@with_each(SAMPLES)
async def test_a_wait_beyond_the_cap_pauses_no_other_call(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """A call whose `Retry-After` is beyond the cap fails immediately, and no other call waits."""
    server.script.extend([answers(429, retry_after="121"), HEALTHY])
    async with asyncio.timeout(5):
        with pytest.raises(RateLimitError) as caught:
            await operation.call(client)
        await client.keys.get(2)
    assert caught.value.retry_after == 121.0


@with_each([*IDEMPOTENT[:1], *NON_IDEMPOTENT[:1]])
@pytest.mark.parametrize("headers", [{}, {"retry_after": "-1"}, {"retry_after": "soon"}])
async def test_a_429_without_a_usable_wait(
    server: FaultServer, operation: Operation, headers: dict[str, str]
) -> None:
    """The policy's back-off replaces a wait that the service did not state."""
    clock = Clock()
    server.script.extend([clock(answers(429, **headers)), clock(HEALTHY)])
    async with connect(server, retry=SOON) as client:
        await operation.call(client)
    assert min(clock.since_first()) >= 0.1 - SLACK


@with_each([*IDEMPOTENT[:1], *NON_IDEMPOTENT[:1]])
async def test_the_policys_own_back_off_may_exceed_the_cap(
    server: FaultServer, operation: Operation
) -> None:
    """The cap limits what the service asks for, not the policy's own back-off."""
    server.script.append(answers(429))
    patient = attrs.evolve(LONG_WAITS, wait_initial=200.0, wait_max=200.0)
    async with connect(server, retry=patient) as client:
        waiting = asyncio.ensure_future(operation.call(client))
        while not server.arrivals:
            await asyncio.sleep(0)
        await run_loop()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert len(server.arrivals) == 1


async def test_between_attempts_a_call_holds_no_slot(server: FaultServer) -> None:
    """A call that waits for its next attempt holds neither a slot nor a connection."""
    server.script.extend([answers(500), HEALTHY, HEALTHY])
    async with connect(server, max_in_flight=1, retry=LONG_WAITS) as client:
        waiting = asyncio.ensure_future(client.keys.get(1))
        while not server.arrivals:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await client.keys.get(1)
            await client.keys.get(1)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert server.arrivals == [1, 1, 1]


async def test_no_wait_beyond_the_deadline(server: FaultServer) -> None:
    """A wait that would outlast the policy's deadline does not begin."""
    server.script.append(answers(500))
    retry = RetryPolicy(wait_initial=600.0, wait_max=600.0, deadline=1.0, outage=0.0)
    async with connect(server, retry=retry) as client, asyncio.timeout(5):
        with pytest.raises(ServerError) as caught:
            await client.keys.get(1)
    assert caught.value.attempts == 1


async def test_in_flight_ceiling(server: FaultServer) -> None:
    """As many requests are in flight as max_in_flight allows, and no more."""
    in_flight, most = 0, []

    async def play(exchange: Exchange) -> None:
        nonlocal in_flight
        in_flight += 1
        most.append(in_flight)
        await run_loop(20)
        in_flight -= 1
        await exchange.send(good(exchange))

    server.script.extend([Fault(play, commits=True)] * 30)
    async with connect(server, max_in_flight=3) as client:
        await asyncio.gather(*(client.keys.get(1) for _ in range(30)))
    assert max(most) == 3
