"""What runs in the event loop: the check that there is one, and coroutines that start lazily."""

from __future__ import annotations

import abc
import asyncio
import functools
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .._errors import ConfigurationError
from .._masking import mark_coroutine_function

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
MethodT = TypeVar("MethodT", bound=Callable[..., Coroutine[Any, Any, Any]])


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop. Call it before anything that would be left behind without one.

    Raises:
        ConfigurationError: There is none: the caller runs under trio, or in no event loop at all.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass  # ours is raised outside of the block, so that no other hangs on it
    raise ConfigurationError(
        "no asyncio event loop is running here: await this call in a coroutine that asyncio runs,"
        " as asyncio.run(main()) does; trio can't run it"
    )


def uses(method: MethodT) -> MethodT:
    """Decorate a coroutine method of a `LazyCoroutine`: calling it is a use, even if nothing runs.

    A task that is cancelled before its first step runs nothing, and must not warn.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._mark_used()
        return method(self, *args, **kwargs)

    mark_coroutine_function(call)
    return cast("MethodT", call)


class LazyCoroutine(Coroutine[Any, Any, T_co]):
    """A coroutine that can be used in other ways than awaiting it. Nothing runs before its use.

    As a coroutine, it is taken by `asyncio.create_task`, `asyncio.TaskGroup.create_task` and
    `asyncio.run_coroutine_threadsafe`, and it warns if it was never used. A subclass calls the
    constructor last, for a constructor that raises must not warn as well.

    Args:
        name: What made it, for the warning and for the reprs of tasks.
    """

    _is_unused = False  # true from the end of the constructor to the first use
    _driven: Generator[Any, Any, T_co] | None = None

    def __init__(self, name: str) -> None:
        self.__qualname__ = name  # asyncio reads it, as that of any coroutine
        self._is_unused = True

    @abc.abstractmethod
    def __await__(self) -> Generator[Any, Any, T_co]:
        """Start it."""

    def send(self, value: Any, /) -> Any:
        """Run it up to its next pause, as a task does."""
        driven = self._start_driven()
        try:
            return driven.send(value)
        except BaseException:  # it has ended: its result comes as a StopIteration
            self._driven = None
            raise

    def throw(self, *error: Any) -> Any:
        """Raise an error at the point where it pauses, as a task does that is cancelled."""
        driven = self._start_driven()
        try:
            return driven.throw(*error)
        except BaseException:
            self._driven = None
            raise
        finally:
            del error  # its traceback has this frame: a reference cycle

    def close(self) -> None:
        """End it, or declare that it will not be used: then it does not warn."""
        self._mark_used()
        driven, self._driven = self._driven, None
        if driven is not None:
            driven.close()

    def _start_driven(self) -> Generator[Any, Any, T_co]:
        self._mark_used()
        if self._driven is None:
            self._driven = self.__await__()
        return self._driven

    def _mark_used(self) -> None:
        self._is_unused = False

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._is_unused:
            text = f"{self.__qualname__}() was never awaited or iterated over: nothing was sent"
            _warn(text, RuntimeWarning, stacklevel=2, source=self)


class UnansweredCoroutine(LazyCoroutine[T_co]):
    """A coroutine whose result people use as a condition. As one itself, it raises TypeError.

    Any object is true by default: `if keys.verify(...)` would let everybody in. A job is true,
    since what may be a job or None is a condition with a meaning.
    """

    if TYPE_CHECKING:
        # pyright refuses a condition for it, and mypy calls it unreachable. After NoReturn, mypy
        # would skip the rest of the function.
        def __bool__(self) -> None: ...

    else:

        def __bool__(self) -> bool:
            # From Python 3.12 on, the repr of a task asks this of its coroutine.
            caller = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - its documented name
            if caller == "asyncio.base_tasks":
                return True
            self.close()
            name = self.__qualname__
            text = f"{name}() is not awaited, so it is neither true nor false: use `await`"
            raise TypeError(text)


class PendingCall(UnansweredCoroutine[T_co]):
    """A call that is made when it is awaited."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T_co]], name: str) -> None:
        self._start = start
        super().__init__(name)

    def __await__(self) -> Generator[Any, Any, T_co]:
        self._mark_used()
        return self._start().__await__()


def pending(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, PendingCall[T]]:
    """Decorate a coroutine method whose result people use as a condition: see `PendingCall`."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> PendingCall[T]:
        # In a closure, which no error tracker looks into.
        return PendingCall(lambda: method(*args, **kwargs), f"keys.{method.__name__}")

    mark_coroutine_function(call)
    return call
