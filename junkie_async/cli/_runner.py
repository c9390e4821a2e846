"""Runs a command's coroutine with a client; Ctrl-C, SIGTERM and errors end it in one line."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import typer

from .. import JunkieClient
from ._exit_codes import ExitCode, exit_on_error, fail
from ._settings import Settings, get_settings
from ._stdout import discard_stdout

T = TypeVar("T")


def run_with_client(
    context: typer.Context,
    act: Callable[[JunkieClient], Coroutine[Any, Any, T]],
    *,
    describe_stop: Callable[[], str] = lambda: "stopped",
) -> T:
    """Run a coroutine function with a client and return its result.

    Args:
        context: The command's context.
        act: The coroutine function.
        describe_stop: Called after Ctrl-C or SIGTERM; says how much was done.
    """
    with exit_on_error(), _exit_on_stop(describe_stop):
        return asyncio.run(_connect_and_run(get_settings(context), act))


async def _connect_and_run(
    settings: Settings, act: Callable[[JunkieClient], Coroutine[Any, Any, T]]
) -> T:
    _cancel_on_sigterm()
    async with settings.connect() as junkie:
        return await act(junkie)


def _cancel_on_sigterm() -> None:
    """Make SIGTERM cancel the task as Ctrl-C does, so that files and jobs are closed properly."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Windows has no SIGTERM handlers, and threads other than the main one can't set them.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)


@contextlib.contextmanager
def _exit_on_stop(describe_stop: Callable[[], str]) -> Generator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has all it wanted, as with `| head`
        discard_stdout()
        raise typer.Exit from None
    # Ctrl-C arrives as KeyboardInterrupt, SIGTERM as the cancelled task that it left behind.
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail(describe_stop(), ExitCode.STOPPED)
