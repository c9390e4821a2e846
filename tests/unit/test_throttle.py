"""Turns and pauses, on a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from junkie_async import InvalidRequestError, RateLimit
from junkie_async._throttle import Throttle


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        await asyncio.sleep(0)


async def test_no_more_turns_than_the_ceiling() -> None:
    """The third task waits until one of the first two is done."""
    throttle, most, under_way = Throttle(2), 0, 0

    async def work() -> None:
        nonlocal most, under_way
        async with throttle:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert (most, under_way) == (2, 0)


async def test_a_pause_holds_everyone_until_it_ends() -> None:
    """After a pause of 5 s no turn is given before; a shorter one does not cut it short."""
    clock = Clock()
    throttle = Throttle(4, clock=clock, sleep=clock.sleep)
    throttle.pause(5.0)
    throttle.pause(1.0)
    began = []

    async def work() -> None:
        async with throttle:
            began.append(clock.now)

    await asyncio.gather(*(work() for _ in range(4)))
    assert min(began) >= 105.0
    async with throttle:
        assert clock.now == max(began)


async def test_a_cancelled_waiter_gives_its_turn_back() -> None:
    """A task that is cancelled while it waits, in the queue or in a pause, strands nobody."""
    clock = Clock()

    async def for_ever(_: float) -> None:
        await asyncio.Event().wait()

    throttle = Throttle(1, clock=clock, sleep=for_ever)
    throttle.pause(5.0)

    async def work() -> None:
        async with throttle:
            pass

    tasks = [asyncio.create_task(work()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    clock.now += 10.0
    async with asyncio.timeout(5), throttle:
        pass


async def test_the_rate_limit_lets_a_burst_through_and_then_waits() -> None:
    """Ten turns at once are one burst; the eleventh would wait."""
    throttle = Throttle(100, RateLimit(10, per=3600.0))

    async def turn() -> None:
        async with throttle:
            pass

    await asyncio.gather(*(turn() for _ in range(10)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await turn()


async def test_less_than_one_request_a_second() -> None:
    """A rate below one is a rate too: the first request goes at once, the next one waits."""
    throttle = Throttle(100, RateLimit(0.5, per=100.0))
    async with throttle:
        pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), throttle:
            pass


async def test_a_pause_holds_those_who_queue_for_their_rate() -> None:
    """A 429 that comes while others wait for the rate limit holds them too."""
    clock = Clock()
    throttle = Throttle(100, RateLimit(1, per=0.02), clock=clock, sleep=clock.sleep)
    began: list[float] = []

    async def work() -> None:
        async with throttle:
            began.append(clock.now)
            throttle.pause(5.0)

    await asyncio.gather(*(work() for _ in range(4)))
    assert began == [100.0, 105.0, 110.0, 115.0]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RateLimit(0), "RateLimit.requests"),
        (lambda: RateLimit(5, per=float("inf")), "RateLimit.per"),
        (lambda: Throttle(0), "max_in_flight"),
        (lambda: Throttle(2.5), "max_in_flight"),  # type: ignore[arg-type]
    ],
)
async def test_limits(make: type, field: str) -> None:
    """Numbers are checked where they are given."""
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert caught.value.field == field
