"""Draw the results as an SVG bar chart, without a library, in the reader's light or dark theme."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from .results import NAMES
from .rounds import Samples

WIDTH, NAME, BAR = 840, 280, 390
ROW, GAP, TOP = 20, 34, 62
_TITLE = "junkie_async and its peers"

_STYLE = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.head { font-size: 13px; font-weight: 600 }
.note { fill: #57606a }
.ours { font-weight: 600 }
rect { fill: #afb8c1 }
rect.ours { fill: #0969da }
rect.floor { fill: #d0d7de }
line { stroke: #57606a; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  rect { fill: #656c76 }
  rect.ours { fill: #4493f8 }
  rect.floor { fill: #3d444d }
  line { stroke: #9198a1 }
}
"""

_PANELS: tuple[tuple[str, str, str, float, str], ...] = (
    ("walk", "loop", "Walk: CPU of the event loop, per key", 1e6 / 100, "µs"),
    ("walk_50ms", "wall", "Walk at 50 ms per request: time per page of 100 keys", 1e3, "ms"),
    ("create", "loop", "Batch create: CPU of the event loop, per call of 100 keys", 1e6, "µs"),
    (
        "create_50ms",
        "wall",
        "Batch create at 50 ms per request: time per call of 100 keys",
        1e3,
        "ms",
    ),
    ("delete", "loop", "Bulk delete: CPU of the event loop, per call of 1,000 keys", 1e6, "µs"),
    ("memory_walk", "1000000", "Walk of 1,000,000 keys: peak memory", 1.0, "MB"),
    ("import", "wall", "Import", 1e3, "ms"),
)


def draw(
    samples: Samples,
    machine: Mapping[str, Any],
    versions: Mapping[str, Mapping[str, str]],
) -> str:
    """Draw a panel for each measured comparison.

    A bar is the median; the line across its end is the range.
    """
    parts: list[str] = []
    y = TOP
    for scenario, metric, title, scale, unit in _PANELS:
        clients = samples.get(scenario, {}).get(metric, {})
        if clients:
            rounds = max(map(len, clients.values()))
            head = f"{title} ({unit}, less is better; median of {rounds})"
            parts += _draw_panel(y, head, clients, scale, unit)
            y += GAP + ROW * len(clients)
    notes = _describe_run(machine, versions)
    for index, note in enumerate(notes):
        parts.append(_draw_text(16, y + 4 + 17 * index, note, "note"))
    height = y + 17 * len(notes) + 4
    how = "one server, alternating rounds; a bar is the median, a line is the range"
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_TITLE}">',
        f"<style>{_STYLE}</style>",
        _draw_text(16, 26, _TITLE, "title"),
        _draw_text(16, 44, how, "note"),
        *parts,
        "</svg>\n",
    ]
    return "\n".join(lines)


def _draw_panel(
    y: int, title: str, clients: Mapping[str, list[float]], scale: float, unit: str
) -> list[str]:
    parts = [_draw_text(16, y + 12, title, "head")]
    widest = max(max(series) for series in clients.values()) * scale
    for index, (client, series) in enumerate(clients.items()):
        top = y + 20 + ROW * index
        low, middle, high = (f(series) * scale for f in (min, statistics.median, max))
        kind = {"ours": "ours", "bytes": "floor"}.get(client, "")
        start, end, tip = (NAME + BAR * value / widest for value in (low, middle, high))
        centre = top + ROW / 2 - 2
        shown = f"{middle:,.1f} {unit}" if middle < 100 else f"{middle:,.0f} {unit}"
        times = statistics.median(
            theirs / ours for theirs, ours in zip(series, clients["ours"], strict=True)
        )
        beside = "" if client == "ours" else f" ({times:.2f} x ours)"
        size = f'width="{end - NAME:.1f}" height="{ROW - 5}"'
        parts += [
            _draw_text(NAME - 8, centre + 4, NAMES[client], kind, anchor="end"),
            f'<rect class="{kind}" x="{NAME}" y="{top}" {size} rx="2"/>',
            f'<line x1="{start:.1f}" y1="{centre}" x2="{tip:.1f}" y2="{centre}"/>',
            _draw_text(max(tip, end) + 8, centre + 4, shown + beside, kind),
        ]
    return parts


def _describe_run(
    machine: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Describe the machine and the versions."""
    found: dict[str, str] = {}
    for packages in versions.values():
        found = dict(packages) | found
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['python']}"
    with_ = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
    return [f"{machine['date']}: {where}", *textwrap.wrap(with_, 120, break_on_hyphens=False)]


def _draw_text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'
