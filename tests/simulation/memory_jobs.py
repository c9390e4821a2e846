"""Jobs without a ledger: every count of their reports is true, whatever ends them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any, Final, TypeVar, cast

from junkie_async import (
    BatchError,
    CreateReport,
    DeleteReport,
    Hooks,
    JobEvent,
    JunkieClient,
    JunkieError,
    KeyOutcome,
    Outcome,
    RetryPolicy,
    UpdateFields,
    UpdateReport,
)
from junkie_async._jobs.job import Job
from junkie_async._jobs.outcomes import OutcomeStatus

from .durable_jobs import add_outages, calm_down, make_weather
from .network import CALM
from .service import PROVIDER, Faults, Row
from .world import World

T = TypeVar("T")

_STORM: Final = 40.0
_REST: Final = 60.0
"""Seconds in which everything arrives that the network still holds."""

_HONEST: Final = ("late", "part", "rest late", "twice", "error", "not JSON", "cut", "repeated")
"""What may go wrong with a creation. Without a ledger a response whose keys are new and as many as
were requested is believed: so says `junkie_async.provisioning` of jobs without markers."""


async def run_memory_job(world: World) -> None:
    """One job of any kind, which is awaited or looped over, and may be cancelled or left."""
    dice, service = world.dice, world.service
    world.network.weather = make_weather(dice)
    if dice.random() < 0.3:
        calm_down(world)
    else:
        choices = (0.0, 0.0, 0.05, 0.3)
        service.faults = Faults(
            create=dice.choice((0.0, 0.1, 0.4)),
            error=dice.choice(choices),
            error_after=dice.choice(choices),
            kinds=_HONEST,
        )
        add_outages(world, dice.choice((0, 0, 1)), within=1.0, longest=_STORM)
    service.make(dice.choice((3, 40, 300)))
    service.most_deleted = dice.choice((1000, 1000, 7))
    world.loop.add_event(_STORM, calm_down, world)
    app = world.new_process("app")
    await world.start(app, _run_app(world))


async def _run_app(world: World) -> None:
    dice = world.dice
    attempts = dice.choice((1, 2, 2, 5))
    policy = RetryPolicy(attempts=attempts, outage=dice.choice((0.0, 5.0, 60.0)))
    async with world.open_client(
        retry=policy,
        timeout=5.0,
        max_in_flight=dice.choice((1, 2, 16)),
        hooks=_Progress(world),
    ) as client:
        await dice.choice(_KINDS)(world, client)


class _Progress(Hooks):
    """Checks that the events of a job add up."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = Counter[str]()

    def on_job(self, event: JobEvent) -> None:
        """Check one."""
        self._keys[event.job] += event.keys
        is_right = self._keys[event.job] == event.done <= (event.total or math.inf)
        self._world.check(is_right, f"{self._keys[event.job]} keys, and {event}")


async def _consume(world: World, job: Job[Any, Any, Any]) -> tuple[list[Any], bool]:
    """Run a job to its end, or cancel or leave it; return what it gave, and whether it ended."""
    dice, given = world.dice, list[Any]()
    is_calm = world.network.weather == CALM and world.service.faults == Faults()
    way = dice.choice(("await", "loop", "leave", "cancel await", "cancel loop"))
    many, left_at = dice.randrange(1, 6), math.inf

    async def loop() -> None:
        nonlocal left_at
        async with aclosing(aiter(job)) as results:
            async for result in results:
                given.append(result)
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.uniform(0.0, 0.5))
                if way == "leave" and len(given) == many:
                    left_at = world.loop.time()
                    return

    async def run() -> None:
        await (job if "await" in way else loop())

    task = asyncio.create_task(run())
    if "cancel" in way:
        world.cancel_at(task, dice.uniform(0.0, dice.choice((0.05, 0.5, 10.0))))
    await asyncio.wait({task})
    has_failed = task.cancelled() or task.exception() is not None
    if not task.cancelled() and (error := task.exception()) is not None:
        if not isinstance(error, BatchError):
            raise error
        world.check(error.report == job.report, "the error has another report")
    # Calls in flight have 10 s to finish, which is enough where nothing goes wrong.
    unknown = getattr(job.report, "unknown", 0)
    world.check(not unknown or not is_calm, f"{unknown} keys are unknown in calm weather")
    await asyncio.sleep(_REST)
    # A call whose outcome is unknown may be sent again, to learn it.
    sent = {
        what for at, what, state in world.network.attempts if at <= left_at + 0.001 and state.sent
    }
    new = [
        at for at, what, _ in world.network.attempts if at > left_at + 0.001 and what not in sent
    ]
    world.check(not new, f"the loop was left at {left_at:.3f}, and calls were sent at {new}")
    return given, not has_failed and way in ("await", "loop")


