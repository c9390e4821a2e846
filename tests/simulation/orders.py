"""Orders are filled once, however often and in however many processes they are asked for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Final

import attrs

from junkie_async import InvalidRequestError, JunkieError, Key

from .durable_jobs import RETRY, calm_down, change_others, make_faults, make_weather
from .service import ORDERS, PROVIDER, RECONCILE_AFTER
from .world import World

_STORM: Final = 60.0
_TRIES: Final = 60


@attrs.define(eq=False)
class _Shop:
    """What the workers of a run share."""

    path: Path
    orders: list[str]
    answers: defaultdict[str, list[Key]] = attrs.field(factory=lambda: defaultdict(list[Key]))


async def run_orders(world: World) -> None:
    """Webhooks for some orders come twice or more, to workers that crash."""
    dice = world.dice
    world.network.weather, world.service.faults = make_weather(dice), make_faults(dice)
    world.service.order = dice.choice(ORDERS)
    world.loop.add_event(_STORM, calm_down, world)
    numbers = range(dice.choice((1, 2, 5)))
    shop = _Shop(world.folder / "orders.db", [f"order-{number}" for number in numbers])
    others = asyncio.create_task(change_others(world))
    await asyncio.gather(*(_run_worker(world, shop, number) for number in range(3)))
    others.cancel()
    await asyncio.sleep(60.0)  # what the network still holds arrives
    for order in shop.orders:
        world.check(len(set(shop.answers[order])) == 1, f"{order}: {shop.answers[order]}")
    keys = sorted(answers[0].key_value for answers in shop.answers.values())
    there = sorted(world.service.own_values())
    world.check(keys == there, f"{len(there)} keys for {len(shop.orders)} orders")


async def _run_worker(world: World, shop: _Shop, number: int) -> None:
    """Run a worker, again when it has crashed, until it has the keys of all orders."""
    for start in range(4):
        process = world.new_process(f"worker {number}.{start}")
        if start < 3 and world.happens(0.5):
            world.crash_at(process, world.dice.uniform(0.0, world.dice.choice((0.5, 20.0))))
        task = world.start(process, _fill_orders(world, shop))
        if await world.until_ended(process, task):
            task.result()
            return


async def _fill_orders(world: World, shop: _Shop) -> None:
    dice = Random(world.dice.random())
    orders = shop.orders * dice.choice((1, 2))
    dice.shuffle(orders)
    async with world.open_client(retry=RETRY, timeout=5.0) as client:

        async def fill(order: str) -> None:
            await asyncio.sleep(dice.choice((0.0, dice.uniform(0.0, 10.0))))
            for _ in range(_TRIES):
                try:
                    key = await client.keys.create(
                        provider_id=PROVIDER,
                        idempotency_key=order,
                        ledger=shop.path,
                        reconcile_after=RECONCILE_AFTER,
                    )
                except InvalidRequestError:
                    raise
                except JunkieError:
                    await asyncio.sleep(dice.uniform(0.0, 5.0))
                else:
                    shop.answers[order].append(key)
                    return
            world.check(False, f"{order} was not filled in {_TRIES} tries")

        await asyncio.gather(*map(fill, orders))
