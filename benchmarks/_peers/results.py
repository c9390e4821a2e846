"""From samples to figures: medians, spreads, ratios and limits."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _bench

from .rounds import Samples, Scenario

NAMES = {
    "ours": "junkie_async",
    "bytes": "aiohttp, bytes only (the floor)",
    "semaphore": "aiohttp + json(), concurrent",
    "serial": "aiohttp + json(), one by one",
    "session": "aiohttp + json(), a session per call",
    "httpx": "httpx + json(), one by one",
    "httpx2": "httpx2 + json(), one by one",
    "opc": "openapi-python-client, one by one",
    "ogc": "openapi-generator (asyncio), one by one",
}
_MOST_INSTRUCTIONS = {"serial": 0.65, "opc": 0.20, "ogc": 0.25}


def machine() -> dict[str, Any]:
    """Describe the machine, without anything that identifies its owner."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def summary(samples: Samples) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Return the median, the spread and the ratio to ours of each series."""
    return {
        scenario: {
            metric: {
                client: {
                    "median": statistics.median(series),
                    "min": min(series),
                    "max": max(series),
                    "times_ours": _median_ratio(series, clients["ours"]),
                    "samples": series,
                }
                for client, series in clients.items()
            }
            for metric, clients in metrics.items()
        }
        for scenario, metrics in samples.items()
    }


def _median_ratio(series: list[float], other: list[float]) -> float:
    """Return the median of the rounds' ratios; see `_bench.ratio`."""
    return statistics.median(mine / theirs for mine, theirs in zip(series, other, strict=True))


def figures(samples: Samples) -> list[_bench.Figure]:
    """Compare with the limits, as far as measured."""
    found = []
    walk = samples.get("walk", {}).get("instructions", {})
    for rival, limit in _MOST_INSTRUCTIONS.items():
        if rival in walk:
            name = f"walk, instructions per key, against {NAMES[rival]}"
            found.append(_ratio_figure(name, walk, rival, limit, 1e-3 / 100, "k"))
    for scenario, what in (("walk_50ms", "per page"), ("create_50ms", "per batch")):
        if scenario in samples:
            name = f"{scenario.partition('_')[0]}, 50 ms per request, wall {what}, against bytes"
            found.append(_ratio_figure(name, samples[scenario]["wall"], "bytes", 1.08, 1e3, "ms"))
    memory = (f"memory_{job}" for job in ("walk", "delete_stream"))
    found += [_growth_figure(name, samples[name]) for name in memory if name in samples]
    return found


def _ratio_figure(
    name: str, clients: Mapping[str, list[float]], rival: str, limit: float, scale: float, unit: str
) -> _bench.Figure:
    return _bench.ratio(name, clients["ours"], clients[rival], limit, scale=scale, unit=unit)


def _growth_figure(
    scenario: str, by_amount: Mapping[str, Mapping[str, list[float]]]
) -> _bench.Figure:
    (few, small), (many, large) = by_amount.items()
    ours, other = large["ours"], small["ours"]
    return _bench.Figure(
        name=f"{scenario.removeprefix('memory_')}, growth of the peak",
        ours=f"{statistics.median(ours):.1f} MB at {int(many):,} keys",
        other=f"{statistics.median(other):.1f} MB at {int(few):,} keys",
        value=max(ours) - min(other),
        limit=2.0,
        unit="MB",
        samples={"ours": ours, "other": other},
    )


def table(samples: Samples, wanted: Sequence[Scenario]) -> list[list[str]]:
    """Return all medians and spreads as rows of a table."""
    rows = [["what", "client", "median", "min to max", "x ours"]]
    scales = {"wall": ("wall, ms per ", 1e3), "instructions": ("thousand instructions per ", 1e-3)}
    for scenario in wanted:
        for metric, clients in samples.get(scenario.name, {}).items():
            measure, scale = scales[metric]
            rows += _table_rows(f"{scenario.title}: {measure}{scenario.unit}", clients, scale)
    for scenario_name, metrics in samples.items():
        for metric, clients in metrics.items():
            if scenario_name.startswith("memory_"):
                job = scenario_name.removeprefix("memory_")
                rows += _table_rows(f"{job} of {int(metric):,} keys: peak, MB", clients, 1.0)
            elif scenario_name == "import":
                rows += _table_rows("import: wall, ms", clients, 1e3)
    return rows


def _table_rows(title: str, clients: Mapping[str, list[float]], scale: float) -> list[list[str]]:
    rows = []
    for client, series in clients.items():
        low, middle, high = (f(series) * scale for f in (min, statistics.median, max))
        times = _median_ratio(series, clients["ours"])
        spread = f"{low:,.2f} to {high:,.2f}"
        rows.append([title, NAMES[client], f"{middle:,.2f}", spread, f"{times:.2f}"])
        title = ""
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
