"""The process that forks the jobs that are killed, and a service with its client."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from junkie_async import JunkieClient
from tests.postgres_server import make_database

from .clients import make_client
from .job import ForkServer
from .server import Service


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options, which work when pytest is given this folder by name."""
    parser.addoption("--durability-runs", type=int, help="how many scenarios to run, 20 by default")
    parser.addoption("--orders", type=int, help="those in a large ledger, 100,000 by default")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Number the scenarios: by the option, or by ``$JUNKIE_DURABILITY_RUNS``."""
    if "run" in metafunc.fixturenames:
        given = metafunc.config.getoption("--durability-runs", None)
        runs = given or int(os.environ.get("JUNKIE_DURABILITY_RUNS", "20"))
        metafunc.parametrize("run", range(runs))


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Start a process that forks children."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with ForkServer() as fork_server:
        yield fork_server


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Start a service without faults, except for those in its script."""
    async with Service(foreign=2) as service:
        yield service
        assert not service.violations


@pytest.fixture
async def client(service: Service) -> AsyncIterator[JunkieClient]:
    """Make a client of the service that gives up at once."""
    async with make_client(service) as client:
        yield client


@pytest.fixture(params=["file", "database"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the path of a file, or the DSN of an empty database."""
    if request.param == "file":
        yield str(tmp_path / "orders.db")
        return
    async with make_database(request.getfixturevalue("postgres_superuser")) as dsn:
        yield dsn


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Make a folder in memory if there is a file system for that, as on Linux.

    A kill ends a process, not the machine: what was written stays, synced or not. On a disk each
    sync would take 5 ms, and the suite twice as long.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
