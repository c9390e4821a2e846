"""Single calls, and what each of them must hold: that it ends by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias

from junkie_async import JunkieClient, JunkieError, Outcome, RetryPolicy
from junkie_async._http.throttle import Priority

from .service import PROVIDER, Row
from .world import World

SLACK: Final = 0.002
"""Seconds after its deadline in which a call may end: timers are exact, events are on a grid of
1 ms, and each pass of the event loop takes a nanosecond."""

AMOUNTS: Final = {"create": 1, "create_batch": 5}
"""Keys that a call creates."""

Call: TypeAlias = Callable[[JunkieClient, Row, str], Awaitable[object]]
"""Makes a call about a key, or creates some of a name."""

ONE_REQUEST: Final[dict[str, Call]] = {
    "get": lambda client, row, _: client.keys.get(row.value),
    "update": lambda client, row, _: client.keys.update(row.value, key_name="new"),
    "create": lambda client, _, mark: client.keys.create(provider_id=PROVIDER, key_name=mark),
    "create_batch": lambda client, _, mark: client.keys.create_batch(
        provider_id=PROVIDER, amount=AMOUNTS["create_batch"], key_name=mark
    ),
    "delete": lambda client, row, _: client.keys.delete(row.id),
    "bulk_delete": lambda client, row, _: client.keys.bulk_delete([row.id]),
    "reset_hwid": lambda client, row, _: client.keys.reset_hwid(row.value),
    "folders": lambda client, row, _: client.keys.folders(),
    "request": lambda client, row, _: client.request("GET", "/keys/folders"),
}
"""Those for which `RetryPolicy.deadline` is a limit, too: it counts for each request."""

MORE_REQUESTS: Final[dict[str, Call]] = {
    "find": lambda client, row, _: client.keys.find(row.value),
    "verify": lambda client, row, _: client.keys.verify(row.value),
    "verify what is no key": lambda client, row, _: client.keys.verify("nothing"),
    "get by digits": lambda client, row, _: client.keys.get("123456"),
    "first page": lambda client, row, _: client.keys.list(limit=20),
}


async def make_call(
    world: World,
    client: JunkieClient,
    name: str,
    *,
    deadline: float | None,
    policy: RetryPolicy,
    priority: Priority | None = None,
) -> JunkieError | None:
    """Make a call, which may be cancelled; return its error."""
    call = ONE_REQUEST.get(name) or MORE_REQUESTS[name]
    limit = deadline
    if name in ONE_REQUEST and priority is None:
        limit = min(policy.deadline, policy.deadline if deadline is None else deadline)
    view = client.with_options(deadline=deadline, priority=priority)
    mark = f"call {len(world.creations)}"
    if name in AMOUNTS:
        world.creations[mark] = AMOUNTS[name], Outcome.UNKNOWN
    begun, failure, outcome = world.loop.time(), None, Outcome.UNKNOWN
    try:
        await call(view, choose_row(world.dice, world), mark)
        outcome = Outcome.EXECUTED
    except JunkieError as error:
        failure, outcome = error, error.outcome
    finally:
        if name in AMOUNTS:
            world.creations[mark] = AMOUNTS[name], outcome
        seconds = world.loop.time() - begun
        world.check(
            limit is None or seconds <= limit + SLACK,
            f"{name} took {seconds:.3f} s, and its deadline was {limit} s",
        )
    return failure


def check_creations(world: World) -> None:
    """Check that each call has created its keys once, and that its error says if it has."""
    made, faults = world.service.named, world.service.used_faults
    copies = 1 + world.network.duplicates + faults["twice"] + faults["over-long"]
    for mark, (amount, outcome) in world.creations.items():
        most = 0 if outcome is Outcome.NOT_EXECUTED else amount * copies
        least = int(outcome is Outcome.EXECUTED)
        world.check(
            least <= made[mark] <= most, f"{made[mark]} keys of {mark}: {amount}, {outcome}"
        )


def choose_row(dice: Random, world: World) -> Row:
    """Choose a key, which may have been deleted."""
    return dice.choice([*world.service.ever.values()])


async def cancel_some(world: World, tasks: list[asyncio.Task[None]], probability: float) -> None:
    """Cancel some tasks, at any of their steps, and wait until all have ended."""
    for task in tasks:
        if world.happens(probability):
            world.cancel_at(task, world.dice.uniform(0.0, world.dice.choice((0.2, 5.0, 30.0))))
    _, pending = await asyncio.wait(tasks, timeout=3600.0)
    world.check(not pending, f"not ended after an hour: {[task.get_name() for task in pending]}")
    for task in pending:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, JunkieError):
            raise result
