"""One client's throttle: its ceiling, its own rate, deadlines, and turns for everybody."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, Final

from junkie_async import JunkieClient, JunkieError, RateLimit, RequestTimeoutError, RetryPolicy
from junkie_async._http.throttle import Priority

from .calls import MORE_REQUESTS, ONE_REQUEST, cancel_some, check_creations, make_call
from .durable_jobs import add_outages, make_weather
from .network import Weather
from .service import PROVIDER, Faults, Limiter
from .world import World

_STORM: Final = 20.0
_FORGOTTEN: Final = 1500.0
"""Seconds after which nothing that was learned in a storm restrains a client any more."""

_AT_ONCE: Final = 0.5
"""Seconds that a call takes at most if it gets its slot at once."""

_CALLS: Final = [*ONE_REQUEST, *MORE_REQUESTS]
_PRIORITIES: Final[tuple[Priority | None, ...]] = (None, None, None, "walk", "job")


async def run_throttle(world: World) -> None:
    """Calls, walks and jobs of one client, against a service that limits, refuses and fails."""
    world.service.make(60)
    app = world.new_process("app")
    await world.start(app, _App(world).run())


class _App:
    """A process with one client."""

    def __init__(self, world: World) -> None:
        dice = world.dice
        self.world, self.dice = world, Random(dice.random())
        self.max_in_flight = dice.choice((1, 2, 3, 8))
        self.rate = dice.choice((None, None, RateLimit(5), RateLimit(3, per=2.0)))
        self.policy = RetryPolicy(
            deadline=dice.choice((3.0, 20.0)),
            outage=120.0,
            retry_after_cap=dice.choice((5.0, 60.0)),
        )

    async def run(self) -> None:
        world = self.world
        _begin_storm(world)
        options: dict[str, Any] = {"max_in_flight": self.max_in_flight, "rate_limit": self.rate}
        async with world.open_client(timeout=3.0, retry=self.policy, **options) as client:
            tasks = [asyncio.create_task(self._call_often(client)) for _ in range(6)]
            tasks += [asyncio.create_task(self._work(client)) for _ in range(3)]
            await cancel_some(world, tasks, self.dice.choice((0.0, 0.3, 0.8)))
            await asyncio.sleep(_FORGOTTEN)
            await self._check_slots(client)
            if self.rate is not None or self.max_in_flight <= 2:
                await self._check_turns(client)
            await self._close(client)
        name = "app"
        most = world.network.most_in_flight[name]
        world.check(most <= self.max_in_flight, f"{most} in flight of {self.max_in_flight}")
        if self.rate is not None:
            _check_rate(world, self.rate, world.network.begun_at[name])
        check_creations(world)
        _check_pauses(world, self.policy.retry_after_cap, world.network.begun_at[name])

    async def _call_often(self, client: JunkieClient) -> None:
        """Make calls, one after the other, some of which are cancelled."""
        dice, end = Random(self.dice.random()), self.world.loop.time() + 2 * _STORM
        while self.world.loop.time() < end:
            call = asyncio.create_task(self._call(client, dice))
            if dice.random() < 0.2:
                self.world.cancel_at(call, dice.uniform(0.0, dice.choice((0.05, 2.0))))
            try:
                await asyncio.wait({call})
            finally:
                call.cancel()
            await asyncio.sleep(dice.uniform(0.0, dice.choice((0.0, 1.0, 8.0))))

    async def _call(self, client: JunkieClient, dice: Random) -> None:
        """Make a call, which must not wait in vain for the end of a pause."""
        name, priority = dice.choice(_CALLS), dice.choice(_PRIORITIES)
        deadline = dice.choice((None, 0.3, 2.0, 10.0))
        failure = await make_call(
            self.world, client, name, deadline=deadline, policy=self.policy, priority=priority
        )
        is_simple = name in ONE_REQUEST and priority is None
        if is_simple and isinstance(failure, RequestTimeoutError) and not failure.attempts:
            now = self.world.loop.time()
            ends = [
                at + seconds
                for at, seconds in self.world.network.pauses
                if at < now - 0.1 and seconds <= self.policy.retry_after_cap
            ]
            self.world.check(now > max(ends, default=0.0), f"{name} has waited for a pause")

    async def _work(self, client: JunkieClient) -> None:
        """Walk over the list, or run a job."""
        dice, keys = Random(self.dice.random()), client.keys
        ids = [*self.world.service.rows][:15]
        try:
            match dice.randrange(4):
                case 0:
                    await keys.list(limit=dice.choice((10, 20))).collect()
                case 1:
                    await keys.create_many(500, provider_id=PROVIDER)
                case 2:
                    await keys.update_many(ids, key_name="new", concurrency=dice.choice((1, 8)))
                case _:
                    await keys.delete_many(ids, concurrency=dice.choice((1, 8)))
        except JunkieError:
            pass

    async def _check_slots(self, client: JunkieClient) -> None:
        """No slot is lost, nobody waits, and calls get slots at once again."""
        world, throttle = self.world, client._dispatcher._state.throttle
        world.check(throttle._in_flight == 0, f"{throttle._in_flight} slots are lost")
        waiting = len(throttle._waits) + sum(map(len, throttle._queues.values()))
        world.check(not waiting, f"{waiting} wait for a slot")
        for number in range(2):  # the second one, too: a good response has ended every stop
            begun = world.loop.time()
            await client.keys.folders()
            seconds = world.loop.time() - begun
            world.check(seconds < _AT_ONCE, f"call {number} after the storm took {seconds:.2f} s")

    async def _close(self, client: JunkieClient) -> None:
        """Close the client while calls wait: all of them end, and give their slots back."""
        world, throttle = self.world, client._dispatcher._state.throttle
        calls = [asyncio.create_task(client.keys.folders()) for _ in range(12)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)
        await client.close()
        _, pending = await asyncio.wait(calls, timeout=1.0)
        await asyncio.gather(*(call for call in calls if call.done()), return_exceptions=True)
        world.check(not pending, f"{len(pending)} calls wait although the client is closed")
        world.check(throttle._in_flight == 0, f"{throttle._in_flight} slots are lost at the end")
        for call in pending:
            call.cancel()

    async def _check_turns(self, client: JunkieClient) -> None:
        """A walk and a job get turns beside callers that leave none."""
        busy = [asyncio.create_task(_call_always(client)) for _ in range(6)]
        begun = self.world.loop.time()
        ids = [row.id for row in self.world.service.make(4)]
        rest = [
            asyncio.create_task(client.keys.list(limit=20).collect()),
            asyncio.create_task(_run_job(client, ids)),
        ]
        # At most eight turns go past each of them, and each needs a few turns.
        pages = -(-len(self.world.service.rows) // 20)
        turns = 10 * (pages + 1 + len(ids)) + 20
        seconds = turns / (self.rate.requests / self.rate.per if self.rate else 5.0)
        _, pending = await asyncio.wait(rest, timeout=seconds)
        taken = self.world.loop.time() - begun
        self.world.check(
            not pending, f"{len(pending)} of a walk and a job starve for {taken:.0f} s"
        )
        for task in (*busy, *rest):
            task.cancel()
        await asyncio.gather(*busy, *rest, return_exceptions=True)


def _begin_storm(world: World) -> None:
    dice, service = world.dice, world.service
    world.network.weather = make_weather(dice)
    limiter = Limiter(
        rate=dice.choice((0.5, 3.0, 20.0)),
        burst=dice.choice((1, 5, 20)),
        retry_after=dice.choice((None, None, "", "", "0", "7", "100000")),
        states=dice.random() < 0.4,
        lies=dice.choice((0.0, 0.0, 0.05)),
    )
    service.limiter = limiter if dice.random() < 0.7 else None
    service.faults = Faults(error=dice.choice((0.0, 0.0, 0.2)))
    add_outages(world, dice.choice((0, 0, 1, 3)), within=_STORM, longest=6.0)
    for _ in range(dice.choice((0, 0, 2))):
        world.loop.add_event(dice.uniform(0.0, _STORM), world.network.cut)
    world.loop.add_event(_STORM + 6.0, _end_storm, world)


def _end_storm(world: World) -> None:
    world.network.weather, world.service.faults = Weather(), Faults()
    world.service.limiter, world.service.down = None, False


async def _call_always(client: JunkieClient) -> None:
    while True:
        await client.keys.folders()


async def _run_job(client: JunkieClient, ids: list[int]) -> None:
    await client.keys.update_many(ids, key_name="new", concurrency=1)


def _check_rate(world: World, rate: RateLimit, begun_at: list[float]) -> None:
    """Check that a bucket of so many tokens admits each request."""
    tokens, last = rate.requests, 0.0
    for moment in begun_at:
        tokens = min(rate.requests, tokens + (moment - last) * rate.requests / rate.per) - 1
        last = moment
        if tokens < -0.01:
            world.check(False, f"more than {rate} at {moment:.3f}")
            return


def _check_pauses(world: World, cap: float, begun_at: list[float]) -> None:
    """Check that nothing is sent while a 429 asks for a pause, unless that is for too long."""
    for noticed_at, seconds in world.network.pauses:
        ends_at = noticed_at + min(seconds, cap)
        early = [at for at in begun_at if noticed_at + 0.001 < at < ends_at - 0.001]
        world.check(seconds > cap or not early, f"no pause of {seconds} s at {noticed_at:.3f}")
