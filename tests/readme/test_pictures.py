"""README.md's picture of the comparison shows the figures that are published with it."""

from __future__ import annotations

import importlib
import json
import re

import pytest

from .document import ROOT

DRAWN = (ROOT / ".readme" / "peers.svg").read_text("utf-8")
FIGURES = json.loads((ROOT / "benchmarks" / "peers.json").read_text("utf-8"))


def test_the_comparison_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python benchmarks/peers.py --redraw benchmarks/peers.json --svg .readme/peers.svg` draws it.

    Nobody scrolls through a picture: it is at most 500 px tall.
    """
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    assert importlib.import_module("_peers.chart").draw(FIGURES) == DRAWN
    assert int(re.findall(r'height="(\d+)"', DRAWN)[0]) <= 500


def test_bars_and_labels_say_the_same() -> None:
    """Each bar is as long as the number beside it."""
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', DRAWN)]
    labels = [float(label) for label in re.findall(r">([\d.]+) k", DRAWN)]
    medians = [client["median"] for client in FIGURES["results"]["walk"]["instructions"].values()]
    assert len(widths) == len(labels) == len(medians)
    scale = max(widths) / max(labels)
    assert widths == pytest.approx([label * scale for label in labels], abs=0.1 * scale)
