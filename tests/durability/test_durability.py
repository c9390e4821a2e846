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

from .acts import ENDS, FILE_ACTS
from .job import AMID_COMMIT, EARLY, GAVE_UP, ONCE, POINTS, ForkServer
from .scenario import Kill, Scenario, run_intrusion, run_loss, run_scenario, run_takeover
from .server import LIES

_FIRST: Final = (*ONCE, *(point for point in POINTS if point not in {*ONCE, *EARLY}))
_EVERY_POINT: Final = len(_FIRST)  # scenarios that together kill at every point


def _make_scenario(run: int, counts: Counter[str]) -> Scenario:
    """Make a scenario: the first ones kill at every point, the others anywhere, at any time."""
    dice = random.Random(f"run {run}")
    if run < _EVERY_POINT:
        kills: list[Kill] = [(_FIRST[run], 0, "kill"), (EARLY[run % len(EARLY)], 0, "kill")]
        point = ("before COMMIT", "after COMMIT", "before INSERT INTO key")[run % 3]
        kills.append((point, dice.randint(1, 4), ENDS[run % len(ENDS)]))
    else:
        kills = []
        for _ in range(dice.randint(1, 4)):
            point = dice.choice(POINTS)
            act = dice.choice(["kill", *ENDS]) if point in AMID_COMMIT else "kill"
            kills.append((point, dice.randrange(counts[point]), act))
    if run % 2:
        kills.insert(
            dice.randint(0, len(kills)) if run >= _EVERY_POINT else 2, dice.uniform(0.02, 0.5)
        )
    return Scenario(
        seed=run,
        kills=tuple(kills),
        processes=3 if run % 4 == 1 else 1,
        tries_twice=run % 3 == 0,
        # Where a job has to come to a kill point, no lie may end it before.
        lie=[*LIES][run // 2 % len(LIES)] if run % 2 and run >= _EVERY_POINT else None,
    )


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
        ends = [code for code in result.codes if code != GAVE_UP]
        assert ends[:2] == [-9, -9], f"{scenario} {result}"


@pytest.mark.parametrize("lie", ["zero", "rounded down"])
async def test_a_list_that_lies_makes_no_wrong_number(
    lie: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    """A job gives up while totals contradict the keys, and ends exact once they don't."""
    scenario = Scenario(seed=1, amount=200, script=("no response",), trouble=0.0, lie=lie)
    result = await run_scenario(scenario, fork_server, tmp_path)
    assert not result.violations, result


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
        kills=((point, 0, "kill"),),
        without="intents",
    )
    result = await run_scenario(scenario, fork_server, tmp_path)
    assert any("keys that were not reported" in one for one in result.violations), result
    control = Scenario(seed=1, amount=100, script=(), trouble=0.0, kills=((point, 0, "kill"),))
    (tmp_path / "control").mkdir()
    assert not (await run_scenario(control, fork_server, tmp_path / "control")).violations


async def test_a_second_try_leaves_the_lock_to_the_first(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    """After second tries and reads of all files in the first process, a second one is refused."""
    assert not await run_intrusion(fork_server, tmp_path)


async def test_a_posix_lock_lets_a_second_process_in(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    """Whoever closes a descriptor of the lock's file in the first process drops such a lock."""
    assert await run_intrusion(fork_server, tmp_path, without="lock")


@pytest.mark.parametrize("seed", range(3))
async def test_a_process_that_lost_its_lock_stops(
    seed: int, fork_server: ForkServer, tmp_path: Path
) -> None:
    """It writes nothing after another one has read the ledger, so that one ends exact."""
    assert not await run_takeover(fork_server, tmp_path, seed)


_LOSSES: Final = (("before COMMIT", 3), ("after POST /keys/batch", 5), ("yielded", 2))


@pytest.mark.parametrize("act", FILE_ACTS)
async def test_a_lost_ledger_loses_no_key(
    act: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    """The job ends early, and its report has all keys that were created."""
    at = _LOSSES[[*FILE_ACTS].index(act) % len(_LOSSES)]
    assert not await run_loss(act, at, fork_server, tmp_path)


@pytest.mark.parametrize("act", ["unlink", "replace"])
async def test_a_job_that_believes_its_paths_loses_keys(
    act: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    """It creates all keys, and their record is gone."""
    assert await run_loss(act, _LOSSES[0], fork_server, tmp_path, without="names")


async def test_a_commit_that_catches_exceptions_only_loses_keys(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    """The next commit leaves a gap behind it."""
    for without in (None, "commits"):
        folder = tmp_path / str(without)
        folder.mkdir()
        scenario = Scenario(
            seed=1,
            amount=1000,
            script=(),
            trouble=0.0,
            kills=(("before BEGIN IMMEDIATE", 2, "break"),),
            without=without,
        )
        result = await run_scenario(scenario, fork_server, folder)
        assert bool(result.violations) is (without is not None), result
        assert without or result.codes[0] == GAVE_UP
