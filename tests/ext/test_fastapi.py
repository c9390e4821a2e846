"""FastAPI only; `test_web` has what both frameworks share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket

from junkie_async import (
    AuthenticationError,
    ConfigurationError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    RateLimitError,
)
from junkie_async.ext.fastapi import JunkieDep, junkie_client, junkie_errors, junkie_lifespan

from ._web import ALL_CANARIES, API_KEY, ask, serve_uvicorn


def make() -> JunkieClient:
    """Create a client whose requests go nowhere."""
    return JunkieClient(API_KEY, base_url="http://127.0.0.1:9")


async def test_routers_and_mounted_apps_share_the_client() -> None:
    """An app, its routers and its mounted apps share one client."""
    app, part, router = FastAPI(lifespan=junkie_lifespan(make=make)), FastAPI(), APIRouter()

    @router.get("/router")
    @part.get("/which")
    async def which(junkie: JunkieDep, request: Request) -> bool:
        return junkie is request.state.junkie and not junkie.closed

    @part.get("/fail")
    async def fail(junkie: JunkieDep) -> None:
        raise NotFoundError(ALL_CANARIES, status=404)

    junkie_errors(part)
    app.include_router(router)
    app.mount("/part", part)
    async with serve_uvicorn(app) as port:
        assert (await ask(port, "/router")).body == "true"
        assert (await ask(port, "/part/which")).body == "true"
        assert (await ask(port, "/part/fail")).problem["status"] == 404


async def test_a_lifespan_inside() -> None:
    """The app's own lifespan starts after and ends before the client's, and its state is kept."""
    steps: list[Any] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        steps.append("in")
        yield {"db": "database"}
        steps.append(("out", client.closed))

    client = make()
    async with junkie_lifespan(own, make=lambda: client)(FastAPI()) as state:
        assert state == {"db": "database", "junkie": client}
    assert steps == ["in", ("out", False)]
    assert client.closed


async def test_a_lifespan_around() -> None:
    """The app's own lifespan can use the client and extend the state."""

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with junkie_lifespan(make=make)(app) as state:
            yield {**state, "address": state["junkie"].base_url}

    app = FastAPI(lifespan=own)

    @app.get("/")
    async def index(request: Request, junkie: JunkieDep) -> bool:
        return bool(request.state.address == junkie.base_url)

    async with serve_uvicorn(app) as port:
        assert (await ask(port, "/")).body == "true"


async def test_a_lifespan_that_fails() -> None:
    """The client is closed if the app does not start; without an API key the error says so."""
    client, databases = make(), dict[str, str]()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"db": databases["shop"]}

    with pytest.raises(LookupError):
        await junkie_lifespan(own, make=lambda: client)(FastAPI()).__aenter__()
    assert client.closed
    with pytest.raises(ConfigurationError):
        await junkie_lifespan(make=lambda: JunkieClient(""))(FastAPI()).__aenter__()


async def test_without_the_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    """Without the lifespan, the server's log says what to do, and the response does not."""
    app = FastAPI()
    junkie_errors(app)

    @app.get("/")
    async def index(junkie: JunkieDep) -> None:
        pass

    async with serve_uvicorn(app) as port:
        reply = await ask(port, "/")
    assert (reply.status, reply.body) == (500, "Internal Server Error")
    assert "FastAPI(lifespan=junkie_lifespan())" in caplog.text


async def test_the_dependency_can_be_overridden() -> None:
    """Tests can override the dependency, as usual with FastAPI, without a lifespan."""
    app = FastAPI()

    @app.get("/")
    async def index(junkie: JunkieDep) -> bool:
        return junkie is client

    client = make()
    app.dependency_overrides[junkie_client] = lambda: client
    async with serve_uvicorn(app) as port:
        assert (await ask(port, "/")).body == "true"
    await client.close()


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimitError(ALL_CANARIES, status=429), 1013),
        (AuthenticationError(ALL_CANARIES, status=401), 1011),
    ],
)
async def test_a_websocket_is_closed(error: JunkieError, code: int, accepted: bool) -> None:
    """The close code says whether to try again, and there is no reason text."""
    app = FastAPI()
    junkie_errors(app)

    @app.websocket("/")
    async def talk(socket: WebSocket) -> None:
        if accepted:
            await socket.accept()
        raise error

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": code, "reason": ""}
    assert len(sent) == 1 + accepted
