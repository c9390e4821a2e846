"""Calls whose turn comes after their deadline raise at once, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from junkie_async import (
    Outcome,
    RateLimit,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
)
from junkie_async._http.throttle import Throttle
from junkie_async._http.transport import Response
from junkie_async._keys.keys import Keys
from junkie_async._protocol.rate_limit_headers import RateLimitState

from .clock import run
from .scripted import FOLDERS, STEADY, Script, delayed, make_dispatcher, now

REFUSED = (429, {"Retry-After": "60"}, b"")


async def expect_refusal(call: Awaitable[object], at: float) -> RateLimitError:
    """Await a call that must be refused at this moment, without having been sent."""
    with pytest.raises(RateLimitError) as caught:
        await call
    assert now() == pytest.approx(at, abs=0.01)
    assert caught.value.outcome is Outcome.NOT_EXECUTED
    return caught.value


async def queue_behind(throttle: Throttle, amount: int) -> list[asyncio.Task[None]]:
    """Let tasks without a deadline queue first, as those of jobs do."""
    waiting = [asyncio.create_task(throttle.acquire()) for _ in range(amount)]
    await asyncio.sleep(0.001)
    return waiting


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End the tasks that a test has let wait."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("amount", [0, 1, 2, 9])
def test_a_pause_behind_others(amount: int) -> None:
    """It does not matter how many wait already, nor whether they hold all slots."""

    async def main() -> None:
        throttle = Throttle(2)
        throttle.record_refusal(now(), 60.0, sent=now())
        waiting = await queue_behind(throttle, amount)
        error = await expect_refusal(throttle.acquire(now() + 10), at=1000)
        assert error.retry_after == pytest.approx(60, abs=0.1)
        await cancel(waiting)

    run(main())


@pytest.mark.parametrize("amount", [0, 9])
def test_a_pause_while_all_slots_are_in_use(amount: int) -> None:
    """The responses that would free a slot can't shorten it."""

    async def main() -> None:
        throttle = Throttle(2)
        await throttle.acquire()
        await throttle.acquire()
        throttle.record_refusal(now(), 60.0, sent=now())
        waiting = await queue_behind(throttle, amount)
        await expect_refusal(throttle.acquire(now() + 10), at=1000)
        await cancel(waiting)

    run(main())


def _refuse(throttle: Throttle) -> None:
    throttle.record_refusal(now(), 60.0, sent=now())


def _state_that_nothing_remains(throttle: Throttle) -> None:
    throttle.record_success(now(), RateLimitState(remaining=0, reset=60, limit=100))


@pytest.mark.parametrize("pause", [_refuse, _state_that_nothing_remains])
@pytest.mark.parametrize("amount", [0, 3])
def test_a_pause_that_begins_during_the_wait(
    amount: int, pause: Callable[[Throttle], None]
) -> None:
    """Those whose deadline is within it raise at that moment, and the others wait on."""

    async def main() -> None:
        throttle = Throttle(2)
        await throttle.acquire()
        await throttle.acquire()
        waiting = await queue_behind(throttle, amount)
        calls = [asyncio.create_task(throttle.acquire(1000 + left)) for left in (10.0, 90.0)]
        await asyncio.sleep(3)
        pause(throttle)
        error = await expect_refusal(calls[0], at=1003)
        assert error.retry_after == pytest.approx(60, abs=0.1)
        assert not calls[1].done()
        await cancel([*waiting, calls[1]])

    run(main())


@pytest.mark.parametrize(("ahead", "turn"), [(0, 2.0), (3, 8.0), (30, 62.0)])
def test_a_turn_by_the_local_rate_limit(ahead: int, turn: float) -> None:
    """The requests ahead take their turns first, so the moment of this one's is known."""

    async def main() -> None:
        throttle = Throttle(100, RateLimit(5, per=10.0))
        for _ in range(5):
            await throttle.acquire()
        waiting = await queue_behind(throttle, ahead)
        error = await expect_refusal(throttle.acquire(999.9 + turn), at=1000)
        assert error.retry_after == pytest.approx(turn, abs=0.01)
        await throttle.acquire(1000.1 + turn)
        assert now() == pytest.approx(1000 + turn, abs=0.01)
        await cancel(waiting)

    run(main())


