"""Scenarios: a job, when its processes are killed, and the check of the result."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from junkie_async import ConfigurationError, provisioning

from .job import DONE, ENDED, GAVE_UP, REFUSED, ChildOptions, ForkServer
from .server import LATE, RECONCILE_AFTER, Service

Kill: TypeAlias = tuple[str, int, str] | float
"""A kill point, which pass of it acts, and the act; or seconds until the parent kills."""

SCRIPT: Final = ("healthy", "twice", "partly created", "late", "fewer", "no response")
"""How the service treats the first calls of every job, so that it soon passes all kill points."""

_MAX_STARTS: Final = 12  # a job that gave up is started again


@attrs.frozen(kw_only=True)
class Scenario:
    """One run of the suite.

    Attributes:
        seed: The seed of the service's faults and of the job's size.
        kills: How the first processes end, one each; the later ones run to the end.
        processes: How many processes run to the end at once.
        tries_twice: Whether each process tries a second job, and reads the ledger's files.
        reconcile_after: Seconds between an unknown outcome and the walk that reconciles it.
        amount: Keys requested; a random number when None.
        script: How the service treats the first calls; `SCRIPT` in random order when None.
        trouble: The probability that a later call meets a fault.
        late: Seconds after which late calls are executed: minimum and maximum.
        lie: How the list's pages lie at first, one of `LIES`; or None.
        without: A guard that is removed.
    """

    seed: int
    kills: tuple[Kill, ...] = ()
    processes: int = 1
    tries_twice: bool = False
    reconcile_after: float = RECONCILE_AFTER
    amount: int | None = None
    script: tuple[str, ...] | None = None
    trouble: float = 0.25
    late: tuple[float, float] = LATE
    lie: str | None = None
    without: str | None = None


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
        lie=scenario.lie,
    ) as service:
        options = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=amount,
            concurrency=dice.randint(1, 6),
            reconcile_after=scenario.reconcile_after,
            tries_twice=scenario.tries_twice,
            without=scenario.without,
        )
        options.ledger.parent.mkdir()
        codes: list[int] = []
        violations: list[str] = []
        for kill in scenario.kills:
            codes += await fork_server.run(_with_kill(options, kill))
            # A job may give up before it comes to where it is to be killed; with a lie, each time.
            is_due = isinstance(kill, tuple) and kill[-1] == "kill" and not scenario.lie
            while is_due and codes[-1] == GAVE_UP and len(codes) < _MAX_STARTS:
                codes += await fork_server.run(_with_kill(options, kill))
            if codes[-1] == DONE:
                violations += _check_end(options.ledger, amount)
        if codes and DONE not in codes:
            violations += _check_status(options.ledger)
        children = [
            attrs.evolve(options, number=number, is_patient=True)
            for number in range(scenario.processes)
        ]
        for _ in range(_MAX_STARTS):
            _remove_output(folder)
            codes += await fork_server.run(*children)
            service.lie = (
                None  # a job that can't believe the list gives up until it tells the truth
            )
            if GAVE_UP not in codes[-len(children) :]:
                break
        service.catch_up()
        violations += _check_result(service, options, codes)
    hits = json.loads((folder / "hits").read_text()) if codes[-1] == DONE else {}
    return ScenarioResult(
        codes=codes, hits=Counter(hits), faults=service.faults, violations=violations
    )


async def run_intrusion(
    fork_server: ForkServer, folder: Path, *, without: str | None = None
) -> list[str]:
    """Start a second process while a first one, which has tried a second job, waits for it."""
    (folder / "ledger").mkdir()
    async with Service(seed=1, late=LATE) as service:
        first = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=1000,
            reconcile_after=RECONCILE_AFTER,
            without=without,
            tries_twice=True,
            waits_for="intruded",
        )
        second = attrs.evolve(first, tries_twice=False, waits_for="tried", intrudes=True, number=1)
        codes = await fork_server.run(first, second)
        violations = [f"the second process ended with {codes[1]}"] if codes[1] != REFUSED else []
        return violations + _check_result(service, first, codes[:1])


async def run_loss(
    act: str,
    at: tuple[str, int],
    fork_server: ForkServer,
    folder: Path,
    *,
    without: str | None = None,
) -> list[str]:
    """Run a job whose ledger gets lost: the error's report has all keys."""
    (folder / "ledger").mkdir()
    async with Service(seed=1) as service:
        options = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=6000,
            concurrency=2,
            reconcile_after=RECONCILE_AFTER,
            act_at=at,
            act=act,
            without=without,
        )
        codes = await fork_server.run(options)
        existing = service.values()
        if codes != [GAVE_UP]:
            return [f"{len(existing)} keys of a lost ledger are not reported: {codes}"]
        violations = _check_report(folder, existing)
        if act == "move":
            options.ledger.parent.rmdir()
            (folder / "moved").rename(options.ledger.parent)
        if act in ("move", "unlink .lock"):
            codes += await fork_server.run(attrs.evolve(options, act_at=None))
            violations += _check_result(service, options, codes)
    return violations


