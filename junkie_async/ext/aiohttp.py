"""Integration with `aiohttp.web`: one client per app, and HTTP responses for its errors.

    from aiohttp import web
    from junkie_async.ext.aiohttp import JUNKIE, junkie_context, junkie_errors

    async def check(request: web.Request) -> web.Response:
        value = request.headers["X-Key"]
        verdict = await request.app[JUNKIE].keys.verify(value, stale_if_error=3600)
        return web.json_response({"valid": verdict.valid})

    app = web.Application(middlewares=[junkie_errors])
    app.cleanup_ctx.append(junkie_context())

It needs no extra.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from .. import JunkieClient, JunkieError
from . import DEADLINE, check_deadline
from .problem_details import MEDIA_TYPE, problem_details

__all__ = ["JUNKIE", "junkie_context", "junkie_errors"]

JUNKIE: Final = web.AppKey("junkie", JunkieClient)
"""The key of the app's client: ``request.app[JUNKIE]``, or ``request.config_dict[JUNKIE]`` in a
sub-app."""


def junkie_context(
    make: Callable[[], JunkieClient] = JunkieClient,
    *,
    deadline: float | timedelta | None = DEADLINE,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Create a context for ``app.cleanup_ctx`` that opens and closes a client with the app.

    Args:
        make: Creates the client when the app starts. The default one is configured by the
            environment; pass ``lambda: JunkieClient(hooks=...)`` for another.
        deadline: Seconds, or a `timedelta`, that one call of this client may take, so that users
            of a service that hangs soon get a 504, and a 503 with ``Retry-After`` during a longer
            pause: see `Keys.deadline`. None for no such limit.
    """
    seconds = check_deadline(deadline)

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with make() as app[JUNKIE]:
            app[JUNKIE].keys.deadline = seconds
            yield

    return context


@web.middleware
async def junkie_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a `JunkieError` raised by a handler, of the app or a sub-app, into a response.

    `junkie_async.ext.problem_details` lists the response for each class. An error raised after the
    response has begun is raised again, and aiohttp closes the connection.
    """
    try:
        return await handler(request)
    except JunkieError as error:
        # Not `response.prepared`: the handler's response is out of reach here. Once bytes are
        # out, a second status line would end up in the middle of the first response's body.
        if request.writer.output_size > 0:
            raise
        problem = problem_details(error)
    return web.json_response(
        problem.body, status=problem.status, headers=problem.headers, content_type=MEDIA_TYPE
    )
