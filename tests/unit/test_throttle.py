"""Slots, pauses, ceilings and rates, on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

import pytest

from junkie_async import (
    ClientClosedError,
    InvalidRequestError,
    Outcome,
    RateLimit,
    RateLimitError,
    RequestTimeoutError,
)
from junkie_async._http.throttle import Priority, Throttle
from junkie_async._protocol.rate_limit_headers import (
    RateLimitState,
    read_rate_limit,
    read_retry_after,
)

from .clock import run
from .random_headers import random_headers


def now() -> float:
    """Return the loop's time to the microsecond; a test begins at 1000."""
    return round(asyncio.get_running_loop().time(), 6)


async def take_slot(throttle: Throttle, took: float = 0.0) -> float:
    """Use a slot for so many seconds; return when it began."""
    await throttle.acquire()
    try:
        begin = now()
        await asyncio.sleep(took)
        return begin
    finally:
        throttle.release()


async def take_slots(throttle: Throttle, amount: int, took: float = 0.0) -> list[float]:
    """Ask for several slots concurrently; return when they began, from now, in order."""
    begin = now()
    return sorted(
        round(at - begin, 6)
        for at in await asyncio.gather(*(take_slot(throttle, took) for _ in range(amount)))
    )


def test_no_more_slots_than_the_ceiling() -> None:
    """With two slots, ten tasks of a second each need five seconds."""

    async def main() -> None:
        assert await take_slots(Throttle(2), 10, 1.0) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    run(main())


def test_after_a_pause_slots_are_spread() -> None:
    """All tasks wait for as long as the service asked, and then don't get slots all together."""

    async def main() -> None:
        throttle = Throttle(8)
        await throttle.acquire()
        throttle.record_success(now(), None)
        throttle.record_refusal(now(), 5.0, sent=now())
        throttle.record_refusal(now(), 1.0, sent=now())  # does not cut it short
        throttle.release()
        began = await take_slots(throttle, 6)
        assert began[0] == pytest.approx(5.0, abs=0.01)
        gaps = [after - before for before, after in itertools.pairwise(began)]
        assert all(0.05 < gap < 5.0 for gap in gaps)

    run(main())


def test_the_ceiling_halves_and_recovers_step_by_step() -> None:
    """A refusal halves what is in flight; each full round of successes allows one more."""

    async def main() -> None:
        throttle = Throttle(16)
        for _ in range(12):
            await throttle.acquire()
        sent = now()
        await asyncio.sleep(0.1)
        for _ in range(12):  # all in flight are refused: that counts as one refusal
            throttle.record_refusal(now(), 1.0, sent=sent)
        assert throttle.ceiling == 6
        for _ in range(12):
            throttle.release()
        steps = []
        for _ in range(6 + 7 + 8):
            throttle.record_success(now(), None)
            steps.append(throttle.ceiling)
        assert steps == [6] * 5 + [7] * 7 + [8] * 8 + [9]
        for _ in range(1000):
            throttle.record_success(now(), None)
        assert throttle.ceiling == 16

    run(main())


def test_a_renewed_throttle_keeps_what_it_learned() -> None:
    """In the next event loop all slots are free, and pauses and rate limits go on."""

    async def main() -> None:
        used = Throttle(2, RateLimit(1, per=3.0))
        await used.acquire()
        used.record_refusal(now(), 5.0, sent=now(), slow_down=False)
        throttle = used.renew()
        assert await take_slots(throttle, 2) == [5, 8]
        used.release()  # the garbage collector may end a dead loop's call late
        assert await take_slots(throttle.renew(), 1) == [3]

    run(main())


def test_a_halved_ceiling_holds() -> None:
    """After a refusal no more slots are in use than the ceiling allows."""

    async def main() -> None:
        throttle, out, most = Throttle(16), 0, 0
        for _ in range(8):
            await throttle.acquire()
        throttle.record_refusal(now(), 0.0, sent=now())
        for _ in range(8):
            throttle.release()

        async def work() -> None:
            nonlocal out, most
            await throttle.acquire()
            out += 1
            most = max(most, out)
            await asyncio.sleep(5)
            out -= 1
            throttle.release()

        await asyncio.gather(*(work() for _ in range(20)))
        assert (most, throttle.ceiling) == (4, 4)

    run(main())