async def _create(world: World, client: JunkieClient) -> None:
    amount = world.dice.choice((1, 99, 150, 700))
    before = set(world.service.ever)
    job = client.keys.create_many(amount, provider_id=PROVIDER, concurrency=_choose_workers(world))
    given, has_ended = await _consume(world, job)
    report: CreateReport = job.report
    there = set(world.service.ever) - before
    values = [value for batch in given for value in batch.keys]
    counted = report.created + report.failed + report.unknown
    world.check(counted == report.requested == amount, f"{report} counts {counted}")
    world.check(len(set(report.keys)) == report.created, "a key is reported twice")
    world.check(set(report.keys) <= there, "a key is reported that was not created")
    world.check(len(set(values)) == len(values), "a key was given twice")
    world.check(set(values) <= set(report.keys), "a key was given that is not reported")
    # A call that the service executes twice on its own makes keys that nobody knows.
    surplus = 100 * world.service.used_faults["twice"] + 100 * world.network.duplicates
    unknown = len(there) - report.created
    world.check(unknown <= report.unknown + surplus, f"{unknown} unknown, and {report}")
    world.check(not has_ended or report.created == amount, f"ended with {report}")


async def _delete(world: World, client: JunkieClient) -> None:
    rows = _choose_rows(world)
    references = [row.id if world.happens(0.5) else row.value for row in rows]
    requested = set(references)
    job = client.keys.delete_many(_give(world, references), concurrency=_choose_workers(world))
    given, has_ended = await _consume(world, job)
    report: DeleteReport = job.report
    world.check(not has_ended or report.requested == len(requested), f"{report}")
    world.check(
        not has_ended or sum(one.requested for one in given or []) in (0, len(requested)),
        "the calls have other keys",
    )
    _compare_deletions(world, report, set(rows), unread=len(requested) - report.requested)


async def _purge(world: World, client: JunkieClient) -> None:
    before = set(world.service.rows.values())
    others = asyncio.create_task(_delete_some(world))
    try:
        report = await client.keys.purge(provider_id=PROVIDER)
    except BatchError as error:
        report = cast("DeleteReport", error.report)
    except JunkieError:
        return
    else:
        left = sum(not row.deleted for row in before)
        world.check(not left, f"{left} of {len(before)} keys are left")
    finally:
        others.cancel()
    await asyncio.sleep(_REST)
    _compare_deletions(world, report, before)


async def _update(world: World, client: JunkieClient) -> None:
    rows = _choose_rows(world)
    references, workers = [row.id for row in rows], _choose_workers(world)
    source = _give(world, references)
    job = client.keys.update_many(source, key_name="new", concurrency=workers)
    await _check_outcomes(world, job, rows, "PUT")
    slots = client._dispatcher._state.throttle.ceiling - 1  # one is for interactive calls
    if job.report.done >= 30:
        most = world.network.most_in_flight["app"]
        world.check(most >= min(workers, slots), f"{most} calls in flight of {workers} workers")


async def _reset(world: World, client: JunkieClient) -> None:
    rows = _choose_rows(world)
    references = [row.id for row in rows]
    job = client.keys.reset_hwid_many(_give(world, references), concurrency=_choose_workers(world))
    await _check_outcomes(world, job, rows, "POST reset-hwid")
    # An outcome that is unknown is not tried again: it could unbind a device that is new.
    most = max((world.service.acts["POST reset-hwid", row.id] for row in rows), default=0)
    world.check(most <= 1 + world.network.duplicates, f"{most} resets of one key")


async def _update_pairs(world: World, client: JunkieClient) -> None:
    """Of several changes of a key, the last one holds."""
    weather = world.network.weather
    is_in_order = not weather.hang + weather.slow + weather.duplicated  # nothing comes late
    rows = world.dice.choices([*world.service.rows.values()], k=40)
    names = [f"name {number}" for number in range(len(rows))]
    pairs = [(row.id, UpdateFields(key_name=name)) for row, name in zip(rows, names, strict=True)]
    job = client.keys.update_many(pairs, concurrency=_choose_workers(world))
    _, has_ended = await _consume(world, job)
    report: UpdateReport = job.report
    world.check(not has_ended or report.requested == len(pairs), f"{report} of {len(pairs)}")
    if is_in_order and report.done == len(pairs):
        last = dict(zip(rows, names, strict=True))
        wrong = [row for row in rows if row.name != last[row]]
        world.check(not wrong, f"an earlier change holds: {wrong}")


