"""The time-outs of a client's attempts, with one timer of the event loop for all of them."""

from __future__ import annotations

import asyncio
import math
from typing import Any, TypeAlias

_Task: TypeAlias = asyncio.Task[Any]
Deadline: TypeAlias = tuple[float, int]
"""When a task is cancelled, and how often it had been before."""


class Deadlines:
    """Cancels the tasks whose attempts take too long.

    aiohttp's ``total``, and `asyncio.timeout`, set a timer for each request and cancel nearly all
    of them: 5% of the instructions of a call. Attempts end at their deadlines in about the order in
    which they began. So one timer, for the earliest, is hardly ever set anew.
    """

    def __init__(self) -> None:
        self._ends: dict[_Task, Deadline] = {}
        self._late: dict[_Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf

    def start(self, task: _Task, deadline: float) -> Deadline | None:
        """Cancel a task at a deadline, by its event loop's clock. Return the one it replaces."""
        replaced = self._ends.get(task)
        self.resume(task, (deadline, task.cancelling()))
        return replaced

    def resume(self, task: _Task, deadline: Deadline) -> None:
        """Let a deadline count that was replaced."""
        self._ends[task] = deadline
        if deadline[0] < self._fires_at:
            self._set_timer(task.get_loop(), deadline[0])

    def end(self, task: _Task) -> bool:
        """Forget a task's deadline. True if it has cancelled the task, and nobody else has."""
        self._ends.pop(task, None)
        cancellations = self._late.pop(task, None)
        return cancellations is not None and task.uncancel() <= cancellations

    def forget_loop(self) -> None:
        """Forget the tasks of an event loop that is closed."""
        self._ends.clear()
        self._late.clear()
        self._timer, self._fires_at = None, math.inf

    def _set_timer(self, loop: asyncio.AbstractEventLoop, fires_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires_at = loop.call_at(fires_at, self._cancel_late), fires_at

    def _cancel_late(self) -> None:
        loop = asyncio.get_running_loop()
        now = max(loop.time(), self._fires_at)  # timers are up to the clock's resolution early
        for task, (deadline, cancellations) in [*self._ends.items()]:
            if deadline <= now:
                del self._ends[task]
                self._late[task] = cancellations
                task.cancel()
        self._timer, self._fires_at = None, math.inf
        earliest, _ = min(self._ends.values(), default=(math.inf, 0))
        if earliest < math.inf:
            self._set_timer(loop, earliest)
