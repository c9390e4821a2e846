"""The client and the emulator, over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from junkie_async import JunkieClient
from junkie_async.emulator import Emulator


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An empty emulator."""
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def junkie(emulator: Emulator) -> AsyncIterator[JunkieClient]:
    """A client of that emulator."""
    async with JunkieClient("any", base_url=emulator.url) as junkie:
        yield junkie
