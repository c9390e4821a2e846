"""Reservations of a shared rate, on a virtual clock; tests/shared has a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs
import pytest

from junkie_async import RateLimitError
from junkie_async._hooks import Event
from junkie_async._http.shared_rate import RateStore, Reservation, SharedRate
from junkie_async._http.throttle import Priority, Throttle

from .clock import run


@attrs.define(eq=False)
class Store(RateStore):
    """A store with a round trip of 2 ms, or one that hangs, or one that fails."""

    interval: float = 0.1
    name: str = "store"
    pause_left: float = 0.0
    hangs: bool = False
    fails: bool = False
    requests: list[int] = attrs.field(factory=list[int])
    under_way: int = 0
    next: float = 0.0
    number: int = 0

    async def reserve(self, count: int, horizon: float) -> Reservation:
        """Reserve slots by GCRA."""
        assert self.under_way == 0
        self.under_way += 1
        self.requests.append(count)
        try:
            await asyncio.sleep(1000.0 if self.hangs else 0.001)
            if self.fails:
                raise OSError("refused")
            reservation = self._take(count, horizon)
            await asyncio.sleep(0.001)
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
        """Do nothing."""

    async def listen(self, on_pause: Callable[[float], None]) -> None:
        """Wait for nothing."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""


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