def test_a_burst_of_the_local_rate_limit_is_not_refused() -> None:
    """What the burst holds, and who has left the queue, delays nobody."""

    async def main() -> None:
        throttle = Throttle(100, RateLimit(5, per=10.0))
        await asyncio.gather(*(throttle.acquire(now() + 0.1) for _ in range(5)))
        await cancel(await queue_behind(throttle, 50))
        await throttle.acquire(now() + 2.1)

    run(main())


def test_a_deadline_that_has_passed() -> None:
    """Without a limit or a pause that is a time-out."""

    async def main() -> None:
        throttle = Throttle(1)
        await throttle.acquire()
        with pytest.raises(RequestTimeoutError):
            await throttle.acquire(now() - 1)

    run(main())


def test_calls_beside_a_job() -> None:
    """The job waits the pause out; what somebody waits for is refused at once, and not sent."""
    script = Script(REFUSED)

    async def main() -> None:
        dispatcher = make_dispatcher(script, max_in_flight=1)
        keys = Keys(dispatcher)
        keys.deadline = 10.0
        job = asyncio.create_task(dispatcher.send(FOLDERS, priority="job"))
        await asyncio.sleep(1)
        for call in (keys.get(1), keys.list(), keys.create(provider_id=1), keys.verify("7")):
            error = await expect_refusal(call, at=1001)
            assert error.retry_after == pytest.approx(59, abs=0.1)
        assert await job == []

    run(main())
    assert len(script.began) == 2


@pytest.mark.parametrize("after", [0.5, 2.0], ids=["before its back-off", "during its back-off"])
def test_a_retry_does_not_wait_for_its_back_off_first(after: float) -> None:
    """Another call's 429 comes before or while a failed call backs off."""
    patient = RetryPolicy(wait_initial=8.0, wait_jitter=0.0)
    script = Script(delayed(1.0, (503, {}, b"")), delayed(after, REFUSED))

    async def main() -> None:
        dispatcher = make_dispatcher(script, patient)
        failing = asyncio.create_task(dispatcher.send(FOLDERS, max_seconds=30.0))
        refused = asyncio.create_task(dispatcher.send(FOLDERS, max_seconds=30.0))
        with pytest.raises(RateLimitError):
            await refused
        with pytest.raises(RateLimitError) as caught:
            await failing
        assert now() == pytest.approx(1000 + max(1.0, after), abs=0.01)
        assert caught.value.retry_after == pytest.approx(60 - max(0.0, 1.0 - after), abs=0.1)
        # Its first attempt, answered 503, may have been carried out.
        assert caught.value.outcome is Outcome.UNKNOWN

    run(main())


def test_a_refused_call_raises_when_too_little_is_left() -> None:
    """A pause that would end within the deadline is waited for, a second one is not."""
    script = Script(*[(429, {"Retry-After": "20"}, b"")] * 3)

    async def main() -> None:
        call = make_dispatcher(script).send(FOLDERS, max_seconds=30.0)
        await expect_refusal(call, at=1020)

    run(main())
    assert len(script.began) == 2


BLIP: Response = (502, {"Retry-After": "60"}, b"")
EMPTY: Response = (200, {}, b'{"keys": [], "pagination": {"page": 1, "total": 0}}')


@pytest.mark.parametrize(
    ("call", "waits"),
    [
        (lambda keys: keys.list(), 1.0),
        (lambda keys: keys.list().first(), 1.0),
        (lambda keys: keys.list().count(), 1.0),
        (lambda keys: keys.list().collect(), 60.0),
        (lambda keys: keys.purge(everything=True), 60.0),
    ],
    ids=["await", "first", "count", "collect", "purge"],
)
def test_somebody_waits_for_single_pages(
    call: Callable[[Keys], Awaitable[object]], waits: float
) -> None:
    """A gateway's Retry-After does not hold them, and they have the policy's deadline."""
    script = Script(BLIP, EMPTY)

    async def main() -> None:
        await call(Keys(make_dispatcher(script)))

    run(main())
    assert [began for began, _ in script.began] == [1000, 1000 + waits]
    assert script.began[0][1] == (STEADY.deadline if waits == 1.0 else float("inf"))
