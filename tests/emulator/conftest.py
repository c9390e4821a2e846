"""The emulator over real sockets on loopback, asked by plain aiohttp and never by the SDK."""

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
    """A clock that moves when told to."""

    moment: datetime = NOON

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.moment

    def pass_by(self, **amount: float) -> None:
        """Move on by a timedelta's arguments."""
        self.moment += timedelta(**amount)


@dataclass
class Reply:
    """A response, read."""

    status: int
    body: Any
    headers: Any


class Api:
    """Sends requests as they are given."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def __call__(self, method: str, path: str, json: Any = None, **options: Any) -> Reply:
        """Send a request and read its answer, which is JSON whatever happens."""
        if json is not None:
            options["json"] = json
        async with self.session.request(method, self.url + path, **options) as response:
            assert response.content_type == "application/json"
            return Reply(response.status, await response.json(), response.headers)

    async def create(self, **fields: Any) -> Any:
        """Make a key and return it."""
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
