"""Some hundred seeds of all scenarios, and the bugs that they find.

``python -m tests.simulation --seeds 10000`` runs more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .bugs import BUGS

_ROOT = Path(__file__).parents[2]
_SEEDS = 300
_CHUNK = 75


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own: what crashed processes leave ends with it."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, _SEEDS, _CHUNK))
def test_seeds(first: int) -> None:
    """Nothing that must hold is violated. Each seed plays one scenario."""
    numbers = ["--first", str(first), "--seeds", str(_CHUNK)]
    ended = run_module("tests.simulation", "--in-turn", *numbers)
    assert not ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted({bug.scenario for bug in BUGS}))
def test_bugs(scenario: str) -> None:
    """Each of the seeded bugs is found by its seed, which finds nothing without it."""
    ended = run_module("tests.simulation.bugs", scenario, "--recorded")
    assert not ended.returncode, ended.stdout + ended.stderr
