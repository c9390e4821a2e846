"""How commands reach the service: the options before the command's name, and one way to run."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import typer

from .. import JunkieClient
from ._output import ExitCode, drop_stdout, fail, friendly_errors

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Settings:
    """What was given before the command's name.

    Attributes:
        api_key_file: The file whose first line is the API key; None for ``$JUNKIE_API_KEY``.
        base_url: Where the service is; None for ``$JUNKIE_BASE_URL``, or the service's own address.
    """

    api_key_file: Path | None = None
    base_url: str | None = None

    @property
    def has_api_key(self) -> bool:
        """Whether there is an API key to be had."""
        return self.api_key_file is not None or bool(os.environ.get("JUNKIE_API_KEY"))

    def connect(self, **options: Any) -> JunkieClient:
        """Make a client, with further arguments of `JunkieClient`."""
        api_key = None if self.api_key_file is None else _read_api_key(self.api_key_file)
        return JunkieClient(api_key, base_url=self.base_url, **options)


def settings(context: typer.Context) -> Settings:
    """Give what the command was called with."""
    return context.find_object(Settings) or Settings()


def _read_api_key(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            api_key = file.readline().strip()
    except OSError as error:
        fail(f"--api-key-file {path}: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"--api-key-file {path}: it is not text")
    if not api_key:
        fail(f"--api-key-file {path}: its first line is empty")
    if sys.platform != "win32" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        typer.echo(f"Warning: others may read {path}; `chmod 600` keeps it yours", err=True)
    return api_key


def run(
    context: typer.Context,
    act: Callable[[JunkieClient], Coroutine[Any, Any, T]],
    *,
    stopped: Callable[[], str] = lambda: "stopped",
) -> T:
    """Run what a command does, with a client; whatever goes wrong is one line and an exit code.

    Args:
        context: The command's context.
        act: Does it.
        stopped: Tells, when it was stopped, how far it came.
    """
    with friendly_errors(), _stoppable(stopped):
        return asyncio.run(_connected(settings(context), act))


async def _connected(given: Settings, act: Callable[[JunkieClient], Coroutine[Any, Any, T]]) -> T:
    with terminable():
        async with given.connect() as junkie:
            return await act(junkie)


@contextlib.contextmanager
def _stoppable(stopped: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader has all that it wanted, as with `| head`
        drop_stdout()
        raise typer.Exit from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail(stopped(), ExitCode.STOPPED)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM end the task as Ctrl-C does, so that it can tidy up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Not on Windows, which has no SIGTERM to speak of, and not beside a main thread.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    yield