def test_refusals_without_retry_after_back_off() -> None:
    """The pause grows with each refusal in a row, and a success resets it."""

    async def main() -> None:
        throttle = Throttle(4, back_off=lambda refusals: 2.0**refusals)
        waits = []
        for _ in range(3):
            begin = now()
            await throttle.acquire()
            waits.append(now() - begin)
            throttle.record_refusal(now(), None, sent=now(), slow_down=False)
            throttle.release()
        assert waits == pytest.approx([0, 1, 2])
        begin = await take_slot(throttle)
        throttle.record_success(now(), None)
        throttle.record_refusal(now(), None, sent=now(), slow_down=False)
        assert (await take_slot(throttle)) - begin == pytest.approx(1.0)

    run(main())


def test_a_late_refusal_prolongs_a_pause() -> None:
    """The back-off of those that were in flight together counts from the last of them."""

    async def main() -> None:
        throttle = Throttle(4, back_off=lambda refusals: 2.0**refusals)
        throttle.record_refusal(now(), None, sent=now(), slow_down=False)
        for _ in range(2):
            await throttle.acquire()
        sent = now()
        assert throttle.record_refusal(sent, None, sent=sent, slow_down=False) == 2.0
        await asyncio.sleep(1.0)
        assert throttle.record_refusal(now(), None, sent=sent - 0.1, slow_down=False) is None
        assert await take_slot(throttle) == pytest.approx(sent + 3.0, abs=1e-5)

    run(main())


def test_half_of_an_odd_number_in_flight() -> None:
    """Of five in flight two are left, not two and a half."""

    async def main() -> None:
        throttle = Throttle(16)
        for _ in range(5):
            await throttle.acquire()
        throttle.record_refusal(now(), 0.0, sent=now())
        for _ in range(5):
            throttle.release()
        begun = await take_slots(throttle, 4, 100.0)
        assert begun[1] < 1 < 100 <= begun[2]

    run(main())


def test_the_learned_rate_outlasts_the_ceiling() -> None:
    """Once the ceiling has recovered, slots still come at the rate, also one by one."""

    async def main() -> None:
        throttle = Throttle(2)
        for _ in range(3):
            await take_slot(throttle, 0.1)
            throttle.record_success(now(), None)
        throttle.record_refusal(now(), 10.0, sent=now())
        await take_slot(throttle)
        throttle.record_success(now(), None)
        assert throttle.ceiling == 2
        first = await take_slot(throttle)
        assert await take_slot(throttle) - first > 0.1

    run(main())


def test_a_time_that_was_stated_wrongly_backs_off() -> None:
    """A service that refuses again after the time that it stated is asked less and less often."""

    async def main() -> None:
        throttle, waits = Throttle(4, back_off=lambda refusals: 2.0**refusals), []
        for _ in range(4):
            begin = now()
            await throttle.acquire()
            waits.append(now() - begin)
            sent = now()
            await asyncio.sleep(0.01)
            for _ in range(3):  # all in flight are refused: that counts as one refusal
                throttle.record_refusal(now(), 0.0, sent=sent)
            throttle.release()
        assert waits == pytest.approx([0, 0, 2, 4], abs=0.1)

    run(main())


def test_no_wait_beyond_a_deadline() -> None:
    """A pause beyond the deadline raises immediately; a missing slot raises at the deadline."""

    async def main() -> None:
        throttle = Throttle(1)
        await throttle.acquire()
        with pytest.raises(RequestTimeoutError) as late:
            await throttle.acquire(now() + 3)
        assert (now(), late.value.outcome) == (1003, Outcome.NOT_EXECUTED)
        throttle.record_refusal(now(), 60.0, sent=now())
        throttle.release()
        with pytest.raises(RateLimitError) as refused:
            await throttle.acquire(now() + 59)
        assert (now(), refused.value.outcome) == (1003, Outcome.NOT_EXECUTED)
        assert refused.value.retry_after == pytest.approx(60, abs=0.1)
        assert not refused.value.transient
        await throttle.acquire(now() + 61)
        assert now() == pytest.approx(1063, abs=0.1)

    run(main())


