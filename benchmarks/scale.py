"""What a key costs as jobs grow: CPU and memory from 10,000 to 10,000,000 keys.

    pip install ".[postgres,test]"
    python benchmarks/scale.py [--keys N ...] [--work NAME ...] [--json FILE] [--chart FILE]

Each work runs in a process of its own against a server of canned responses in another one: a walk,
a purge, an export to CSV, and a durable create with its ledger in SQLite or PostgreSQL. Lists come
in the order of their IDs, as from the service, or at random, which is the worst case for the IDs
that a walk has to remember. The CPU is that of the client's process, and the memory what its peak
grows by. The whole table takes hours; ``--keys 10000 100000`` takes a minute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from _costs import chart, scaled, server

SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
MAX_GROWTH: Final = 1.10
"""CPU a key at the largest size, over that at 100,000 keys."""
MAX_MEMORY: Final = {"ids": 64.0, "random": 450.0}
"""MB, at any size."""


def measure(work: str, order: str, keys: int) -> dict[str, Any]:
    """Run one work, and return its row of the table."""
    with server.running() as address:
        url = f"{address}/{keys}-{order}"
        command = [sys.executable, str(Path(scaled.__file__)), work, url, str(keys)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"work": work, "order": order, "keys": keys, **json.loads(done.stdout)}


def find_failures(rows: list[dict[str, Any]]) -> list[str]:
    """Compare the rows with the limits."""
    failures: list[str] = []
    base = {(row["work"], row["order"]): row for row in rows if row["keys"] == 100_000}
    for row in rows:
        name = f"{row['work']}, {row['order']}, {row['keys']:,} keys"
        if row["memory_mb"] > MAX_MEMORY[row["order"]]:
            failures.append(f"{name}: {row['memory_mb']:.0f} MB > {MAX_MEMORY[row['order']]:.0f}")
        small = base.get((row["work"], row["order"]))
        if small is not None and row["keys"] > small["keys"]:
            growth = row["cpu_us_per_key"] / small["cpu_us_per_key"]
            if growth > MAX_GROWTH:
                failures.append(f"{name}: {growth:.2f} times the CPU a key of 100,000 keys")
    return failures


def main() -> int:
    """Measure, print the table, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=SIZES, help="sizes")
    parser.add_argument("--work", nargs="+", choices=scaled.WORKS, default=list(scaled.WORKS))
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--chart", type=Path, help="draw the rows as SVG in this file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'work':20} {'order':7} {'keys':>12} {'CPU us/key':>11} {'wall us/key':>12} {'MB':>7}")
    for work in options.work:
        for order in ("ids",) if work.startswith("create") else ("ids", "random"):
            for keys in sorted(options.keys):
                row = measure(work, order, keys)
                rows.append(row)
                print(
                    f"{work:20} {order:7} {keys:12,} {row['cpu_us_per_key']:11.2f}"
                    f" {row['wall_us_per_key']:12.2f} {row['memory_mb']:7.1f}",
                    flush=True,
                )
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    if options.chart:
        options.chart.write_text(chart.draw(rows), "utf-8")
    failures = find_failures(rows)
    print(*failures or ["all within the limits"], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
