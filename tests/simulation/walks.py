"""A walk gives each key that exists throughout once, whatever else happens to the list."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from random import Random
from typing import Final, Literal

from junkie_async import JunkieError, KeyPager, RetryPolicy

from .durable_jobs import calm_down, make_weather
from .service import LIES, ORDERS, PROVIDER, Faults, Row
from .world import World

_Kind = Literal["nothing", "deleted", "created", "both"]
_KINDS: Final[tuple[_Kind, ...]] = ("nothing", "deleted", "created", "both")
_STORM: Final = 30.0
_CHANGES: Final = 150
_RETRY: Final = RetryPolicy(outage=120.0)


async def run_walk(world: World) -> None:
    """One walk, by a reader of any speed, while keys are created, deleted, or both."""
    dice, service = world.dice, world.service
    world.network.weather = make_weather(dice)
    service.faults = Faults(error=dice.choice((0.0, 0.0, 0.1)))
    service.order = dice.choice(ORDERS)
    service.make(dice.choice((0, 1, 99, 100, 101, 250, 700)))
    world.loop.add_event(_STORM, calm_down, world)
    kind = dice.choice(_KINDS)
    others = asyncio.create_task(_change_list(world, kind))
    reader = world.new_process("reader")
    await world.start(reader, _read_list(world, kind))
    others.cancel()


async def run_walk_over_lies(world: World) -> None:
    """One walk over a list that stays the same, and whose totals are wrong."""
    world.service.make(world.dice.choice((0, 1, 99, 100, 101, 250, 1050)))
    lie = world.dice.choice([*LIES])
    world.service.faults = Faults(lie=lie)
    reader = world.new_process("reader")
    await world.start(reader, _read_lies(world))


async def _read_list(world: World, kind: _Kind) -> None:
    dice = Random(world.dice.random())
    deletes = kind in ("deleted", "both") and dice.random() < 0.5
    slow = dice.choice((0.0, 0.0, 0.001, 0.02))
    strict = dice.random() < 0.3
    async with world.open_client(retry=_RETRY, timeout=5.0) as client:
        before = set(world.service.rows.values())
        pager = client.keys.list(
            provider_id=PROVIDER,
            limit=dice.choice((7, 20, 100)),
            prefetch=dice.choice((1, 4, 16)),
            strict=strict,
        )
        given: list[str] = []
        async for key in pager:
            given.append(key.key_value)
            if slow:
                await asyncio.sleep(slow)
            if deletes and dice.random() < 0.5:
                with contextlib.suppress(JunkieError):  # others may have, or the storm is too bad
                    await client.keys.delete(key)
        if kind == "nothing":
            world.check(not pager.drift, f"nothing has changed: {pager.drift}")
        await _leave_early(world, pager, dice.randrange(3))
    world.check(len(set(given)) == len(given), "a key was given twice")
    world.check(set(given) <= set(world.service.ever), "a key was given that never was")
    if kind != "both":
        _check_complete(world, {row for row in before if not row.deleted}, given)


async def _leave_early(world: World, pager: KeyPager, many: int) -> None:
    """Leave a walk after some pages: its requests end with it."""
    async with aclosing(pager.pages()) as pages:
        async for _ in pages:
            if not many:
                break
            many -= 1
    left = world.network.in_flight["reader"]
    world.check(not left, f"{left} requests are in flight for nobody")


async def _read_lies(world: World) -> None:
    async with world.open_client(retry=_RETRY) as client:
        pager = client.keys.list(provider_id=PROVIDER, limit=world.dice.choice((20, 100)))
        try:
            given = [key.key_value async for key in pager]
        except JunkieError:
            return
    world.check(len(set(given)) == len(given), "a key was given twice")
    if not _tells_contradictions(pager):
        _check_complete(world, set(world.service.rows.values()), given)


def _tells_contradictions(pager: KeyPager) -> bool:
    return pager.drift.contradictions > 0


def _check_complete(world: World, there: set[Row], given: list[str]) -> None:
    missed = {row.value for row in there} - set(given)
    world.check(not missed, f"{len(missed)} of {len(there)} keys were missed")


async def _change_list(world: World, kind: _Kind) -> None:
    dice = Random(world.dice.random())
    pace, most = dice.choice((0.01, 0.1, 1.0)), dice.choice((4, 30))
    for _ in range(_CHANGES if kind != "nothing" else 0):
        await asyncio.sleep(dice.expovariate(1 / pace))
        rows = [*world.service.rows.values()]
        if kind == "created" or not rows or (kind == "both" and dice.random() < 0.5):
            if kind != "deleted":
                world.service.make(dice.choice((1, 1, most)))
        else:
            for row in dice.sample(rows, min(len(rows), dice.choice((1, 1, most)))):
                world.service.delete(row)