def test_a_turn_behind_others_that_is_too_late() -> None:
    """Who would wait beyond the deadline behind those before it raises immediately."""

    async def main() -> None:
        throttle = Throttle(10, RateLimit(1, per=10.0))
        await take_slot(throttle)
        others = [asyncio.create_task(take_slot(throttle)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitError) as refused:
            await throttle.acquire(now() + 25, priority="job")
        assert refused.value.retry_after == pytest.approx(30, abs=0.1)
        assert now() == 1000
        assert await asyncio.gather(*others) == pytest.approx([1010, 1020])

    run(main())


def test_all_whose_turns_have_become_too_late_end_at_once() -> None:
    """Later calls that go before them put off several turns beyond their deadlines."""

    async def main() -> None:
        throttle = Throttle(10, RateLimit(1, per=10.0))
        await take_slot(throttle)
        wait = throttle.acquire
        late = [asyncio.create_task(wait(now() + 25, priority="job")) for _ in range(2)]
        await asyncio.sleep(1)
        others = [asyncio.create_task(take_slot(throttle, 100.0)) for _ in range(2)]
        ended = await asyncio.gather(*late, return_exceptions=True)
        assert [type(error) for error in ended] == [RateLimitError] * 2
        assert now() == pytest.approx(1020)
        assert await asyncio.gather(*others) == pytest.approx([1010, 1020])

    run(main())


def test_an_interactive_call_does_not_wait_behind_jobs() -> None:
    """Nor is it refused because of them: its turn is the next one."""

    async def main() -> None:
        throttle = Throttle(10, RateLimit(1, per=10.0))
        await take_slot(throttle)
        jobs = [asyncio.create_task(throttle.acquire(priority="job")) for _ in range(5)]
        await asyncio.sleep(1)
        await throttle.acquire(now() + 15)
        assert now() == pytest.approx(1010)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    run(main())


def test_a_retry_has_nobody_before_it_yet() -> None:
    """A turn that is in time is waited for, after the back-off."""

    async def main() -> None:
        throttle = Throttle(10, RateLimit(1, per=10.0))
        await take_slot(throttle)
        await throttle.acquire(now() + 15, back_off=1.0)
        assert now() == pytest.approx(1010)

    run(main())


def test_a_wait_that_is_refused_and_cancelled_gives_no_slot_back() -> None:
    """It had none: both may happen in one iteration of the event loop."""

    async def main() -> None:
        throttle = await _slot_wait()
        waiter = asyncio.create_task(throttle.acquire(now() + 30))
        await asyncio.sleep(1)
        throttle.record_refusal(now(), 60.0, sent=now())
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        throttle.release()
        assert await take_slots(throttle, 2, 1.0) == pytest.approx([60, 61], abs=0.1)

    run(main())


def test_responses_that_arrive_together_are_all_read_before_the_next_turn() -> None:
    """One of them leaves ten requests and the next none: who comes in between gets no slot."""

    async def main() -> None:
        throttle = Throttle(2)
        for _ in range(2):
            await throttle.acquire()
        waiter = asyncio.create_task(take_slot(throttle))
        await asyncio.sleep(1)

        async def respond(remaining: int) -> None:
            state = RateLimitState(remaining=remaining, reset=60, limit=100)
            throttle.record_success(now(), state)
            throttle.release()

        begun = await asyncio.gather(respond(50), take_slot(throttle), respond(0), waiter)
        assert begun[1::2] == pytest.approx([1061, 1061], abs=1e-3)

    run(main())


async def _slot_wait() -> Throttle:
    throttle = Throttle(1)
    await throttle.acquire()
    return throttle


async def _pause_wait() -> Throttle:
    throttle = Throttle(3)
    throttle.record_refusal(now(), 60.0, sent=now(), slow_down=False)
    return throttle


async def _rate_wait() -> Throttle:
    throttle = Throttle(3, RateLimit(1, per=100.0))
    await take_slot(throttle)
    return throttle


@pytest.mark.parametrize("waiting", [_slot_wait, _pause_wait, _rate_wait])
def test_closing_ends_all_waits(waiting: Callable[[], Awaitable[Throttle]]) -> None:
    """Whatever the tasks wait for; later calls raise, too."""

    async def main() -> None:
        throttle = await waiting()
        calls = [asyncio.create_task(throttle.acquire()) for _ in range(5)]
        await asyncio.sleep(1)
        assert not any(call.done() for call in calls)
        throttle.close()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in ended] == [ClientClosedError] * 5
        assert now() == 1001
        with pytest.raises(ClientClosedError):
            await throttle.acquire()

    run(main())


