"""One client in a process of its own: does the jobs that it is told on its standard input.

    python -m _peers.child CLIENT

Each line in is a job as JSON, each line out what it took: wall time, the CPU of the event loop's
thread and of the whole process in seconds, the process's peak of memory so far in MB. A client is a
module of this package with a class that has the three jobs; what it counts is checked here, and
what it sends is checked by the server.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

from .server import BATCH, BULK, PAGE

FIRST_ID = 1


class Client(Protocol):
    """What every client does. Each job opens what it needs, and closes it."""

    async def walk(self, url: str, pages: int) -> int:
        """Walk all keys, and give their number."""

    async def create(self, url: str, calls: int) -> int:
        """Create batches of `BATCH` keys, and give the number of keys in the answers."""

    async def delete(self, url: str, ids: range) -> int:
        """Delete keys, `BULK` a call, and give the number that the answers say."""

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """The same of an async iterator."""


CLIENTS = {
    "ours": ("client_ours", "Ours"),
    "bytes": ("client_aiohttp", "Bytes"),
    "semaphore": ("client_aiohttp", "Concurrent"),
    "serial": ("client_aiohttp", "Serial"),
    "session": ("client_aiohttp", "SessionPerCall"),
    "httpx": ("client_httpx", "Httpx"),
    "opc": ("client_opc", "Generated"),
    "ogc": ("client_ogc", "Generated"),
}


async def chunks(ids: AsyncIterator[int]) -> AsyncIterator[list[int]]:
    """Cut a stream of IDs into lists for one call each, for clients that have no such thing."""
    chunk: list[int] = []
    async for key_id in ids:
        chunk.append(key_id)
        if len(chunk) == BULK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _stream(ids: range) -> AsyncIterator[int]:
    for key_id in ids:
        yield key_id


def _job(
    client: Client, name: str, url: str, calls: int
) -> tuple[Callable[[], Awaitable[int]], int]:
    """Give a job, and what it must count."""
    ids = range(FIRST_ID, FIRST_ID + calls * BULK)
    match name:
        case "walk":
            return lambda: client.walk(url, calls), calls * PAGE
        case "create":
            return lambda: client.create(url, calls), calls * BATCH
        case "delete":
            return lambda: client.delete(url, ids), calls * BULK
        case "delete_stream":
            return lambda: client.delete_stream(url, _stream(ids)), calls * BULK
    raise ValueError(f"there is no job {name!r}")


async def _measure(job: Callable[[], Awaitable[int]], expected: int) -> dict[str, float]:
    begin = time.perf_counter(), time.thread_time(), time.process_time()
    count = await job()
    end = time.perf_counter(), time.thread_time(), time.process_time()
    if count != expected:
        raise AssertionError(f"{count} keys were counted instead of {expected}")
    return dict(zip(("wall", "loop", "process"), map(float.__sub__, end, begin), strict=True))


def peak_resident() -> int:
    """Tell the most bytes of memory that this process had so far."""
    try:  # ru_maxrss is inherited: it may be the peak of the process that started this one
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Do jobs until there are no more."""
    module, name = CLIENTS[sys.argv[1]]
    client: Client = getattr(importlib.import_module(f"{__package__}.{module}"), name)()
    for line in sys.stdin:
        order = json.loads(line)
        job, expected = _job(client, order["job"], order["url"], order["calls"])
        gc.collect()
        taken = asyncio.run(_measure(job, expected))
        print(json.dumps(taken | {"peak": peak_resident() / 2**20}), flush=True)


if __name__ == "__main__":
    main()
