"""Integration with FastAPI: one client per app, a dependency, and HTTP responses for its errors.

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

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Annotated, Any

from .. import (
    JunkieClient,
    JunkieError,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    KeyStats,
    Verdict,
)
from . import DEADLINE, check_deadline, needs_extra
from .problem_details import MEDIA_TYPE, problem_details

with needs_extra("fastapi"):
    from fastapi import Depends, FastAPI, Response, WebSocket, status
    from fastapi.encoders import ENCODERS_BY_TYPE
    from fastapi.requests import HTTPConnection
    from fastapi.responses import JSONResponse
    from starlette.types import Lifespan

__all__ = ["JunkieDep", "junkie_client", "junkie_errors", "junkie_lifespan"]

# For endpoints without a return annotation. Those with one ask pydantic, which asks the models.
ENCODERS_BY_TYPE.update(
    {
        model: model.to_dict
        for model in (Key, KeyBatch, KeyDetailed, KeyFolder, KeyPage, KeyStats, Verdict)
    }
)


def junkie_lifespan(
    own: Lifespan[Any] | None = None,
    *,
    make: Callable[[], JunkieClient] = JunkieClient,
    deadline: float | timedelta | None = DEADLINE,
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Create a lifespan that opens and closes a client with the app.

    The client is stored in the lifespan's state. Routers and mounted apps reach it in their
    requests as ``request.state.junkie``, and through `JunkieDep`. A lifespan of your own can run
    inside it (`own`) or around it:

        @asynccontextmanager
        async def lifespan(app):
            async with junkie_lifespan()(app) as state:
                yield {**state, "count": await state["junkie"].keys.list().count()}

    Args:
        own: The app's own lifespan. It starts after the client is created and ends before the
            client is closed. The state that it yields is kept.
        make: Creates the client when the app starts. The default one is configured by the
            environment; pass ``lambda: JunkieClient(hooks=...)`` for another.
        deadline: Seconds, or a `timedelta`, that one call of this client may take, so that users
            of a service that hangs soon get a 504, and a 503 with ``Retry-After`` during a longer
            pause: see `Keys.deadline`. None for no such limit.
    """
    seconds = check_deadline(deadline)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        async with make() as client:
            client.keys.deadline = seconds
            async with own(app) if own else nullcontext() as state:
                yield {**(state or {}), "junkie": client}

    return lifespan


# The parameter is an HTTPConnection, not a Request: FastAPI passes it to WebSocket routes as well.
async def junkie_client(connection: HTTPConnection) -> JunkieClient:
    """Return the app's client. `JunkieDep` depends on this; override it in your tests.

    Raises:
        RuntimeError: The app was created, or is run, without `junkie_lifespan`.
    """
    client: JunkieClient | None = getattr(connection.state, "junkie", None)
    if client is None:
        raise RuntimeError(
            "the app has no JunkieClient: create it with FastAPI(lifespan=junkie_lifespan()), "
            "and run it with a server or test client that runs lifespans"
        )
    return client


JunkieDep = Annotated[JunkieClient, Depends(junkie_client)]
"""The app's client, as a parameter of a path operation or of another dependency."""


def junkie_errors(app: FastAPI) -> None:
    """Turn a `JunkieError` raised by a path operation of the app into a response.

    `junkie_async.ext.problem_details` lists the response for each class. A WebSocket is closed with
    code 1013 (try again later) instead of a 503, and with code 1011 otherwise. Call this for each
    mounted app too: it handles its own errors.

    Args:
        app: The app, before it runs.
    """
    app.exception_handler(JunkieError)(_handle_error)


async def _handle_error(connection: HTTPConnection, error: JunkieError) -> Response | None:
    problem = problem_details(error)
    if isinstance(connection, WebSocket):
        # ASGI servers answer this with an HTTP 403 if the handshake was not accepted yet.
        try_later = problem.status == 503
        code = status.WS_1013_TRY_AGAIN_LATER if try_later else status.WS_1011_INTERNAL_ERROR
        await connection.close(code)
        return None
    return JSONResponse(problem.body, problem.status, problem.headers, MEDIA_TYPE)