def test_a_slot_given_while_closing_is_refused() -> None:
    """A waiter that gets its slot in the event loop's iteration that closes the throttle raises."""

    async def main() -> None:
        throttle = await _slot_wait()
        waiter = asyncio.create_task(throttle.acquire())
        await asyncio.sleep(1)
        throttle.release()
        throttle.close()
        with pytest.raises(ClientClosedError):
            await waiter

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_waiters_lose_no_slot(seed: int) -> None:
    """Tasks that are cancelled, refused or late at any moment give their slots back."""

    async def main() -> None:
        dice = random.Random(seed)
        throttle = Throttle(3, RateLimit(20) if seed % 2 else None)

        async def work() -> None:
            back_off = dice.choice([0.0, 0.1])
            priority: Priority = dice.choice(["interactive", "walk", "job"])
            deadline = now() + dice.choice([0.1, 1.0, 1e9])
            await throttle.acquire(deadline, back_off=back_off, priority=priority)
            try:
                sent = now()
                await asyncio.sleep(dice.choice([0, 0.01, 0.2]))
                if dice.random() < 0.1:
                    throttle.record_refusal(now(), dice.choice([0.0, 0.5, None]), sent=sent)
                else:
                    throttle.record_success(now(), None)
            finally:
                throttle.release()

        for _ in range(60):
            tasks = [asyncio.create_task(work()) for _ in range(8)]
            for task in dice.sample(tasks, 5):
                await asyncio.sleep(dice.choice([0, 0, 0.005, 0.05, 0.3]))
                task.cancel()
            async with asyncio.timeout(600):
                await asyncio.gather(*tasks, return_exceptions=True)
        assert not throttle._waits
        assert not any(throttle._queues.values())
        await asyncio.sleep(600)
        async with asyncio.timeout(600):
            assert len(await take_slots(throttle, 30)) == 30

    run(main())


def test_the_rate_limit_allows_a_burst_and_then_waits() -> None:
    """The first ten slots are one burst; the others come at the rate."""

    async def main() -> None:
        began = await take_slots(Throttle(100, RateLimit(10, per=5.0)), 20)
        assert began[:10] == [0.0] * 10
        assert began[10:] == pytest.approx([0.5 * (1 + at) for at in range(10)])

    run(main())


def test_less_than_one_request_a_second() -> None:
    """With a rate below one the first request goes immediately, the next ones wait."""

    async def main() -> None:
        began = await take_slots(Throttle(100, RateLimit(0.5, per=100.0)), 3)
        assert began == pytest.approx([0.0, 200.0, 400.0])

    run(main())


def test_a_pause_also_holds_tasks_that_wait_for_the_rate_limit() -> None:
    """A refusal that arrives while tasks wait for our own rate limit pauses them, too."""

    async def main() -> None:
        throttle = Throttle(100, RateLimit(1, per=2.0))
        await take_slot(throttle)
        waiter = asyncio.create_task(take_slot(throttle))
        await asyncio.sleep(1)
        throttle.record_refusal(now(), 30.0, sent=now(), slow_down=False)
        assert await waiter == pytest.approx(1031)

    run(main())


def test_a_scarce_limit_is_spread_until_its_reset() -> None:
    """When the service states that little is left, the rest is spread until the reset."""

    async def main() -> None:
        throttle = Throttle(10)
        await take_slot(throttle)
        throttle.record_success(now(), RateLimitState(remaining=50, reset=10, limit=100))
        assert await take_slots(throttle, 5) == [0] * 5  # there is plenty
        throttle.record_success(now(), RateLimitState(remaining=5, reset=10, limit=100))
        began = await take_slots(throttle, 5)
        assert began[-1] <= 10
        assert min(after - before for before, after in itertools.pairwise(began)) >= 0.9

    run(main())


