"""Look-ups that are equal, and under way at the same time, are made once."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import msgspec

from .._errors import JunkieError, Outcome, RequestTimeoutError
from .._http.coroutines import running_loop
from .._masking import clear_frames
from .._protocol.requests import KEY

T = TypeVar("T")


class _SharedCall(msgspec.Struct, Generic[T], eq=False):
    """A call under way, in a task of its own, and how many tasks wait for it."""

    task: asyncio.Task[T | JunkieError]
    ends_at: float | None
    waiting: int = 0


class SharedCalls(Generic[T]):
    """The calls under way, by what makes them equal.

    Each task that waits can be cancelled without harm to the others. The last one's cancellation
    cancels the call. An error is raised in each task as a copy of its own.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, _SharedCall[T]] = {}

    async def share(
        self, name: Hashable, start: Callable[[], Coroutine[Any, Any, T]], ends_at: float | None
    ) -> T:
        """Join the call of this name, or start it, and return its value.

        ``ends_at`` is the caller's deadline by the loop's clock, which the call that it starts has
        to keep. The name is kept until the call ends.

        Raises:
            RequestTimeoutError: The deadline is over, of a caller that has joined a call.
        """
        call, limit = self._find(name, ends_at), ends_at
        if call is None:
            call, limit = self._start(name, start, ends_at), None
        call.waiting += 1
        try:
            async with asyncio.timeout_at(limit):
                ended = await asyncio.shield(call.task)
        except TimeoutError:
            message = "timed out while the same look-up was under way for another caller"
            ended = RequestTimeoutError(message, outcome=Outcome.NOT_EXECUTED)
            ended.method, ended.path = "GET", KEY
        finally:
            self._leave(name, call)
        if isinstance(ended, JunkieError):
            raise copy.copy(ended) from ended.__cause__  # which a copy lacks
        return ended

    def _find(self, name: Hashable, ends_at: float | None) -> _SharedCall[T] | None:
        """Find a call that goes on for at least half of the time that the caller has."""
        call, loop = self._calls.get(name), running_loop()
        # A loop that was closed has left its calls behind.
        if call is None or call.task.get_loop() is not loop:
            return None
        if call.ends_at is None or (
            ends_at is not None and 2 * (call.ends_at - loop.time()) >= ends_at - loop.time()
        ):
            return call
        return None

    def _start(
        self, name: Hashable, start: Callable[[], Coroutine[Any, Any, T]], ends_at: float | None
    ) -> _SharedCall[T]:
        call = _SharedCall(running_loop().create_task(_return_error(start)), ends_at)
        self._calls[name] = call
        call.task.add_done_callback(lambda _: self._drop(name, call))
        return call

    def _leave(self, name: Hashable, call: _SharedCall[T]) -> None:
        call.waiting -= 1
        if call.waiting or call.task.done():
            return
        self._drop(name, call)  # so that nobody joins it any more
        if not call.task.get_loop().is_closed():  # else what it has left behind is being freed
            call.task.cancel()

    def _drop(self, name: Hashable, call: _SharedCall[T]) -> None:
        if self._calls.get(name) is call:
            del self._calls[name]


async def _return_error(start: Callable[[], Coroutine[Any, Any, T]]) -> T | JunkieError:
    """Return an error, whose frames would belong to all that wait."""
    try:
        return await start()
    except JunkieError as error:
        clear_frames(error)
        return error.with_traceback(None)
