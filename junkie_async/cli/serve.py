"""`junkie serve`: the emulator as a command."""

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import sqlite3
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._exits import fail
from ._stdout import print_line

if TYPE_CHECKING:  # the extra `emulator`, which only two commands need
    from ..emulator import Emulator

_FAMILIES = {"0.0.0.0": "IPv4", "::": "IPv6"}  # noqa: S104 - only with API keys for tests
DEFAULT_PORT = 8777  # fixed, so that an exported $JUNKIE_BASE_URL survives a restart


def load_emulator() -> "type[Emulator]":
    """Import the emulator, or exit with the name of the missing extra."""
    try:
        from ..emulator import Emulator
    except ModuleNotFoundError as error:
        fail(f'{error}: this command needs `pip install "junkie_async[emulator]"`')
    return Emulator


def _rate_option(text: str) -> Any:
    return typer.Option(min=0, max=1, metavar="SHARE", help=text)


def _parse_accepted(text: str) -> tuple[str, float | None]:
    """Read an API key, and its rate after the last "=": base64 may end with that sign."""
    key, _, rate = text.rpartition("=")
    if text and not (key and rate):
        return text, None
    with contextlib.suppress(ValueError):
        return key, float(rate)
    raise typer.BadParameter("must be KEY, or KEY=RATE with a number")


def serve(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Port to listen on; 0 picks a free one."
        ),
    ] = DEFAULT_PORT,
    db: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="SQLite file that keeps the keys across restarts.  [default: memory]",
        ),
    ] = None,
    latency: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Minimum duration of a response.")
    ] = 0.0,
    rate_limit: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Requests per second of each API key; others get a 429.  [default: no limit]",
        ),
    ] = None,
    burst: Annotated[
        float | None,
        typer.Option(
            "--burst",
            "--rate-limit-burst",
            metavar="REQUESTS",
            help="Requests of an API key accepted in a burst.  [default: one second's worth]",
        ),
    ] = None,
    api_key: Annotated[
        list[Any] | None,
        typer.Option(
            parser=_parse_accepted,
            metavar="KEY[=RATE]",
            help="Made-up API key to accept, with a rate limit of its own. May be given several "
            "times.  [default: any]",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="IP address to listen on; 0.0.0.0 is all. All but loopback need an --api-key that "
            "begins with test-.",
        ),
    ] = "127.0.0.1",
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="List the oldest keys first.")
    ] = False,
    rate_limit_headers: Annotated[
        bool, typer.Option("--rate-limit-headers", help="Send rate-limit headers.")
    ] = False,
    error_rate: Annotated[float, _rate_option("Share of requests answered with an error.")] = 0.0,
    error_status: Annotated[
        list[int] | None,
        typer.Option(
            min=400,
            max=599,
            metavar="STATUS",
            help="HTTP status of these errors. May be given several times.  [default: 503]",
        ),
    ] = None,
    drop_before_rate: Annotated[float, _rate_option("Share of requests dropped unexecuted.")] = 0.0,
    drop_after_rate: Annotated[
        float, _rate_option("Share of requests executed, then dropped.")
    ] = 0.0,
    throttle_rate: Annotated[float, _rate_option("Share of requests answered with a 429.")] = 0.0,
    jitter: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Maximum random extra latency.")
    ] = 0.0,
    fault_seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed that makes faults repeatable.  [default: random]"),
    ] = None,
) -> None:
    """Run a local Junkie key service until Ctrl-C.

    The emulator implements the published API. It accepts any API key unless you name some, and
    listens on this machine only. The first lines it prints include `export` commands for your
    shell. For Compose or CI, let it listen on all addresses:
    `junkie serve --host 0.0.0.0 --port 8000 --api-key test-ci`. Clients then use
    JUNKIE_BASE_URL=http://<service>:8000/api/v2 and JUNKIE_API_KEY=test-ci.
    """
    emulator_type = load_emulator()
    accepted: dict[str, float | None] = dict(api_key or ())
    from ..emulator import Faults  # only once the line above has found the extra

    try:
        emulator = emulator_type(
            db or ":memory:",
            host=host,
            port=port,
            latency=latency,
            rate_limit=rate_limit,
            rate_limit_burst=burst,
            rate_limit_headers=rate_limit_headers,
            newest_first=not oldest_first,
            api_keys=accepted or None,
            faults=Faults(
                error_rate=error_rate,
                error_status=error_status or 503,
                drop_before_rate=drop_before_rate,
                drop_after_rate=drop_after_rate,
                throttle_rate=throttle_rate,
                latency=(0.0, jitter),
                seed=fault_seed,
            ),
        )
    except ValueError as error:
        fail(str(error))
    shown_key = next(iter(accepted), "any-key-will-do")
    where = f", and on this port of all {_FAMILIES[host]} addresses" if host in _FAMILIES else ""
    started = f"Junkie emulator at {{}}{where}"
    asyncio.run(_serve_until_stopped(emulator, db, f"port {port} on {host}", shown_key, started))


async def _serve_until_stopped(
    emulator: "Emulator", db: Path | None, address: str, api_key: str, started: str
) -> None:
    with _catch_stop_signals() as stop:
        await _start_emulator(emulator, db, address)
        try:
            print_line(started.format(emulator.url))
            print_line(f"export JUNKIE_BASE_URL={emulator.url}")
            print_line(f"export JUNKIE_API_KEY={shlex.quote(api_key)}")
            print_line(f"Keys are kept in {db or 'memory'}. Ctrl-C stops it.")
            await stop.wait()
            keys = await emulator.count()
        finally:
            await emulator.close()
    kept = f"kept in {db}" if db else "discarded"
    newline = "\n" if sys.stdout.isatty() else ""  # after the terminal's own ^C
    print_line(f"{newline}Stopped: {emulator.requests:,} requests answered, {keys:,} keys {kept}.")


async def _start_emulator(emulator: "Emulator", db: Path | None, address: str) -> None:
    try:
        await emulator.start()
    except (ValueError, sqlite3.DatabaseError) as error:
        hint = " (is another emulator using it?)" if "locked" in str(error) else ""
        fail(f"--db {db}: {error}{hint}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"{address} is in use: choose another --port, or 0 for a free one")
        # asyncio joins the reasons of several addresses to one text, and may set no errno.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        fail(f"can't listen on {address}: {reason}")


@contextlib.contextmanager
def _catch_stop_signals() -> Generator[asyncio.Event]:
    """Set an event on Ctrl-C and SIGTERM.

    `signal.signal` works on Windows too, where the event loop has no signal handlers.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def set_stop(*_: object) -> None:
        # A handler runs between two bytecodes; only this call wakes a waiting event loop.
        loop.call_soon_threadsafe(stop.set)

    before = {name: signal.signal(name, set_stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            # None stands for a handler that was installed from C, which can't be restored.
            signal.signal(name, handler or signal.SIG_DFL)
