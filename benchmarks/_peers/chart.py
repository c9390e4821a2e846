"""Draw one comparison as an SVG bar chart, without a library, in the reader's light or dark theme.

It is drawn from the JSON document that is published with it: bars and labels are its medians.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from .results import NAMES

WIDTH, NAME, BAR = 840, 280, 390
ROW, TOP = 26, 76
THOUSANDS_PER_KEY = 1e-3 / 100  # from instructions for a page of 100 keys
_TITLE = "Typed keys cost less than parsed JSON"
_WHAT = "Instructions for each key of a list, in thousands. Less is better."

_STYLE = """
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.note { fill: #57606a }
.ours { font-weight: 600 }
rect { fill: #afb8c1 }
rect.ours { fill: #0969da }
rect.floor { fill: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  rect { fill: #656c76 }
  rect.ours { fill: #4493f8 }
  rect.floor { fill: #3d444d }
}
"""


def draw(document: Mapping[str, Any]) -> str:
    """Draw the instructions of each client for a key: a bar and its label are the same figure."""
    clients = document["results"]["walk"]["instructions"]
    medians = {name: clients[name]["median"] * THOUSANDS_PER_KEY for name in clients}
    medians = dict(sorted(medians.items(), key=lambda item: (item[0] != "ours", item[1])))
    rows = [
        part
        for index, name in enumerate(medians)
        for part in _draw_row(TOP + ROW * index, name, medians)
    ]
    bottom = TOP + ROW * len(medians)
    size = f'viewBox="0 0 {WIDTH} {bottom + 32}" width="{WIDTH}" height="{bottom + 32}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_TITLE}">',
        f"<style>{_STYLE}</style>",
        _draw_text(16, 28, _TITLE, "title"),
        _draw_text(16, 50, _WHAT, "note"),
        *rows,
        _draw_text(16, bottom + 18, _describe_run(document), "note"),
        "</svg>\n",
    ]
    return "\n".join(lines)


def _draw_row(top: int, name: str, medians: Mapping[str, float]) -> list[str]:
    kind = {"ours": "ours", "bytes": "floor"}.get(name, "")
    value, baseline = medians[name], top + ROW / 2 + 1
    width = BAR * value / max(medians.values())
    size = f'width="{width:.1f}" height="{ROW - 8}"'
    times = "" if name == "ours" else f" ({value / medians['ours']:.1f} times)"
    return [
        _draw_text(NAME - 8, baseline, NAMES[name], kind, anchor="end"),
        f'<rect class="{kind}" x="{NAME}" y="{top}" {size} rx="2"/>',
        _draw_text(NAME + width + 8, baseline, f"{value:.1f} k{times}", kind),
    ]


def _describe_run(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    return f"Counted by valgrind on {machine['system']}, {machine['python']}, {machine['date']}"


def _draw_text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'
