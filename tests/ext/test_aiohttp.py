"""`aiohttp.web` only; `test_web` has what both frameworks share."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from junkie_async import JunkieClient, NotFoundError, ServerError
from junkie_async.ext.aiohttp import JUNKIE, junkie_context, junkie_errors

from ._web import ALL_CANARIES, API_KEY, CASES, ask, leaks, serve_aiohttp


async def test_a_sub_app_shares_the_client_and_the_middleware() -> None:
    """An app and its sub-apps share one client and the middleware."""

    async def which(request: web.Request) -> web.Response:
        return web.json_response(id(request.config_dict[JUNKIE]))

    async def fail(request: web.Request) -> web.Response:
        raise NotFoundError(ALL_CANARIES, status=404)

    part = web.Application()
    part.router.add_get("/which", which)
    part.router.add_get("/fail", fail)
    app = web.Application(middlewares=[junkie_errors])
    app.cleanup_ctx.append(junkie_context())
    app.router.add_get("/which", which)
    app.add_subapp("/part", part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUNKIE_API_KEY", API_KEY)
        async with serve_aiohttp(app) as port:
            clients = [(await ask(port, f"{at}/which")).body for at in ("", "/part")]
            assert clients == [str(id(app[JUNKIE]))] * 2
            assert (await ask(port, "/part/fail")).problem["status"] == 404
    assert app[JUNKIE].closed


async def test_a_response_that_has_begun_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """No second response is written into the first, and the first is visibly incomplete."""

    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise ServerError(status=500)

    app = web.Application(middlewares=[junkie_errors])
    app.router.add_get("/", fail)
    async with serve_aiohttp(app) as port:
        reply = await ask(port, "/")
    assert reply.status == 200
    assert "begun" in reply.body
    assert "problem" not in reply.body
    assert not reply.body.endswith("0\r\n\r\n")  # how a complete one ends
    assert [record.name for record in caplog.records] == ["aiohttp.server"]


async def test_other_errors_are_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    """HTTP exceptions and the app's own errors stay what they are."""

    async def gone(request: web.Request) -> web.Response:
        raise web.HTTPGone

    async def broken(request: web.Request) -> web.Response:
        raise ZeroDivisionError

    app = web.Application(middlewares=[junkie_errors])
    app.router.add_get("/gone", gone)
    app.router.add_get("/broken", broken)
    async with serve_aiohttp(app) as port:
        replies = [await ask(port, target) for target in ("/gone", "/broken", "/nowhere")]
    assert [reply.status for reply in replies] == [410, 500, 404]
    assert "ZeroDivisionError" in caplog.text


async def test_a_call_while_the_app_shuts_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A closed client gives a 503 and no traceback."""

    async def act(request: web.Request) -> web.Response:
        await request.app[JUNKIE].close()
        return web.json_response((await request.app[JUNKIE].keys.get(1)).id)

    app = web.Application(middlewares=[junkie_errors])
    app.cleanup_ctx.append(junkie_context(lambda: JunkieClient(API_KEY)))
    app.router.add_get("/", act)
    with caplog.at_level(logging.INFO):
        async with serve_aiohttp(app) as port:
            assert (await ask(port, "/")).problem["status"] == 503
    assert "ClientClosedError" in caplog.text
    assert "Traceback" not in caplog.text


async def test_debug_mode_shows_no_secret() -> None:
    """Debug mode puts tracebacks into responses, but not for these errors."""
    app = web.Application(middlewares=[junkie_errors])

    async def fail(request: web.Request) -> web.Response:
        raise CASES[0].error

    app.router.add_get("/", fail)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        async with serve_aiohttp(app) as port:
            reply = await ask(port, "/")
    finally:
        loop.set_debug(False)
    assert reply.status == 502
    assert not leaks(reply.head + reply.body)
