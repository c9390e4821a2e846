"""Scenarios with a ledger in PostgreSQL: what happens to several workers and to the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from junkie_async.postgres import PostgresLedger
from tests.postgres_server import PostgresServer

from .job import DONE, GAVE_UP, LEASE, TRANSACTIONS, ChildOptions, ForkServer
from .scenario import SCRIPT
from .server import LIES, RECONCILE_AFTER, Service

Act: TypeAlias = tuple[str, int, str]
"""A point, which pass of it acts, and the act: "kill" or "stop"."""

POINTS: Final = tuple(
    f"{when} {what}"
    for what in ("POST /keys/batch", "GET /keys", "POST /keys/bulk-delete", *TRANSACTIONS)
    for when in ("before", "after")
)
OUTAGES: Final = ("terminate", "fast", "immediate")
"""What happens to the server: its sessions are ended, or it is restarted so."""

_MAX_STARTS: Final = 6  # of workers that gave up
_PASSES_SECONDS: Final = 1.5 * LEASE


@attrs.frozen(kw_only=True)
class WorkersScenario:
    """One job of several workers.

    Attributes:
        seed: The seed of the service's faults and of the job's size.
        acts: What happens to each worker; its number is their number.
        outages: What happens to the server, and the seconds before it.
        lie: How the list's pages lie at first, one of `LIES`; or None.
        amount: Keys requested; a random number when None.
        concurrency: Calls in flight at once; a random number when None.
        script: How the service treats the first calls; `SCRIPT` in random order when None.
        trouble: The probability that a later call meets a fault.
        without: A guard that is removed.
        waits: Whether a stopped worker continues only when another one has ended.
    """

    seed: int
    acts: tuple[Act | None, ...]
    outages: tuple[tuple[float, str], ...] = ()
    lie: str | None = None
    amount: int | None = None
    concurrency: int | None = None
    script: tuple[str, ...] | None = None
    trouble: float = 0.25
    without: str | None = None
    waits: bool = False


def make_scenario(run: int) -> WorkersScenario:
    """Make a scenario: each one has another mixture of what can happen."""
    dice = random.Random(f"workers {run}")
    acts = [_make_act(dice, POINTS[run % len(POINTS)], ("kill", "stop")[run // len(POINTS) % 2])]
    acts += [_make_act(dice, dice.choice(POINTS), dice.choice(["kill", "stop"]))]
    outages = [(dice.uniform(0.0, 1.0), dice.choice(OUTAGES)) for _ in range(dice.randrange(3))]
    return WorkersScenario(
        seed=run,
        # The last one is left alone, so that somebody ends the job.
        acts=(*acts[: dice.randint(1, 2)], None),
        outages=tuple(outages),
        lie=dice.choice([*LIES]) if run % 4 == 3 else None,
    )


def _make_act(dice: random.Random, point: str, act: str) -> Act:
    return point, dice.randrange(4), act


async def run_workers(
    scenario: WorkersScenario, fork_server: ForkServer, server: PostgresServer, folder: Path
) -> list[str]:
    """Run a job with several workers; return how the promise was broken."""
    dice = random.Random(f"workers' job {scenario.seed}")
    script = list(SCRIPT if scenario.script is None else scenario.script)
    dice.shuffle(script)
    amount = scenario.amount or dice.randint(601, 1500)
    async with (
        server.database() as dsn,
        Service(
            scenario.seed,
            script=script,
            trouble=scenario.trouble,
            newest_first=dice.random() < 0.5,
            foreign=dice.choice([0, 1, 150, 300]) if scenario.trouble else 0,
            lie=scenario.lie,
        ) as service,
    ):
        options = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=amount,
            concurrency=scenario.concurrency or dice.randint(1, 6),
            reconcile_after=RECONCILE_AFTER,
            without=scenario.without,
            dsn=dsn,
        )
        children = [
            attrs.evolve(
                options,
                number=number,
                act_at=act and act[:2],
                act=act[2] if act else "kill",
            )
            for number, act in enumerate(scenario.acts)
        ]
        if scenario.waits:
            children[1:] = [attrs.evolve(one, waits_for="acted0") for one in children[1:]]
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(_continue_stopped(folder, waits=scenario.waits)),
                group.create_task(_disturb(server, dsn, scenario.outages)),
            ]
            codes = await fork_server.run(*children)
            for helper in helpers:
                helper.cancel()
        await asyncio.to_thread(server.start)
        service.lie = None
        for _ in range(_MAX_STARTS):
            again = [
                attrs.evolve(one, act_at=None, waits_for=None)
                for one, code in zip(children, codes, strict=True)
                if code == GAVE_UP
            ]
            if not again:
                break
            for one, code in zip(again, await fork_server.run(*again), strict=True):
                codes[one.number] = code
        service.catch_up()
        return await _check_result(service, options, codes, scenario)


async def measure_takeover(
    fork_server: ForkServer, server: PostgresServer, folder: Path, act: str, point: str
) -> float:
    """Return the seconds from the end of a worker to the first call of the next one."""
    async with server.database() as dsn, Service() as service:
        first = ChildOptions(
            url=service.url,
            folder=str(folder),
            amount=1000,
            reconcile_after=RECONCILE_AFTER,
            dsn=dsn,
            act_at=(point, 3),
            act=act,
        )
        second = attrs.evolve(first, act_at=None, waits_for="acted0", number=1)
        took_over: list[float] = []
        service.before_page = lambda _: took_over.append(time.time())
        async with asyncio.TaskGroup() as group:
            helper = group.create_task(_continue_stopped(folder, waits=True))
            await fork_server.run(first, second)
            helper.cancel()
        assert len(service.values()) == first.amount
        return took_over[0] - (folder / "acted0").stat().st_mtime


def _find(folder: Path, pattern: str) -> list[Path]:
    return [*folder.glob(pattern)]


async def _continue_stopped(folder: Path, *, waits: bool) -> None:
    """Continue stopped workers: when their leases have passed, or when another one is done."""
    since: dict[Path, float] = {}
    while True:
        await asyncio.sleep(0.02)
        for path in _find(folder, "acted*"):
            passed = time.monotonic() - since.setdefault(path, time.monotonic())
            if _find(folder, "output*") if waits else passed > _PASSES_SECONDS:
                pid = int(path.with_name(path.name.replace("acted", "pid")).read_text())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


async def _disturb(
    server: PostgresServer, dsn: str, outages: tuple[tuple[float, str], ...]
) -> None:
    for seconds, outage in outages:
        await asyncio.sleep(seconds)
        act = _OUTAGES[outage]
        await act(server, dsn)


async def _terminate(server: PostgresServer, dsn: str) -> None:
    await server.terminate_backends(dsn.rpartition("/")[2])


async def _restart(server: PostgresServer, _: str) -> None:
    await asyncio.to_thread(server.restart, "fast")


async def _crash(server: PostgresServer, _: str) -> None:
    await asyncio.to_thread(server.restart, "immediate")


_OUTAGES: Final[dict[str, Callable[[PostgresServer, str], Awaitable[None]]]] = {
    "terminate": _terminate,
    "fast": _restart,
    "immediate": _crash,
}


async def _check_result(
    service: Service, options: ChildOptions, codes: list[int], scenario: WorkersScenario
) -> list[str]:
    """Compare what each worker was given with the keys of the service."""
    folder, amount = Path(options.folder), options.amount
    violations = list(service.violations)
    for code, act in zip(codes, scenario.acts, strict=True):
        is_killed = act is not None and act[2] == "kill" and code == -signal.SIGKILL
        if code != DONE and not is_killed:
            violations.append(f"a worker ended with {code}")
    if scenario.waits and service.requests["POST /keys/bulk-delete"] > 1:
        violations.append("a worker has deleted surplus keys after the end of the job")
    existing = service.values()
    if len(existing) != amount:
        violations.append(f"{len(existing)} keys made, not {amount}")
    for path in _find(folder, "output*"):
        given: list[str] = json.loads(path.read_text())
        if sorted(given) != sorted(existing):
            extra, lost = len({*given} - {*existing}), len({*existing} - {*given})
            violations.append(f"{path.name} has {len(given)} keys: {lost} lost, {extra} extra")
    async with PostgresLedger(options.dsn) as ledger:
        status = await ledger.status()
    if not status.done or status.open or status.created != amount:
        violations.append(f"its status is {status}")
    return violations
