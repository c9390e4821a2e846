"""Scenarios: a job, when its processes are killed, and the check of the result."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from junkie_async import ConfigurationError, provisioning

from .job import ChildOptions, ForkServer
from .server import LATE, RECONCILE_AFTER, Service

Kill: TypeAlias = tuple[str, int] | float
"""A kill point and which pass of it kills; or seconds until the parent kills."""

SCRIPT: Final = ("healthy", "twice", "partly created", "late", "fewer", "no response")
"""How the service treats the first calls of every job, so that it soon passes all kill points."""

_MAX_STARTS: Final = 12  # after the last kill: a job that gave up is started again


@attrs.frozen(kw_only=True)
class Scenario:
    """One run of the suite.

    Attributes:
        seed: The seed of the service's faults and of the job's size.
        kills: How the first processes are killed, one each; the later ones run to the end.
        reconcile_after: Seconds between an unknown outcome and the walk that reconciles it.
        amount: Keys requested; a random number when None.
        script: How the service treats the first calls; `SCRIPT` in random order when None.
        trouble: The probability that a later call meets a fault.
        late: Seconds after which late calls are executed: minimum and maximum.
        without_intent: Whether intents are kept in memory only.
    """

    seed: int
    kills: tuple[Kill, ...] = ()
    reconcile_after: float = RECONCILE_AFTER
    amount: int | None = None
    script: tuple[str, ...] | None = None
    trouble: float = 0.25
    late: tuple[float, float] = LATE
    without_intent: bool = False


@attrs.frozen(kw_only=True)
class ScenarioResult:
    """The result of a scenario.

    Attributes:
        codes: The processes' exit statuses, or -signals.
        hits: How often the last process passed each kill point.
        faults: How often the service used each of its `FAULTS`.
        violations: How the promise was broken; empty when it was kept.
    """

    codes: list[int]
    hits: Counter[str]
    faults: Counter[str]
    violations: list[str]


async def run_scenario(scenario: Scenario, fork_server: ForkServer, folder: Path) -> ScenarioResult:
    """Run a job until it ends without an error, and kill its first processes."""
    dice = random.Random(f"job {scenario.seed}")
    script = list(SCRIPT if scenario.script is None else scenario.script)
    if scenario.script is None:
        dice.shuffle(script)
    amount = scenario.amount or dice.randint(601, 1500)  # more calls than the script is long
    async with Service(
        scenario.seed,
        script=script,
        trouble=scenario.trouble,
        newest_first=dice.random() < 0.5,
        late=scenario.late,
        foreign=dice.choice([0, 1, 150, 300]) if scenario.trouble else 3,
    ) as service:
        options = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=amount,
            concurrency=dice.randint(1, 6),
            reconcile_after=scenario.reconcile_after,
            without_intent=scenario.without_intent,
        )
        codes = [await fork_server.run(_with_kill(options, kill)) for kill in scenario.kills]
        violations = [] if 0 in codes or not codes else _check_status(folder)
        for _ in range(_MAX_STARTS):
            (folder / "output").unlink(missing_ok=True)
            codes.append(await fork_server.run(options))
            if codes[-1] != 3:
                break
        service.catch_up()
        violations += _check_result(service, folder, amount, codes)
    hits = json.loads((folder / "hits").read_text()) if codes[-1] == 0 else {}
    return ScenarioResult(
        codes=codes, hits=Counter(hits), faults=service.faults, violations=violations
    )


def _with_kill(options: ChildOptions, kill: Kill) -> ChildOptions:
    if isinstance(kill, tuple):
        return attrs.evolve(options, kill_at=kill)
    return attrs.evolve(options, kill_after=kill)


def _check_status(folder: Path) -> list[str]:
    """Read the ledger of a killed job, unless it was killed before the schema was there."""
    path = folder / "ledger.db"
    try:
        provisioning.status(path)
    except ConfigurationError as error:
        if path.exists() and _has_tables(path):
            return [f"its status can't be read: {error}"]
    return []


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def _check_result(service: Service, folder: Path, amount: int, codes: list[int]) -> list[str]:
    """Compare the keys that the job has yielded with those of the service."""
    violations = list(service.violations)
    violations += [f"a process ended with {code}" for code in codes if code not in (0, 3, -9)]
    if codes[-1] != 0:
        return [*violations, f"the job did not end: {codes}"]
    output: list[str] = json.loads((folder / "output").read_text())
    yielded = set((folder / "yielded").read_text().split())
    existing = set(service.values())
    sets = {
        "lost: the service has keys that were not reported": existing - set(output),
        "reported keys that the service does not have": set(output) - existing,
        "keys that an earlier run yielded are gone": yielded - existing,
    }
    violations += [f"{what}: {len(values)}" for what, values in sets.items() if values]
    counts = {"made": len(service.values()), "reported": len(output), "distinct": len({*output})}
    violations += [f"{n} keys {how}, not {amount}" for how, n in counts.items() if n != amount]
    status = provisioning.status(folder / "ledger.db")
    if not status.done or status.open or status.created != amount:
        violations.append(f"its status is {status}")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob("ledger*")}
    violations += [f"{name} has mode {mode}" for name, mode in modes.items() if mode != "0o600"]
    return violations
