"""The cost of a ledger: a durable job against the same job in memory.

    pip install ".[emulator]"
    python benchmarks/durable.py [--quick] [--json FILE]

100,000 keys at 50 ms per request, 8 calls in flight: wall time. Each round has a new ledger file in
the temporary directory; `instructions.py` counts what a call costs in CPU. With ``--million`` also
the peak memory of a process that creates 1,000,000 keys durably and reads them by ``async for``,
from a server without latency. With ``--postgres DSN`` also a ledger in that empty database, and
what an order costs over a plain create, in a file and there.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import _bench

from junkie_async import JunkieClient

LATENCY = 0.05
ROUNDS = 5
ORDERS = 300
MAX_TIME_RATIO, MAX_MEGABYTES, MAX_ORDER = 1.15, 64.0, 3.0


async def job(url: str, keys: int, ledger: Path | str | None) -> None:
    """Create keys and read the batches as they arrive."""
    async with JunkieClient(_bench.API_KEY, base_url=url) as client:
        created = 0
        name = None if ledger is None else uuid.uuid4().hex
        create = client.keys.create_many(keys, provider_id=_bench.PROVIDER, ledger=ledger, job=name)
        async for batch in create:
            created += len(batch.keys)
    assert created == keys, f"{created} keys of {keys}"


def measure(keys: int, where: str | None) -> float:
    """Run a job against a new server; return its wall time in seconds.

    ``where`` is a DSN, "file", or None for a job in memory.
    """
    with tempfile.TemporaryDirectory() as folder, _bench.server(latency=LATENCY) as url:
        ledger = Path(folder) / "ledger.db" if where == "file" else where
        begin = time.perf_counter()
        asyncio.run(job(url, keys, ledger))
        return time.perf_counter() - begin


async def measure_orders(dsn: str) -> dict[str, list[float]]:
    """Return what each order costs over the plain create before it, in ms, by its ledger."""
    costs: dict[str, list[float]] = {"file": [], "PostgreSQL": []}
    with tempfile.TemporaryDirectory() as folder, _bench.server() as url:
        ledgers = {"file": str(Path(folder) / "ledger.db"), "PostgreSQL": dsn}
        async with JunkieClient(_bench.API_KEY, base_url=url) as client:
            for _ in range(ORDERS):
                for kind, ledger in ledgers.items():
                    begin = time.perf_counter()
                    await client.keys.create(provider_id=_bench.PROVIDER)
                    middle = time.perf_counter()
                    await client.keys.create(
                        provider_id=_bench.PROVIDER, idempotency_key=uuid.uuid4().hex, ledger=ledger
                    )
                    end = time.perf_counter()
                    costs[kind].append((end - 2 * middle + begin) * 1e3)
    return costs


def peak_memory() -> float:
    """Return this process' peak resident memory in MB; `getrusage` may report its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_peak(keys: int) -> float:
    """Run a durable job in a new process; return its peak resident memory in MB."""
    with tempfile.TemporaryDirectory() as folder, _bench.server() as url:
        command = [sys.executable, __file__, "job", url, str(keys), folder]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded."""
    parser = _bench.arguments(__doc__)
    parser.add_argument("--postgres", metavar="DSN", help="also measure a ledger in PostgreSQL")
    parser.add_argument("--million", action="store_true", help="also measure memory")
    options = parser.parse_args()
    keys, rounds = (10_000, 3) if options.quick else (100_000, ROUNDS)
    places = [None, "file", *([options.postgres] if options.postgres else [])]
    samples: dict[str | None, list[float]] = {place: [] for place in places}
    for number in range(rounds):
        for place in places[:: -1 if number % 2 else 1]:
            samples[place].append(measure(keys, place))
    figures = []
    for place in places[1:]:
        kind = "file" if place == "file" else "PostgreSQL"
        name = f"{keys:,} keys, {kind}, time"
        figures.append(_bench.ratio(name, samples[place], samples[None], MAX_TIME_RATIO, unit="s"))
    if options.postgres:
        for kind, costs in asyncio.run(measure_orders(options.postgres)).items():
            cost = statistics.median(costs)
            figure = f"{cost:.2f} ms"
            figures.append(
                _bench.Figure(
                    f"an order, {kind}, over a create",
                    figure,
                    "",
                    cost,
                    MAX_ORDER,
                    "ms",
                    {"ours": costs},
                )
            )
    if options.million:
        peak = measure_peak(1_000_000)
        name, shown = "1,000,000 keys, peak memory", f"{peak:.1f} MB"
        figures.append(_bench.Figure(name, shown, "", peak, MAX_MEGABYTES, "MB", {"ours": [peak]}))
    return _bench.report("The cost of a ledger", figures, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        _, _, server, amount, folder = sys.argv
        asyncio.run(job(server, int(amount), Path(folder) / "ledger.db"))
        print(peak_memory())
    else:
        sys.exit(main())
