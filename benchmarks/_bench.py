"""Shared by the benchmarks: a server process, alternating rounds, limits, and the report.

The server is the package's emulator, on loopback. It runs in its own process, so that its CPU is
not counted as the client's, and it exits with the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

API_KEY = "benchmark"
PROVIDER = 42
HEADERS = {"Authorization": f"Bearer {API_KEY}"}


@dataclass(frozen=True)
class Figure:
    """One measured figure and its limit.

    Attributes:
        name: What was measured.
        ours: The client's figure, as shown.
        other: The figure it is compared with, as shown.
        value: The ratio or difference that the limit applies to.
        limit: The maximum for `value`.
        unit: The unit of `value` and `limit`.
        samples: All measurements: "ours" and "other".
    """

    name: str
    ours: str
    other: str
    value: float
    limit: float
    unit: str
    samples: dict[str, list[float]]

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit


def ratio(
    name: str, ours: list[float], other: list[float], limit: float, *, scale: float = 1.0, unit: str
) -> Figure:
    """Compare two series, round by round: the value is the median of the rounds' ratios.

    A machine's speed changes in phases longer than a round. The two samples of one round are
    therefore more comparable than the two medians, which are only shown.

    Args:
        name: What was measured.
        ours: The client's samples, one per round.
        other: The samples they are compared with.
        limit: The maximum ratio of ours to the other.
        scale: The factor from samples to shown figures.
        unit: The unit of the shown figures.
    """

    def show(samples: list[float]) -> str:
        low, middle, high = (f(samples) * scale for f in (min, statistics.median, max))
        return f"{middle:.3f} {unit} ({low:.3f} to {high:.3f})"

    value = statistics.median(mine / theirs for mine, theirs in zip(ours, other, strict=True))
    samples = {"ours": ours, "other": other}
    return Figure(name, show(ours), show(other), value, limit, "x", samples)


def alternate(
    rounds: int, ours: Callable[[], float], other: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Measure two things in turn, each first in every other round, so that noise affects both."""
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        pair = [(ours, samples[0]), (other, samples[1])]
        for measure, into in pair if number % 2 == 0 else reversed(pair):
            gc.collect()
            into.append(measure())
    return samples


def timed(job: Callable[[], Awaitable[None]], clock: Callable[[], float]) -> float:
    """Time a job in a new event loop, without the loop's start and shutdown."""

    async def run() -> float:
        begin = clock()
        await job()
        return clock() - begin

    return asyncio.run(run())


def count_instructions(
    command: Sequence[str],
    *,
    input: str | None = None,  # noqa: A002 - as `subprocess.run` has it
    cwd: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Return the instructions of a process, counted by valgrind.

    Exits with what the process printed if it failed.
    """
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not on PATH, and it counts the instructions: install it first")
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        check=False,
        capture_output=True,
        text=True,
        input=input,
        cwd=cwd,
        # A seed of hashes, and no files: both would change the count from run to run.
        env={**environment, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"the counted process failed: {' '.join(command)}\n{done.stderr[-2000:]}")
    return int(found[1])


@contextlib.contextmanager
def server(*, keys: int = 0, latency: float = 0.0) -> Iterator[str]:
    """Run an emulator in another process and yield its base URL.

    Args:
        keys: The number of seeded keys; their IDs start at 1.
        latency: The minimum time of a response, in seconds.
    """
    command = [sys.executable, __file__, str(keys), str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("the server process did not start; see its message above")
            yield url
        finally:
            process.stdin.close()  # the server exits at the end of its input


async def _serve(keys: int, latency: float) -> None:
    from junkie_async.emulator import Emulator

    expiry = datetime.now(UTC) + timedelta(days=30)
    async with Emulator(latency=latency) as emulator:
        # Keys as a shop has them: with an expiry and an owner, every second one bound to a device.
        await emulator.seed(
            keys,
            provider_id=PROVIDER,
            service_id=7,
            validity_minutes=43_200,
            expires_at=expiry,
            discord_id=lambda index: str(10**17 + index),
            hwid_limit=1,
            hwids=lambda index: [f"{index:064x}"] if index % 2 else [],
        )
        print(emulator.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def arguments(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    first = (documentation or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=first)
    parser.add_argument(
        "--quick", action="store_true", help="a small run that only checks that it works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    return parser


def report(title: str, figures: Sequence[Figure], file: Path | None) -> int:
    """Print the figures, and write them to a file if one is given.

    Returns:
        The exit code: 1 if a limit is exceeded.
    """
    machine = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "aiohttp": aiohttp.__version__,
    }
    print(f"{title}\n{', '.join(f'{name} {value}' for name, value in machine.items())}\n")
    rows = [("figure", "ours", "compared with", "result", "limit", "")]
    rows += [
        (
            figure.name,
            figure.ours,
            figure.other,
            f"{figure.value:.2f} {figure.unit}",
            f"{figure.limit:.2f} {figure.unit}",
            "pass" if figure.passed else "FAIL",
        )
        for figure in figures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    if file is not None:
        results = [asdict(figure) | {"passed": figure.passed} for figure in figures]
        document = {"title": title, "machine": machine, "figures": results}
        file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
