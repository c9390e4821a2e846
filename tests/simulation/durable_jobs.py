"""Jobs with a ledger end with exactly N keys, through crashes of their processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Final

from junkie_async import BatchError, ConfigurationError, CreateReport, JunkieError, RetryPolicy

from .event_loop import Process
from .network import Weather
from .service import ORDERS, PROVIDER, RECONCILE_AFTER, Faults
from .world import World

_MAX_STARTS: Final = 60
_STORM: Final = 300.0
"""Seconds after which nothing goes wrong any more: by then a job has met everything."""

RETRY = RetryPolicy(outage=30.0)


def make_weather(dice: Random) -> Weather:
    """Make the weather of a run: some are calm, some stormy, and most storms have one kind."""
    if dice.random() < 0.2:
        return Weather()
    trouble = {
        name: dice.choice((0.0, 0.0, 0.02, 0.1, 0.3))
        for name in ("no_connection", "lost", "hang", "slow", "duplicated")
    }
    return Weather(delay=(0.001, dice.choice((0.003, 0.05, 0.3))), **trouble)


def make_faults(dice: Random) -> Faults:
    """Make the service's faults of a run."""
    choices, kinds = (0.0, 0.0, 0.05, 0.3), Faults().kinds
    return Faults(
        kinds=kinds if dice.random() < 0.5 else (dice.choice(kinds),),
        create=dice.choice((0.0, 0.1, 0.4)),
        error=dice.choice(choices),
        error_after=dice.choice(choices),
    )


def add_outages(world: World, amount: int, *, within: float, longest: float) -> None:
    """Let the service be down some times."""
    for _ in range(amount):
        begins = world.dice.uniform(0.0, within)
        ends = begins + world.dice.uniform(0.0, longest)
        world.loop.add_event(begins, setattr, world.service, "down", True)
        world.loop.add_event(ends, setattr, world.service, "down", False)


def calm_down(world: World) -> None:
    """End all trouble of the network and the service."""
    world.network.weather, world.service.faults = Weather(), Faults()


async def run_durable_job(world: World) -> None:
    """One job, run by a process that crashes and is started again, beside others' changes."""
    dice = world.dice
    world.network.weather, world.service.faults = make_weather(dice), make_faults(dice)
    world.service.order = dice.choice(ORDERS)
    world.service.make(dice.choice((0, 3, 150)), "launch", foreign=True)
    amount = dice.choice((1, 7, 100, 101, 250, 600))
    path = world.folder / "launch.db"
    pace = 0.3 if dice.random() < 0.1 else 1.0
    if pace < 1.0:  # then the list is longer than a page, and changes between two of them
        world.service.make(250, "launch", foreign=True)
    others = asyncio.create_task(change_others(world, pace))
    world.loop.add_event(_STORM, calm_down, world)
    given: set[str] = set()
    for start in range(_MAX_STARTS):
        process = world.new_process(f"job {start}")
        if start < 4 and world.happens(0.7):
            world.crash_at(process, dice.uniform(0.0, dice.choice((0.1, 1.0, 20.0))))
        task = world.start(process, _work(world, process, amount, path, given))
        if not await world.until_ended(process, task):
            continue
        report = task.result()
        if report is not None:
            others.cancel()
            await asyncio.sleep(60.0)  # what the network still holds arrives
            _compare(world, report, amount)
            world.check(given <= set(report.keys), "a key was given that is not reported")
            return
    others.cancel()
    world.check(False, f"the job has not ended in {_MAX_STARTS} starts")


async def _work(
    world: World, process: Process, amount: int, path: Path, given: set[str]
) -> CreateReport | None:
    """Run the job; None if it ended early, and is to be run again."""
    loops, crashes = world.happens(0.5), not given and world.happens(0.3)
    concurrency = world.dice.choice((1, 3, 8))
    async with world.open_client(retry=RETRY, timeout=5.0) as client:
        try:
            job = client.keys.create_many(
                amount,
                provider_id=PROVIDER,
                key_name="launch",
                ledger=path,
                concurrency=concurrency,
                reconcile_after=RECONCILE_AFTER,
            )
            if not loops:
                return await job
            run: list[str] = []
            async for batch in job:
                run += batch.keys
                given.update(batch.keys)
                if crashes and world.happens(0.3):
                    world.crash_at(process, 0.0)
            world.check(len(set(run)) == len(run), "a key was given twice")
            return job.report
        except BatchError as error:
            report = error.report
            world.check(isinstance(report, CreateReport), f"{error!r} has no report")
        except JunkieError as error:
            world.check(not isinstance(error, ConfigurationError), f"refused: {error}")
    return None


async def change_others(world: World, pace: float = 1.0) -> None:
    """Create and delete keys of other programs, now and then, or both in one moment."""
    dice = Random(world.dice.random())
    while True:
        await asyncio.sleep(dice.expovariate(1 / pace))
        foreign = [row for row in world.service.rows.values() if row.foreign]
        if foreign and dice.random() < 0.6:
            world.service.delete(dice.choice(foreign))
            if dice.random() < 0.5:  # the total stays the same
                world.service.make(1, foreign=True)
        else:
            world.service.make(dice.choice((1, 1, 5)), dice.choice(("", "launch")), foreign=True)


def _compare(world: World, report: CreateReport, amount: int) -> None:
    reported, there = list(report.keys), world.service.own_values()
    world.check(report.created == amount, f"created {report.created} of {amount}")
    world.check(len(set(reported)) == len(reported), "a key was reported twice")
    world.check(
        sorted(reported) == sorted(there),
        f"{len(set(reported) - set(there))} reported and not there,"
        f" {len(set(there) - set(reported))} there and not reported",
    )
