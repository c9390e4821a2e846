"""A walk over 100,000 keys: time and memory against a bare aiohttp loop.

    pip install ".[emulator]"
    python benchmarks/walk.py [--quick] [--json FILE]

Time: 50 ms per request and 4 pages in flight, against a loop that keeps 4 requests in flight and
only reads their bytes. Memory: the peak of a process that walks 100,000 keys, minus that of one
that walks 5,000. What a page costs in CPU is counted by `instructions.py`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import _bench
import aiohttp

from junkie_async import JunkieClient

KEYS = 100_000
FEW_KEYS = 5_000
PAGE = 100
PREFETCH = 4
LATENCY = 0.05
MAX_TIME_RATIO = 1.15
MAX_MEMORY_GROWTH = 3.0  # MB
TIME_ROUNDS = 5
MEMORY_ROUNDS = 3


async def ours(url: str, keys: int) -> None:
    """Walk with the client."""
    async with JunkieClient(_bench.API_KEY, base_url=url) as client:
        count = 0
        async for _ in client.keys.list(prefetch=PREFETCH):
            count += 1
    assert count == keys, f"{count} keys of {keys}"


async def bare_bytes(url: str, keys: int) -> None:
    """Read the bytes of all pages, with as many requests in flight as the client has."""
    pages = iter(range(1, keys // PAGE + 1))

    async def work(session: aiohttp.ClientSession) -> None:
        for page in pages:
            async with session.get(f"{url}/keys?page={page}&limit={PAGE}") as response:
                await response.read()

    async with aiohttp.ClientSession(headers=_bench.HEADERS) as session:
        await asyncio.gather(*(work(session) for _ in range(PREFETCH)))


def walk_time(keys: int, rounds: int) -> _bench.Figure:
    """Compare the wall time of a walk with that of only reading the bytes."""
    with _bench.server(keys=keys, latency=LATENCY) as url:
        samples = _bench.alternate(
            rounds,
            lambda: _bench.timed(lambda: ours(url, keys), time.perf_counter),
            lambda: _bench.timed(lambda: bare_bytes(url, keys), time.perf_counter),
        )
    ideal = keys / PAGE * LATENCY / PREFETCH
    name = f"time of {keys:,} keys (ideal {ideal:.3f} s)"
    return _bench.ratio(name, *samples, MAX_TIME_RATIO, unit="s")


def walk_memory(keys: int, rounds: int) -> list[_bench.Figure]:
    """Compare the peak memory of a short and a long walk."""
    peaks: dict[tuple[str, int], list[float]] = {}
    for count in (FEW_KEYS, keys):
        with _bench.server(keys=count) as url:
            for kind in ("resident", "allocated"):
                command = [sys.executable, __file__, "--probe", kind, url, str(count)]
                peaks[kind, count] = [
                    json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                    for _ in range(rounds)
                ]
    return [
        _bench.Figure(
            name=f"growth of the peak, {kind}",
            ours=f"{max(peaks[kind, keys]):.2f} MB at {keys:,} keys",
            other=f"{min(peaks[kind, FEW_KEYS]):.2f} MB at {FEW_KEYS:,} keys",
            value=max(peaks[kind, keys]) - min(peaks[kind, FEW_KEYS]),
            limit=MAX_MEMORY_GROWTH,
            unit="MB",
            samples={"ours": peaks[kind, keys], "other": peaks[kind, FEW_KEYS]},
        )
        for kind in ("resident", "allocated")
    ]


def probe(kind: str, url: str, keys: int) -> None:
    """Walk in this process and print its peak memory in MB."""
    if kind == "allocated":
        tracemalloc.start()
    asyncio.run(ours(url, keys))
    peak = tracemalloc.get_traced_memory()[1] if kind == "allocated" else _peak_resident()
    print(json.dumps(peak / 2**20))


def _peak_resident() -> int:
    try:  # ru_maxrss is inherited: it may be the peak of the process that started this one
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded."""
    options = _bench.arguments(__doc__).parse_args()
    keys = KEYS // 10 if options.quick else KEYS
    figures = [
        walk_time(keys, 2 if options.quick else TIME_ROUNDS),
        *walk_memory(keys, 1 if options.quick else MEMORY_ROUNDS),
    ]
    title = f"walk: list(prefetch={PREFETCH}), {LATENCY * 1000:.0f} ms per request"
    return _bench.report(title, figures, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        probe(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(main())
