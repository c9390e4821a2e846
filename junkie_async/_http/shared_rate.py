"""A rate that processes share: slots are reserved in a store, ahead of those who will use them."""

from __future__ import annotations

import abc
import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import msgspec

from .._hooks import Event, SharedThrottleEvent
from .local_rate import LocalRate

_log = logging.getLogger("junkie_async")

_PATIENCE: Final = 0.18
"""Seconds that calls wait for the store. Then they go on without it."""

_GRACE: Final = 0.02
"""Seconds more, in which a busy event loop reads a response that has long arrived."""

_GIVE_UP: Final = 2.0
"""Seconds after which a request to the store is ended, whatever its client's time-outs are."""

_PROBE: Final = 0.5
"""Seconds between two attempts to reach a store that was lost."""

# Longer would let processes that were stopped together use up a burst of the service.
_LAPSE: Final = 0.05
"""Seconds after its moment in which a slot may be used."""

_SETTLING: Final = 2 * _PROBE
"""Seconds in which each client keeps to its share too, as others may not have noticed the store."""

_LEAD: Final = 0.02
"""Seconds before its last slot is due, and two round trips, in which the next is reserved."""

_MAX_HORIZON: Final = 0.1
"""Seconds, for a store that is far away."""


class Slot(NamedTuple):
    """A reservation: when a request may be sent, on the event loop's clock, and its number."""

    due: float
    number: int


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """The store's response.

    Attributes:
        waits: Seconds until each of the slots is due.
        first: The number of the first one. All processes' slots are numbered in order.
        pause: Seconds until the pause of all processes ends.
        interval: Seconds from slot to slot of all processes together.
        clients: Number of clients that have reserved slots lately.
    """

    waits: tuple[float, ...]
    first: int
    pause: float
    interval: float
    clients: int


