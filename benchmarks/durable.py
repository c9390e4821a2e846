"""The cost of a ledger: a durable job against the same job in memory.

    pip install ".[emulator]"
    python benchmarks/durable.py [--quick] [--json FILE]

100,000 keys at 50 ms per request, 8 calls in flight: wall time, and the CPU of the whole process
including the ledger's thread. Each round has a new ledger file in the temporary directory. With
``--million`` also the peak memory of a process that creates 1,000,000 keys durably and reads them
by ``async for``, from a server without latency.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _bench

from junkie_async import JunkieClient

LATENCY = 0.05
ROUNDS = 5
MAX_TIME_RATIO, MAX_CPU_RATIO, MAX_MEGABYTES = 1.15, 2.0, 64.0


async def job(url: str, keys: int, ledger: Path | None) -> None:
    """Create keys and read the batches as they arrive."""
    async with JunkieClient(_bench.API_KEY, base_url=url) as client:
        created = 0
        create = client.keys.create_many(keys, provider_id=_bench.PROVIDER, ledger=ledger)
        async for batch in create:
            created += len(batch.keys)
    assert created == keys, f"{created} keys of {keys}"


def measure(keys: int, *, durable: bool) -> tuple[float, float]:
    """Run a job against a new server; return its wall time and CPU time in seconds."""
    with tempfile.TemporaryDirectory() as folder, _bench.server(latency=LATENCY) as url:
        ledger = Path(folder) / "ledger.db" if durable else None
        begin = time.perf_counter(), time.process_time()
        asyncio.run(job(url, keys, ledger))
        return time.perf_counter() - begin[0], time.process_time() - begin[1]


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
    parser.add_argument("--million", action="store_true", help="also measure memory")
    options = parser.parse_args()
    keys, rounds = (10_000, 3) if options.quick else (100_000, ROUNDS)
    samples: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for number in range(rounds):
        for durable in (True, False) if number % 2 else (False, True):
            samples[durable].append(measure(keys, durable=durable))
    figures = []
    for at, (name, limit) in enumerate((("time", MAX_TIME_RATIO), ("CPU", MAX_CPU_RATIO))):
        ours, other = ([sample[at] for sample in samples[durable]] for durable in (True, False))
        figures.append(_bench.ratio(f"{keys:,} keys, {name}", ours, other, limit, unit="s"))
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
