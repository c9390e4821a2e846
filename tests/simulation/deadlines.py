"""No call ends later than its deadline, whatever it meets."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any, Final

from junkie_async import JunkieClient, JunkieError, RateLimit, RetryPolicy

from .calls import MORE_REQUESTS, ONE_REQUEST, SLACK, cancel_some, check_creations, make_call
from .durable_jobs import make_weather
from .service import PROVIDER, RECONCILE_AFTER, Faults, Limiter
from .world import World

_CALLERS: Final = 8
_CALLS: Final = [*ONE_REQUEST, *MORE_REQUESTS]


async def run_deadlines(world: World) -> None:
    """Calls of all kinds, in a storm that does not end."""
    dice, service = world.dice, world.service
    service.make(30)
    world.network.weather = make_weather(dice)
    choices = (0.0, 0.1, 0.5)
    service.faults = Faults(
        create=dice.choice(choices), error=dice.choice(choices), error_after=dice.choice(choices)
    )
    if dice.random() < 0.5:
        retry_after = dice.choice((None, "", "0", "4", "30"))
        service.limiter = Limiter(
            rate=dice.choice((0.2, 5.0)), burst=dice.choice((1, 5)), retry_after=retry_after
        )
    app = world.new_process("app")
    await world.start(app, _run_app(world))
    await asyncio.sleep(60.0)  # what the network still holds arrives
    check_creations(world)


async def _run_app(world: World) -> None:
    dice = world.dice
    policy = RetryPolicy(
        attempts=dice.choice((1, 5, 30)),
        deadline=dice.choice((0.5, 4.0, 30.0)),
        wait_max=dice.choice((0.5, 8.0)),
    )
    options: dict[str, Any] = {
        "api_key": _Vault(dice) if dice.random() < 0.3 else "key",
        "max_in_flight": dice.choice((1, 2, 16)),
        "rate_limit": dice.choice((None, None, RateLimit(2))),
        "timeout": dice.choice((0.3, 2.0, 10.0)),
        "retry": policy,
    }
    async with world.open_client(**options) as client:
        tasks = [asyncio.create_task(_call_often(world, client, policy)) for _ in range(_CALLERS)]
        tasks.append(asyncio.create_task(_order_often(world, client)))
        await cancel_some(world, tasks, 0.0)


async def _call_often(world: World, client: JunkieClient, policy: RetryPolicy) -> None:
    dice = Random(world.dice.random())
    for _ in range(5):
        await make_call(
            world,
            client,
            dice.choice(_CALLS),
            # In a storm without an end only a deadline ends a call that is a job's, for instance.
            deadline=dice.choice((0.2, 1.5, 7.0)) if dice.random() < 0.8 else None,
            policy=policy,
        )
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0.0, 2.0))))


async def _order_often(world: World, client: JunkieClient) -> None:
    """Fill orders, some of which are filled already or wait for a late call."""
    dice, path = Random(world.dice.random()), world.folder / "orders.db"
    for _ in range(5):
        seconds = dice.choice((0.2, 3.0))
        begun = world.loop.time()
        with contextlib.suppress(JunkieError):
            await client.with_options(deadline=seconds).keys.create(
                provider_id=PROVIDER,
                idempotency_key=f"order-{dice.randrange(2)}",
                ledger=path,
                reconcile_after=RECONCILE_AFTER,
            )
        taken = world.loop.time() - begun
        world.check(taken <= seconds + SLACK, f"an order took {taken:.3f} s of {seconds} s")


class _Vault:
    """Gives the API key, after a moment or long after everybody's deadline."""

    def __init__(self, dice: Random) -> None:
        self._longest = dice.choice((0.1, 2.0, 100.0))
        self._dice = dice

    async def __call__(self) -> str:
        await asyncio.sleep(self._dice.uniform(0.0, self._longest))
        return "key"
