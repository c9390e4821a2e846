"""An event loop of virtual time, whose seed chooses which of the due events comes next."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar
from weakref import WeakSet

T = TypeVar("T")

START: Final = 1000.0
_GRID: Final = 0.001
"""Seconds. Events are due on a grid, so that many are due at once."""


class DeadlockError(AssertionError):
    """Every task waits for another, and nothing is due."""


class Process:
    """A process of the simulation: it may crash, and then none of its code runs any more."""

    def __init__(self, name: str, *, clock_offset: float = 0.0) -> None:
        self.name = name
        self.clock_offset = clock_offset
        self.alive = True
        self.stopped: list[asyncio.Handle] | None = None
        """What is to run when it goes on, if it was stopped (as by SIGSTOP)."""
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.on_crash: list[Callable[[], object]] = []

    def owns(self, handle: asyncio.Handle) -> bool:
        """Whether a callback is of this process."""
        return _find_process(handle) is self


PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar(
    "PROCESS", default=None
)


def current_process() -> Process | None:
    """Return the process whose code is running; None for the simulated world itself."""
    return PROCESS.get()


def run_as(process: Process | None, act: Callable[[], T]) -> T:
    """Run code of a process."""
    context = contextvars.copy_context()
    context.run(PROCESS.set, process)
    return context.run(act)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs everything in one thread. Time passes only while nothing is ready to run.

    Callbacks of asyncio run in their order, as asyncio promises. What comes from outside of the
    processes (the network, disks) is an event: of those that are due, the dice choose how many come
    now, and in which order.
    """

    _ready: deque[asyncio.Handle]  # asyncio's own, like the next
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, dice: Random) -> None:
        super().__init__()
        self._dice = dice
        self._now = START
        self._selector = self
        self._clock_resolution = 1e-9
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, asyncio.Handle]] = []
        self._graveyard: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.on_step: Callable[[], None] = lambda: None
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def add_event(self, delay: float, callback: Callable[..., object], *arguments: object) -> None:
        """Let something happen outside of all processes, so many seconds from now."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, None)
        due = math.ceil((self._now + delay) / _GRID) * _GRID
        handle = asyncio.Handle(callback, arguments, self, context)
        heapq.heappush(self._events, (due, next(self._numbers), handle))

    def start(
        self, process: Process, work: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine as the main task of a process."""
        return run_as(process, lambda: self.create_task(work, name=name or process.name))

    def crash(self, process: Process) -> None:
        """End a process at once: neither its handlers nor its clean-up code run any more."""
        process.alive = False
        process.stopped = None
        self._graveyard += self.living_tasks(process)
        for handle in [*self._ready, *self._scheduled]:
            if process.owns(handle):
                handle.cancel()
        for act in reversed(process.on_crash):
            act()

    def stop_process(self, process: Process) -> None:
        """Let a process stand still, until `continue_process`."""
        if process.stopped is not None or not process.alive:
            return
        process.stopped = [each for each in (*self._ready, *self._scheduled) if process.owns(each)]
        # asyncio has counted the callbacks of this turn: their number must stay.
        skipped = asyncio.Handle(lambda: None, (), self)
        skipped.cancel()
        self._ready = deque(skipped if process.owns(each) else each for each in self._ready)
        self._scheduled = [each for each in self._scheduled if not process.owns(each)]
        heapq.heapify(self._scheduled)

    def continue_process(self, process: Process) -> None:
        """Let a stopped process go on. Its timers may be long overdue."""
        handles, process.stopped = process.stopped or [], None
        for handle in handles:
            if isinstance(handle, asyncio.TimerHandle):
                heapq.heappush(self._scheduled, handle)
            else:
                self._ready.append(handle)

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Schedule a callback, which never runs if its process has crashed."""
        handle: asyncio.Handle = super().call_soon(callback, *args, context=context)
        process = _find_process(handle)
        if process is not None and not process.alive:
            handle.cancel()
        elif process is not None and process.stopped is not None:
            process.stopped.append(self._ready.pop())
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a timer, likewise."""
        handle: asyncio.TimerHandle = super().call_at(when, callback, *args, context=context)
        process = _find_process(handle)
        if process is not None and not process.alive:
            handle.cancel()
        return handle

    def living_tasks(self, process: Process) -> list[asyncio.Task[Any]]:
        """Return the tasks of a process that are not done."""
        return [task for task in process.tasks if not task.done()]

    # What `BaseEventLoop` asks of its selector, and of its subclasses.

    def select(self, timeout: float | None) -> list[Any]:
        """Let time pass until something is due, unless something is ready; deliver events."""
        self.steps += 1
        self.on_step()
        if timeout != 0:
            due = self._events[0][0] if self._events else math.inf
            moment = min(due, math.inf if timeout is None else self._now + timeout)
            if moment == math.inf:
                raise DeadlockError("every task waits for another, and nothing is due")
            self._now = max(self._now, moment)
        self._now += 1e-9  # a real clock advances between two readings, too
        self._deliver_events()
        return []

    def _deliver_events(self) -> None:
        due: list[asyncio.Handle] = []
        while self._events and self._events[0][0] <= self._now:
            due.append(heapq.heappop(self._events)[2])
        if not due:
            return
        self._dice.shuffle(due)
        now = self._dice.randint(0 if self._ready else 1, len(due))
        self._ready.extend(due[:now])
        for handle in due[now:]:
            heapq.heappush(self._events, (self._now, next(self._numbers), handle))

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: `select` has done it."""

    def _write_to_self(self) -> None:
        """Do nothing: nobody waits in a system call."""

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        context = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.add(task)
        return task

    def bury(self) -> None:
        """Drop the tasks of crashed processes, after the end."""
        for task in self._graveyard:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # no other way
            with contextlib.suppress(Exception):  # what its clean-up code finds of the world
                task.get_coro().close()
        self._graveyard.clear()


def _find_process(handle: asyncio.Handle) -> Process | None:
    return handle._context.get(PROCESS)  # type: ignore[attr-defined,no-any-return]  # no public name
