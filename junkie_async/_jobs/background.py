"""Tasks that may outlive whoever started them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# The event loop itself has only weak references to tasks.
_TASKS: Final = set[asyncio.Task[Any]]()


def run_in_background(act: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run something to its end, or to that of the event loop, even if nobody waits for it."""
    task = asyncio.create_task(act)
    _TASKS.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _TASKS.discard(task)
    if not task.cancelled():
        task.exception()  # otherwise asyncio logs it, when the task is deleted
