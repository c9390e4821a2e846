"""What keeps secrets out of sight: masked key values, and errors whose frames hold no values."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from types import FrameType
from typing import Any, TypeVar, cast

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def mask_key_value(value: str) -> str:
    """Return a key value masked for logs and screens: ``JNK-…cdef``, or ``…`` if it is short.

    Args:
        value: The key value, or any other secret.

    Returns:
        The first and last four characters of a value of 16 or more. Nothing of a shorter one, whose
        ends would be most of it.
    """
    ends = [ascii(end)[1:-1] for end in (value[:4], value[-4:])]  # no line break reaches a log
    return "…".join(ends) if len(value) >= 16 else "…"


def error_boundary(function: FunctionT) -> FunctionT:
    """Decorate a function by which callers enter the package: its errors leave with empty frames.

    Error trackers, log formatters and ``pytest --showlocals`` show the local variables of the
    frames of a traceback. Below a public function these are arguments, request headers and
    response bodies. An error keeps the frames' positions and loses their variables.

    Args:
        function: A function, a coroutine function or an async generator function.
    """
    bind: Callable[[FunctionT], Any] = _bind_function
    if inspect.iscoroutinefunction(function):
        bind = _bind_coroutine
    elif inspect.isasyncgenfunction(function):
        bind = _bind_generator
    return cast("FunctionT", bind(function))


def clear_frames(error: BaseException) -> None:
    """Clear the local variables of all frames that an error, and the errors behind it, have left.

    Call it in an ``except`` clause, and raise the error again. An error that a caller was handling
    when it made the call is not touched.
    """
    own = error.__traceback__ and error.__traceback__.tb_frame
    left, seen = [error], {id(error)}
    while left:
        one = left.pop()
        frames = [frame for frame, _ in traceback.walk_tb(one.__traceback__)]
        if frames and frames[0] is not own and not _has_ended(frames[0]):
            continue  # its handler still runs, so it is a caller's
        for frame in filter(_has_ended, frames):
            frame.clear()
        for other in _errors_behind(one):
            if id(other) not in seen:
                seen.add(id(other))
                left.append(other)


def _has_ended(frame: FrameType) -> bool:
    # Up to Python 3.12, `clear` closes the coroutine of a suspended frame. That can be another
    # task's: tasks may share an error. Only a frame that has ended owns what it refers to.
    return any(one is frame.f_code for one in gc.get_referents(frame))


def _errors_behind(error: BaseException) -> Iterator[BaseException]:
    if error.__cause__ is not None:
        yield error.__cause__
    if error.__context__ is not None:
        yield error.__context__
    if isinstance(error, BaseExceptionGroup):
        yield from cast("BaseExceptionGroup[BaseException]", error).exceptions


def _bind_function(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            clear_frames(error)
            raise

    return call


def _bind_generator(function: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def generate(*args: Any) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(function(*args)) as items:
                del args
                async for item in items:
                    yield item
                    del item  # or it would stay in memory until the next one has come
        except BaseException as error:
            clear_frames(error)
            raise

    return generate


def _bind_coroutine(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    # A coroutine that is cancelled before its first step raises from a frame that still holds its
    # parameters. So the arguments are in a closure, which no tracker looks into.
    async def run(start: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await start()
        except BaseException as error:  # a cancellation comes through the frames of aiohttp, too
            clear_frames(error)
            raise

    # These appear in the reprs of tasks, and in the warning about a call that was never awaited.
    run.__name__, run.__qualname__ = function.__name__, function.__qualname__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return run(lambda: function(*args, **kwargs))

    mark_coroutine_function(call)
    return call


def mark_coroutine_function(function: Any) -> None:
    """Tell `inspect.iscoroutinefunction`, which mocks ask as well, what the function returns."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:  # the flag is only looked at: what makes a coroutine is the bytecode
        code = function.__code__
        function.__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
