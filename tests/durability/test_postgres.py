"""Jobs with a ledger in PostgreSQL, run by several workers that are killed, stopped or cut off.

``JUNKIE_DURABILITY_RUNS=200``, or ``--durability-runs=200`` with this folder, runs 200 scenarios.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.postgres_server import PostgresServer

from .job import LEASE, ForkServer
from .postgres_scenario import WorkersScenario, make_scenario, measure_takeover, run_workers
from .server import RECONCILE_AFTER


async def test_exactly_the_requested_keys(
    run: int, fork_server: ForkServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Workers that are killed, stopped and cut off make exactly the keys that all report."""
    scenario = make_scenario(run)
    violations = await run_workers(scenario, fork_server, postgres_server, tmp_path)
    assert not violations, scenario


_STOPPED: Final = WorkersScenario(seed=1, acts=(), amount=1000, script=(), trouble=0.0, waits=True)
_SENDS: Final = attrs.evolve(_STOPPED, acts=(("before POST /keys/batch", 2, "stop"), None))
# One call at a time: no other one finds out, before the write, that the lease has ended.
_LOGS: Final = attrs.evolve(
    _STOPPED, acts=(("after POST /keys/batch", 2, "stop"), None), concurrency=1
)
_DELETES: Final = attrs.evolve(
    _STOPPED,
    acts=(("before POST /keys/bulk-delete", 0, "stop"), None),
    amount=100,
    script=("twice",),
)


@pytest.mark.parametrize(
    ("without", "stopped", "violation"),
    [
        ("check", _SENDS, "keys made"),
        ("check", _DELETES, "has deleted"),
        ("epoch", _LOGS, "keys made"),
    ],
)
async def test_a_worker_that_was_stopped_needs_its_guards(
    without: str,
    stopped: WorkersScenario,
    violation: str,
    fork_server: ForkServer,
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> None:
    """Without the check before each send, or the epoch, a worker acts after the job's end."""
    for guard in (None, without):
        folder = tmp_path / str(guard)
        folder.mkdir()
        scenario = attrs.evolve(stopped, without=guard)
        violations = await run_workers(scenario, fork_server, postgres_server, folder)
        assert bool(violations) is bool(guard), violations
        assert any(violation in one for one in violations) is bool(guard), violations


@pytest.mark.parametrize(
    ("act", "point"),
    [
        ("kill", "after POST /keys/batch"),
        ("stop", "before POST /keys/batch"),
        ("stop", "after _write"),
    ],
)
async def test_another_worker_takes_over_when_the_lease_ends(
    act: str,
    point: str,
    fork_server: ForkServer,
    postgres_server: PostgresServer,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Not earlier, and soon after, even if the worker is stopped amid a transaction."""
    seconds = await measure_takeover(fork_server, postgres_server, tmp_path, act, point)
    record_property("seconds", seconds)
    assert LEASE * 0.5 < seconds < LEASE + RECONCILE_AFTER + 1.5
