"""Web apps whose key service is gone: known keys get their right verdicts, others a 503."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI

from junkie_async import JunkieClient, RetryPolicy
from junkie_async.emulator import Emulator
from junkie_async.ext import aiohttp as aiohttp_ext
from junkie_async.ext.fastapi import JunkieDep, junkie_errors, junkie_lifespan

from ..module_process import run_module
from ._web import API_KEY, serve_aiohttp, serve_uvicorn

KNOWN = 100
REQUESTS = 1000
EXPIRED = datetime.now(UTC) - timedelta(days=1)
# Where keys come from that are not valid: every tenth is revoked, and so on.
REASONS = {3: "invalidated", 5: "expired", 7: "hwid_mismatch"}

MakeClient = Callable[[], JunkieClient]
Serve = Callable[..., contextlib.AbstractAsyncContextManager[int]]


def value(index: int) -> str:
    """Return a key's value."""
    return f"JNK-{index:08d}-0123456789"


def verdict(index: int) -> dict[str, Any]:
    """Return what an app has to answer."""
    reason = REASONS.get(index % 10)
    return {"valid": reason is None, "reason": reason}


async def seed(emulator: Emulator) -> None:
    """Create the known keys."""
    await emulator.seed(
        KNOWN,
        key_value=value,
        is_invalidated=lambda index: index % 10 == 3,
        expires_at=lambda index: EXPIRED if index % 10 == 5 else None,
        hwids=lambda index: ["another" if index % 10 == 7 else f"PC-{index}"],
        hwid_limit=1,
    )


@contextlib.asynccontextmanager
async def aiohttp_app(make: MakeClient) -> AsyncIterator[int]:
    """Serve an aiohttp app that verifies keys."""

    async def check(request: web.Request) -> web.Response:
        claim = await request.json()
        found = await request.app[aiohttp_ext.JUNKIE].keys.verify(
            claim["key"], hwid=claim["hwid"], stale_if_error=3600
        )
        reply = {"valid": found.valid, "reason": found.reason, "stale": found.stale}
        return web.json_response(reply)

    app = web.Application(middlewares=[aiohttp_ext.junkie_errors])
    app.cleanup_ctx.append(aiohttp_ext.junkie_context(make))
    app.router.add_post("/verify", check)
    async with serve_aiohttp(app) as port:
        yield port


@contextlib.asynccontextmanager
async def fastapi_app(make: MakeClient) -> AsyncIterator[int]:
    """Serve a FastAPI app that verifies keys."""
    app = FastAPI(lifespan=junkie_lifespan(make=make))
    junkie_errors(app)

    @app.post("/verify")
    async def check(claim: dict[str, str], junkie: JunkieDep) -> dict[str, Any]:
        found = await junkie.keys.verify(claim["key"], hwid=claim["hwid"], stale_if_error=3600)
        return {"valid": found.valid, "reason": found.reason, "stale": found.stale}

    async with serve_uvicorn(app) as port:
        yield port


class Visitors:
    """Ask an app about keys, some at a time."""

    def __init__(self, url: str, session: aiohttp.ClientSession, at_once: int) -> None:
        self._url, self._session = url, session
        self._slots = asyncio.Semaphore(at_once)
        self.slowest = 0.0

    async def ask(self, index: int) -> tuple[int, str | None, Any]:
        """Ask about one key: the status, the Retry-After and the body."""
        async with self._slots:
            begin, claim = time.monotonic(), {"key": value(index), "hwid": f"PC-{index}"}
            async with self._session.post(f"{self._url}/verify", json=claim) as reply:
                body = await reply.json(content_type=None)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            return reply.status, reply.headers.get("Retry-After"), body

    async def ask_known(self, requests: int, *, stale: bool) -> None:
        """Ask about the known keys in turn; every answer is right."""
        asked = [index % KNOWN for index in range(requests)]
        for index, answer in zip(asked, await asyncio.gather(*map(self.ask, asked)), strict=True):
            assert answer == (200, None, verdict(index) | {"stale": stale})

    async def ask_unknown(self, requests: int) -> None:
        """Ask about keys that nobody has asked about before; every answer is "try later"."""
        asked = range(KNOWN, KNOWN + requests)
        answers = await asyncio.gather(*map(self.ask, asked))
        assert Counter((status, later) for status, later, _ in answers) == {(503, "10"): requests}


