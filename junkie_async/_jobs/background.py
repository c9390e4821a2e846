"""Tasks that may outlive whoever started them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

# An event loop itself has only weak references to tasks.
_TASKS: Final = dict[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]]()

# Kept for good. The garbage collector would end the coroutines that wait for them wherever it runs,
# and what they do then, such as to close their client, may want a lock that is held there.
_DEAD: Final = list[asyncio.Task[Any]]()


def run_in_background(act: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run something to its end, or to that of the event loop, even if nobody waits for it."""
    loop = asyncio.get_running_loop()
    if loop not in _TASKS:
        _end_closed_loops()
    task = loop.create_task(act)
    _TASKS.setdefault(loop, set()).add(task)
    task.add_done_callback(_forget)
    return task


def _end_closed_loops() -> None:
    """End what loops have left that were closed amid it: it may hold the lock of an order."""
    for loop in [loop for loop in [*_TASKS] if loop.is_closed()]:
        for task in _TASKS.pop(loop, ()):
            with suppress(Exception):  # it can't wait for its clean-up, which goes on by itself
                task.get_coro().close()
            _DEAD.append(task)


def _forget(task: asyncio.Task[Any]) -> None:
    tasks = _TASKS[task.get_loop()]
    tasks.discard(task)
    if not tasks:
        del _TASKS[task.get_loop()]
    if not task.cancelled():
        task.exception()  # otherwise asyncio logs it, when the task is deleted
