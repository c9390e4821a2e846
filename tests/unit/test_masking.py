"""Errors that leave the package: their frames are empty, and what is not theirs is untouched."""

from __future__ import annotations

import asyncio
import gc
import inspect
import traceback
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import FrameType
from typing import Any, NoReturn
from unittest import mock

import pytest

from junkie_async import CreateJob, JunkieClient, KeyPager, Keys, export, provisioning
from junkie_async._masking import error_boundary


def frames_of(error: BaseException | None) -> list[FrameType]:
    """Return the frames of an error, without those that still run."""
    assert error is not None
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def names_of(error: BaseException | None) -> list[str]:
    """Name the functions of an error's frames."""
    return [frame.f_code.co_name for frame in frames_of(error)]


def variables_of(error: BaseException | None) -> dict[str, Any]:
    """Return the local variables of all frames of an error but the first, which is the test's."""
    return {name: value for frame in frames_of(error)[1:] for name, value in frame.f_locals.items()}


def fail(secret: str) -> NoReturn:
    """Raise an error from one more frame."""
    raise LookupError(len(secret))


@error_boundary
def call(secret: str) -> None:
    """Fail."""
    fail(secret)


@error_boundary
async def call_later(secret: str, passes: int = 0) -> None:
    """Fail after some passes of the event loop."""
    for _ in range(passes):
        await asyncio.sleep(0)
    fail(secret)


@error_boundary
async def generate(secret: str) -> AsyncGenerator[str, None]:
    """Yield a value, and fail."""
    yield secret
    fail(secret)


async def read() -> None:
    """Read the generator until it fails."""
    async with aclosing(generate("secret")) as values:
        assert await anext(values) == "secret"
        await anext(values)


async def run_call() -> None:
    """Make the plain call."""
    call("secret")


@pytest.mark.parametrize(
    ("act", "position"),
    [(run_call, "call"), (lambda: call_later("secret"), "call_later"), (read, "generate")],
)
async def test_frames_are_empty(act: Callable[[], Awaitable[None]], position: str) -> None:
    """Positions stay, and values go: those of arguments, too."""
    with pytest.raises(LookupError) as caught:
        await act()
    assert names_of(caught.value)[-2:] == [position, "fail"]
    assert "secret" not in variables_of(caught.value).values()
    assert not any("secret" in str(value) for value in variables_of(caught.value).values())


@pytest.mark.parametrize("passes", range(3))
async def test_a_cancelled_coroutine(passes: int) -> None:
    """A coroutine that is cancelled holds no argument, even if it was never started."""
    task = asyncio.create_task(call_later("secret", 9))
    for _ in range(passes):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "secret" not in variables_of(caught.value).values()


async def test_errors_behind_an_error() -> None:
    """Causes, contexts and the errors of groups are cleared with the error that leaves."""

    @error_boundary
    def chain() -> None:
        errors: list[Exception] = []
        for _ in range(3):
            try:
                fail("secret")
            except LookupError as error:
                errors.append(error)
        cause, context, member = errors
        group = ExceptionGroup("several", [member])
        group.__context__ = context
        raise group from cause

    with pytest.raises(ExceptionGroup) as caught:
        chain()
    group = caught.value
    behind = [group.__cause__, group.__context__, *group.exceptions]
    assert [names_of(error) for error in behind] == [["chain", "fail"]] * 3
    assert [variables_of(error) for error in behind] == [{}] * 3


async def test_an_error_that_the_caller_handles() -> None:
    """What the caller was handling keeps its variables: it has nothing to do with the call."""
    try:
        fail("mine")
    except LookupError as error:
        mine = error
        with pytest.raises(LookupError) as caught:
            await call_later("secret")
        with pytest.raises(LookupError):
            call("secret")
    assert caught.value.__context__ is mine
    assert variables_of(mine) == {"secret": "mine"}


async def test_an_error_that_tasks_share() -> None:
    """A task that still handles an error goes on: to clear its frame would end its coroutine."""
    shared = LookupError()

    async def handle() -> str:
        try:
            raise shared
        except LookupError:
            await asyncio.sleep(0)
        return "handled"

    @error_boundary
    async def raise_again() -> None:
        raise shared

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    with pytest.raises(LookupError) as caught:
        await raise_again()
    assert names_of(caught.value)[-2:] == ["raise_again", "handle"]
    assert await task == "handled"


async def test_no_reference_cycle() -> None:
    """An error that a frame below had a name for is freed as soon as its caller is done with it."""

    class OwnError(Exception):
        """An error that can be referred to weakly."""

    @error_boundary
    async def keep() -> None:
        error = OwnError()
        raise error

    gc.disable()
    try:
        try:
            await keep()
        except OwnError as error:
            left = weakref.ref(error)
        assert left() is None
    finally:
        gc.enable()


# --- what decorated functions look like -----------------------------------------------------------


def test_coroutine_functions_are_recognised() -> None:
    """What inspects a decorated function, such as a mock, sees the function that it wraps."""
    assert inspect.iscoroutinefunction(call_later)
    assert inspect.isasyncgenfunction(generate)
    assert not inspect.iscoroutinefunction(call)
    assert str(inspect.signature(call_later)) == "(secret: 'str', passes: 'int' = 0) -> 'None'"
    assert isinstance(mock.create_autospec(Keys).get, mock.AsyncMock)
    assert not isinstance(mock.create_autospec(Keys).list, mock.AsyncMock)


def test_a_call_that_is_never_awaited() -> None:
    """The warning names the method."""
    with pytest.warns(RuntimeWarning, match=r"'call_later' was never awaited"):
        call_later("secret")  # type: ignore[unused-coroutine]


ENTRIES = [
    JunkieClient.__init__,
    CreateJob._run,  # what `__aiter__` gives
    *vars(JunkieClient).values(),
    *vars(Keys).values(),
    *vars(KeyPager).values(),
    *(getattr(export, name) for name in export.__all__ if name != "unmark"),
    *(getattr(provisioning, name) for name in provisioning.__all__),
]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(one, id=one.__qualname__)
        for one in ENTRIES
        if inspect.isfunction(one) and (one in ENTRIES[:2] or not one.__name__.startswith("_"))
    ],
)
def test_every_entry_is_a_boundary(function: Any) -> None:
    """No function by which callers enter the package is forgotten."""
    assert inspect.unwrap(function) is not function
