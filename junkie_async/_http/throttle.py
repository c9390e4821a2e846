"""When a request may be sent: the in-flight ceiling, rate limits, and pauses after a 429."""

from __future__ import annotations

import asyncio
import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, Self, TypeAlias, get_args

from .._errors import ClientClosedError, RateLimitError
from .._protocol.rate_limit_headers import RateLimitState
from .._validation import check_integer
from .adaptive_rate import AdaptiveRate
from .local_rate import LocalRate, RateLimit
from .shared_rate import SharedRate
from .stated_limit import StatedLimit
from .waiter import Waiter, make_closed_error, make_rate_limit_error

Priority: TypeAlias = Literal["interactive", "walk", "job"]
"""Whose turn comes first. Interactive calls have a deadline; walks and jobs wait without one."""
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)

# Each of the three gets at least a tenth of the turns, so that none starves. An interactive call
# waits for at most two turns more.
_MAX_PASSED_OVER: Final = 8
"""Turns in a row that may go past a waiting walk or job. The next turn is theirs."""

# Event loops wake up late. Without catching up, each late slot would delay all that come after it,
# and the rate would stay below its limit.
_MAX_CATCH_UP: Final = 0.05
"""Seconds by which a slot may be due before the moment at which it is given."""


class Throttle:
    """Gives out request slots, one for each request, to all tasks of a client.

    Without a restraint, a slot costs a comparison. After a 429, or when the limit that the service
    states is nearly used up, slots are given one after the other: to interactive calls first, then
    to walks, then to jobs, and to each of them in the order of their arrival. None starves: who was
    passed over eight times comes next. Walks and jobs leave one slot free for interactive calls,
    unless there is only one, or interactive calls use all others. A waiter can be cancelled at any
    point. A throttle belongs to one event loop.

    A waiter whose turn can't come before its deadline raises RateLimitError immediately, also when
    that becomes known while it waits behind others.

    A reset that the service states is believed up to ``max_reset`` seconds: then a request goes
    out, and its response may correct what was wrong. ``back_off`` computes the pause after a 429
    without ``Retry-After``, from the number of 429s in a row before it.

    With a ``shared_rate``, a slot is also given only with one of its reservations.
    """

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None = None,
        *,
        max_reset: float = 120.0,
        back_off: Callable[[int], float] = lambda refusals: 0.25 * 2.0 ** min(refusals, 5),
        shared_rate: SharedRate | None = None,
    ) -> None:
        self._max_in_flight = check_integer("max_in_flight", max_in_flight, 1, 10_000)
        self.ceiling = self._max_in_flight  # of slots in use at a time, now
        self._local_rate = LocalRate.from_limit(rate_limit) if rate_limit else LocalRate()
        self._back_off = back_off
        self._successes = self._refusals = 0
        self._adaptive_rate = AdaptiveRate()
        self._paused_at = self._resumes_at = self._last_due = -math.inf
        self._challenged: str | None = None
        self._stated_limit = StatedLimit(max_reset)
        self._restrained = rate_limit is not None or shared_rate is not None
        self._closed = False
        self._share_rate(shared_rate)
        self._free_all_slots()

    def renew(self) -> Self:
        """Make a throttle for another event loop, which has all slots and what this one learned.

        The calls of a closed event loop give no slot back, or give it back to this throttle.
        """
        renewed = copy.copy(self)
        renewed._share_rate(self.shared_rate and self.shared_rate.renew())  # noqa: SLF001 - of this class
        renewed._free_all_slots()  # noqa: SLF001
        return renewed

    def replace_shared_rate(self, shared: SharedRate) -> SharedRate | None:
        """Go on with the rate of another API key, and return the one before it."""
        former = self.shared_rate
        self._restrained = True
        self._share_rate(shared)
        if self._waits:
            self._give_turns_soon()
        return former

    def _share_rate(self, shared: SharedRate | None) -> None:
        self.shared_rate = shared
        if shared is not None:
            shared.attach(self._give_turns, self._join_pause)

    def _free_all_slots(self) -> None:
        self._in_flight = self._patient_in_flight = 0  # the latter of walks and jobs
        self._waits: set[Waiter] = set()  # those in a back-off are not in a queue yet
        self._queues: dict[Priority, OrderedDict[Waiter, None]] = {
            "interactive": OrderedDict(),
            "walk": OrderedDict(),
            "job": OrderedDict(),
        }
        self._passed_over: dict[Priority, int] = dict.fromkeys(self._queues, 0)
        self._next_turn: asyncio.Handle | None = None

    async def acquire(
        self,
        deadline: float = math.inf,
        *,
        back_off: float = 0.0,
        priority: Priority = "interactive",
    ) -> None:
        """Wait for a slot until the deadline, on the event loop's clock. `release` gives it back.

        A retry waits ``back_off`` seconds before it queues for its slot.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if back_off or not self.take_slot(priority):
            await self._wait_for_slot(deadline, back_off, priority)

    def take_slot(self, priority: Priority = "interactive") -> bool:
        """Take a slot if nothing restrains: what `acquire` does mostly, without a coroutine."""
        if self._restrained or self._waits or not self._has_slot(priority):
            return False
        self._in_flight += 1
        self._patient_in_flight += priority != "interactive"
        return True

    def release(self, priority: Priority = "interactive") -> None:
        """Give a slot back."""
        self._in_flight -= 1
        self._patient_in_flight -= priority != "interactive"
        if self._waits:
            self._give_turns_soon()

    def record_success(self, now: float, stated: RateLimitState | None) -> None:
        """Adapt to a response that is no 429, and to the rate limit that its headers state."""
        self._refusals = 0
        self._challenged = None
        self._adaptive_rate.record_success(now)
        # Additive increase: each full round of successes lets one more request through.
        if self.ceiling < self._max_in_flight:
            self._successes += 1
            if self._successes >= self.ceiling:
                self.ceiling, self._successes = self.ceiling + 1, 0
        self._stated_limit.record_statement(now, stated)
        if stated is not None and self._stated_limit.is_scarce(self._in_flight):
            self._restrained = True
            self._end_late_waits(now)

    def record_refusal(
        self, now: float, retry_after: float | None, *, sent: float, slow_down: bool = True
    ) -> float | None:
        """Pause every request that has no slot yet, and send more slowly afterwards.

        ``sent`` is when the refused request got its slot. ``slow_down`` is whether it was refused
        because of too many requests. Returns the seconds of the pause, None if one had begun.
        """
        # Requests that were in flight when the first one was refused say nothing new about the
        # rate. Counted each, 12 in flight would halve the ceiling 12 times, down to 1.
        begins = sent >= self._paused_at
        in_a_row = self._refusals if begins else self._refusals - 1
        wait = retry_after or 0.0
        # A service that refuses again after the time that it stated, 0 s for instance, was wrong.
        if retry_after is None or in_a_row > 0:
            wait = max(wait, self._back_off(max(0, in_a_row)))
        if begins:
            self._paused_at = now
            self._refusals += 1
            if slow_down:
                # Multiplicative decrease, from what was in use rather than from what was allowed.
                self.ceiling = max(1, min(self.ceiling, self._in_flight) // 2)
                self._successes = 0
                pause = max(wait, _MAX_CATCH_UP)  # `Retry-After: 0` must not divide by zero
                self._adaptive_rate.record_refusal(now, pause)
        if self.shared_rate is not None and (begins or now + wait > self._resumes_at):
            self.shared_rate.report_refusal(now, wait, sent=sent, slow_down=begins and slow_down)
        self._pause_until(now + wait, now)
        return wait if begins else None

    def _join_pause(self, seconds: float) -> None:
        """Pause because another process was refused."""
        now = asyncio.get_running_loop().time()
        self._paused_at = now  # what is in flight was sent before, and says nothing new
        self._pause_until(now + seconds, now)

    def _pause_until(self, resumes_at: float, now: float) -> None:
        self._resumes_at = max(self._resumes_at, resumes_at)
        self._restrained = True
        self._end_late_waits(now)

    def record_challenge(self, now: float, target: str, *, sent: float) -> float | None:
        """Pause as after a refusal, if the CDN also challenged the response before this one.

        A single challenge says nothing of other calls: a firewall may object to what one user
        typed. Nor do several of the same target.
        """
        before, self._challenged = self._challenged, target
        if before is None or before == target:
            return None
        return self.record_refusal(now, None, sent=sent, slow_down=False)

    def close(self) -> None:
        """Raise ClientClosedError in every task that waits for a slot, now or later."""
        self._closed = self._restrained = True
        for wait in self._waits:
            wait.end(make_closed_error())

    def _has_slot(self, priority: Priority) -> bool:
        """Whether fewer slots are in use than calls of this priority may use."""
        shared = priority != "interactive" and self.ceiling > 1
        return self._in_flight < self.ceiling - shared

    def _may_use_slot(self, priority: Priority) -> bool:
        """Whether a waiter of this priority may use one more slot.

        A starving one may use the slot that is kept free, if interactive calls use others. Without
        that it starves while they use all slots, for slots are given back one by one.
        """
        if self._has_slot(priority):
            return True
        is_kept_free = self._in_flight < self.ceiling and self._is_starving(priority)
        return is_kept_free and self._patient_in_flight < self.ceiling - 1

    def _is_starving(self, priority: Priority) -> bool:
        return self._passed_over[priority] >= _MAX_PASSED_OVER

    async def _wait_for_slot(self, deadline: float, back_off: float, priority: Priority) -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop.create_future(), deadline)
        if deadline < math.inf:
            waiter.timers.append(loop.call_at(deadline, waiter.time_out))
        self._waits.add(waiter)
        try:
            if back_off:
                self._check_turn(deadline)
                again = loop.call_at(loop.time() + back_off, self._enqueue, waiter, priority)
                waiter.timers.append(again)
            else:
                self._enqueue(waiter, priority)
            error = await waiter.turn
        except asyncio.CancelledError:
            if not waiter.turn.cancelled() and waiter.turn.result() is None:
                self.release(priority)  # the slot was given in the same iteration of the event loop
            raise
        finally:
            self._forget(waiter, priority)
        if error is None and self._closed:  # in the same iteration, too
            self.release(priority)
            error = make_closed_error()
        if error is not None:
            raise error

    def _enqueue(self, waiter: Waiter, priority: Priority) -> None:
        if waiter.turn.done():
            return
        try:
            self._check_turn(waiter.deadline, self._count_ahead(priority))
        except RateLimitError as error:
            waiter.end(error)
            return
        is_first = not any(self._queues.values())
        self._queues[priority][waiter] = None
        if is_first:
            self._give_turns()
        else:
            self._give_turns_soon()

    def _forget(self, waiter: Waiter, priority: Priority) -> None:
        for timer in waiter.timers:
            timer.cancel()
        self._waits.discard(waiter)
        self._queues[priority].pop(waiter, None)

    def _count_ahead(self, priority: Priority) -> int:
        """Count the waiters that come before a new one of this priority."""
        count = 0
        for other, queue in self._queues.items():
            count += len(queue)
            if other == priority:
                break
        return count

    def _give_turns_soon(self) -> None:
        """Give slots once all responses that have just arrived are read.

        They state limits in any order: after the first of them the next slots could be too many.
        """
        loop = next(iter(self._waits)).turn.get_loop()
        if not loop.is_closed():  # else the calls that it has left behind are being freed
            self._set_next_turn(loop.call_soon(self._give_turns))

    def _set_next_turn(self, handle: asyncio.Handle | None) -> None:
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._next_turn = handle

    def _give_turns(self) -> None:
        """Give slots to those whose turn has come, and set a timer for the next turn."""
        loop = asyncio.get_running_loop()
        self._set_next_turn(None)
        while (priority := self._choose_priority()) is not None:
            waiter, now = next(iter(self._queues[priority])), loop.time()
            due = self._next_due(now, priority)  # for each: the requests in flight count
            if due <= now:
                self._give_slot(waiter, priority, due, now)
            elif not self._end_if_late(waiter, now):
                next_turn = min(due, self._reserve_ahead(now, priority))
                if next_turn < math.inf:  # else it depends on a response, or on a reservation
                    self._set_next_turn(loop.call_at(next_turn, self._give_turns))
                return

    def _reserve_ahead(self, now: float, priority: Priority) -> float:
        """Reserve slots of the shared rate for those who wait; return when to do so again."""
        if self.shared_rate is None:
            return math.inf
        waiting = sum(map(len, self._queues.values()))
        wanted = min(waiting, self.ceiling - self._in_flight)
        return self.shared_rate.reserve_ahead(now, wanted, self._next_local_due(now, priority))

    def _choose_priority(self) -> Priority | None:
        """Choose whose turn is next, among those that wait and may use one more slot."""
        waiting: list[Priority] = [
            each for each, queue in self._queues.items() if queue and self._may_use_slot(each)
        ]
        starving: list[Priority] = [each for each in waiting if self._is_starving(each)]
        return next(iter(starving or waiting), None)

    def _give_slot(self, waiter: Waiter, priority: Priority, due: float, now: float) -> None:
        del self._queues[priority][waiter]
        if not waiter.end(None):  # cancelled or late, in this iteration of the event loop
            return
        self._in_flight += 1
        self._patient_in_flight += priority != "interactive"
        # Not before `now - _MAX_CATCH_UP`: a rate that was not used is not saved up.
        self._last_due = max(due, now - _MAX_CATCH_UP)
        self._local_rate.take(now)
        if self.shared_rate is not None:
            self.shared_rate.take(now)
        if priority == "interactive":
            self._stated_limit.record_interactive(self._last_due)
        for other, queue in self._queues.items():
            self._passed_over[other] += bool(queue)
        self._passed_over[priority] = 0

    def _end_if_late(self, waiter: Waiter, now: float) -> bool:
        """End a wait if its turn is after its deadline."""
        due = self._next_due(now, at_least=True)
        if max(waiter.deadline, now) >= due:
            return False
        waiter.end(make_rate_limit_error(due - now))
        for queue in self._queues.values():
            queue.pop(waiter, None)
        return True

    def _check_turn(self, deadline: float, ahead: int = 0) -> None:
        """Raise RateLimitError if a turn with so many requests ahead is after the deadline."""
        now = asyncio.get_running_loop().time()
        pause, queue = self._next_due(now, at_least=True), self._local_rate.due_behind(ahead, now)
        if max(deadline, now) < (due := max(pause, queue)):
            raise make_rate_limit_error(due - now)

    def _end_late_waits(self, now: float) -> None:
        """End the waits that a pause outlasts, wherever they are in the queue."""
        due = self._next_due(now, at_least=True)
        for waiter in self._waits:
            if waiter.deadline < due:
                waiter.end(make_rate_limit_error(max(0.0, due - now)))

    def _next_due(
        self, now: float, priority: Priority = "interactive", *, at_least: bool = False
    ) -> float:
        """Compute when the next slot may be given; infinity when that depends on a response.

        With a shared rate, not before its next reservation is due.
        """
        due = self._next_local_due(now, priority, at_least=at_least)
        slot_due = -math.inf if self.shared_rate is None else self.shared_rate.next_due(now)
        return due if at_least and slot_due == math.inf else max(due, slot_due)

    def _next_local_due(self, now: float, priority: Priority, *, at_least: bool = False) -> float:
        """Compute when the next slot may be given, regardless of a shared rate.

        The latest of four: the end of the pause, the stated reset once nothing remains, the turn by
        the caller's own limit, and one interval of the lower rate (adaptive, or stated) after the
        slot before. With ``at_least``, what depends on a response is left out.
        """
        if self._in_flight >= self.ceiling and not at_least:
            return math.inf
        rate, due = self._adaptive_rate.rate(now), self._resumes_at
        if self.shared_rate is not None and not self.shared_rate.is_lost:
            rate = math.inf  # all processes learn it together
        stated = self._stated_limit.find_turn(
            now, self._in_flight, interactive=priority == "interactive", at_least=at_least
        )
        if stated is not None:
            due, rate = max(due, stated.due), min(rate, stated.rate)
        if not at_least:
            # Back to the fast path of `acquire` as soon as nothing restrains.
            free = rate == math.inf and due <= now and self.ceiling == self._max_in_flight
            is_limited = stated is not None or self._local_rate.interval > 0
            is_limited = is_limited or self.shared_rate is not None
            self._restrained = self._closed or is_limited or not free
        return max(due, self._local_rate.next_due(), self._last_due + 1 / rate)
