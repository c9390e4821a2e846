"""An API key that rotates beside a shared throttle: all processes go on under the new key."""

from __future__ import annotations

import asyncio

from junkie_async import JunkieClient, RateLimit
from junkie_async.emulator import Emulator
from junkie_async.redis import RedisThrottle

OLD, NEW = "old-key-0123456789ab", "new-key-0123456789ab"


async def test_the_rate_is_shared_before_and_after(redis_url: str) -> None:
    """A client that has changed its key shares the rate with one that began with the new one."""
    async with Emulator(api_keys=[OLD, NEW]) as emulator:
        keys = iter([OLD, NEW])
        rate = RateLimit(50)

        def connect(api_key: object) -> JunkieClient:
            throttle = RedisThrottle(redis_url, rate=rate)
            return JunkieClient(api_key, base_url=emulator.url, throttle=throttle)  # type: ignore[arg-type]

        async with connect(lambda: next(keys)) as first, connect(NEW) as second:
            await first.keys.folders()
            emulator._api_keys = frozenset([NEW])
            await asyncio.gather(first.keys.folders(), second.keys.folders())
            begin = asyncio.get_running_loop().time()
            calls = [client.keys.folders() for client in (first, second) for _ in range(10)]
            await asyncio.gather(*calls)
            # 20 slots of 20 ms; each for itself would take half of that.
            assert asyncio.get_running_loop().time() - begin > 0.36