async def _check_outcomes(
    world: World, job: Job[Any, KeyOutcome, UpdateReport], rows: Sequence[Row], act: str
) -> None:
    others = asyncio.create_task(_delete_some(world, pace=0.2)) if world.happens(0.3) else None
    outcomes, has_ended = await _consume(world, job)
    if others is not None:
        others.cancel()
    report, acts = job.report, world.service.acts
    counts = Counter(
        {
            OutcomeStatus.DONE: report.done,
            OutcomeStatus.NOT_FOUND: report.not_found,
            OutcomeStatus.FAILED: report.failed,
            OutcomeStatus.UNKNOWN: report.unknown,
        }
    )
    distinct = {row.id: row for row in rows}
    acted = sum(acts[act, number] > 0 for number in distinct)
    world.check(counts.total() == report.requested, f"{report} counts {counts.total()}")
    world.check(report.requested <= len(distinct), f"{report} of {len(distinct)} keys")
    for status in (OutcomeStatus.NOT_FOUND, OutcomeStatus.UNKNOWN):
        listed = sum(one.status is status for one in report.outcomes)
        world.check(listed == counts[status], f"{report} lists {listed} that are {status}")
    kinds = OutcomeStatus.FAILED, OutcomeStatus.NOT_FOUND
    failed = [one for one in report.outcomes if one.status in kinds]
    unsure = sum(
        one.error is None or one.error.outcome is not Outcome.NOT_EXECUTED for one in failed
    )
    for one in failed:
        is_false = one.error is not None and one.error.outcome is Outcome.NOT_EXECUTED
        is_false = is_false and acts[act, int(one.key)] > 0
        world.check(not is_false, f"{one} was executed")
    world.check(report.done <= acted, f"{acted} were done, and {report}")
    least = acted - report.unknown - unsure
    world.check(report.done >= least, f"{acted} were done, {unsure} unsure, and {report}")
    keys = [one.key for one in outcomes]
    world.check(len(set(keys)) == len(keys), "a key has two outcomes")
    for one in outcomes:
        row = distinct[int(one.key)]
        is_done = acts[act, row.id] > 0
        world.check(one.status is not OutcomeStatus.DONE or is_done, f"{one} was not done")
        world.check(one.status is not OutcomeStatus.NOT_FOUND or row.deleted, f"{one} is there")
    world.check(not has_ended or report.requested == len(distinct), f"{report} at the end")


def _compare_deletions(world: World, report: DeleteReport, rows: set[Row], unread: int = 0) -> None:
    acts = world.service.acts
    deleted = sum(acts["bulk-delete", row.id] > 0 for row in rows)
    left = sum(not row.deleted for row in rows)
    counted = report.deleted + report.missing + report.failed
    world.check(counted == report.requested, f"{report} counts {counted}")
    world.check(report.deleted <= deleted, f"{deleted} were deleted, and {report}")
    world.check(deleted - report.deleted <= report.missing + report.failed, f"{deleted}: {report}")
    world.check(left <= report.failed + unread, f"{left} left: {report}")


async def _delete_some(world: World, pace: float = 0.1) -> None:
    """Delete keys, as others do."""
    dice = Random(world.dice.random())
    while rows := [*world.service.rows.values()]:
        await asyncio.sleep(dice.expovariate(1 / pace))
        for row in dice.sample(rows, min(len(rows), dice.choice((1, 1, 20)))):
            world.service.delete(row)


def _give(world: World, items: Sequence[T]) -> Sequence[T] | AsyncIterator[T]:
    """Give a job what it is to work on, at once or one by one."""

    async def give_slowly() -> AsyncIterator[T]:
        for item in items:
            await asyncio.sleep(world.dice.choice((0.0, 0.001)))
            yield item

    return give_slowly() if world.happens(0.5) else items


def _choose_rows(world: World) -> list[Row]:
    """Choose keys, some of them twice, and some that others have deleted."""
    dice, rows = world.dice, [*world.service.rows.values()]
    chosen = dice.choices(rows, k=dice.randrange(1, 2 * min(len(rows), 60)))
    for row in dice.sample(rows, len(rows) // 10):
        world.service.delete(row)
    return chosen


def _choose_workers(world: World) -> int:
    return world.dice.choice((1, 3, 8))


_KINDS: Final[tuple[Callable[[World, JunkieClient], Awaitable[None]], ...]] = (
    _create,
    _create,
    _delete,
    _purge,
    _update,
    _update_pairs,
    _reset,
)