async def run_takeover(
    fork_server: ForkServer, folder: Path, seed: int, *, without: str | None = None
) -> list[str]:
    """Delete the lock's file while a second process waits for the lock."""
    (folder / "ledger").mkdir()
    async with Service(seed=seed) as service:
        first = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=3000,
            reconcile_after=RECONCILE_AFTER,
            act_at=("yielded", 2 + 3 * seed),
            act="unlink .lock",
            without=without,
            tries_twice=True,
            waits_for="begun1",
        )
        second = attrs.evolve(
            first, act_at=None, is_patient=True, number=1, tries_twice=False, waits_for="begun0"
        )
        codes = await fork_server.run(first, second)
        violations = [f"the first process ended with {codes[0]}"] if codes[0] != GAVE_UP else []
        return violations + _check_result(service, first, codes[1:])


def _check_report(folder: Path, existing: list[str]) -> list[str]:
    """Compare the report of a job that had to end early with the keys of the service."""
    report = json.loads((folder / "report").read_text())
    violations = []
    if sorted(report["keys"]) != sorted(existing):
        violations.append(f"{len(existing)} keys made, {len(report['keys'])} reported")
    if report["cause"] != "ConfigurationError" or not report["failed"]:
        violations.append(f"the job went on until {report['cause']}")
    missing = {*(folder / "yielded").read_text().split()} - {*report["keys"]}
    return [*violations, *([f"not reported, but yielded: {len(missing)}"] if missing else [])]


def _remove_output(folder: Path) -> None:
    for path in folder.glob("output*"):
        path.unlink()


def _with_kill(options: ChildOptions, kill: Kill) -> ChildOptions:
    if isinstance(kill, tuple):
        point, number, act = kill
        return attrs.evolve(options, act_at=(point, number), act=act)
    return attrs.evolve(options, kill_after=kill)


def _check_status(path: Path) -> list[str]:
    """Read the ledger of a killed job, unless it was killed before its first calls were logged."""
    try:
        provisioning.status(path)
    except ConfigurationError as error:
        if path.exists() and _has_job(path):
            return [f"its status can't be read: {error}"]
    return []


def _has_job(path: Path) -> bool:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return tables != (0,) and bool(db.execute("SELECT count(*) FROM job").fetchone()[0])


def _check_result(service: Service, options: ChildOptions, codes: list[int]) -> list[str]:
    """Compare the keys that the job has yielded with those of the service."""
    folder, amount = Path(options.folder), options.amount
    expected = (DONE, GAVE_UP, ENDED, -signal.SIGKILL, -signal.SIGTERM)
    violations = list(service.violations)
    violations += [f"a process ended with {code}" for code in codes if code not in expected]
    if codes[-1] != DONE:
        return [*violations, f"the job did not end: {codes}"]
    outputs: list[list[str]] = [json.loads(p.read_text()) for p in sorted(folder.glob("output*"))]
    output = outputs[0]
    violations += ["two processes report different keys" for one in outputs if {*one} != {*output}]
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
    violations += _check_end(options.ledger, amount)
    modes = {
        path.name: oct(path.stat().st_mode & 0o777) for path in options.ledger.parent.iterdir()
    }
    violations += [f"{name} has mode {mode}" for name, mode in modes.items() if mode != "0o600"]
    return violations


def _check_end(path: Path, amount: int) -> list[str]:
    try:
        status = provisioning.status(path)
    except ConfigurationError as error:
        return [f"its status can't be read: {error}"]
    is_done = status.done and not status.open and status.created == amount
    return [] if is_done else [f"its status is {status}"]
