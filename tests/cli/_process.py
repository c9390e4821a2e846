"""The command line as a process of its own, as users run it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

import junkie_async

COMMAND = [sys.executable, "-W", "default::ResourceWarning", "-m", "junkie_async"]
_ROOT = Path(junkie_async.__file__).parent.parent
_OURS = ("JUNKIE_", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES", "TERM")
_SECONDS = 30


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give an environment that says nothing of the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    path = os.pathsep.join(filter(None, [str(_ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **(given or {})}


@attrs.frozen
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
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


async def run_beside(
    *arguments: str, cwd: Path, env: Mapping[str, str], stdin: str | None = None
) -> Ended:
    """Run a command while this process's event loop, and an emulator in it, goes on."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    given = None if stdin is None else stdin.encode()
    out, err = await asyncio.wait_for(process.communicate(given), _SECONDS)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def run_in_terminal(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    typed: str = "",
    stdout: int | None = None,
) -> Ended:
    """Run a command in a terminal of 80 columns, and give all that it wrote to it.

    Args:
        *arguments: The command's arguments.
        cwd: Where it runs.
        env: Its environment.
        typed: What is typed, before it asks.
        stdout: A file that its output goes to instead; what goes to stderr is still seen.
    """
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment({"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **(env or {})}),
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        out = b"".join(_read_all(ours))
        os.close(ours)
        return Ended(process.wait(_SECONDS), out.decode(), "")


def _read_all(file: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # EIO is how Linux ends a terminal
        while read := os.read(file, 65536):
            yield read


@attrs.define
class Server:
    """A `junkie serve` that runs.

    Attributes:
        process: Its process.
        lines: What it printed to begin with.
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
    """Start `junkie serve`, wait for its four lines, and see that it ends."""
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
