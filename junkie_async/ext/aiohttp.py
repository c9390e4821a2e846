"""For `aiohttp.web`: one client per app, and its errors as HTTP answers.

from aiohttp import web
from junkie_async.ext.aiohttp import JUNKIE, junkie_context, junkie_errors

async def check(request: web.Request) -> web.Response:
    verdict = await request.app[JUNKIE].keys.verify(request.headers["X-Key"])
    return web.json_response({"valid": verdict.valid})

app = web.Application(middlewares=[junkie_errors])
app.cleanup_ctx.append(junkie_context())
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from .. import JunkieClient, JunkieError
from . import _answers

__all__ = ["JUNKIE", "junkie_context", "junkie_errors"]

JUNKIE: Final = web.AppKey("junkie", JunkieClient)
"""The app's client: ``request.app[JUNKIE]``, and in a sub-app ``request.config_dict[JUNKIE]``."""


def junkie_context(
    make: Callable[[], JunkieClient] = JunkieClient,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Make what opens a client with an app, and closes it with it, for ``app.cleanup_ctx``.

    Args:
        make: Makes the client when the app starts; one from the environment by default. For
            another, ``lambda: JunkieClient(hooks=...)``.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with make() as app[JUNKIE]:
            yield

    return context


@web.middleware
async def junkie_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer for the `JunkieError`s that handlers raise, in an app and its sub-apps.

    Which answer each class has is told in `junkie_async.ext._answers`. An answer that has begun
    can't be taken back: then the error goes on to aiohttp, which cuts the connection off.
    """
    try:
        return await handler(request)
    except JunkieError as error:
        if request.writer.output_size > 0:
            raise
        told = _answers.answer(error)
    return web.json_response(
        told.problem,
        status=told.status,
        headers=told.headers,
        content_type=_answers.MEDIA_TYPE,
    )
