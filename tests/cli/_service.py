"""A command, and an emulator in the test that it works on."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from junkie_async.cli import app
from junkie_async.emulator import Emulator

from ._process import COMMAND, Ended, environment, run_beside, run_in_terminal

terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals here")
posix = pytest.mark.skipif(sys.platform == "win32", reason="no signals for others, and no modes")


def environment_of(emulator: Emulator, **more: str) -> dict[str, str]:
    """Say where the emulator is, as `junkie serve` does."""
    return {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": emulator.url, **more}


async def junkie(
    emulator: Emulator, *arguments: str, cwd: Path, stdin: str | None = None, **env: str
) -> Ended:
    """Run a command as a process, with pipes."""
    given = environment_of(emulator, **env)
    return await run_beside(*arguments, cwd=cwd, env=given, stdin=stdin)


async def junkie_in_terminal(
    emulator: Emulator, *arguments: str, cwd: Path, typed: str = "", **env: str
) -> Ended:
    """Run a command in a terminal of 80 columns, where something may be typed."""
    given = environment_of(emulator, **env)
    return await asyncio.to_thread(run_in_terminal, *arguments, cwd=cwd, env=given, typed=typed)


async def junkie_here(
    emulator: Emulator, *arguments: str, stdin: str | None = None, **env: str
) -> Any:
    """Run a command in a thread, which is cheaper than a process, and has a loop of its own too."""
    given = environment_of(emulator, **env)
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin, env=given)


async def junkie_signalled(
    emulator: Emulator,
    name: signal.Signals,
    *arguments: str,
    cwd: Path,
    when: Callable[[Emulator], Awaitable[bool]],
) -> Ended:
    """Run a command as a process, and send it a signal on the way."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=cwd,
        env=environment(environment_of(emulator)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background of a shell ignores it, and so would we.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not await when(emulator):
        assert process.returncode is None
        await asyncio.sleep(0.01)
    process.send_signal(name)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
