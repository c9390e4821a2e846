"""A job under a rate limit: how near its ideal time it comes, and how much of it is refused.

The limiter is the emulator's token bucket of 100 requests a second. Once it tells no more than
``Retry-After``, and once its budget headers too; ``--burst`` makes the bucket shallower.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from junkie_async import JunkieClient
from junkie_async.emulator import Emulator

RATE = 100


async def job(amount: int, *, burst: float | None, stated: bool, latency: float) -> None:
    """Create keys and print what it took."""
    async with (
        Emulator(
            rate_limit=RATE, rate_limit_burst=burst, rate_limit_headers=stated, latency=latency
        ) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        begin = time.perf_counter()
        report = await junkie.keys.create_many(amount, provider_id=1)
        took = time.perf_counter() - begin
        assert report.created == await emulator.count() == amount
        calls, refused = emulator.requests, emulator.statuses[429]
    ideal = amount / 100 / RATE
    told = "budget headers" if stated else "Retry-After only"
    print(
        f"{told:16}  {latency * 1000:3.0f} ms  {took:7.2f} s  {took / ideal:5.2f} x of {ideal:g} s"
        f"  {refused:4} of {calls} refused, {refused / calls:.2%}"
    )


async def main() -> None:
    """Run the job in each of the four ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amount", type=int, default=100_000, help="keys")
    parser.add_argument("--burst", type=float, help="requests; a second's worth by default")
    options = parser.parse_args()
    for stated in (False, True):
        for latency in (0.0, 0.05):
            await job(options.amount, burst=options.burst, stated=stated, latency=latency)


if __name__ == "__main__":
    asyncio.run(main())
