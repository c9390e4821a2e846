"""Draw the table of `scale.py` as an SVG, without a library, in the light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

_WIDTH: Final = 840
_HEIGHT: Final = 480
_PLOT: Final = (60, 90, 315, 290)  # left, top, width and height of the first of two plots
_GAP: Final = 420
_STEPS: Final = 4  # of a scale
_COLOURS: Final = ("#0969da", "#bf3989", "#1a7f37", "#9a6700", "#8250df")
_TITLE: Final = "A key costs as much in a job of millions as in a small one"

_STYLE: Final = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.note { fill: #57606a }
line { stroke: #d0d7de }
polyline { fill: none; stroke-width: 2 }
.random { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  line { stroke: #3d444d }
}
"""


def draw(document: Mapping[str, Any]) -> str:
    """Draw the CPU a key and the memory of each work over the number of keys."""
    rows, machine = document["rows"], document["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}, {machine['date']}"
    works = list(dict.fromkeys((row["work"], row["order"]) for row in rows))
    colours = dict(zip(dict.fromkeys(work for work, _ in works), _COLOURS, strict=False))
    parts = [
        _draw_text(16, 28, _TITLE, "title"),
        _draw_text(16, 50, "Over the number of keys. Dashed: at random. Less is better.", "note"),
    ]
    for number, (field, what) in enumerate(
        (("cpu_us_per_key", "CPU of the client, µs a key"), ("memory_mb", "Memory, MB more"))
    ):
        parts += _draw_plot(rows, field, what, _PLOT[0] + number * _GAP, colours)
    for index, (work, colour) in enumerate(colours.items()):
        left = 16 + 165 * index
        parts.append(f'<rect x="{left}" y="426" width="12" height="12" fill="{colour}"/>')
        parts.append(_draw_text(left + 18, 437, work))
    loads = [sample["load"] for row in rows for sample in row["samples"]]
    load = f"other load {min(loads):.0f} to {max(loads):.0f}"
    parts.append(_draw_text(16, 465, f"One server: {where}, {load}", "note"))
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_TITLE}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>\n"])


def _draw_plot(
    rows: Sequence[dict[str, Any]], field: str, what: str, left: int, colours: dict[str, str]
) -> list[str]:
    _, top, width, height = _PLOT
    sizes = sorted({row["keys"] for row in rows})
    step = _find_step(max(row[field] for row in rows))
    most = _STEPS * step
    first, span = math.log10(sizes[0]), math.log10(sizes[-1]) - math.log10(sizes[0]) or 1.0

    def place(row: dict[str, Any]) -> str:
        right = left + width * (math.log10(row["keys"]) - first) / span
        return f"{right:.1f},{top + height * (1 - row[field] / most):.1f}"

    parts = [_draw_text(left - 44, top - 14, what)]
    for number in range(_STEPS + 1):
        y = top + height * (1 - number / _STEPS)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}"/>')
        parts.append(_draw_text(left - 6, y + 4, f"{step * number:g}", "note", "end"))
    for size in sizes:
        x = left + width * (math.log10(size) - first) / span
        parts.append(_draw_text(x, top + height + 20, f"{size:,}", "note", "middle"))
    for work, order in dict.fromkeys((row["work"], row["order"]) for row in rows):
        mine = [row for row in rows if (row["work"], row["order"]) == (work, order)]
        points = " ".join(place(row) for row in sorted(mine, key=lambda row: row["keys"]))
        parts.append(f'<polyline class="{order}" points="{points}" stroke="{colours[work]}"/>')
    return parts


def _find_step(most: float) -> float:
    """Return a round number, a few of which are as much as the most."""
    power = 10.0 ** math.floor(math.log10(max(most, 0.1) / _STEPS))
    return next(step for n in (1, 2, 2.5, 5, 10) if (step := n * power) * _STEPS >= most)


def _draw_text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