@contextlib.asynccontextmanager
async def visitors(url: str, at_once: int = 50) -> AsyncIterator[Visitors]:
    """Open connections to an app."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Visitors(url, session, at_once)


@pytest.mark.parametrize("serve", [aiohttp_app, fastapi_app], ids=["aiohttp", "fastapi"])
async def test_known_keys_survive_an_outage(serve: Serve) -> None:
    """Requests of known keys get the right verdicts, and all unknown keys a 503."""
    emulator = Emulator()
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(emulator)
        await seed(emulator)

        def make() -> JunkieClient:
            retry = RetryPolicy(attempts=2, wait_initial=0.01, wait_jitter=0.0)
            return JunkieClient(API_KEY, base_url=address.url, retry=retry)

        async with serve(make) as port, visitors(f"http://127.0.0.1:{port}") as asking:
            await asking.ask_known(KNOWN, stale=False)
            assert emulator.calls["getKey"] == KNOWN
            await stack.aclose()
            await asking.ask_known(2 * KNOWN, stale=True)
            await asking.ask_unknown(20)
            await asking.ask_known(10, stale=True)


async def test_visitors_of_one_key_share_a_request() -> None:
    """200 at once make one request to the service."""
    everybody = asyncio.Barrier(200)
    async with Emulator() as emulator:
        await seed(emulator)
        app = FastAPI(
            lifespan=junkie_lifespan(make=lambda: JunkieClient(API_KEY, base_url=emulator.url))
        )
        junkie_errors(app)

        @app.post("/verify")
        async def check(claim: dict[str, str], junkie: JunkieDep) -> bool:
            await everybody.wait()
            return bool(await junkie.keys.verify(claim["key"], hwid=claim["hwid"]))

        async with serve_uvicorn(app) as port, visitors(f"http://127.0.0.1:{port}", 200) as asking:
            answers = await asyncio.gather(*(asking.ask(1) for _ in range(200)))
        assert answers == [(200, None, True)] * 200
        assert emulator.calls == {"getKey": 1}


APP = """
from fastapi import FastAPI
from junkie_async.ext.fastapi import JunkieDep, junkie_errors, junkie_lifespan

app = FastAPI(lifespan=junkie_lifespan())
junkie_errors(app)

@app.post("/verify")
async def check(claim: dict[str, str], junkie: JunkieDep) -> dict[str, object]:
    found = await junkie.keys.verify(claim["key"], hwid=claim["hwid"], stale_if_error=3600)
    return {"valid": found.valid, "reason": found.reason, "stale": found.stale}
"""
SERVE = ("junkie_async", "serve", "--port=0", "--db")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
async def test_the_service_is_killed(tmp_path: Path) -> None:
    """1,000 requests of known keys, to an app as it is deployed: uvicorn in its own process."""
    keys = str(tmp_path / "keys.db")
    async with Emulator(keys) as emulator:
        await seed(emulator)
    with run_module(*SERVE, keys) as (service, url):
        settings = {"JUNKIE_BASE_URL": url, "JUNKIE_API_KEY": "any-key-will-do"}
        with run_module("tests.faults.attacked_app", text=APP, **settings) as (_, port):
            async with visitors(f"http://127.0.0.1:{port}") as asking:
                await asking.ask_known(KNOWN, stale=False)
                os.kill(service.pid, signal.SIGKILL)
                service.wait()
                await asking.ask_known(REQUESTS, stale=True)
                assert asking.slowest < 5.0
                await asking.ask_unknown(20)
                await asking.ask_known(KNOWN, stale=True)
