"""Verdicts are true for as long as they say, whoever asks at the same time, changes or gives up."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Final

import attrs

from junkie_async import (
    JunkieClient,
    JunkieError,
    RequestTimeoutError,
    RetryPolicy,
    Verdict,
    VerdictReason,
)

from .calls import SLACK
from .durable_jobs import add_outages, make_weather
from .network import Weather
from .service import Faults, Row
from .world import World

_STORM: Final = 25.0
_CALM: Final = 20.0
_FORGOTTEN: Final = 10.0
"""Seconds after an outage in which a look-up has shown that it is over."""

_DEADLINE: Final = 10.0
"""That of the longest call: no look-up takes longer, so no answer that is shared is older."""


async def run_look_ups(world: World) -> None:
    """Callers verify a few keys, which others change, and so does the same client."""
    dice, service = world.dice, world.service
    service.make(3)
    world.network.weather = make_weather(dice)
    service.faults = Faults(
        error=dice.choice((0.0, 0.0, 0.3)), error_after=dice.choice((0.0, 0.0, 0.3))
    )
    add_outages(world, dice.choice((0, 1, 3)), within=_STORM, longest=12.0)
    world.loop.add_event(_STORM, _calm_down, world)
    storm_ends_at = world.loop.time() + _STORM
    most_stale = dice.choice(((0.0, 3.0, 60.0), (60.0,)))
    app = _App(world, storm_ends_at + _FORGOTTEN, storm_ends_at + _CALM, most_stale)
    await world.start(world.new_process("app"), app.run())


def _calm_down(world: World) -> None:
    world.network.weather, world.service.faults = Weather(), Faults()
    world.service.down = False


@attrs.define(eq=False)
class _App:
    """A process with one client."""

    world: World
    calm_at: float
    ends_at: float
    most_stale: tuple[float, ...]
    changed_at: dict[str, float] = attrs.field(factory=dict[str, float])
    """When the client's latest change of a key has ended, by the key's value."""

    async def run(self) -> None:
        world = self.world
        retry = RetryPolicy(attempts=world.dice.choice((1, 3)), wait_initial=0.1, wait_max=1.0)
        async with world.open_client(timeout=_DEADLINE, retry=retry) as client:
            work = [self._verify_often(client) for _ in range(5)]
            work += [self._change_often(client), self._change_by_others()]
            await asyncio.gather(*work)
            await self._give_up(client)

    async def _verify_often(self, client: JunkieClient) -> None:
        dice = Random(self.world.dice.random())
        while self.world.loop.time() < self.ends_at:
            row = dice.choice([*self.world.service.ever.values()])
            task = asyncio.create_task(self._verify(client, dice, row))
            # Not later: after a probe that is given up, others have to wait for the next one.
            is_stormy = self.world.loop.time() < self.calm_at - _FORGOTTEN
            is_cancelled = is_stormy and dice.random() < 0.3
            if is_cancelled:
                self.world.cancel_at(task, dice.choice((0.01, 0.1, 2.0)) * dice.random())
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
            self.world.check(is_cancelled or not task.cancelled(), "another call was cancelled")
            await asyncio.sleep(dice.choice((0.0, 0.0, 1.0, 5.0)) * dice.random() + 0.05)

    async def _verify(self, client: JunkieClient, dice: Random, row: Row) -> None:
        deadline = dice.choice((0.5, 2.0, _DEADLINE))
        max_age, stale = dice.choice((0.0, 1.0, 20.0)), dice.choice(self.most_stale)
        begun, changed_at = self.world.loop.time(), self.changed_at.get(row.value, 0.0)
        view, verdict = client.with_options(deadline=deadline), None
        try:
            verdict = await view.keys.verify(row.value, max_age=max_age, stale_if_error=stale)
        except JunkieError as error:
            is_late = isinstance(error, RequestTimeoutError)
            early = is_late and not stale and self.world.loop.time() < begun + 0.5 * deadline - 0.01
            self.world.check(not early, f"an early end: {error}")
            self.world.check(self.world.loop.time() < self.calm_at, f"failed in calm: {error}")
        now = self.world.loop.time()
        self.world.check(now - begun <= deadline + SLACK, f"took {now - begun:.3f} of {deadline} s")
        if verdict is not None:
            most = stale if verdict.stale else max_age
            is_young = verdict.age == 0 or verdict.age < most + SLACK
            self.world.check(is_young, f"{verdict.age:.3f} s are more than {most} s")
            self._check_truth(row, verdict, changed_at)

    def _check_truth(self, row: Row, verdict: Verdict, changed_at: float) -> None:
        """Check that a verdict was true at a moment since its look-up and the latest change."""
        world, now = self.world, self.world.loop.time()
        since = max(now - (verdict.age or _DEADLINE), changed_at)
        is_revoked = verdict.reason is VerdictReason.INVALIDATED
        states = {state for at, state in row.states if at > since}
        states.add(next(state for at, state in reversed(row.states) if at <= since))
        world.check(is_revoked in states, f"{verdict} at {now:.3f}, {since=:.3f}: {row.states}")
        world.check(not verdict.stale or now < self.calm_at, f"stale in calm: {verdict}")

    async def _change_often(self, client: JunkieClient) -> None:
        """Revoke and revalidate keys, until it is calm: then only look-ups show that it is."""
        world, dice = self.world, Random(self.world.dice.random())
        while world.loop.time() < self.calm_at - _FORGOTTEN:
            row = dice.choice([*world.service.ever.values()])
            reference = row.id if dice.random() < 0.5 else row.value
            keys = client.with_options(deadline=_DEADLINE).keys
            with contextlib.suppress(JunkieError):
                await (keys.revalidate if row.invalidated else keys.invalidate)(reference)
            self.changed_at[row.value] = world.loop.time()
            await asyncio.sleep(dice.choice((0.1, 1.0, 10.0)) * dice.random())

    async def _change_by_others(self) -> None:
        dice, service = Random(self.world.dice.random()), self.world.service
        while self.world.loop.time() < self.ends_at:
            await asyncio.sleep(dice.expovariate(0.3))
            row = dice.choice([*service.ever.values()])
            service.set_invalidated(row, not row.invalidated)

    async def _give_up(self, client: JunkieClient) -> None:
        """The request that callers share ends with the last of them, and nobody joins it then."""
        world, value = self.world, next(iter(self.world.service.ever))
        tasks = [asyncio.create_task(client.keys.verify(value)) for _ in range(3)]
        await asyncio.sleep(0.003)
        for task in tasks:
            task.cancel()
        if world.happens(0.5):
            for _ in range(world.dice.randrange(4)):
                await asyncio.sleep(0)
            late = asyncio.create_task(client.keys.verify(value))
            await asyncio.wait({late})
            world.check(not late.cancelled(), "a call has joined one that was given up")
        else:
            await asyncio.sleep(0.001)
            left = world.network.in_flight["app"]
            world.check(not left, f"{left} requests are in flight for nobody")
        await asyncio.wait(tasks)
