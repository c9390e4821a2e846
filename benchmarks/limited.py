"""A job under a rate limit: its time against the ideal, and its share of refused requests.

The limiter is the emulator's token bucket of 100 requests per second, with ``Retry-After`` only and
with rate-limit headers too; ``--burst`` makes the bucket smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from junkie_async import JunkieClient
from junkie_async.emulator import Emulator

RATE = 100


async def job(amount: int, *, burst: float | None, headers: bool, latency: float) -> None:
    """Create keys; print the time and the refused requests."""
    async with (
        Emulator(
            rate_limit=RATE, rate_limit_burst=burst, rate_limit_headers=headers, latency=latency
        ) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        begin = time.perf_counter()
        report = await junkie.keys.create_many(amount, provider_id=1)
        took = time.perf_counter() - begin
        assert report.created == await emulator.count() == amount
        calls, refused = emulator.requests, emulator.statuses[429]
    ideal = amount / 100 / RATE
    kind = "rate-limit headers" if headers else "Retry-After only"
    print(
        f"{kind:18}  {latency * 1000:3.0f} ms  {took:7.2f} s  {took / ideal:5.2f} x of {ideal:g} s"
        f"  {refused:4} of {calls} refused, {refused / calls:.2%}"
    )


async def main() -> None:
    """Run the job with and without headers, with and without latency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amount", type=int, default=100_000, help="keys")
    parser.add_argument("--burst", type=float, help="requests; default: one second's worth")
    options = parser.parse_args()
    for headers in (False, True):
        for latency in (0.0, 0.05):
            await job(options.amount, burst=options.burst, headers=headers, latency=latency)


if __name__ == "__main__":
    asyncio.run(main())
