"""Some hundred seeds of all scenarios. ``python -m tests.simulation --seeds 10000`` runs more."""

from __future__ import annotations

import pytest

from .scenarios import SCENARIOS
from .world import run

_SEEDS = 300
_CHUNK = 10


@pytest.mark.parametrize("first", range(0, _SEEDS, _CHUNK))
def test_seeds(first: int) -> None:
    """Nothing that must hold is violated. Each seed plays one scenario."""
    names = [*SCENARIOS]
    failed = {}
    for seed in range(first, first + _CHUNK):
        name = names[seed % len(names)]
        if violations := run(SCENARIOS[name], seed).violations:
            failed[f"python -m tests.simulation {name} --first {seed} --seeds 1"] = violations
    assert not failed
