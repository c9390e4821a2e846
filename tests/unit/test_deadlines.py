"""The deadlines of attempts, with one timer for all of them, on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from junkie_async._http.deadlines import Deadlines

from .clock import VirtualLoop, run
from .scripted import now


async def hold(deadlines: Deadlines, *starts: float, seconds: float = 100.0) -> tuple[str, float]:
    """Take so many seconds with a deadline; return how that ended, and when."""
    task, begin, cause = current_task(), now(), "done"
    for start in starts:
        deadlines.start(task, begin + start)
    try:
        await asyncio.sleep(seconds)
        assert not deadlines.end(task)
    except asyncio.CancelledError:
        cause = "late" if deadlines.end(task) else "cancelled"
    return cause, round(now() - begin, 3)


def current_task() -> asyncio.Task[Any]:
    """Return the task that runs."""
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize(
    ("seconds", "ended"),
    [
        ([3.0], [("late", 3)]),
        ([3.0, 1.0, 2.0, 1.0], [("late", 3), ("late", 1), ("late", 2), ("late", 1)]),
        ([1.0, 200.0, 3.0], [("late", 1), ("done", 100), ("late", 3)]),
        ([99.0, 98.0, 0.0], [("late", 99), ("late", 98), ("late", 0)]),
    ],
)
def test_each_task_ends_at_its_deadline(
    seconds: list[float], ended: list[tuple[str, float]]
) -> None:
    """In any order, and not before."""

    async def main() -> None:
        deadlines = Deadlines()
        for _ in range(2):
            tasks = [hold(deadlines, each) for each in seconds]
            assert await asyncio.gather(*tasks) == ended

    run(main())


@pytest.mark.parametrize(("starts", "ends"), [((2.0, 5.0), 5), ((5.0, 2.0), 2)])
def test_a_deadline_replaces_the_one_before(starts: tuple[float, ...], ends: float) -> None:
    """It may be earlier or later."""

    async def main() -> None:
        assert await hold(Deadlines(), *starts) == ("late", ends)

    run(main())


def test_one_that_was_replaced_counts_again() -> None:
    """At once, if it has passed meanwhile."""

    async def call(deadlines: Deadlines, inner: float) -> tuple[str, float]:
        begin = now()
        outer = deadlines.start(current_task(), begin + 5.0)
        assert outer is None
        replaced = deadlines.start(current_task(), begin + 50.0)
        assert replaced is not None
        await asyncio.sleep(inner)
        assert not deadlines.end(current_task())
        deadlines.resume(current_task(), replaced)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(100)
        return "late" if deadlines.end(current_task()) else "cancelled", round(now() - begin, 3)

    async def main() -> None:
        for inner, ends in ((1.0, 5.0), (20.0, 20.0)):
            assert await call(Deadlines(), inner) == ("late", ends)

    run(main())


def test_a_task_that_ended_in_time_goes_on() -> None:
    """Its deadline ends nothing that it does later, and it is no longer known."""

    async def main() -> None:
        deadlines = Deadlines()
        assert await hold(deadlines, 5.0, seconds=1.0) == ("done", 1)
        await asyncio.sleep(10)
        assert not deadlines.end(current_task())
        assert current_task().cancelling() == 0

    run(main())


def test_a_task_that_was_late_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is not cancelled any more: a retry awaits other things."""

    async def main() -> None:
        deadlines = Deadlines()
        for _ in range(3):
            assert await hold(deadlines, 5.0) == ("late", 5)
            assert current_task().cancelling() == 0
            assert not deadlines.end(current_task())
            await asyncio.sleep(1)

    run(main())
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("at", [1.0, 5.0])
@pytest.mark.parametrize("first", [True, False])
def test_whoever_else_cancels_a_task(at: float, first: bool) -> None:
    """Also at the same moment: then it ends as cancelled, as it does with asyncio's timeouts."""

    async def main() -> None:
        deadlines, loop = Deadlines(), asyncio.get_running_loop()
        task = asyncio.create_task(hold(deadlines, 5.0))
        if first:
            loop.call_at(loop.time() + at, task.cancel)
        await asyncio.sleep(0)
        if not first:
            loop.call_at(loop.time() + at, task.cancel)
        assert (await task)[0] == "cancelled"
        assert task.cancelling() == 1

    run(main())


def test_a_task_that_was_cancelled_before() -> None:
    """Whoever cleans up after a cancellation still has a deadline."""

    async def clean_up() -> tuple[str, float]:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return await hold(Deadlines(), 5.0)
        raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(clean_up())
        await asyncio.sleep(1)
        task.cancel()
        assert await task == ("late", 5)
        assert task.cancelling() == 1

    run(main())


def test_another_event_loop() -> None:
    """The timer and the tasks of a closed loop are forgotten, whatever its clock was."""
    deadlines = Deadlines()

    async def leave() -> None:
        deadlines.start(asyncio.create_task(asyncio.sleep(1e6)), now() + 2.0)

    async def late() -> None:
        deadlines.start(asyncio.create_task(asyncio.sleep(1e6)), now() + 2.0)
        await asyncio.sleep(1.0)

    for begin in (leave, late):
        run(begin())
        deadlines.forget_loop()
        assert run(hold(deadlines, 5.0)) == ("late", 5)


def test_one_timer_for_many() -> None:
    """Attempts that begin one after the other set hardly any."""
    timers: list[float] = []

    class Counting(VirtualLoop):
        def call_at(  # type: ignore[override]
            self, when: float, callback: Callable[..., object], *args: Any, **kw: Any
        ) -> asyncio.TimerHandle:
            if isinstance(getattr(callback, "__self__", None), Deadlines):
                timers.append(when)
            return super().call_at(when, callback, *args, **kw)

    async def main() -> None:
        deadlines = Deadlines()
        for _ in range(1000):
            await hold(deadlines, 30.0, seconds=0.1)

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main())
    assert len(timers) <= 5
