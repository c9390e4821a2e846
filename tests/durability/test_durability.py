"""Jobs that are killed wherever they write or send, and at random times.

``JUNKIE_DURABILITY_RUNS=500``, or ``--durability-runs=500`` with this folder, runs 500 scenarios.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from .job import EARLY, ONCE, POINTS, ForkServer
from .scenario import Kill, Scenario, run_scenario

_FIRST: Final = (*ONCE, *(point for point in POINTS if point not in {*ONCE, *EARLY}))
_EVERY_POINT: Final = len(_FIRST)  # scenarios that together kill at every point


def _make_scenario(run: int, counts: Counter[str]) -> Scenario:
    """Make a scenario: the first ones kill at every point, the others anywhere, at any time."""
    dice = random.Random(f"run {run}")
    if run < _EVERY_POINT:
        kills: list[Kill] = [(_FIRST[run], 0), (EARLY[run % len(EARLY)], 0)]
    else:
        kills = []
        for _ in range(dice.randint(1, 4)):
            point = dice.choice(POINTS)
            kills.append((point, dice.randrange(counts[point])))
    if run % 2:
        kills.insert(
            dice.randint(0, len(kills)) if run >= _EVERY_POINT else 2, dice.uniform(0.02, 0.5)
        )
    return Scenario(seed=run, kills=tuple(kills))


@pytest.fixture(scope="session")
def _counts() -> dict[str, Counter[str]]:
    return {}


@pytest.fixture
async def counts(
    fork_server: ForkServer, tmp_path: Path, _counts: dict[str, Counter[str]]
) -> Counter[str]:
    """Count how often a job that is not killed passes each kill point."""
    if not _counts:
        (tmp_path / "undisturbed").mkdir()
        scenario = Scenario(seed=0, amount=1000)
        result = await run_scenario(scenario, fork_server, tmp_path / "undisturbed")
        assert not result.violations
        _counts["undisturbed"] = result.hits
    return _counts["undisturbed"]


async def test_a_job_passes_every_kill_point(counts: Counter[str]) -> None:
    """No kill point is misspelt, or missing from the code."""
    assert set(counts) == set(POINTS)


def test_the_default_scenarios_kill_at_every_point() -> None:
    """Twenty scenarios are enough for all kill points."""
    assert _EVERY_POINT <= 20
    plans = [_make_scenario(run, Counter()).kills for run in range(_EVERY_POINT)]
    points = {kill[0] for kills in plans for kill in kills if isinstance(kill, tuple)}
    assert points == set(POINTS)


async def test_exactly_the_requested_keys(
    run: int,
    fork_server: ForkServer,
    counts: Counter[str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """A job that is killed repeatedly loses no key, keeps no surplus, and reports none twice."""
    scenario = _make_scenario(run, counts)
    result = await run_scenario(scenario, fork_server, tmp_path)
    record_property("codes", result.codes)  # for a tally over --junitxml
    record_property("faults", sorted(result.faults.elements()))
    assert not result.violations, f"{scenario} {result}"
    if run < _EVERY_POINT:
        assert result.codes[:2] == [-9, -9], f"{scenario} {result}"


async def test_a_job_without_reconcile_after_keeps_surplus_keys(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    """Without the delay, the keys of a late call are surplus."""
    scenario = Scenario(
        seed=1, amount=100, script=("late",), trouble=0.0, late=(5.0, 5.0), reconcile_after=0.0
    )
    result = await run_scenario(scenario, fork_server, tmp_path)
    assert any("keys made, not 100" in one for one in result.violations), result


@pytest.mark.parametrize("point", ["after POST /keys/batch", "before INSERT INTO key"])
async def test_a_job_that_sends_before_it_logs_loses_keys(
    point: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    """Without logged intents, the keys of a killed job are lost."""
    scenario = Scenario(
        seed=1,
        amount=100,
        script=(),
        trouble=0.0,
        kills=((point, 0),),
        without_intent=True,
    )
    result = await run_scenario(scenario, fork_server, tmp_path)
    assert any("keys that were not reported" in one for one in result.violations), result
    control = Scenario(seed=1, amount=100, script=(), trouble=0.0, kills=((point, 0),))
    (tmp_path / "control").mkdir()
    assert not (await run_scenario(control, fork_server, tmp_path / "control")).violations
