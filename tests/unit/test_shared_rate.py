"""Reservations of a shared rate, on a virtual clock; tests/shared has a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs
import pytest

from junkie_async import Hooks, RateLimitError, RetryPolicy, SharedThrottleEvent
from junkie_async._hooks import Event
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.shared_rate import RateStore, Reservation, SharedRate, SharedThrottle
from junkie_async._http.throttle import Priority, Throttle
from junkie_async._protocol.rate_limit_headers import RateLimitState

from .clock import run
from .scripted import FOLDERS, GOOD, Script


@attrs.define(eq=False)
class Store(RateStore):
    """A store with a round trip of 2 ms, or one that hangs, or one that fails."""

    interval: float = 0.1
    name: str = "store"
    pause_left: float = 0.0
    hangs: bool = False
    fails: bool = False
    latency: float = 0.001
    requests: list[int] = attrs.field(factory=list[int])
    horizons: list[float] = attrs.field(factory=list[float])
    pauses: list[tuple[float, int, float]] = attrs.field(factory=list[tuple[float, int, float]])
    listeners: list[Callable[[float], None]] = attrs.field(factory=list[Callable[[float], None]])
    drops: asyncio.Event = attrs.field(factory=asyncio.Event)
    closed: int = 0
    abandoned: int = 0
    under_way: int = 0
    next: float = 0.0
    number: int = 0

    async def reserve(self, count: int, horizon: float) -> Reservation:
        """Reserve slots by GCRA."""
        assert self.under_way == 0
        self.under_way += 1
        self.requests.append(count)
        self.horizons.append(horizon)
        try:
            await asyncio.sleep(1000.0 if self.hangs else self.latency)
            if self.fails:
                raise OSError("refused")
            reservation = self._take(count, horizon)
            await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
        return reservation

    def _take(self, count: int, horizon: float) -> Reservation:
        now, first, waits = asyncio.get_running_loop().time(), self.number + 1, list[float]()
        for _ in range(count):
            due = max(self.next, now)
            if waits and due > now + horizon:
                break
            waits.append(due - now)
            self.next, self.number = due + self.interval, self.number + 1
        return Reservation(
            waits=tuple(waits),
            first=first,
            pause=self.pause_left,
            interval=self.interval,
            clients=4,
        )

    async def pause(self, seconds: float, number: int, age: float) -> None:
        """Note the pause."""
        self.pauses.append((seconds, number, round(age, 3)))
        if self.hangs:
            await asyncio.sleep(1000.0)
        if self.fails:
            raise OSError("refused")

    async def listen(self, on_pause: Callable[[float], None]) -> None:
        """Listen until the connection is dropped."""
        self.listeners.append(on_pause)
        await self.drops.wait()
        raise OSError("dropped")

    async def close(self) -> None:
        """Count the calls."""
        self.closed += 1

    def abandon(self) -> None:
        """Count the calls."""
        self.abandoned += 1


def make(store: Store, max_in_flight: int = 16) -> tuple[Throttle, list[Event]]:
    """Make a throttle that shares the store's rate, and the list of its events."""
    events: list[Event] = []
    return Throttle(max_in_flight, shared_rate=SharedRate(store, events.append)), events


async def take(throttle: Throttle, priority: Priority = "interactive") -> float:
    """Use a slot for no time; return when it was given."""
    await throttle.acquire(priority=priority)
    throttle.release()
    return asyncio.get_running_loop().time() - 1000


def test_one_request_a_slot() -> None:
    """Slots come an interval apart, with a request each, one at a time."""

    async def main() -> None:
        store = Store()
        throttle, _ = make(store)
        times = await asyncio.gather(*(take(throttle) for _ in range(10)))
        assert times == pytest.approx([0.002 + 0.1 * index for index in range(10)], abs=0.003)
        assert len(store.requests) == 10
        await asyncio.sleep(10)
        assert len(store.requests) == 10  # none while nobody waits

    run(main())


def test_several_slots_at_once_where_they_are_near() -> None:
    """A rate whose interval is half a round trip is used in full: requests take two slots each."""

    async def main() -> None:
        store = Store(interval=0.001)
        throttle, _ = make(store)
        await asyncio.gather(*(take(throttle) for _ in range(1000)))
        assert asyncio.get_running_loop().time() < 1001.1
        assert len(store.requests) < 600
        assert store.number == 1000  # none is reserved that nobody uses

    run(main())


