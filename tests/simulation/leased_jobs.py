"""Workers with one job in PostgreSQL: one works, the others stand by, and take it over."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import attrs

from junkie_async import BatchError, ConfigurationError, CreateReport, JunkieError
from junkie_async._jobs.record import DEFAULT_JOB, LeaseLostError

from .durable_jobs import RETRY, calm_down, change_others, make_faults, make_weather
from .event_loop import Process
from .postgres_server import PostgresServer, SimulatedLedger
from .service import ORDERS, PROVIDER, RECONCILE_AFTER
from .world import World

_STORM: Final = 300.0
_LEASE: Final = 3.0
_MAX_STARTS: Final = 60


@attrs.define(eq=False)
class _Team:
    """What the workers of a run share."""

    world: World
    database: PostgresServer
    amount: int
    is_undisturbed: bool
    """Whether no worker crashes or is stopped, and the database has no troubles."""
    starts: int = 0
    given: set[str] = attrs.field(factory=set[str])
    reports: list[CreateReport] = attrs.field(factory=list[CreateReport])


async def run_leased_job(world: World) -> None:
    """One job and one to three workers, which crash, are stopped and lose their database."""
    dice = world.dice
    world.network.weather, world.service.faults = make_weather(dice), make_faults(dice)
    world.service.order = dice.choice(ORDERS)
    database = PostgresServer(world.loop, Random(dice.random()))
    amount = dice.choice((1, 7, 100, 101, 250, 600))
    team = _Team(world, database, amount, is_undisturbed=dice.random() < 0.2)
    if not team.is_undisturbed:
        _make_troubles(team)
    _watch_calls(team)
    world.loop.add_event(_STORM, calm_down, world)
    others = asyncio.create_task(change_others(world))
    await asyncio.gather(*(_run_worker(team, number) for number in range(dice.choice((1, 2, 3)))))
    others.cancel()
    await asyncio.sleep(60.0)  # what the network still holds arrives
    _compare(team)


def _make_troubles(team: _Team) -> None:
    world, dice, database = team.world, team.world.dice, team.database
    database.delay = (0.0003, dice.choice((0.001, 0.03)))
    database.lost = dice.choice((0.0, 0.0, 0.02, 0.2))
    world.loop.add_event(_STORM, setattr, database, "lost", 0.0)
    for _ in range(dice.choice((0, 0, 1, 3))):
        begins, seconds = dice.uniform(0.0, 30.0), dice.choice((0.2, 2.0, 8.0))
        match dice.choice(("crash", "hang", "cut")):
            case "crash":
                world.loop.add_event(begins, database.crash)
            case "hang":
                world.loop.add_event(begins, setattr, database, "hangs", True)
            case _:
                name = f"worker {dice.randrange(3)}.{dice.randrange(3)}"
                world.loop.add_event(begins, database.cut_off.add, name)
        world.loop.add_event(begins + seconds, database.recover)


def _watch_calls(team: _Team) -> None:
    """Check at each call that creates or deletes that its sender has the lease."""

    def check(process: Process, method: str) -> None:
        if method != "GET":
            holds = team.database.holds_lease(DEFAULT_JOB, process)
            now = team.world.loop.time()
            team.world.check(holds, f"{process.name} sent a {method} without a lease at {now:.3f}")

    team.world.network.on_send = check


async def _run_worker(team: _Team, number: int) -> None:
    """Run a worker, again when it has crashed or its job has ended early."""
    world, dice = team.world, Random(team.world.dice.random())
    await asyncio.sleep(dice.choice((0.0, 0.0, 5.0)))
    for start in range(_MAX_STARTS):
        process = world.new_process(f"worker {number}.{start}")
        team.starts += 1
        may_end = start < 4 and not team.is_undisturbed
        if may_end and dice.random() < 0.5:
            world.crash_at(process, dice.uniform(0.0, dice.choice((0.1, 1.0, 20.0))))
        if may_end and dice.random() < 0.5:
            stops = dice.choice((0.5, 2 * _LEASE, 30.0))
            world.stop_at(process, dice.uniform(0.0, dice.choice((0.1, 1.0, 20.0))), stops)
        task = world.start(process, _work(team))
        if not await world.until_ended(process, task):
            continue
        report = task.result()
        if report is not None:
            team.reports.append(report)
            return
    world.check(False, f"the job has not ended in {_MAX_STARTS} starts")


async def _work(team: _Team) -> CreateReport | None:
    """Run the job; None if it ended early, and is to be run again."""
    world, run = team.world, list[str]()
    concurrency = world.dice.choice((1, 3, 8))
    async with world.open_client(retry=RETRY, timeout=5.0) as client:
        try:
            job = client.keys.create_many(
                team.amount,
                provider_id=PROVIDER,
                key_name="launch",
                ledger=SimulatedLedger(team.database, _LEASE),
                concurrency=concurrency,
                reconcile_after=RECONCILE_AFTER,
            )
            async for batch in job:
                run += batch.keys
                team.given.update(batch.keys)
            world.check(len(set(run)) == len(run), "a key was given twice")
            return job.report
        except BatchError as error:
            world.check(isinstance(error.report, CreateReport), f"{error!r} has no report")
            is_database = isinstance(error.__cause__, ConfigurationError)
            is_lost = isinstance(error.__cause__, LeaseLostError)
            world.check(is_lost or not is_database, f"refused: {error.__cause__}")
        except JunkieError as error:
            world.check(isinstance(error, LeaseLostError), f"refused: {error!r}")
    return None


def _compare(team: _Team) -> None:
    world, there = team.world, sorted(team.world.service.own_values())
    epoch = team.database.jobs[DEFAULT_JOB].epoch
    is_kept = epoch < team.starts or not team.is_undisturbed
    world.check(is_kept, f"a lease was lost, as epoch {epoch} shows after {team.starts} starts")
    for report in team.reports:
        reported = sorted(report.keys)
        world.check(report.created == team.amount, f"created {report.created} of {team.amount}")
        missing, surplus = len({*reported} - {*there}), len({*there} - {*reported})
        world.check(reported == there, f"{missing} reported and not there, {surplus} not reported")
        world.check(team.given <= {*reported}, "a key was given that is not reported")
