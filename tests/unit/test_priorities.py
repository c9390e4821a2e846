"""Interactive calls come before walks, and walks before jobs, on a virtual clock."""

from __future__ import annotations

import asyncio
import random
import statistics

import pytest

from junkie_async import RateLimit
from junkie_async._http.throttle import Priority, Throttle
from junkie_async._protocol import rate_limit_headers

from .clock import run
from .scripted import now
from .test_adaptive_rate import Bucket

LATENCY = 0.01


class Traffic:
    """Calls of all priorities against a limit of 20 requests a second."""

    def __init__(self, throttle: Throttle, *, stated: bool = False) -> None:
        self.throttle, self.stated, self.limiter = throttle, stated, Bucket(20)
        self.done = dict[Priority, int].fromkeys(("interactive", "walk", "job"), 0)
        self.refused = 0
        self.seconds_to_create = 0.0  # refusals overtake the responses of those before them

    async def call(self, priority: Priority) -> float:
        """Make a call until it is admitted; return the seconds that it took."""
        begin, throttle = now(), self.throttle
        while True:
            await throttle.acquire(priority=priority)
            try:
                sent = now()
                await asyncio.sleep(LATENCY)
                wait, headers = self.limiter.admit(now()), self.limiter.headers()
                stated = rate_limit_headers.read_rate_limit(headers) if self.stated else None
                if not wait:
                    await asyncio.sleep(self.seconds_to_create)
                    throttle.record_success(now(), stated)
                    self.done[priority] += 1
                    return now() - begin
                self.refused += 1
                throttle.record_refusal(now(), float(wait), sent=sent)
            finally:
                throttle.release(priority)

    async def work(self, priority: Priority) -> None:
        """Make calls for ever, as a worker of a job does."""
        while True:
            await self.call(priority)


