"""The client of a command: its settings, and what signals and errors do to its run."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import typer

from .. import Hooks, JunkieClient, JunkieError, RetryPolicy
from ._exit_codes import exit_on_error
from ._exits import ExitCode, fail
from ._progress import OutageLines
from ._settings import Settings
from ._stdout import discard_stdout

T = TypeVar("T")


@contextlib.asynccontextmanager
async def connect(
    settings: Settings, *, api_key: str | None = None, hooks: Sequence[Hooks] = (), **options: Any
) -> AsyncGenerator[JunkieClient, None]:
    """Open a client, with further arguments of `JunkieClient`."""
    retry = options.pop("retry", RetryPolicy(outage=settings.outage))
    junkie = JunkieClient(
        api_key or settings.find_api_key(),
        base_url=settings.base_url,
        retry=retry,
        hooks=[OutageLines(), *hooks],
        proxy=settings.proxy,
        ssl=settings.ca_file,
        trust_env=True,
        **options,
    )
    junkie.keys.priority = "job"  # nobody else waits for this client
    try:
        async with junkie:
            yield junkie
    except JunkieError as error:
        if error.advice:
            error.advice = error.advice.replace("api_key=", settings.api_key_source)
        raise


def run_with_client(
    context: typer.Context,
    act: Callable[[JunkieClient], Coroutine[Any, Any, T]],
    *,
    describe_stop: Callable[[], str] = lambda: "stopped",
    hooks: Sequence[Hooks] = (),
) -> T:
    """Run a coroutine function with a client; after a stop, `describe_stop` says what was done."""
    settings: Settings = context.obj

    async def connect_and_act() -> T:
        _cancel_on_signals()
        async with connect(settings, hooks=[*hooks]) as junkie:
            return await act(junkie)

    with exit_on_error():
        try:
            return asyncio.run(connect_and_act())
        except BrokenPipeError:  # the reader has all it wanted, as with `| head`
            discard_stdout()
            raise typer.Exit from None
        # Ctrl-C arrives as KeyboardInterrupt, others as the cancelled task that it left behind.
        except (KeyboardInterrupt, asyncio.CancelledError):
            fail(describe_stop(), ExitCode.STOPPED)


def _cancel_on_signals() -> None:
    """Make SIGTERM and SIGHUP cancel the task as Ctrl-C does, so that files are closed properly."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Windows has no such handlers, and threads other than the main one can't set them.
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` sets it
            loop.add_signal_handler(signal.SIGHUP, task.cancel)
