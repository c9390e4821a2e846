"""For FastAPI: one client per app, a dependency that gives it, and its errors as HTTP answers.

from fastapi import FastAPI
from junkie_async.ext.fastapi import JunkieDep, junkie_errors, junkie_lifespan

app = FastAPI(lifespan=junkie_lifespan())
junkie_errors(app)

@app.get("/keys/{key_id}")
async def owner(junkie: JunkieDep, key_id: int) -> str | None:
    return (await junkie.keys.get(key_id)).discord_id

It needs the extra ``fastapi``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from .. import JunkieClient, JunkieError
from . import _answers, needs_extra

with needs_extra("fastapi"):
    from fastapi import Depends, FastAPI, Response, WebSocket
    from fastapi.requests import HTTPConnection
    from fastapi.responses import JSONResponse
    from starlette.types import Lifespan

__all__ = ["JunkieDep", "junkie_client", "junkie_errors", "junkie_lifespan"]

_STATE = "junkie"
_TRY_AGAIN_LATER, _INTERNAL_ERROR = 1013, 1011  # of IANA's WebSocket close codes


def junkie_lifespan(
    own: Lifespan[Any] | None = None, *, make: Callable[[], JunkieClient] = JunkieClient
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Make a lifespan that opens a client with an app, and closes it with it.

    The client is in the lifespan's state, so that routers and mounted apps have it too, in their
    requests as ``request.state.junkie`` and through `JunkieDep`. A lifespan of your own can be
    within it (`own`), or around it::

        @asynccontextmanager
        async def lifespan(app):
            async with junkie_lifespan()(app) as state:
                yield {**state, "count": await state["junkie"].keys.list().count()}

    Args:
        own: The app's own lifespan, entered after the client was made, and left before it is
            closed. What it yields is kept.
        make: Makes the client when the app starts; one from the environment by default. For
            another, ``lambda: JunkieClient(hooks=...)``.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(make())
            state = await stack.enter_async_context(own(app)) if own is not None else None
            yield {**(state or {}), _STATE: client}

    return lifespan


async def junkie_client(connection: HTTPConnection) -> JunkieClient:
    """Give the app's client: what `JunkieDep` depends on, to be overridden in your tests.

    Raises:
        RuntimeError: The app was made, or is run, without `junkie_lifespan`.
    """
    client: JunkieClient | None = getattr(connection.state, _STATE, None)
    if client is None:
        raise RuntimeError(
            "the app has no client: make it with FastAPI(lifespan=junkie_lifespan()), and run it "
            "by a server (or test client) that starts its lifespan"
        )
    return client


JunkieDep = Annotated[JunkieClient, Depends(junkie_client)]
"""The app's client, as a parameter of a path operation or of another dependency."""


def junkie_errors(app: FastAPI) -> None:
    """Have an app answer for the `JunkieError`s that its path operations raise.

    Which answer each class has is told in `junkie_async.ext._answers`. A WebSocket is closed, with
    1013 (try again later) where the answer would be 503, and with 1011 otherwise. A mounted app
    answers for its own errors: call this for it, too.

    Args:
        app: The app, before it runs.
    """
    handler: Any = _answer  # one for requests and WebSockets, which Starlette's types don't know
    app.add_exception_handler(JunkieError, handler)


async def _answer(connection: HTTPConnection, error: Exception) -> Response | None:
    assert isinstance(error, JunkieError)
    told = _answers.answer(error)
    if isinstance(connection, WebSocket):
        await connection.close(_TRY_AGAIN_LATER if told.status == 503 else _INTERNAL_ERROR)
        return None
    return JSONResponse(told.problem, told.status, told.headers, _answers.MEDIA_TYPE)