@pytest.mark.parametrize("workers", [64, 500])
@pytest.mark.parametrize(
    ("limit", "stated"),
    [(RateLimit(20), False), (None, False), (None, True)],
    ids=["own limit", "Retry-After", "stated limit"],
)
def test_an_interactive_call_beside_a_job(
    limit: RateLimit | None, stated: bool, workers: int
) -> None:
    """It waits for the next turn, not for those of all workers; the job keeps 95% of the rate."""

    async def main() -> None:
        traffic = Traffic(Throttle(16, limit), stated=stated)
        tasks = [asyncio.create_task(traffic.work("job")) for _ in range(workers)]
        await asyncio.sleep(30)
        traffic.done["job"], begin, dice = 0, now(), random.Random(1)
        waits = []
        for _ in range(200):
            waits.append(await traffic.call("interactive"))
            await asyncio.sleep(dice.uniform(0.5, 2.5))
        rate = sum(traffic.done.values()) / (now() - begin)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert statistics.median(waits) <= 0.12
        assert statistics.quantiles(waits, n=20)[-1] <= 0.25
        assert rate >= 0.95 * 20

    run(main())


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("latency", "seconds_to_create"), [(0.005, 0), (0.002, 0.02), (0.05, 0)])
def test_interactive_calls_beside_a_whole_job(
    latency: float,
    seconds_to_create: float,
    seed: int,
    stated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its first call on, while the limit is learned from 429s alone or is stated."""
    monkeypatch.setattr(f"{__name__}.LATENCY", latency)

    async def main() -> None:
        traffic = Traffic(Throttle(16), stated=stated)
        traffic.seconds_to_create = seconds_to_create
        jobs = [asyncio.create_task(traffic.work("job")) for _ in range(64)]
        begin, dice, visits = now(), random.Random(seed), list[asyncio.Task[float]]()
        while now() < begin + 50:
            await asyncio.sleep(dice.uniform(0, 1))
            visits.append(asyncio.create_task(traffic.call("interactive")))
        waits = await asyncio.gather(*visits)
        rate = sum(traffic.done.values()) / (now() - begin)
        for task in jobs:
            task.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        assert statistics.median(waits) <= 0.12
        assert statistics.quantiles(waits, n=20)[-1] <= 0.25
        assert rate >= 0.95 * 20

    run(main())


async def hold(throttle: Throttle, priority: Priority, seconds: float) -> float:
    """Use a slot; return when it was given, counted from the test's beginning."""
    await throttle.acquire(priority=priority)
    begin = now() - 1000
    await asyncio.sleep(seconds)
    throttle.release(priority)
    return round(begin, 3)


async def check_free_slot(throttle: Throttle, calls: int) -> None:
    """Check that interactive calls, one after the other, get the slot that a job waits for."""
    waiting = asyncio.create_task(hold(throttle, "job", 0.0))
    await asyncio.sleep(0.1)
    for _ in range(calls):
        begin = now() - 1000
        assert await hold(throttle, "interactive", 0.1) == round(begin, 3)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("priority", ["walk", "job"])
@pytest.mark.parametrize(("slots", "waited"), [(1, 30.0), (2, 0.0), (16, 0.0)])
def test_a_slot_is_kept_free(priority: Priority, slots: int, waited: float) -> None:
    """Though all calls of jobs and walks hang. A single slot can't be kept: it would be unused."""

    async def main() -> None:
        throttle = Throttle(slots)
        tasks = [asyncio.create_task(hold(throttle, priority, 30.0)) for _ in range(2 * slots)]
        await asyncio.sleep(0)
        assert await hold(throttle, "interactive", 0.1) == waited
        begun = await asyncio.gather(*tasks)
        assert begun.count(0) == max(1, slots - 1)

    run(main())


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("amount", [0, 1])
def test_a_slot_is_kept_free_beside_interactive_calls(amount: int, fast: bool) -> None:
    """However long a job's call waits, for as long as those in flight leave no other slot."""

    async def main() -> None:
        throttle = Throttle(4)
        if not fast:  # nothing is left of a pause but the slow path
            throttle.record_refusal(now(), 1.0, sent=now(), slow_down=False)
        for _ in range(amount):
            await throttle.acquire()
        for _ in range(3 - amount):
            await throttle.acquire(priority="job")
        await check_free_slot(throttle, calls=20 if amount == 0 else 7)

    run(main())


def test_a_cancelled_interactive_call_leaves_the_slot_that_is_kept_free() -> None:
    """Also if it is cancelled in the moment in which it gets its slot."""

    async def main() -> None:
        throttle = Throttle(4)
        for _ in range(4):
            await throttle.acquire()
        call = asyncio.create_task(throttle.acquire())
        await asyncio.sleep(0.1)
        throttle.release()
        await asyncio.sleep(0)  # it has its slot now, and will run next
        assert not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        for _ in range(3):
            throttle.release()
            await throttle.acquire(priority="job")
        await check_free_slot(throttle, calls=20)

    run(main())


def test_a_starving_job_goes_on_beside_its_own_calls() -> None:
    """Two of a job's calls and two others are in flight: its third comes after eight turns."""

    async def main() -> None:
        throttle = Throttle(4)
        for _ in range(2):
            await throttle.acquire(priority="job")
        others = [asyncio.create_task(hold(throttle, "interactive", 1.0)) for _ in range(20)]
        await asyncio.sleep(0.5)
        assert await hold(throttle, "job", 0.0) == 5.0
        await asyncio.gather(*others)

    run(main())


def test_turns_go_by_priority_and_none_starves() -> None:
    """Interactive calls go first, then walks, then jobs; each waits for eight turns at most."""

    async def main() -> None:
        throttle, order = Throttle(1), list[Priority]()

        async def take(priority: Priority) -> None:
            await throttle.acquire(priority=priority)
            order.append(priority)
            await asyncio.sleep(1)
            throttle.release(priority)

        await throttle.acquire()
        kinds: dict[Priority, int] = {"job": 4, "walk": 4, "interactive": 24}
        tasks = [asyncio.create_task(take(kind)) for kind in kinds for _ in range(kinds[kind])]
        await asyncio.sleep(0)
        throttle.release()
        await asyncio.gather(*tasks)
        assert order[:10] == ["interactive"] * 8 + ["walk", "job"]
        assert {"walk", "job"} <= {*order[10:20]}
        assert len(order) == 32

    run(main())


@pytest.mark.parametrize("slots", [2, 16])
def test_none_starves_while_interactive_calls_use_all_slots(slots: int) -> None:
    """The slot that is kept free is used by the walk or job that was passed over eight times."""

    async def main() -> None:
        throttle = Throttle(slots)

        async def call_always(seconds: float) -> None:
            while True:
                await hold(throttle, "interactive", seconds)

        busy = [asyncio.create_task(call_always(1 + number / 100)) for number in range(2 * slots)]
        await asyncio.sleep(0.5)
        kinds: list[Priority] = ["walk", "job"]
        async with asyncio.timeout(2 + 20 / slots):
            await asyncio.gather(*(hold(throttle, kind, 0.1) for kind in kinds))
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        assert not throttle._patient_in_flight

    run(main())


def test_a_job_leaves_a_part_of_a_stated_limit() -> None:
    """When little is left, jobs wait for the reset; an interactive call has its turn at once."""

    async def main() -> None:
        throttle = Throttle(16)
        stated = rate_limit_headers.RateLimitState(remaining=10, reset=60, limit=100)
        throttle.record_success(now(), stated)
        job = asyncio.create_task(hold(throttle, "job", 0.1))
        assert await hold(throttle, "interactive", 0.1) == 0
        await throttle.acquire(now() + 30)  # an interactive call's turn is before the reset
        throttle.release()
        assert await job == 60

    run(main())
