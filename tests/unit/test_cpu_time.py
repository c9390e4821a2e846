"""Limits on CPU time can be exceeded, on any machine."""

from __future__ import annotations

import json

import pytest

from ..cpu_time import run_within

DOCUMENT = json.dumps([{"id": 1, "key_value": "a"}] * 20_000)  # 4 ms on the usual machine


def test_limits() -> None:
    """A tenth of what it takes is too little, and ten times as much is enough."""
    assert len(run_within(0.04, lambda: json.loads(DOCUMENT))) == 20_000
    with pytest.raises(AssertionError, match=r"not 0\.0004"):
        run_within(0.0004, lambda: json.loads(DOCUMENT))
