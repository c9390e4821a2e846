"""The command line as a process of its own: for signals, closed pipes and what needs a shell."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

import junkie_async
from junkie_async.emulator import Emulator

COMMAND = [sys.executable, "-W", "default::ResourceWarning", "-m", "junkie_async"]
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES", "TERM")
_CONNECTIONS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_")
OUR_VARIABLES = (
    "JUNKIE_",
    *_TERMINAL,
    *_CONNECTIONS,
    *(name.lower() for name in _CONNECTIONS),
)
"""How the names begin of the variables that change what a command does or prints."""
_ROOT = Path(junkie_async.__file__).parent.parent
_SECONDS = 30

posix = pytest.mark.skipif(sys.platform == "win32", reason="no signals or file modes")
terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


@attrs.frozen
class Ended:
    """A command that has ended, in a process or in this one."""

    code: int
    out: str
    err: str


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OUR_VARIABLES)}
    path = os.pathsep.join(filter(None, [str(_ROOT), kept.get("PYTHONPATH")]))
    plain = {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "JUNKIE_OUTAGE": "0"}
    return {**kept, **plain, **(given or {})}


def emulator_environment(emulator: Emulator, **more: str) -> dict[str, str]:
    """Return the variables that `junkie serve` prints, for an emulator."""
    return {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": emulator.url, **more}


def run_process(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end, with pipes."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=_SECONDS,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


async def start_process(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    stdin: int = subprocess.DEVNULL,
) -> asyncio.subprocess.Process:
    """Start a command while this process's event loop, and an emulator in it, goes on."""
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=cwd,
        env=environment(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def wait_for_end(process: asyncio.subprocess.Process) -> Ended:
    """Wait for a process that `start_process` has started."""
    out, err = await asyncio.wait_for(process.communicate(), _SECONDS)
    assert process.returncode is not None
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


async def run_and_signal(
    emulator: Emulator,
    name: signal.Signals,
    *arguments: str,
    cwd: Path,
    when: Callable[[Emulator], Awaitable[bool]],
) -> Ended:
    """Run a command against an emulator and send it a signal once a condition holds."""
    process = await start_process(*arguments, cwd=cwd, env=emulator_environment(emulator))
    while not await when(emulator):
        assert process.returncode is None
        await asyncio.sleep(0.01)
    process.send_signal(name)
    return await wait_for_end(process)


@attrs.define
class Server:
    """A running `junkie serve`.

    Attributes:
        process: Its process.
        lines: The lines that it printed first.
    """

    process: "subprocess.Popen[str]"
    lines: list[str]

    @property
    def url(self) -> str:
        """The address that it printed for a shell."""
        [line] = [line for line in self.lines if line.startswith("export JUNKIE_BASE_URL=")]
        return line.partition("=")[2]

    def stop(self, name: signal.Signals = signal.SIGINT) -> Ended:
        """Send it a signal and wait for its end."""
        self.process.send_signal(name)
        out, err = self.process.communicate(timeout=_SECONDS)
        return Ended(self.process.returncode, out, err)


@contextlib.contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[Server]:
    """Start `junkie serve`, wait for its four lines, and make sure that it ends."""
    with subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            yield Server(process, [process.stdout.readline().rstrip("\n") for _ in range(4)])
        finally:
            if process.poll() is None:
                process.kill()
