"""A client and a server that misbehaves, on loopback."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from junkie_async import JunkieClient

from .operations import connect
from .server import FaultServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--mutated-bodies``, which works when pytest is given this folder by name."""
    parser.addoption("--mutated-bodies", type=int, help="how many to read, 400 by default")


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """A scripted server; the test fails if the script and the requests don't match."""
    async with FaultServer() as server:
        yield server


@pytest.fixture
async def client(server: FaultServer) -> AsyncIterator[JunkieClient]:
    """A client that tries three times without waiting; fails if it leaves anything open."""
    async with connect(server) as client:
        yield client


@pytest.fixture
def full_port() -> Iterator[str]:
    """A port whose backlog is full, so that connecting to it neither succeeds nor fails."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            assert filler.connect_ex(listener.getsockname()) == errno.EINPROGRESS
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True, scope="package")
def _nothing_unclosed() -> Iterator[None]:
    """Turn anything left unclosed into a warning here, which is an error."""
    yield
    gc.unfreeze()  # what was in use when a module began, too: see `_small_heap`
    gc.collect()