class RateStore(abc.ABC):
    """Where the state of a shared rate lies. A method may raise anything."""

    name: str
    """What logs show: without credentials."""
    interval: float
    """Seconds from slot to slot, by the caller's own limit; 0 without one."""

    @abc.abstractmethod
    async def reserve(self, count: int, horizon: float) -> Reservation:
        """Reserve a slot, and up to ``count`` if they are due within ``horizon`` seconds."""

    @abc.abstractmethod
    async def pause(self, seconds: float, number: int, age: float) -> None:
        """Pause all processes, because the request in a slot was refused.

        It was sent ``age`` seconds ago. The number is 0 for a pause that tells nothing of the rate.
        """

    @abc.abstractmethod
    async def listen(self, on_pause: Callable[[float], None]) -> None:
        """Call back with the seconds of each pause, until the connection is lost."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the connections that it has opened. The next request opens others."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """Forget the connections of an event loop that is closed."""


class SharedThrottle(abc.ABC):
    """Describes a store. A client opens it for its API key and base URL."""

    @abc.abstractmethod
    def open_store(self, api_key: str, base_url: str) -> RateStore:
        """Make a store, without I/O."""


class SharedRate:
    """The reservations of one client.

    They belong to no waiter: when one is due, the throttle gives it to whose turn it is. As few are
    made as keep the next one at hand, for a call of another process waits behind each. Without the
    store each process takes its share of the rate, and looks for the store in the background.
    """

    def __init__(self, store: RateStore, report: Callable[[Event], None]) -> None:
        store.abandon()
        self._store = store
        self._report = report
        self._on_slots: Callable[[], None] = lambda: None
        self._on_pause: Callable[[float], None] = lambda _: None
        self._slots: deque[Slot] = deque()
        self._given: deque[Slot] = deque(maxlen=1024)  # due is when it was given
        self._share_interval = store.interval
        self._share = LocalRate()  # while the store is lost, and shortly after
        self._first = 0
        self._horizon = _LEAD
        self._resumes_at = self._settled_at = -math.inf
        self._asked_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_lost = False

    def attach(self, on_slots: Callable[[], None], on_pause: Callable[[float], None]) -> None:
        """Set what is called after new slots, and at the pause of another process."""
        self._on_slots, self._on_pause = on_slots, on_pause

    def renew(self) -> SharedRate:
        """Make one for another event loop; that of this one is closed."""
        renewed = SharedRate(self._store, self._report)
        renewed._share_interval = self._share_interval
        return renewed

    async def close(self) -> None:
        """End all requests to the store, and close its connections."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()

    def next_due(self, now: float) -> float:
        """Compute when the next slot is due; infinity when that depends on the store."""
        if self.is_lost:
            return self._share.next_due()
        while self._slots and self._slots[0].due < now - _LAPSE:
            self._slots.popleft()
        due = self._slots[0].due if self._slots else math.inf
        return max(due, self._share.next_due()) if now < self._settled_at else due

    def take(self, now: float) -> None:
        """Use the next slot."""
        if not self.is_lost:
            self._given.append(Slot(now, self._slots.popleft().number))
        if self.is_lost or now < self._settled_at:
            self._share.take(now)

    def reserve_ahead(self, now: float, wanted: int, not_before: float) -> float:
        """Reserve slots in the background, if it is time; return when to ask again.

        ``wanted`` is how many could be used now, none of them ``not_before`` that moment.
        """
        if self.is_lost or self._asked_at is not None or wanted <= len(self._slots):
            return math.inf
        last = self._slots[-1].due if self._slots else now
        ask_at = max(last, not_before, self._resumes_at) - self._horizon
        if ask_at > now:
            return ask_at
        if not self._tasks:
            self._start(self._listen())
        self._asked_at = now  # before the task runs: others may wait for a slot in this iteration
        self._start(self._reserve(wanted - len(self._slots)))
        return math.inf

    def report_refusal(self, now: float, pause: float, *, sent: float, slow_down: bool) -> None:
        """Pause all processes after a request that got its slot at ``sent`` was refused."""
        if not self.is_lost:
            numbers = (slot.number for slot in reversed(self._given) if slot.due <= sent)
            number = next(numbers, 0) if slow_down else 0
            self._hold_until(now + pause)
            self._start(self._share_pause(pause, number, now - sent))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reserve(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self._asked_at = asked_at = loop.time()
        timer = loop.call_later(_PATIENCE, loop.call_later, _GRACE, self._stop_waiting, asked_at)
        try:
            async with asyncio.timeout(_GIVE_UP):
                reservation = await self._try_twice(count, asked_at)
        except Exception as error:  # redis-py's, the socket's, or a script's: none is the caller's
            self._lose(type(error).__name__)
        else:
            self._add_slots(reservation, asked_at, loop.time())
        finally:
            timer.cancel()
            self._asked_at = None
        self._on_slots()

    async def _try_twice(self, count: int, asked_at: float) -> Reservation:
        """Reserve slots, again at once if a connection was closed while it was idle."""
        try:
            return await self._store.reserve(count, self._horizon)
        except Exception:  # whatever it is, the second attempt meets it too
            if asyncio.get_running_loop().time() - asked_at > _GRACE:
                raise
        return await self._store.reserve(count, self._horizon)

    def _stop_waiting(self, asked_at: float) -> None:
        if self._asked_at == asked_at:
            self._lose("TimeoutError")
            self._on_slots()

    def _add_slots(self, reservation: Reservation, asked_at: float, now: float) -> None:
        if self.is_lost or reservation.first < self._first:  # the store was lost, or lost the state
            self._settled_at = now + _SETTLING
            self._share = LocalRate(self._share_interval)
        elif now >= self._settled_at:
            self._share_interval = reservation.interval * reservation.clients
        self._first = reservation.first
        self._horizon = min(_LEAD + 2 * (now - asked_at), _MAX_HORIZON)
        if reservation.pause:
            self._note_pause(reservation.pause)
        base = (asked_at + now) / 2  # when the store computed the waits, as NTP estimates it
        for index, wait in enumerate(reservation.waits):
            self._slots.append(Slot(base + wait, reservation.first + index))
        self._hold_until(self._resumes_at)
        if self.is_lost:
            self.is_lost = False
            _log.info("%s is back: the rate is shared again", self._store.name)
            self._report(SharedThrottleEvent(available=True, store=self._store.name))

    def _lose(self, reason: str) -> None:
        """Go on with this process's share, and look for the store in the background."""
        if self.is_lost:
            return
        self.is_lost = True
        self._slots.clear()
        self._share = LocalRate(self._share_interval)
        rate = 1 / self._share_interval if self._share_interval else None
        _log.warning(
            "%s: %s: each process throttles itself until it is back", self._store.name, reason
        )
        self._report(
            SharedThrottleEvent(available=False, store=self._store.name, error=reason, rate=rate)
        )
        self._start(self._probe())

    async def _probe(self) -> None:
        while self.is_lost:
            await asyncio.sleep(_PROBE)
            if self._asked_at is None:
                await self._reserve(0)

    async def _share_pause(self, seconds: float, number: int, age: float) -> None:
        try:
            async with asyncio.timeout(_GIVE_UP):
                await self._store.pause(seconds, number, age)
        except Exception as error:  # as in `_reserve`
            self._lose(type(error).__name__)
            self._on_slots()

    async def _listen(self) -> None:
        """Notice the pauses of other processes, while slots are held; end with the event loop."""
        try:
            while True:
                await self._listen_once()
                await asyncio.sleep(_PROBE)
        except asyncio.CancelledError:  # not `finally`: a closed event loop can't close connections
            await self._store.close()
            raise

    async def _listen_once(self) -> None:
        try:
            await self._store.listen(self._note_pause)
        except Exception:  # the next reservation fails too, and says why
            _log.debug("%s: the connection for pauses was lost", self._store.name)

    def _note_pause(self, seconds: float) -> None:
        resumes_at = asyncio.get_running_loop().time() + seconds
        # Without a margin each response in a pause would seem to prolong it by its delay.
        if resumes_at > self._resumes_at + _LAPSE:
            self._hold_until(resumes_at)
            self._on_pause(seconds)

    def _hold_until(self, resumes_at: float) -> None:
        """Drop the slots that are due in a pause."""
        self._resumes_at = max(self._resumes_at, resumes_at)
        due = self._resumes_at - _LAPSE  # two estimates of one moment differ by a delay
        self._slots = deque(slot for slot in self._slots if slot.due >= due)
