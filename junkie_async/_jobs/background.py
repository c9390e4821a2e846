"""Tasks that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

# The event loop itself has only weak references to tasks.
_TASKS: Final = set[asyncio.Task[Any]]()


def finish_in_background(act: Coroutine[Any, Any, object] | asyncio.Task[Any]) -> None:
    """Let something go on to its end, or to that of the event loop, whatever comes of it."""
    task = act if isinstance(act, asyncio.Task) else asyncio.create_task(act)
    _TASKS.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _TASKS.discard(task)
    if not task.cancelled():
        task.exception()  # otherwise asyncio logs it, when the task is deleted
