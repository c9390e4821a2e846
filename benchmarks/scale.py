"""What a key costs as jobs grow: CPU and memory from 10,000 to 10,000,000 keys.

    pip install ".[postgres,test]"
    python benchmarks/scale.py [--keys N ...] [--work NAME ...] [--json FILE] [--chart FILE]

Each work runs in a process of its own against a server of canned responses in another one: a walk,
a purge, an export to CSV, and a durable create with its ledger in SQLite or PostgreSQL. Lists come
in the order of their IDs, as from the service, or at random, which is the worst case for the IDs
that a walk has to remember. The CPU is that of the client's process, and the memory what its peak
grows by. The whole table takes hours; ``--keys 10000 100000`` takes a minute. So samples are added
to those that the file has, and ``--add`` takes those of other files. Other load makes a key dearer,
so on a busy machine samples of 100,000 keys are taken while ten million run. Of several samples the
median of the CPU counts, and the most memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeAlias

from _costs import chart, scaled, server
from _peers import results

PLACE: Final = ("work", "order", "keys")
SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
BASE: Final = 100_000
MAX_GROWTH: Final = 1.10
"""CPU a key at the largest size, over that at 100,000 keys."""
MAX_MEMORY: Final = {"ids": 64.0, "random": 450.0}
"""MB, at any size."""

Row: TypeAlias = dict[str, Any]


def measure(work: str, order: str, keys: int) -> Row:
    """Run one work, and return what it took."""
    load = os.getloadavg()[0]
    with server.running() as address:
        url = f"{address}/{keys}-{order}"
        command = [sys.executable, str(Path(scaled.__file__)), work, url, str(keys)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken = {name: round(value, 3) for name, value in json.loads(done.stdout).items()}
    return {**taken, "load": round(load, 1), "commit": find_commit()}


def find_commit() -> str:
    """Return the commit that is measured."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()


def add_samples(rows: list[Row], place: Row, samples: list[Row]) -> None:
    """Add samples to the row of their work, order and keys."""
    row = next((row for row in rows if place.items() <= row.items()), None)
    if row is None:
        row = {**place, "samples": []}
        rows.append(row)
        works = list(scaled.WORKS)
        rows.sort(key=lambda row: (works.index(row["work"]), row["order"], row["keys"]))
    row["samples"] += samples
    for name in ("cpu_us_per_key", "wall_us_per_key"):
        row[name] = round(statistics.median(sample[name] for sample in row["samples"]), 3)
    row["memory_mb"] = max(sample["memory_mb"] for sample in row["samples"])


def find_failures(rows: list[Row]) -> list[str]:
    """Compare the rows with the limits."""
    failures: list[str] = []
    base = {(row["work"], row["order"]): row for row in rows if row["keys"] == BASE}
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


def find_versions() -> dict[str, str]:
    """Return the versions of what runs in the client's process."""
    names = ("junkie_async", "aiohttp", "attrs", "msgspec", "asyncpg")
    return {name: metadata.version(name) for name in names} | {"sqlite": sqlite3.sqlite_version}


def say(work: str, order: str, keys: int, row: Row) -> None:
    """Print a row of the table."""
    print(
        f"{work:20} {order:7} {keys:12,} {row['cpu_us_per_key']:11.2f}"
        f" {row['wall_us_per_key']:12.2f} {row['memory_mb']:7.1f}",
        flush=True,
    )


def save(document: dict[str, Any], path: Path | None) -> None:
    """Write the table, if it is to be kept."""
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def main() -> int:
    """Measure, print the table, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="*", default=SIZES, help="sizes")
    parser.add_argument("--work", nargs="+", choices=scaled.WORKS, default=list(scaled.WORKS))
    parser.add_argument("--order", nargs="+", choices=MAX_MEMORY, default=list(MAX_MEMORY))
    parser.add_argument("--json", type=Path, help="add the samples to this file")
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="add the samples of these")
    parser.add_argument("--chart", type=Path, help="draw all rows of the file as SVG in this one")
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": results.machine(), "versions": find_versions()}
    if options.json and options.json.exists():
        document = json.loads(options.json.read_text("utf-8"))
    rows: list[Row] = document.setdefault("rows", [])
    for path in options.add:
        for row in json.loads(path.read_text("utf-8"))["rows"]:
            add_samples(rows, {name: row[name] for name in PLACE}, row["samples"])
    print(f"{'work':20} {'order':7} {'keys':>12} {'CPU us/key':>11} {'wall us/key':>12} {'MB':>7}")
    for work in options.work:
        for order in ("ids",) if work.startswith("create") else options.order:
            for keys in sorted(options.keys):
                sample = measure(work, order, keys)
                add_samples(rows, dict(zip(PLACE, (work, order, keys), strict=True)), [sample])
                say(work, order, keys, sample)
                document |= {"machine": results.machine(), "versions": find_versions()}
                save(document, options.json)
    save(document, options.json)
    print()
    for row in rows:
        say(row["work"], row["order"], row["keys"], row)
    if options.chart:
        options.chart.write_text(chart.draw(document), "utf-8")
    failures = find_failures(rows)
    print(*failures or ["all within the limits"], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
