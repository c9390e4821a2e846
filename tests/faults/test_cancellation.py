"""A cancelled call ends immediately, wherever it is, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest

from junkie_async import JunkieClient, JunkieError

from .faults import answers, commits_and_drops, drops, good, half_a_body, hangs, run_loop, slowly
from .operations import BY_NAME, LONG_WAITS, Operation, calm, client_of, connect
from .server import HEALTHY, Exchange, Fault, FaultServer

PROMPT = 2.0  # seconds, on a machine that stalls; what is cancelled would go on for 10 or more


async def _stall_in_body(exchange: Exchange) -> None:
    await exchange.send(half_a_body(exchange))
    await exchange.connection.hung_up()


@attrs.frozen
class Place:
    """A state in which a call can be cancelled.

    Attributes:
        fault: The fault that brings the call there; None if no request is sent.
        keeps: Whether the connection is kept, because its response was read.
        pauses: Whether the whole client waits, and so the next call, too.
    """

    fault: Fault | None
    keeps: bool = False
    pauses: bool = False


PLACES = {
    "slot": Place(None),
    "connecting": Place(None),
    "headers": Place(hangs),
    "body": Place(Fault(_stall_in_body, commits=True)),
    "retry": Place(answers(500), keeps=True),
    "pause": Place(answers(429, retry_after="100"), keeps=True, pauses=True),
}


async def by_cancel(call: Awaitable[object], reached: Awaitable[None]) -> None:
    """Cancel the task."""
    task = asyncio.ensure_future(call)
    await reached
    task.cancel()
    async with asyncio.timeout(PROMPT):
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert type(caught.value) is asyncio.CancelledError


async def by_timeout(call: Awaitable[object], reached: Awaitable[None]) -> None:
    """Let the caller's own time-out expire."""

    async def limited() -> None:
        async with asyncio.timeout(None) as scope:
            scopes.append(scope)
            await call

    scopes: list[asyncio.Timeout] = []
    task = asyncio.ensure_future(limited())
    await reached
    scopes[0].reschedule(asyncio.get_running_loop().time())
    async with asyncio.timeout(PROMPT):
        with pytest.raises(TimeoutError) as caught:
            await task
    assert not isinstance(caught.value, JunkieError)


async def by_wait_for(call: Awaitable[object], reached: Awaitable[None]) -> None:
    """Let `asyncio.wait_for` time out."""
    task = asyncio.ensure_future(call)
    await reached
    async with asyncio.timeout(PROMPT):
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(task, 0.001)
    assert not isinstance(caught.value, JunkieError)
    assert task.cancelled()


async def by_group(call: Awaitable[object], reached: Awaitable[None]) -> None:
    """Fail another task of the same task group."""

    async def fail() -> None:
        await reached
        raise ZeroDivisionError

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_awaited(call))
            group.create_task(fail())
        assert task.cancelled()

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(PROMPT):
            await run()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def _awaited(call: Awaitable[object]) -> object:
    return await call


@asynccontextmanager
async def holding_the_slot(
    server: FaultServer, client: JunkieClient, place: str
) -> AsyncIterator[None]:
    """Let another call hold the only slot, if the test is about that."""
    if place != "slot":
        yield
        return
    server.script.append(hangs)
    holder = asyncio.ensure_future(client.keys.get(2))
    while not server.arrivals:
        await asyncio.sleep(0)
    yield
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


