"""The emulator at 1,000,000 keys: how long a page of 100 takes, HTTP included.

    pip install ".[emulator]"
    python benchmarks/pages.py [--quick] [--json FILE]

One request at a time by a bare aiohttp client, the emulator in another process. All keys have the
same provider, so that its filter matches every one; each has a Discord ID of its own. The deep
pages are read in order, as a walk reads them: a first jump into the deep is slower, and not
counted.
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
    """Time a page for each query, after one that is not counted."""
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
    """Judge the median; the slowest are shown beside it."""
    middle = statistics.median(samples)
    late = statistics.quantiles(samples, n=100)[98]
    shown = f"{middle:.2f} ms (99th of 100: {late:.2f}, longest: {max(samples):.2f})"
    return _bench.Figure(name, shown, "-", middle, MAX_MEDIAN, "ms", {"ours": samples})


def main() -> int:
    """Seed, ask, judge."""
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
