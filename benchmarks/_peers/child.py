"""One client in its own process: runs the jobs that it reads from standard input.

    python -m _peers.child CLIENT

Each input line is a job as JSON, each output line its cost: wall time in seconds, and the process'
peak memory so far in MB. A client is a class in a module of this package. Its counts are checked
here, its requests by the server.
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
    """The jobs of every client. Each job opens and closes its own resources."""

    async def walk(self, url: str, pages: int) -> int:
        """Walk all keys and return their number."""

    async def create(self, url: str, calls: int) -> int:
        """Create batches of `BATCH` keys and return the number of keys in the responses."""

    async def delete(self, url: str, ids: range) -> int:
        """Delete keys, `BULK` per call, and return the number that the responses report."""

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Delete the keys of an async iterator."""


CLIENTS = {
    "ours": ("client_ours", "Ours"),
    "bytes": ("client_aiohttp", "Bytes"),
    "semaphore": ("client_aiohttp", "Concurrent"),
    "serial": ("client_aiohttp", "Serial"),
    "session": ("client_aiohttp", "SessionPerCall"),
    "httpx": ("client_httpx", "Httpx"),
    "httpx2": ("client_httpx", "Httpx2"),
    "opc": ("client_opc", "Generated"),
    "ogc": ("client_ogc", "Generated"),
}


async def chunks(ids: AsyncIterator[int]) -> AsyncIterator[list[int]]:
    """Split a stream of IDs into one list per call, for clients that can't."""
    chunk: list[int] = []
    async for key_id in ids:
        chunk.append(key_id)
        if len(chunk) == BULK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _stream_ids(ids: range) -> AsyncIterator[int]:
    for key_id in ids:
        yield key_id


def _find_job(
    client: Client, name: str, url: str, calls: int
) -> tuple[Callable[[], Awaitable[int]], int]:
    """Return a job and the number it must count."""
    ids = range(FIRST_ID, FIRST_ID + calls * BULK)
    match name:
        case "walk":
            return lambda: client.walk(url, calls), calls * PAGE
        case "create":
            return lambda: client.create(url, calls), calls * BATCH
        case "delete":
            return lambda: client.delete(url, ids), calls * BULK
        case "delete_stream":
            return lambda: client.delete_stream(url, _stream_ids(ids)), calls * BULK
    raise ValueError(f"unknown job {name!r}")


async def _time_job(job: Callable[[], Awaitable[int]], expected: int) -> float:
    begin = time.perf_counter()
    count = await job()
    seconds = time.perf_counter() - begin
    if count != expected:
        raise AssertionError(f"expected {expected} keys, counted {count}")
    return seconds


def peak_resident() -> int:
    """Return the peak resident memory of this process in bytes."""
    try:  # ru_maxrss is inherited: it may be the peak of the process that started this one
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Run jobs until the input ends."""
    module, name = CLIENTS[sys.argv[1]]
    client: Client = getattr(importlib.import_module(f"{__package__}.{module}"), name)()
    for line in sys.stdin:
        request = json.loads(line)
        job, expected = _find_job(client, request["job"], request["url"], request["calls"])
        gc.collect()
        wall = asyncio.run(_time_job(job, expected))
        print(json.dumps({"wall": wall, "peak": peak_resident() / 2**20}), flush=True)


if __name__ == "__main__":
    main()