@pytest.mark.parametrize("way", [by_cancel, by_timeout, by_wait_for, by_group])
@pytest.mark.parametrize("operation", [BY_NAME["get"], BY_NAME["create"]], ids=lambda o: o.name)
@pytest.mark.parametrize("place", PLACES)
async def test_cancellation_at_each_await(
    server: FaultServer,
    full_port: str,
    place: str,
    operation: Operation,
    way: Callable[[Awaitable[object], Awaitable[None]], Awaitable[None]],
) -> None:
    """Cancellation is passed on immediately; the slot is free again, the connection closed."""
    there = PLACES[place]
    fault = there.fault
    if place == "retry" and not operation.idempotent:
        fault = answers(429)  # after a 500 it would not be sent again
        there = attrs.evolve(there, pauses=True)
    url = full_port if place == "connecting" else server.url

    async def reached() -> None:
        while len(server.arrivals) < count:
            await asyncio.sleep(0)
        await run_loop()

    async with calm(server), client_of(url, max_in_flight=1, retry=LONG_WAITS) as client:
        async with holding_the_slot(server, client, place):
            count = len(server.arrivals) + (fault is not None)
            if fault is not None:
                server.script.append(fault)
            await way(operation.call(client), reached())
            assert len(server.arrivals) == count
        if not there.keeps:
            await server.wait_until_closed()
        if place != "connecting" and not there.pauses:
            server.script.append(HEALTHY)
            async with asyncio.timeout(PROMPT):
                await client.keys.get(2)


MIXED = [
    *[HEALTHY] * 9,
    slowly(5),
    slowly(50),
    answers(429, retry_after="0"),
    drops,
    commits_and_drops,
]
AMONG = [BY_NAME[name] for name in ("get", "update", "folders", "create", "reset_hwid")]


async def run_round(client: JunkieClient, chance: random.Random) -> int:
    """Make eight calls, cancel some of them; return how many succeeded."""
    operations = chance.choices(AMONG, k=8)
    tasks = [asyncio.ensure_future(operation.call(client)) for operation in operations]
    doomed = chance.sample(tasks, chance.randint(3, 7))
    for task in doomed:
        await run_loop(chance.randint(0, 3))
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for task, end in zip(tasks, ended, strict=True):
        if isinstance(end, asyncio.CancelledError):
            assert task in doomed
        else:
            assert not isinstance(end, BaseException) or isinstance(end, JunkieError), end
    return sum(not isinstance(end, BaseException) for end in ended)


async def check_slots(server: FaultServer, client: JunkieClient, count: int) -> None:
    """Hold as many requests as there should be slots, until all of them have arrived."""
    all_there = asyncio.Barrier(count)

    async def play(exchange: Exchange) -> None:
        await all_there.wait()
        await exchange.send(good(exchange))

    server.default = lambda: HEALTHY
    # A 429 just before has halved the requests in flight; a success lets one more through.
    for _ in range(count - 1):
        await client.keys.get(1)
    server.script.extend([Fault(play, commits=True)] * count)
    await asyncio.gather(*(client.keys.get(1) for _ in range(count)))


class FastSelector(selectors.DefaultSelector):
    """A selector that waits for a fraction of the time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events."""
        return super().select(timeout and timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop with a fast clock, which shortens the pauses after a 429."""

    def __init__(self) -> None:
        super().__init__(FastSelector())

    def time(self) -> float:
        """Return the time."""
        return super().time() * SPEED


SPEED = 200


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_cancellation_under_contention(seed: int) -> None:
    """In 2,000 rounds, 500 a seed, no call stalls, loses a slot or leaks a connection."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(run_rounds(random.Random(seed), 500))


async def run_rounds(chance: random.Random, count: int) -> None:
    """Run the rounds with one client, and then check that it still works."""
    succeeded, most_open = 0, 0
    async with FaultServer(strict=False) as server:
        server.default = lambda: chance.choice(MIXED)
        options = {"max_in_flight": 2, "timeout": 10.0 * SPEED}
        async with asyncio.timeout(60 * SPEED), connect(server, **options) as client:
            for _ in range(count):
                succeeded += await run_round(client, chance)
                most_open = max(most_open, len(server.open))
            await check_slots(server, client, 2)
            # Two in flight, and two idle ones in each of the two sessions; the server hears of
            # those that a round's last cancellations closed a few iterations later.
            assert most_open <= 2 + 2 * 2 + 4
    assert succeeded > count
    assert not server.open
