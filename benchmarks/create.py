"""Create or delete 100,000 keys in a job: wall time against a bare aiohttp loop.

    pip install ".[emulator]"
    python benchmarks/create.py [--delete] [--quick] [--json FILE]

50 ms per request. Creating has 8 calls of 100 keys in flight, deleting 4 of 1,000. The bare loop
keeps as many requests with the same bodies in flight, and only reads the bytes of the responses.
Every measurement starts a new server process, so that all start with the same store.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable

import _bench
import aiohttp

from junkie_async import JunkieClient

KEYS = 100_000
LATENCY = 0.05
CREATE_CHUNK, CREATE_CONCURRENCY = 100, 8
DELETE_CHUNK, DELETE_CONCURRENCY = 1_000, 4
MAX_TIME_RATIO = 1.15
CREATE_ROUNDS = 7
DELETE_ROUNDS = 9

Job = Callable[[str, int], Awaitable[None]]


async def create(url: str, keys: int) -> None:
    """Create with the client."""
    async with JunkieClient(_bench.API_KEY, base_url=url) as client:
        report = await client.keys.create_many(
            keys,
            provider_id=_bench.PROVIDER,
            validity_minutes=60,
            hwid_limit=1,
            concurrency=CREATE_CONCURRENCY,
        )
    assert len(set(report.keys)) == keys, f"{report.created} keys of {keys}"


async def create_bare(url: str, keys: int) -> None:
    """Post the same bodies."""
    fields = {"provider_id": _bench.PROVIDER, "validity_minutes": 60, "hwid_limit": 1}
    body = json.dumps(fields | {"amount": CREATE_CHUNK}).encode()
    bodies = (body for _ in range(keys // CREATE_CHUNK))
    await _post(f"{url}/keys/batch", bodies, CREATE_CONCURRENCY)


async def delete(url: str, keys: int) -> None:
    """Delete with the client."""
    async with JunkieClient(_bench.API_KEY, base_url=url) as client:
        ids = range(1, keys + 1)
        report = await client.keys.delete_many(ids, concurrency=DELETE_CONCURRENCY)
    assert report.deleted == keys, f"{report.deleted} keys of {keys}"


async def delete_bare(url: str, keys: int) -> None:
    """Post the same bodies."""
    bodies = (
        json.dumps({"keys": list(range(first, first + DELETE_CHUNK))}).encode()
        for first in range(1, keys + 1, DELETE_CHUNK)
    )
    await _post(f"{url}/keys/bulk-delete", bodies, DELETE_CONCURRENCY)


async def _post(url: str, bodies: Iterable[bytes], concurrency: int) -> None:
    remaining = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for body in remaining:
            async with session.post(url, data=body) as response:
                await response.read()

    headers = _bench.HEADERS | {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))


def job_time(
    name: str, ours: Job, bare: Job, *, keys: int, seeded: int, ideal: float, rounds: int
) -> _bench.Figure:
    """Compare the wall times of a job and of its bare loop."""

    def measure(job: Job) -> float:
        with _bench.server(keys=seeded, latency=LATENCY) as url:
            return _bench.timed(lambda: job(url, keys), time.perf_counter)

    samples = _bench.alternate(rounds, lambda: measure(ours), lambda: measure(bare))
    return _bench.ratio(f"{name} (ideal {ideal:.3f} s)", *samples, MAX_TIME_RATIO, unit="s")


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded."""
    parser = _bench.arguments(__doc__)
    parser.add_argument("--delete", action="store_true", help="measure delete_many as well")
    options = parser.parse_args()
    keys = KEYS // 10 if options.quick else KEYS
    figures = [
        job_time(
            f"create_many({keys:,})",
            create,
            create_bare,
            keys=keys,
            seeded=0,
            ideal=keys / CREATE_CHUNK * LATENCY / CREATE_CONCURRENCY,
            rounds=2 if options.quick else CREATE_ROUNDS,
        )
    ]
    if options.delete:
        figures.append(
            job_time(
                f"delete_many of {keys:,}",
                delete,
                delete_bare,
                keys=keys,
                seeded=keys,
                ideal=keys / DELETE_CHUNK * LATENCY / DELETE_CONCURRENCY,
                rounds=2 if options.quick else DELETE_ROUNDS,
            )
        )
    title = f"jobs: {LATENCY * 1000:.0f} ms per request"
    return _bench.report(title, figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
