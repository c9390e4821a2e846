"""Fixtures: the emulator over real sockets on loopback, and plain aiohttp instead of the SDK."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from junkie_async.emulator import Emulator

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that tests move."""

    moment: datetime = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.moment

    def advance(self, **amount: float) -> None:
        """Advance by the arguments of a timedelta."""
        self.moment += timedelta(**amount)


@dataclass
class Reply:
    """A response whose body was read."""

    status: int
    body: Any
    headers: Any


class Api:
    """Send requests to an emulator without the SDK."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def __call__(self, method: str, path: str, json: Any = None, **options: Any) -> Reply:
        """Send a request and read the response, which must be JSON."""
        if json is not None:
            options["json"] = json
        async with self.session.request(method, self.url + path, **options) as response:
            assert response.content_type == "application/json"
            return Reply(response.status, await response.json(), response.headers)

    async def create(self, **fields: Any) -> Any:
        """Create a key and return it."""
        reply = await self("POST", "/keys", {"provider_id": 1, **fields})
        assert reply.status == 201, reply.body
        return reply.body["key"]

    async def ids(self, **filters: Any) -> list[int]:
        """Return the IDs of the first page of a listing."""
        reply = await self("GET", "/keys", params=filters)
        assert reply.status == 200, reply.body
        assert reply.body["pagination"]["total"] >= len(reply.body["keys"])
        return [key["id"] for key in reply.body["keys"]]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A running emulator without keys."""
    async with Emulator() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with an API key."""
    headers = {"Authorization": "Bearer secret"}
    async with aiohttp.ClientSession(headers=headers) as opened:
        yield opened


@pytest.fixture
def api(emulator: Emulator, session: aiohttp.ClientSession) -> Api:
    """The emulator's API."""
    return Api(session, emulator.url)
