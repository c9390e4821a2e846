"""Single calls, and what each of them must hold: that it ends by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias

from junkie_async import JunkieClient, JunkieError
from junkie_async._http.throttle import Priority

from .service import PROVIDER, Row
from .world import World

SLACK: Final = 0.002
"""Seconds after its deadline in which a call may end: timers are exact, events are on a grid of
1 ms, and each pass of the event loop takes a nanosecond."""

Call: TypeAlias = Callable[[JunkieClient, Row], Awaitable[object]]

ONE_REQUEST: Final[dict[str, Call]] = {
    "get": lambda client, row: client.keys.get(row.value),
    "update": lambda client, row: client.keys.update(row.value, key_name="new"),
    "create": lambda client, row: client.keys.create(provider_id=PROVIDER),
    "create_batch": lambda client, row: client.keys.create_batch(provider_id=PROVIDER, amount=5),
    "delete": lambda client, row: client.keys.delete(row.id),
    "bulk_delete": lambda client, row: client.keys.bulk_delete([row.id]),
    "reset_hwid": lambda client, row: client.keys.reset_hwid(row.value),
    "folders": lambda client, row: client.keys.folders(),
    "request": lambda client, row: client.request("GET", "/keys/folders"),
}
"""Those for which `RetryPolicy.deadline` is a limit, too: it counts for each request."""

MORE_REQUESTS: Final[dict[str, Call]] = {
    "find": lambda client, row: client.keys.find(row.value),
    "verify": lambda client, row: client.keys.verify(row.value),
    "verify what is no key": lambda client, row: client.keys.verify("nothing"),
    "get by digits": lambda client, row: client.keys.get("123456"),
    "first page": lambda client, row: client.keys.list(limit=20),
}


async def make_call(
    world: World,
    client: JunkieClient,
    name: str,
    *,
    deadline: float | None,
    policy_deadline: float,
    priority: Priority | None = None,
) -> bool:
    """Make a call, which may be cancelled; return whether it succeeded."""
    call = ONE_REQUEST.get(name) or MORE_REQUESTS[name]
    limit = deadline
    if name in ONE_REQUEST and priority is None:
        limit = min(policy_deadline, policy_deadline if deadline is None else deadline)
    view = client.with_options(deadline=deadline, priority=priority)
    begun = world.loop.time()
    try:
        await call(view, choose_row(world.dice, world))
    except JunkieError:
        return False
    finally:
        seconds = world.loop.time() - begun
        world.check(
            limit is None or seconds <= limit + SLACK,
            f"{name} took {seconds:.3f} s, and its deadline was {limit} s",
        )
    return True


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
