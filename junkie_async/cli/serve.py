"""`junkie serve`: the emulator as a command."""

import asyncio
import contextlib
import errno
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._output import fail, load_emulator, say

if TYPE_CHECKING:
    from ..emulator import Emulator

PORT = 8777
"""A fixed port, so that an exported address outlives a restart."""


def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = PORT,
    db: Annotated[
        Path | None,
        typer.Option(help="SQLite file that keeps the keys over a restart.  [default: memory]"),
    ] = None,
    latency: Annotated[
        float, typer.Option(min=0, help="Seconds that an answer takes at least.")
    ] = 0.0,
    rate_limit: Annotated[
        float | None,
        typer.Option(help="Requests a second that are let in; the rest get a 429.  [default: all]"),
    ] = None,
    rate_limit_burst: Annotated[
        float | None,
        typer.Option(help="Requests that are let in at once.  [default: a second's worth]"),
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="List the oldest keys first.")
    ] = False,
    rate_limit_headers: Annotated[
        bool, typer.Option("--rate-limit-headers", help="Tell the rate limit in every answer.")
    ] = False,
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that get a 503 and nothing else.")
    ] = 0.0,
    drop_before_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share that are cut off before they do anything.")
    ] = 0.0,
    drop_after_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share that are carried out, then cut off.")
    ] = 0.0,
    throttle_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share that get a 429, whatever the rate limit.")
    ] = 0.0,
    jitter: Annotated[
        float, typer.Option(min=0, help="Seconds that it takes longer at most, by chance.")
    ] = 0.0,
    fault_seed: Annotated[
        int | None,
        typer.Option(help="Number by which faults repeat in the next run.  [default: chance]"),
    ] = None,
) -> None:
    """Run a local Junkie key service until Ctrl-C.

    It obeys the published contract, takes any API key, and listens to this machine only. The
    lines that it prints first begin with `export` where a shell should run them.
    """
    emulator_type = load_emulator()
    from ..emulator import Faults  # not before the line above, which says what is missing

    try:
        emulator = emulator_type(
            db or ":memory:",
            host=host,
            port=port,
            latency=latency,
            rate_limit=rate_limit,
            rate_limit_burst=rate_limit_burst,
            rate_limit_headers=rate_limit_headers,
            newest_first=not oldest_first,
            faults=Faults(
                error_rate=error_rate,
                drop_before_rate=drop_before_rate,
                drop_after_rate=drop_after_rate,
                throttle_rate=throttle_rate,
                latency=(0.0, jitter),
                seed=fault_seed,
            ),
        )
    except ValueError as error:
        fail(str(error))
    asyncio.run(_run(emulator, db, f"port {port} on {host}"))


async def _run(emulator: "Emulator", db: Path | None, address: str) -> None:
    with _stop_signals() as stop:
        await _start(emulator, db, address)
        try:
            _announce(emulator.url, db)
            await stop.wait()
            keys = await emulator.count()
        finally:
            await emulator.close()
    kept = f"kept in {db}" if db else "forgotten"
    newline = "\n" if sys.stdout.isatty() else ""  # after the terminal's own ^C
    say(f"{newline}Stopped: {emulator.requests:,} requests answered, {keys:,} keys {kept}.")


async def _start(emulator: "Emulator", db: Path | None, address: str) -> None:
    try:
        await emulator.start()
    except (ValueError, sqlite3.DatabaseError) as error:
        hint = " (is another emulator using it?)" if "locked" in str(error) else ""
        fail(f"--db {db}: {error}{hint}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"{address} is taken: choose another --port, or 0 for a free one")
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        fail(f"can't listen to {address}: {reason}")


def _announce(url: str, db: Path | None) -> None:
    say(f"Junkie emulator at {url}")
    say(f"export JUNKIE_BASE_URL={url}")
    say("export JUNKIE_API_KEY=any-key-will-do")
    say(f"Keys are kept in {db or 'memory'}. Ctrl-C stops it.")


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Give an event that Ctrl-C and SIGTERM set, on every system and without a traceback."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler or signal.SIG_DFL)
