"""A mock server that is not ours: Prism serves the contract, and refuses what breaks it.

``JUNKIE_PRISM`` holds the command that starts Prism, such as ``npx --yes @stoplight/prism-cli@5``.
It needs Node.js, so without the variable these tests are not collected: a machine that only has
Python runs all the others.
"""

import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from typing import IO

import aiohttp
import pytest

from junkie_async import JunkieClient

from .traffic import Traffic

COMMAND = shlex.split(os.environ.get("JUNKIE_PRISM", ""))
STARTUP = 180.0
"""Seconds: npx may have to download Prism first."""

collect_ignore = [] if COMMAND else ["test_prism.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why there are no tests here."""
    if not COMMAND:
        terminalreporter.write_line("tests/mock: not collected, $JUNKIE_PRISM names no command")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Output(threading.Thread):
    """Reads what a process writes, so that it never blocks, and notes when it is ready."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self.ready = False
        self.settled = threading.Event()
        self.lines: list[str] = []
        self._stream = stream

    def run(self) -> None:
        for line in self._stream:
            self.lines.append(line)
            if "Prism is listening" in line:
                self.ready = True
                self.settled.set()
        self.settled.set()


@pytest.fixture(scope="session")
def prism() -> Iterator[str]:
    """Run Prism on loopback for all tests; gives its base URL, which has no path."""
    port = _free_port()
    contract = resources.files("junkie_async.emulator") / "openapi.json"
    with resources.as_file(contract) as file:
        process = subprocess.Popen(
            [*COMMAND, "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # npx starts node: both are ended as one group
        )
        assert process.stdout is not None
        with process.stdout as stream:
            output = _Output(stream)
            output.start()
            try:
                output.settled.wait(STARTUP)
                assert output.ready, f"Prism did not start:\n{''.join(output.lines)}"
                yield f"http://127.0.0.1:{port}"
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # it keeps nothing that it could lose
                process.wait()
                output.join()


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
