"""Servers that are not ours: Prism checks the contract, web frameworks what they read.

``JUNKIE_PRISM`` holds the command that starts Prism, such as ``npx --yes @stoplight/prism-cli@5``.
``JUNKIE_NODE_MODULES`` is a ``node_modules`` folder with ``fastify`` 5 and ``express`` 5. They need
Node.js, so without a variable its tests are not collected: a machine that only has Python runs all
the others.
"""

import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from junkie_async import JunkieClient

from .traffic import Traffic

COMMAND = shlex.split(os.environ.get("JUNKIE_PRISM", ""))
NODE_MODULES = os.environ.get("JUNKIE_NODE_MODULES", "")
STARTUP = 180.0
"""Seconds: npx may have to download Prism first."""

_NEEDED = {
    "test_prism.py": (COMMAND, "$JUNKIE_PRISM names no command"),
    "test_frameworks.py": (NODE_MODULES, "$JUNKIE_NODE_MODULES names no folder"),
}
collect_ignore = [file for file, (given, _) in _NEEDED.items() if not given]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why there are no tests here."""
    for file, (given, reason) in _NEEDED.items():
        if not given:
            terminalreporter.write_line(f"tests/mock/{file}: not collected, {reason}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Output(threading.Thread):
    """Reads what a process writes, so that it never blocks, and notes the line that says ready."""

    def __init__(self, stream: IO[str], ready: str) -> None:
        super().__init__(daemon=True)
        self.ready_line = ""
        self.settled = threading.Event()
        self.lines: list[str] = []
        self._stream = stream
        self._ready = ready

    def run(self) -> None:
        for line in self._stream:
            self.lines.append(line)
            if self._ready in line:
                self.ready_line = line
                self.settled.set()
        self.settled.set()


@contextmanager
def _run_server(
    command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server until the block ends; gives the line by which it said that it is ready."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # npx starts node: both are ended as one group
    )
    assert process.stdout is not None
    with process.stdout as stream:
        output = _Output(stream, ready)
        output.start()
        try:
            output.settled.wait(STARTUP)
            assert output.ready_line, f"the server did not start:\n{''.join(output.lines)}"
            yield output.ready_line
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it keeps nothing that it could lose
            process.wait()
            output.join()


@pytest.fixture(scope="session")
def prism() -> Iterator[str]:
    """Run Prism on loopback for all tests; gives its base URL, which has no path."""
    port = _free_port()
    contract = resources.files("junkie_async.emulator") / "openapi.json"
    with resources.as_file(contract) as file:
        options = ["mock", "--errors", "-h", "127.0.0.1", "-p", str(port), str(file)]
        with _run_server([*COMMAND, *options], "Prism is listening"):
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session", params=["fastify", "express"])
def framework(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the nine operations on a web framework; gives the base URL."""
    script = Path(__file__).with_name("framework.js")
    environment = {**os.environ, "NODE_PATH": NODE_MODULES}
    with _run_server(["node", str(script), request.param], "listening on", environment) as line:
        yield f"http://127.0.0.1:{line.split()[-1]}"


@pytest.fixture
def traffic() -> Traffic:
    """What the test's client sends."""
    return Traffic()


@pytest.fixture
async def client(prism: str, traffic: Traffic) -> AsyncIterator[JunkieClient]:
    """A client whose requests are noted as they go out."""
    async with (
        aiohttp.ClientSession(trace_configs=[traffic.tracing()]) as session,
        JunkieClient("a-key", base_url=prism, session=session) as junkie,
    ):
        yield junkie