def test_a_used_up_limit_waits_for_its_reset() -> None:
    """With nothing left, calls wait for the reset, or raise if it comes after their deadline."""

    async def main() -> None:
        throttle = Throttle(10)
        throttle.record_success(now(), RateLimitState(remaining=0, reset=30, limit=100))
        assert await take_slot(throttle) == 1030
        assert await take_slots(throttle, 10) == [0] * 10  # the limit is reset
        throttle.record_success(now(), RateLimitState(remaining=0, reset=61, limit=None))
        with pytest.raises(RateLimitError) as caught:
            await throttle.acquire(now() + 60)
        assert caught.value.retry_after == pytest.approx(61)

    run(main())


def test_a_newer_statement_ends_a_wait() -> None:
    """A response that states more remaining requests ends the wait for the reset."""

    async def main() -> None:
        throttle = Throttle(10)
        for _ in range(3):
            await throttle.acquire()
        throttle.record_success(now(), RateLimitState(remaining=3, reset=60, limit=100))
        waiter = asyncio.create_task(take_slot(throttle))
        await asyncio.sleep(50)
        assert not waiter.done()
        throttle.record_success(now(), RateLimitState(remaining=90, reset=60, limit=100))
        throttle.release()
        assert await waiter == pytest.approx(now())

    run(main())


@pytest.mark.parametrize("reset", [121.0, 999_999_999.0, 1e15])
def test_a_stated_reset_is_believed_up_to_the_cap(reset: float) -> None:
    """A wrong statement stops the client for no longer, and no call raises: one corrects it."""

    async def main() -> None:
        throttle = Throttle(10)
        throttle.record_success(now(), RateLimitState(remaining=0, reset=reset))
        assert await take_slots(throttle, 10) == [120.0] * 10
        throttle.record_success(now(), RateLimitState(remaining=0, reset=reset))
        assert await take_slot(throttle) == 1240

    run(main())


@pytest.mark.slow
def test_no_statement_of_100_000_stops_a_client_for_longer_than_the_cap() -> None:
    """Good answers and 429s with random headers: the next slot is due within the cap."""

    async def main() -> None:
        dice, throttle, now, longest = random.Random(2), Throttle(10), 1000.0, 0.0
        for _ in range(100_000):
            headers = random_headers(dice)
            wait = read_retry_after(headers)
            if dice.random() < 0.7:
                throttle.record_success(now, read_rate_limit(headers))
            elif wait is None or wait <= 120:  # a longer one is raised, and pauses nothing
                throttle.record_refusal(now, wait, sent=now)
            due = throttle._next_due(now)
            longest = max(longest, due - now)
            now = max(now, due)
            throttle._last_due = now
        assert 119 < longest < 120.001

    run(main())


@pytest.mark.parametrize("remaining", [3, 2.5, 0.001])
def test_a_reset_is_waited_for_while_requests_hang(remaining: float) -> None:
    """What remains is in flight, and is not answered: the reset comes all the same."""

    async def main() -> None:
        throttle = Throttle(10)
        for _ in range(3):
            await throttle.acquire()
        throttle.record_success(now(), RateLimitState(remaining=remaining, reset=60, limit=100))
        assert await take_slot(throttle) == 1060

    run(main())


def test_challenges_of_different_targets_in_a_row_pause() -> None:
    """One says nothing of other calls, nor do many of one target, nor any before a good answer."""

    async def main() -> None:
        throttle = Throttle(10, back_off=lambda _: 5.0)
        for target in "aaab":
            throttle.record_success(now(), None)
            assert throttle.record_challenge(now(), target, sent=now()) is None
        assert throttle.record_challenge(now(), "b", sent=now()) is None
        assert await take_slot(throttle) == 1000
        assert throttle.record_challenge(now(), "a", sent=now()) == 5.0
        assert await take_slot(throttle) == 1005
        assert throttle.ceiling == 10

    run(main())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RateLimit(0), "RateLimit.requests"),
        (lambda: RateLimit(5, per=float("inf")), "RateLimit.per"),
        (lambda: Throttle(0), "max_in_flight"),
        (lambda: Throttle(2.5), "max_in_flight"),  # type: ignore[arg-type]
    ],
)
def test_limits(make: Callable[[], object], field: str) -> None:
    """Numbers are checked when they are passed in."""
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert caught.value.field == field
