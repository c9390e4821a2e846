"""The emulator at 1,000,000 keys: the time of a page of 100, HTTP included.

    pip install ".[emulator]"
    python benchmarks/pages.py [--quick] [--json FILE]

A bare aiohttp client sends one request at a time; the emulator runs in another process. All keys
have the same provider, so that its filter matches all of them, and different Discord IDs. Deep
pages are read in order, as in a walk: the first jump to a deep page is slower and not counted.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import _bench
import aiohttp

KEYS = 1_000_000
PAGE = 100
REQUESTS = 300
MAX_MEDIAN = 10.0  # ms


async def milliseconds(url: str, queries: list[str]) -> list[float]:
    """Time a page for each query; the first one is not counted."""
    found = []
    async with aiohttp.ClientSession(headers=_bench.HEADERS) as session:
        for query in queries:
            begin = time.perf_counter()
            async with session.get(f"{url}/keys?{query}&limit={PAGE}") as response:
                await response.read()
                assert response.status == 200, await response.text()
            found.append((time.perf_counter() - begin) * 1000)
    return found[1:]


def figure(name: str, samples: list[float]) -> _bench.Figure:
    """Compare the median with the limit; the slowest pages are shown beside it."""
    middle = statistics.median(samples)
    p99 = statistics.quantiles(samples, n=100)[98]
    shown = f"{middle:.2f} ms (p99: {p99:.2f}, max: {max(samples):.2f})"
    return _bench.Figure(name, shown, "-", middle, MAX_MEDIAN, "ms", {"ours": samples})


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded."""
    options = _bench.arguments(__doc__).parse_args()
    keys = 20_000 if options.quick else KEYS
    deep = keys // PAGE * 9 // 10 - REQUESTS // 2
    deep = max(1, deep)
    with _bench.server(keys=keys) as url:
        cases = {
            "no filter, page 1": ["page=1"] * REQUESTS,
            "provider (all keys), page 1": [f"provider_id={_bench.PROVIDER}&page=1"] * REQUESTS,
            f"provider, pages from {deep:,} on": [
                f"provider_id={_bench.PROVIDER}&page={page}"
                for page in range(deep, min(deep + REQUESTS, keys // PAGE))
            ],
            "one Discord ID": [f"discord_id={10**17 + at}&page=1" for at in range(REQUESTS)],
        }
        figures = [
            figure(name, asyncio.run(milliseconds(url, queries))) for name, queries in cases.items()
        ]
    title = f"emulator: a page of {PAGE} of {keys:,} keys"
    return _bench.report(title, figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
