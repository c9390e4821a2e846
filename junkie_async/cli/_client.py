"""The client of a command: its settings, and what signals and errors do to its run."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import attrs
import typer

from .. import Hooks, JunkieClient, JunkieError, RetryPolicy
from ._exit_codes import ExitCode, exit_on_error, fail
from ._progress import OutageLines
from ._stdout import discard_stdout

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Settings:
    """The options before the command's name."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File whose first line is the API key.  [default: $JUNKIE_API_KEY]"
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the service.  [default: $JUNKIE_BASE_URL, or the public service]",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        typer.Option(
            envvar="JUNKIE_PROXY",
            metavar="URL",
            help="HTTP proxy to reach the service through. Keep a password out of the command line:"
            " use the variable.  [default: $HTTPS_PROXY, unless $NO_PROXY names the service]",
        ),
    ] = attrs.field(default=None, repr=False)
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="JUNKIE_CA_FILE",
            metavar="PATH",
            help="File with the CAs to trust (PEM), in place of the system's."
            "  [default: $SSL_CERT_FILE]",
        ),
    ] = None
    outage: Annotated[
        float,
        typer.Option(
            envvar="JUNKIE_OUTAGE",
            metavar="SECONDS",
            min=0,
            help="How long to wait for a service that can't be reached or fails; 0 gives up soon.",
        ),
    ] = 600.0
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Write a line for each request to stderr.")
    ] = False

    def mask_proxy(self, argument: str) -> str:
        """Replace the proxy's user and password in an argument of the command line."""
        credentials, at, _ = (self.proxy or "").rpartition("@")
        secret = credentials.rpartition("://")[2]
        return argument.replace(f"{secret}@", "***@") if at else argument

    def find_api_key(self) -> str:
        """Return the API key."""
        if self.api_key_file is not None:
            return _read_api_key(self.api_key_file)
        api_key = os.environ.get("JUNKIE_API_KEY")
        if not api_key:
            fail("no API key: set $JUNKIE_API_KEY or pass --api-key-file")
        return api_key

    @property
    def api_key_source(self) -> str:
        """Where the API key comes from."""
        path = self.api_key_file
        return "$JUNKIE_API_KEY" if path is None else f"--api-key-file {path}"

    @property
    def base_url_source(self) -> str:
        """Where the service's address comes from."""
        if self.base_url is not None:
            return "--base-url"
        return "$JUNKIE_BASE_URL" if os.environ.get("JUNKIE_BASE_URL") else "the public service"

    @contextlib.asynccontextmanager
    async def connect(
        self, *, api_key: str | None = None, hooks: Sequence[Hooks] = (), **options: Any
    ) -> AsyncGenerator[JunkieClient, None]:
        """Open a client, with further arguments of `JunkieClient`."""
        retry = options.pop("retry", RetryPolicy(outage=self.outage))
        junkie = JunkieClient(
            api_key or self.find_api_key(),
            base_url=self.base_url,
            retry=retry,
            hooks=[OutageLines(), *hooks],
            proxy=self.proxy,
            ssl=self.ca_file,
            trust_env=True,
            **options,
        )
        junkie.keys.priority = "job"  # nobody else waits for this client
        try:
            async with junkie:
                yield junkie
        except JunkieError as error:
            if error.advice:
                error.advice = error.advice.replace("api_key=", self.api_key_source)
            raise


def _read_api_key(path: Path) -> str:
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark, which "utf-8-sig" drops.
        with path.open(encoding="utf-8-sig") as file:
            # Of the open file: another one may be at the path a moment later.
            mode = os.fstat(file.fileno()).st_mode
            api_key = file.readline().strip()
    except OSError as error:
        fail(f"--api-key-file {path}: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"--api-key-file {path}: not a UTF-8 text file")
    if not api_key:
        fail(f"--api-key-file {path}: the first line is empty")
    # A pipe, as from `<(pass show junkie)`, has no permissions of its own.
    if sys.platform != "win32" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        typer.echo(f"Warning: other users can read {path}; run `chmod 600 {path}`", err=True)
    return api_key


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
        async with settings.connect(hooks=[*hooks]) as junkie:
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
