"""A client and a server that misbehaves, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from junkie_async import JunkieClient, RetryPolicy

from .server import FaultServer

AT_ONCE = RetryPolicy(attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """A scripted server; the test fails if a fault of the script was not met."""
    async with FaultServer() as server:
        yield server


@pytest.fixture
async def client(server: FaultServer) -> AsyncIterator[JunkieClient]:
    """A client that tries three times, without waiting."""
    async with JunkieClient("secret", base_url=server.url, retry=AT_ONCE) as client:
        yield client