def test_a_slot_at_hand_is_enough() -> None:
    """However many wait, the next slot is reserved when the one at hand is nearly due."""

    async def main() -> None:
        store = Store(interval=1.0)
        throttle, _ = make(store)
        await take(throttle)
        calls = [asyncio.create_task(take(throttle)) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert (len(store.requests), store.number) == (2, 2)
        assert await asyncio.gather(*calls) == pytest.approx([1, 2, 3], abs=0.01)

    run(main())


def test_a_late_interactive_call_takes_the_next_slot() -> None:
    """The slot that a job has reserved goes to whom it is due by priority."""

    async def main() -> None:
        throttle, _ = make(Store())
        jobs = [asyncio.create_task(take(throttle, "job")) for _ in range(5)]
        await asyncio.sleep(0.15)
        assert await take(throttle) == pytest.approx(0.2, abs=0.01)
        assert max(await asyncio.gather(*jobs)) == pytest.approx(0.5, abs=0.02)

    run(main())


def test_an_unused_slot_serves_the_next_call_for_a_moment() -> None:
    """A slot whose waiter was cancelled is used 40 ms later, and not 60 ms later."""

    async def main(later: float, due: float) -> None:
        throttle, _ = make(Store())
        await take(throttle)
        cancelled = asyncio.create_task(take(throttle))  # its slot is due after 0.1 s
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.sleep(0.05 + later)
        assert await take(throttle) == pytest.approx(due, abs=0.01)

    run(main(0.04, 0.14))
    run(main(0.07, 0.2))


def test_a_slot_is_reserved_for_an_interactive_call_that_a_job_would_wait_for() -> None:
    """When little of a stated limit is left, jobs wait for its reset, and others don't."""

    async def main() -> None:
        throttle, _ = make(Store())
        stated = RateLimitState(remaining=10, reset=60, limit=100)
        throttle.record_success(asyncio.get_running_loop().time(), stated)
        assert await take(throttle) < 0.1

    run(main())


def test_each_slot_has_its_number() -> None:
    """Also those that were reserved together: a refusal tells the store which one it was."""

    async def main() -> None:
        store = Store(interval=0.001)
        throttle, _ = make(store)
        times = await asyncio.gather(*(take(throttle) for _ in range(30)))
        assert len(store.requests) < 30
        sent = 1000 + max(times)
        throttle.record_refusal(sent, 5.0, sent=sent)
        await asyncio.sleep(0)
        assert [number for _, number, _ in store.pauses] == [30]

    run(main())


def test_a_ceiling_in_use_reserves_nothing() -> None:
    """While all slots are in use, none are reserved for those who wait."""

    async def main() -> None:
        store = Store()
        throttle, _ = make(store, max_in_flight=1)
        await throttle.acquire()
        waiting = asyncio.create_task(take(throttle))
        await asyncio.sleep(1.0)
        assert len(store.requests) == 1
        throttle.release()
        assert await waiting == pytest.approx(1.0, abs=0.01)

    run(main())


def test_a_hanging_store_holds_a_call_for_a_fifth_of_a_second() -> None:
    """Then the calls go on at this client's share, and come back to the store."""

    async def main() -> None:
        store = Store(hangs=True)
        throttle, events = make(store)
        times = await asyncio.gather(*(take(throttle) for _ in range(3)))
        assert times == pytest.approx([0.2, 0.3, 0.4], abs=0.01)
        store.hangs = False
        await asyncio.sleep(5)
        assert [event.available for event in events] == [False, True]  # type: ignore[union-attr]

    run(main())


def test_the_share_is_that_of_the_clients_seen_lately() -> None:
    """Without the store, one of four clients takes a fourth of the rate."""

    async def main() -> None:
        store = Store()
        throttle, events = make(store)
        await asyncio.gather(*(take(throttle) for _ in range(20)))  # more than its share
        store.fails, begin = True, asyncio.get_running_loop().time() - 1000
        times = [at - begin for at in await asyncio.gather(*(take(throttle) for _ in range(4)))]
        assert times[0] < 0.25
        assert [times[3] - times[2], times[2] - times[1]] == pytest.approx([0.4, 0.4], abs=0.01)
        assert events[0].rate == pytest.approx(2.5)  # type: ignore[union-attr]

    run(main())


def test_a_store_that_is_lost_before_its_rate_is_known() -> None:
    """Without a limit of the caller's own, calls then go on without one."""

    async def main() -> None:
        throttle, events = make(Store(interval=0.0, fails=True))
        times = await asyncio.gather(*(take(throttle) for _ in range(5)))
        assert max(times) < 0.1
        assert [event.rate for event in events] == [None]  # type: ignore[union-attr]

    run(main())


def test_a_connection_that_was_closed_while_idle_is_no_loss() -> None:
    """A request that fails immediately is made again, once."""

    async def main() -> None:
        store = Store(fails=True)
        throttle, events = make(store)
        call = asyncio.create_task(take(throttle))
        await asyncio.sleep(0.0015)
        store.fails = False
        await call
        assert events == []
        assert store.horizons == [0.02, 0.02]

    run(main())


def test_a_pause_of_another_process_ends_waits_that_are_too_short() -> None:
    """A call whose deadline is within the pause raises RateLimitError, immediately."""

    async def main() -> None:
        throttle, _ = make(Store(pause_left=60.0))
        with pytest.raises(RateLimitError) as caught:
            await throttle.acquire(1030.0)
        assert caught.value.retry_after == pytest.approx(60.0, abs=0.1)
        assert asyncio.get_running_loop().time() < 1000.1

    run(main())


def test_a_slot_after_the_deadline_ends_the_wait() -> None:
    """A call whose slot is due after its deadline raises RateLimitError, immediately."""

    async def main() -> None:
        throttle, _ = make(Store(interval=60.0))
        await take(throttle)
        with pytest.raises(RateLimitError):
            await throttle.acquire(1030.0)
        assert asyncio.get_running_loop().time() < 1000.1

    run(main())


def test_a_refusal_is_told_to_all_with_the_slot_that_was_refused() -> None:
    """Its number and its age: by these the store learns the rate. A challenge says neither."""

    async def main() -> None:
        store = Store()
        throttle, events = make(store)
        sent = [await take(throttle) + 1000 for _ in range(3)]
        now = asyncio.get_running_loop().time()
        throttle.record_refusal(now + 0.01, 5.0, sent=sent[1])
        await asyncio.sleep(0)
        assert store.pauses == [(5.0, 2, round(now + 0.01 - sent[1], 3))]
        throttle.record_refusal(now + 0.02, 9.0, sent=sent[2])  # it only prolongs the pause
        throttle.record_refusal(now + 0.03, 1.0, sent=sent[2])  # it does not even do that
        await asyncio.sleep(0)
        assert [pause[:2] for pause in store.pauses[1:]] == [(9.0, 0)]
        assert await take(throttle) == pytest.approx(9.23, abs=0.05)
        assert events == []

    run(main())


def test_a_refusal_of_a_request_without_a_slot_tells_nothing_of_the_rate() -> None:
    """It was sent before the rate was shared: all pause, and that is all."""

    async def main() -> None:
        store = Store()
        throttle, _ = make(store)
        await take(throttle)
        throttle.record_refusal(1000.5, 5.0, sent=999.0)
        await asyncio.sleep(0)
        assert store.pauses == [(5.0, 0, 1.5)]

    run(main())


def test_a_challenge_of_the_cdn_tells_nothing_of_the_rate() -> None:
    """Its pause has no number."""

    async def main() -> None:
        store = Store()
        throttle, _ = make(store)
        begin = await take(throttle) + 1000
        throttle.record_challenge(begin, "GET /a", sent=begin)
        throttle.record_challenge(begin, "GET /b", sent=begin)
        await asyncio.sleep(0)
        assert [(number, age) for _, number, age in store.pauses] == [(0, 0.0)]

    run(main())


@pytest.mark.parametrize("state", ["fails", "hangs"])
def test_a_pause_that_does_not_reach_the_store(state: str) -> None:
    """The store counts as lost, and calls go on after the pause, at this client's share."""

    async def main() -> None:
        store = Store()
        throttle, events = make(store)
        begin = await take(throttle) + 1000
        setattr(store, state, True)
        throttle.record_refusal(begin, 3.0, sent=begin)
        times = await asyncio.gather(*(take(throttle) for _ in range(2)))
        assert times == pytest.approx([3.0, 3.4], abs=0.05)  # one of four clients
        reason = "OSError" if state == "fails" else "TimeoutError"
        assert [(event.available, event.error) for event in events] == [  # type: ignore[union-attr]
            (False, reason)
        ]
        throttle.record_refusal(begin + 9, 1.0, sent=begin + 9)  # nobody is there to be told
        await asyncio.sleep(0)
        assert len(store.pauses) == 1

    run(main())


def test_a_pause_that_is_heard_holds_for_this_client() -> None:
    """Reserved slots that are due in it are given up. A pause that adds less than 50 ms is none."""

    async def main() -> None:
        store = Store(interval=0.03)
        throttle, _ = make(store)
        calls = [asyncio.create_task(take(throttle)) for _ in range(3)]
        await calls[0]
        store.listeners[0](2.0)
        resumes_at = asyncio.get_running_loop().time() - 1000 + 2.0
        late = asyncio.create_task(throttle.acquire(1001.0))
        with pytest.raises(RateLimitError):
            await late
        await asyncio.sleep(0.04)
        store.listeners[0](2.0)  # the same one, as another response states it
        times = await asyncio.gather(*calls[1:])
        assert times == pytest.approx([resumes_at, resumes_at + 0.03], abs=0.03)
        assert times[0] >= resumes_at - 1e-6

    run(main())


def test_what_was_in_flight_when_a_pause_is_heard() -> None:
    """Its refusal is that of the same limit, and begins no other pause."""

    async def main() -> None:
        store = Store()
        throttle, _ = make(store)
        sent = await take(throttle) + 1000
        await asyncio.sleep(0.01)
        store.listeners[0](2.0)
        now = asyncio.get_running_loop().time()
        assert throttle.record_refusal(now, 1.0, sent=sent) is None
        assert throttle.record_refusal(now + 3, 1.0, sent=now + 3) == 1.0

    run(main())


def test_pauses_are_heard_again_after_a_lost_connection() -> None:
    """The connection for them is opened anew after half a second."""

    async def main() -> None:
        store = Store()
        throttle, events = make(store)
        await take(throttle)
        store.drops.set()
        await asyncio.sleep(0.4)
        assert len(store.listeners) == 1
        store.drops.clear()
        await asyncio.sleep(0.2)
        assert len(store.listeners) == 2
        store.listeners[1](1.0)
        assert await take(throttle) == pytest.approx(1.6, abs=0.05)
        assert events == []

    run(main())


def test_closing_ends_all_that_a_shared_rate_does() -> None:
    """No task is left, whether the store responds or not, and its connections are closed."""

    async def main(*, hangs: bool) -> None:
        store = Store(hangs=hangs)
        shared = SharedRate(store, lambda _: None)
        throttle = Throttle(1, shared_rate=shared)
        await throttle.acquire()
        await asyncio.sleep(0.1)
        closed = store.closed
        await shared.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert store.closed > closed

    run(main(hangs=False))
    run(main(hangs=True))


def test_another_event_loop_goes_on_with_what_was_learned() -> None:
    """The store forgets its connections, and without it the share is the one of before."""
    store = Store()
    throttle, events = make(store)

    async def learn() -> None:
        await asyncio.gather(*(take(throttle) for _ in range(5)))

    async def go_on() -> None:
        renewed = throttle.renew()
        store.under_way, store.fails = 0, True
        times = await asyncio.gather(*(take(renewed) for _ in range(3)))
        assert times[2] - times[1] == pytest.approx(0.4, abs=0.01)  # one of four clients
        assert [event.rate for event in events] == [pytest.approx(2.5)]  # type: ignore[union-attr]

    run(learn())
    abandoned = store.abandoned
    run(go_on())
    assert (abandoned, store.abandoned) == (1, 2)


def test_a_store_that_comes_back_is_joined_slowly() -> None:
    """For a second each client also keeps to its share, as others may not have noticed it."""

    async def main() -> None:
        store = Store(interval=0.01, fails=True)
        throttle, events = make(store)
        throttle.shared_rate._share_interval = 0.2  # type: ignore[union-attr]
        await take(throttle)
        store.fails = False
        await asyncio.sleep(0.6)
        assert [event.available for event in events] == [False, True]  # type: ignore[union-attr]
        assert 0 in store.requests  # looking for it reserves nothing that nobody asked for
        begin = asyncio.get_running_loop().time() - 1000
        times = [at - begin for at in await asyncio.gather(*(take(throttle) for _ in range(30)))]
        assert [times[2] - times[1], times[3] - times[2]] == pytest.approx([0.2, 0.2], abs=0.03)
        assert times[-1] - times[-11] == pytest.approx(0.1, abs=0.05)

    run(main())


def test_a_store_that_has_been_back_for_a_second() -> None:
    """The first call after that second takes its slot, and the next ones, at the store's rate."""

    async def main() -> None:
        store = Store(interval=0.01, fails=True)
        throttle, _ = make(store)
        throttle.shared_rate._share_interval = 0.2  # type: ignore[union-attr]
        await take(throttle)
        store.fails = False
        await asyncio.sleep(2.0)
        begin = asyncio.get_running_loop().time() - 1000
        times = [at - begin for at in await asyncio.gather(*(take(throttle) for _ in range(10)))]
        assert max(times) < 0.15

    run(main())


def test_a_store_that_has_lost_its_state_is_joined_slowly() -> None:
    """Its numbers begin anew: other clients may still hold slots of before."""

    async def main() -> None:
        store = Store(interval=0.01)
        throttle, events = make(store)
        await asyncio.gather(*(take(throttle) for _ in range(5)))
        store.number = 0
        begin = asyncio.get_running_loop().time() - 1000
        times = [at - begin for at in await asyncio.gather(*(take(throttle) for _ in range(6)))]
        assert times[5] - times[3] == pytest.approx(0.08, abs=0.03)  # four times as slow as before
        assert events == []

    run(main())


def test_how_far_ahead_slots_are_reserved() -> None:
    """Two round trips and 20 ms before the last one is due, and 100 ms at most."""

    async def main(latency: float, horizon: float) -> None:
        store = Store(latency=latency, interval=1.0)
        throttle, _ = make(store)
        for _ in range(3):
            await take(throttle)
        assert store.horizons == pytest.approx([0.02, horizon, horizon], abs=1e-4)
        waiting = asyncio.create_task(take(throttle))
        await asyncio.sleep(1.0 - horizon - 3 * latency)
        waiting.cancel()
        assert set(store.requests) == {1}

    run(main(0.005, 0.04))
    run(main(0.04, 0.1))


class Shared(SharedThrottle):
    """Describes stores in memory, one for each API key."""

    def __init__(self) -> None:
        self.stores: dict[tuple[str, str], Store] = {}

    def open_store(self, api_key: str, base_url: str) -> RateStore:
        """Make the store of an API key."""
        store = Store(interval=1.0, name=api_key)
        return self.stores.setdefault((api_key, base_url), store)


def test_a_client_shares_the_rate_of_its_api_key() -> None:
    """The store is that of its key and service; with another key it changes, and is closed."""
    shared, keys = Shared(), iter(["first", "second", "third"])
    seen: list[Event] = []

    class Watch(Hooks):
        def on_shared_throttle(self, event: SharedThrottleEvent) -> None:
            seen.append(event)

    script = Script(GOOD, (401, {}, b""))
    dispatcher = Dispatcher(
        script,
        api_key=lambda: next(keys),
        retry=RetryPolicy(),
        max_in_flight=4,
        rate_limit=None,
        shared_throttle=shared,
        hooks=[Watch()],
    )

    async def main() -> None:
        for _ in range(3):
            await dispatcher.send(FOLDERS)
        first, second = shared.stores.values()
        assert [moment for moment, _ in script.began] == pytest.approx(
            [1000, 1001, 1001, 1002], abs=0.01
        )
        assert list(shared.stores) == [(key, script.base_url) for key in ("first", "second")]
        assert first.closed >= 1
        assert [len(store.requests) for store in (first, second)] == [2, 2]

    async def go_on() -> None:
        store = shared.stores["second", script.base_url]
        before, store.fails = len(store.requests), True
        await dispatcher.send(FOLDERS)
        assert len(store.requests) > before
        assert [event.store for event in seen] == ["second"]  # type: ignore[union-attr]
        await dispatcher.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    run(go_on())
