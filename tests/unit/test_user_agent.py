"""The User-Agent: the program's name, and this package's."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from junkie_async import InvalidRequestError, JunkieClient, __version__
from tests.faults._echo import Request, Service, http

OURS = f"junkie_async/{__version__}"


async def sent_by(session: aiohttp.ClientSession | None = None, **options: Any) -> str:
    """Make a call, and return the User-Agent that the service got."""

    def answer(request: Request) -> bytes:
        return http(200, b'{"folders": []}')

    async with (
        Service(answer) as service,
        JunkieClient("any", base_url=service.url, session=session, **options) as client,
    ):
        await client.keys.folders()
    lines = [line.decode() for line in service.requests[0].header_lines]
    [found] = [line for line in lines if line.lower().startswith("user-agent:")]
    return found.partition(": ")[2]


@pytest.mark.parametrize(
    ("app", "agent"),
    [(None, OURS), ("shop-bot/1.2", f"shop-bot/1.2 {OURS}"), ("x", f"x {OURS}")],
)
async def test_it_names_the_app(app: str | None, agent: str) -> None:
    """The app comes first, as what matters most (RFC 9110, section 10.1.5)."""
    assert await sent_by(app=app) == agent


@pytest.mark.parametrize(("app", "agent"), [(None, "own/1"), ("bot/2", f"bot/2 {OURS}")])
async def test_a_session_of_the_callers(app: str | None, agent: str) -> None:
    """It keeps its own, unless the client is given one."""
    async with aiohttp.ClientSession(headers={"User-Agent": "own/1"}) as session:
        assert await sent_by(session, app=app) == agent


@pytest.mark.parametrize(
    "app",
    ["", "a b", "a/b/c", "/1", "a/", "bot\r\nX: y", "ä", "a" * 101, 5, b"bot", "a(b)"],
)
def test_bad_names(app: Any) -> None:
    """Anything but a product, with or without a version, is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("any", app=app)
    assert caught.value.field == "app"
