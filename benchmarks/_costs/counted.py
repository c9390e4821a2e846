"""One work, as often as it is asked for: the process that `instructions.py` counts."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

# Of both clients, so that a count is that of the calls only.
from junkie_async import JunkieClient, RetryPolicy

_HEADERS = {"Authorization": "Bearer benchmark"}
_VALUE = "KEY-1-df530f87-7294-4670-af2a"
_RETRY = RetryPolicy(attempts=3, wait_initial=0.001, wait_max=0.001, wait_jitter=0.0)


async def _read(call: Any) -> Any:
    async with call as response:
        return await response.json()


async def _bare(work: str, url: str, number: int) -> None:
    """What people write by hand."""
    async with aiohttp.ClientSession(headers=_HEADERS) as session:
        for index in range(1, number + 1):
            match work:
                case "walk":
                    page: dict[str, int] = {"page": index, "limit": 100}
                    call = session.get(f"{url}/keys", params=page)
                    for _key in (await _read(call))["keys"]:
                        pass
                case "create" | "durable create":
                    body = {"provider_id": 1, "amount": 100}
                    (await _read(session.post(f"{url}/keys/batch", json=body)))["keys"]
                case "delete":
                    ids = list(range(index * 1000 + 1, index * 1000 + 1001))
                    await _read(session.post(f"{url}/keys/bulk-delete", json={"keys": ids}))
                case "create one":
                    await _read(session.post(f"{url}/keys", json={"provider_id": 1}))
                case "verify":
                    found = {"key_value": _VALUE, "limit": "1"}
                    await _read(session.get(f"{url}/keys", params=found))
                case "retry":
                    for _attempt in range(3):
                        async with session.get(f"{url}/keys/{index}") as response:
                            if response.status != 503:
                                await response.json()
                                break
                        await asyncio.sleep(0.001)
                case _:  # get, shared throttle
                    await _read(session.get(f"{url}/keys/{index}"))


async def _ours(work: str, url: str, number: int) -> None:
    options: dict[str, Any] = {"retry": _RETRY}
    async with contextlib.AsyncExitStack() as stack:
        if work == "shared throttle":
            from junkie_async.redis import RedisThrottle

            options["throttle"] = RedisThrottle(sys.argv[5])
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        junkie = await stack.enter_async_context(JunkieClient("k", base_url=url, **options))
        keys = junkie.keys
        one: dict[str, Callable[[int], Awaitable[object]]] = {
            "get": keys.get,
            "shared throttle": keys.get,
            "retry": keys.get,
            "create one": lambda _: keys.create(provider_id=1),
            "verify": lambda _: keys.verify(_VALUE),
        }
        if work == "walk":
            async for _key in keys.list():
                pass
        elif work == "create":
            await keys.create_many(number * 100, provider_id=1, concurrency=4)
        elif work == "durable create":
            ledger = f"{folder}/launch.db"
            await keys.create_many(number * 100, provider_id=1, concurrency=4, ledger=ledger)
        elif work == "delete":
            await keys.delete_many([*range(1, number * 1000 + 1)], concurrency=4)
        else:
            for index in range(1, number + 1):
                await one[work](index)


if __name__ == "__main__":
    clients = {"bare": _bare, "ours": _ours}
    asyncio.run(clients[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4])))
