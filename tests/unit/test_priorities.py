"""Interactive calls come before walks, and walks before jobs, on a virtual clock."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable

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
                    throttle.record_success(now(), stated)
                    self.done[priority] += 1
                    return now() - begin
                self.refused += 1
                throttle.record_refusal(now(), float(wait), sent=sent)
            finally:
                throttle.release()

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
        print(f"{limit} {stated} {workers}: {statistics.median(waits):.3f} {statistics.quantiles(waits, n=20)[-1]:.3f} {max(waits):.2f} rate {rate:.2f} refused {traffic.refused}")

    run(main())
