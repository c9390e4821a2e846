"""Jobs that are killed at every point where they write or send, and at random times.

``JUNKIE_DURABILITY_RUNS=500``, or ``--durability-runs=500`` with this folder, makes 500 runs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from .job import EARLY, ONCE, POINTS, Forks
from .scenario import Kill, Scenario, play

_FIRST: Final = (*ONCE, *(point for point in POINTS if point not in {*ONCE, *EARLY}))
_FEW: Final = len(_FIRST)  # runs that kill at every point once, whatever else they do


def _scenario(run: int, counts: Counter[str]) -> Scenario:
    """Plan a run: the first ones kill at every point, the others anywhere and at any time."""
    dice = random.Random(f"run {run}")
    if run < _FEW:
        kills: list[Kill] = [(_FIRST[run], 0), (EARLY[run % len(EARLY)], 0)]
    else:
        kills = []
        for _ in range(dice.randint(1, 4)):
            point = dice.choice(POINTS)
            kills.append((point, dice.randrange(counts[point])))
    if run % 2:
        kills.insert(dice.randint(0, len(kills)) if run >= _FEW else 2, dice.uniform(0.02, 1.2))
    return Scenario(seed=run, kills=tuple(kills))


@pytest.fixture(scope="session")
def _counts() -> dict[str, Counter[str]]:
    return {}


@pytest.fixture
async def counts(
    forks: Forks, tmp_path_factory: pytest.TempPathFactory, _counts: dict[str, Counter[str]]
) -> Counter[str]:
    """How often a job that nobody kills comes by each point."""
    if not _counts:
        unharmed = Scenario(seed=0, amount=1000)
        played = await play(unharmed, forks, tmp_path_factory.mktemp("unharmed"))
        assert not played.wrong
        _counts["unharmed"] = played.hits
    return _counts["unharmed"]


async def test_a_job_comes_by_every_point_where_it_can_be_killed(counts: Counter[str]) -> None:
    """No point is misspelt, or gone from the code."""
    assert set(counts) == set(POINTS)


def test_the_runs_of_ci_kill_at_every_point() -> None:
    """Twenty runs are enough for all points there are."""
    assert _FEW <= 20
    plans = [_scenario(run, Counter()).kills for run in range(_FEW)]
    points = {kill[0] for kills in plans for kill in kills if isinstance(kill, tuple)}
    assert points == set(POINTS)


async def test_what_was_asked_for_exactly(
    run: int,
    forks: Forks,
    counts: Counter[str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Killed again and again, a job loses no key, makes none too many, reports none twice."""
    scenario = _scenario(run, counts)
    played = await play(scenario, forks, tmp_path)
    record_property("codes", played.codes)  # for a tally over --junitxml
    record_property("met", sorted(played.met.elements()))
    assert not played.wrong, f"{scenario} {played}"
    if run < _FEW:
        assert played.codes[:2] == [-9, -9], f"{scenario} {played}"


async def test_a_job_that_does_not_wait_breaks_the_promise(forks: Forks, tmp_path: Path) -> None:
    """Without the settle time, what a late call makes is too much."""
    scenario = Scenario(
        seed=1, amount=100, script=("late",), trouble=0.0, late=(5.0, 5.0), reconcile_after=0.0
    )
    played = await play(scenario, forks, tmp_path)
    assert any("keys made, not 100" in wrong for wrong in played.wrong), played


@pytest.mark.parametrize("point", ["after POST /keys/batch", "before INSERT INTO key"])
async def test_a_job_that_does_not_write_first_breaks_the_promise(
    point: str, forks: Forks, tmp_path: Path
) -> None:
    """Without the record of what is about to be sent, the keys of a killed job are lost."""
    scenario = Scenario(
        seed=1,
        amount=100,
        script=(),
        trouble=0.0,
        kills=((point, 0),),
        without_intent=True,
    )
    played = await play(scenario, forks, tmp_path)
    assert any("keys that were not reported" in wrong for wrong in played.wrong), played
    control = Scenario(seed=1, amount=100, script=(), trouble=0.0, kills=((point, 0),))
    (tmp_path / "control").mkdir()
    assert not (await play(control, forks, tmp_path / "control")).wrong
