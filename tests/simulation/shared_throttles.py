"""Processes that share a rate in Redis, which is lost, hangs, forgets, or can't be reached."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import attrs

from junkie_async import JunkieClient, RateLimit, RetryPolicy
from junkie_async._http.shared_rate import RateStore, SharedThrottle
from junkie_async.redis import _RedisStore

from .event_loop import Process
from .redis_server import RedisClient, RedisServer
from .service import Limiter
from .world import World

_WARM: Final = 2.0
"""Seconds until all processes know each other. Before that, nobody knows what a share is."""

_TROUBLE: Final = 8.0
_RECOVERY: Final = 4.0
_CALM: Final = 5.0
_LATE: Final = 0.03 + 0.05
"""Seconds by which a slot may be used late, and the next one in time: `CATCH_UP`, `_LAPSE`."""

_HELD: Final = 0.25
"""Seconds for which a call is held because of Redis, at most: so says the documentation."""

_PAUSE: Final = 2.0


class _Throttle(SharedThrottle):
    """`RedisThrottle`, without redis-py."""

    def __init__(self, server: RedisServer, rate: RateLimit) -> None:
        self._server, self._rate = server, rate

    def open_store(self, api_key: str, base_url: str) -> RateStore:
        """Open the state."""
        return _RedisStore(
            "redis", "rate", self._rate, lambda: RedisClient(self._server), is_own=True
        )


@attrs.define(eq=False)
class _Fleet:
    """What the processes of a run share."""

    world: World
    redis: RedisServer
    rate: float
    is_busy: bool
    amount: int
    ends_at: float
    troubles: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    refused_at: list[float] = attrs.field(factory=list[float])
    stops: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    lost: list[str] = attrs.field(factory=list[str])


async def run_shared_throttle(world: World) -> None:
    """Two to four processes, busy or not, beside a Redis with troubles."""
    dice = world.dice
    world.service.make(1)
    fleet = _Fleet(
        world,
        RedisServer(world.loop, Random(dice.random())),
        rate=dice.choice((8.0, 20.0)),
        is_busy=dice.random() < 0.6,
        amount=dice.choice((2, 3, 4)),
        ends_at=world.loop.time() + _WARM + _TROUBLE + _RECOVERY + _CALM,
    )
    fleet.redis.delay = (0.0003, dice.choice((0.001, 0.01, 0.03)))
    fleet.redis.client_timeout = dice.choice((0.25, 60.0))
    _make_troubles(fleet, dice.choice(("none", "none", "crash", "hang", "hang", "cut", "lost")))
    processes = [world.new_process(f"shard {number}") for number in range(fleet.amount)]
    if fleet.is_busy and dice.random() < 0.3:
        _make_stops(fleet, processes)
    if not fleet.troubles and dice.random() < 0.5:
        world.loop.add_event(_WARM + dice.uniform(0.0, _TROUBLE), _refuse_one, fleet)
    tasks = [world.start(process, _run_shard(fleet, process)) for process in processes]
    await asyncio.gather(*tasks)
    world.check(not fleet.lost, f"still without Redis: {fleet.lost}")
    _check_rate(fleet)
    _check_pauses(fleet)
    if fleet.is_busy and not fleet.refused_at and not fleet.stops:
        _check_shares(fleet)


async def _run_shard(fleet: _Fleet, process: Process) -> None:
    throttle = _Throttle(fleet.redis, RateLimit(fleet.rate))
    policy = RetryPolicy(deadline=60.0)
    async with fleet.world.open_client(throttle=throttle, retry=policy) as client:
        callers = [
            asyncio.create_task(_call_often(fleet, client, process))
            for _ in range(3 if fleet.is_busy else 1)
        ]
        await asyncio.gather(*callers)
        shared = client._dispatcher._state.throttle.shared_rate
        if shared is None or shared.is_lost:
            fleet.lost.append(process.name)


async def _call_often(fleet: _Fleet, client: JunkieClient, process: Process) -> None:
    world, dice = fleet.world, Random(fleet.world.dice.random())
    longest = _HELD + 0.15 + 4 * fleet.redis.delay[1] + fleet.amount / fleet.rate
    while world.loop.time() < fleet.ends_at:
        if not fleet.is_busy:
            await asyncio.sleep(dice.uniform(2.0, 4.0) * fleet.amount / fleet.rate)
        begun = world.loop.time()
        await client.keys.folders()
        seconds = world.loop.time() - begun
        is_held = seconds > longest and not fleet.refused_at and not fleet.is_busy
        world.check(not is_held, f"{process.name}: a call took {seconds:.2f} s at {begun:.3f}")


def _make_troubles(fleet: _Fleet, kind: str) -> None:
    world, dice, redis = fleet.world, fleet.world.dice, fleet.redis
    if kind == "none":
        return
    for _ in range(dice.choice((1, 2))):
        begins, seconds = _WARM + dice.uniform(0.0, 4.0), dice.choice((0.05, 0.4, 3.0))
        now = world.loop.time()
        fleet.troubles.append((now + begins, now + begins + seconds))
        ends = begins + seconds
        match kind:
            case "crash":
                world.loop.add_event(begins, redis.crash)
                keeps = dice.random() < 0.3
                world.loop.add_event(ends, lambda keeps=keeps: redis.start(keeps_state=keeps))
            case "hang":
                world.loop.add_event(begins, setattr, redis, "hangs", True)
                world.loop.add_event(ends, setattr, redis, "hangs", False)
            case "cut":
                name = f"shard {dice.randrange(fleet.amount)}"
                world.loop.add_event(begins, redis.cut_off.add, name)
                world.loop.add_event(ends, redis.cut_off.discard, name)
            case _:
                world.loop.add_event(begins, setattr, redis, "lost", 0.3)
                world.loop.add_event(ends, setattr, redis, "lost", 0.0)


def _make_stops(fleet: _Fleet, processes: list[Process]) -> None:
    """Stop some processes, together, for longer than their slots are valid."""
    world, dice = fleet.world, fleet.world.dice
    begins, seconds = _WARM + dice.uniform(0.0, 4.0), dice.choice((0.2, 1.0, 4.0))
    now = world.loop.time()
    for process in processes[: dice.randrange(1, len(processes) + 1)]:
        fleet.stops.append((now + begins, now + begins + seconds))
        world.stop_at(process, begins, seconds)


def _refuse_one(fleet: _Fleet) -> None:
    fleet.world.service.limiter = _RefusesOnce(fleet)


class _RefusesOnce(Limiter):
    """Refuses one request, whatever the rate is."""

    def __init__(self, fleet: _Fleet) -> None:
        super().__init__(rate=1.0, burst=1.0, retry_after=f"{_PAUSE:.0f}")
        self._fleet = fleet

    def admit(self, now: float) -> bool:
        """Refuse the first one."""
        if self._fleet.refused_at:
            return True
        self._fleet.refused_at.append(now)
        return False


def _check_rate(fleet: _Fleet) -> None:
    """Check that a bucket admits each request, as far as the documentation promises it.

    While some processes can't reach Redis, these go on at their shares, and those that can share
    the whole rate: together that is twice the rate at most, until the settling has ended.
    """
    world, begun_at = fleet.world, fleet.world.network.begun_at
    late = _LATE + 2 * fleet.redis.delay[1]
    most = 1.0 + late * fleet.rate
    most += fleet.amount * (bool(fleet.troubles) + bool(fleet.stops) * (1 + 0.05 * fleet.rate))
    tokens, last = most, 0.0
    for moment in sorted(moment for moments in begun_at.values() for moment in moments):
        double = sum(
            max(0.0, min(moment, ends + 2.0) - max(last, begins)) for begins, ends in fleet.troubles
        )
        tokens = min(most, tokens + (moment - last + double) * fleet.rate) - 1
        last = moment
        if tokens < -0.01:
            world.check(False, f"more than {fleet.rate:g} requests a second at {moment:.3f}")
            return


def _check_pauses(fleet: _Fleet) -> None:
    """Check that a 429 pauses all processes, once the refused one can tell of it."""
    delay = 0.1 + 6 * fleet.redis.delay[1]
    for refused_at in fleet.refused_at:
        noticed_at = refused_at + delay
        for begins, ends in fleet.stops:
            if begins < noticed_at:
                noticed_at = max(noticed_at, ends + delay)
        for name, moments in fleet.world.network.begun_at.items():
            early = [
                moment for moment in moments if noticed_at < moment < refused_at + _PAUSE - 0.06
            ]
            fleet.world.check(not early, f"{name} did not pause at {refused_at:.3f}: {early[:3]}")


def _check_shares(fleet: _Fleet) -> None:
    """Check that in the end the rate is used, in equal shares."""
    begins, counts = fleet.ends_at - _CALM, list[int]()
    for moments in fleet.world.network.begun_at.values():
        counts.append(sum(begins <= moment < fleet.ends_at for moment in moments))
    total, right = sum(counts), fleet.rate * _CALM
    fleet.world.check(total >= 0.85 * right, f"{total} requests in the end instead of {right}")
    least = 0.5 * right / fleet.amount
    fleet.world.check(min(counts) >= least, f"shares of {counts}")
