"""Both web frameworks, each with a real server and the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI

import junkie_async
from junkie_async import (
    Hooks,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    PauseEvent,
    RetryPolicy,
)
from junkie_async._http import own_session, transport
from junkie_async._jobs.record import LeaseLostError
from junkie_async.emulator import Emulator, Faults
from junkie_async.ext import aiohttp as aiohttp_ext
from junkie_async.ext.fastapi import JunkieDep, junkie_errors, junkie_lifespan

from ..unit.test_log_output import unconfigured
from ._web import (
    ACTIONS,
    API_KEY,
    CASES,
    FIELD,
    UNKNOWN,
    Case,
    ask,
    leaks,
    serve_aiohttp,
    serve_uvicorn,
)

PAGE = Path(junkie_async.__file__).parents[1] / ".docs" / "web.md"
REQUESTS = 200

MakeClient = Callable[[], JunkieClient]
Serve = Callable[..., contextlib.AbstractAsyncContextManager[int]]


@contextlib.asynccontextmanager
async def aiohttp_app(make: MakeClient, **options: Any) -> AsyncIterator[int]:
    """Serve an aiohttp app whose routes raise a case's error or make a call."""

    async def fail(request: web.Request) -> web.Response:
        raise CASES[int(request.match_info["number"])].error

    async def act(request: web.Request) -> web.Response:
        client = request.app[aiohttp_ext.JUNKIE]
        return web.json_response(await ACTIONS[request.match_info["name"]](client))

    app = web.Application(middlewares=[aiohttp_ext.junkie_errors])
    app.cleanup_ctx.append(aiohttp_ext.junkie_context(make, **options))
    app.router.add_get("/fail/{number}", fail)
    app.router.add_get("/act/{name}", act)
    async with serve_aiohttp(app) as port:
        yield port


@contextlib.asynccontextmanager
async def fastapi_app(make: MakeClient, **options: Any) -> AsyncIterator[int]:
    """Serve a FastAPI app with the same routes."""
    app = FastAPI(lifespan=junkie_lifespan(make=make, **options))
    junkie_errors(app)

    @app.get("/fail/{number}")
    async def fail(number: int) -> None:
        raise CASES[number].error

    @app.get("/act/{name}")
    async def act(name: str, junkie: JunkieDep) -> Any:
        return await ACTIONS[name](junkie)

    async with serve_uvicorn(app) as port:
        yield port


@pytest.fixture(params=[aiohttp_app, fastapi_app], ids=["aiohttp", "fastapi"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serve an app of each framework."""
    served: Serve = request.param
    return served


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """All clients and all their sessions that the test creates."""
    found: dict[str, list[Any]] = {"clients": [], "sessions": []}
    original_init, original_open = JunkieClient.__init__, own_session.open_session

    def init(self: JunkieClient, *args: Any, **options: Any) -> None:
        found["clients"].append(self)
        original_init(self, *args, **options)

    def opened(*arguments: Any) -> aiohttp.ClientSession:
        found["sessions"].append(session := original_open(*arguments))
        return session

    monkeypatch.setattr(JunkieClient, "__init__", init)
    monkeypatch.setattr(transport, "open_session", opened)
    return found


# --- errors ---------------------------------------------------------------------------------------


def subclasses(cls: type[JunkieError]) -> Iterator[type[JunkieError]]:
    """Yield a class and all its subclasses."""
    yield cls
    for below in cls.__subclasses__():
        yield from subclasses(below)


def test_every_class_has_a_case() -> None:
    """The cases have every error class that leaves the package."""
    expected = set(subclasses(JunkieError)) - {LeaseLostError}  # no job lets it out
    assert {type(case.error) for case in CASES} == expected


def log_level(status: int) -> int:
    """Return the level at which a response is logged."""
    return {500: logging.ERROR}.get(status, logging.INFO if status < 500 else logging.WARNING)


async def check_case(case: Case, number: int, port: int) -> None:
    """Let an app raise an error, and check its response."""
    reply = await ask(port, f"/fail/{number}")
    members = {
        key: value
        for key, value in reply.problem.items()
        if key not in ("title", "status", "detail")
    }
    assert (reply.status, members) == (case.status, case.members)
    assert reply.headers.get("retry-after") == case.retry_after
    assert "www-authenticate" not in reply.headers


async def test_every_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Each error has its response and its log line, and neither shows a secret."""
    with caplog.at_level(logging.INFO, "junkie_async.ext"):
        async with serve(lambda: JunkieClient(API_KEY)) as port:
            for number, case in enumerate(CASES):
                await check_case(case, number, port)
    lines = [record for record in caplog.records if record.name == "junkie_async.ext"]
    assert [line.levelno for line in lines] == [log_level(case.status) for case in CASES]
    for line, case in zip(lines, CASES, strict=True):
        assert type(case.error).__name__ in line.getMessage()
        assert str(case.status) in line.getMessage()
        assert line.exc_info is None
    assert not leaks(caplog.text)


async def test_a_wrong_base_url(serve: Serve) -> None:
    """A 404 because of a wrong address is no missing key, even one in JSON."""
    async with Emulator() as emulator:
        address = emulator.url.removesuffix("/api/v2")
        async with serve(lambda: JunkieClient(API_KEY, base_url=address)) as port:
            replies = {name: (await ask(port, f"/act/{name}")).status for name in ACTIONS}
    assert replies == dict.fromkeys(ACTIONS, 502) | {"invalid_input": 400}


NO_FAULT = Faults()
SLOW = Faults(latency=30.0)


@pytest.mark.parametrize(
    ("action", "faults", "status", "members"),
    [
        ("get_key", NO_FAULT, 404, {}),
        ("invalid_input", NO_FAULT, 400, FIELD),
        ("get_key", Faults(error_rate=1, error_status=400), 502, {}),
        ("get_key", Faults(error_rate=1, error_status=401), 500, {}),
        ("get_key", Faults(error_rate=1, error_status=403), 500, {}),
        ("get_key", Faults(error_rate=1, error_status=409), 409, {}),
        ("get_key", Faults(error_rate=1, error_status=500), 503, {}),
        ("get_key", Faults(throttle_rate=1, retry_after=300), 503, {"retry-after": "300"}),
        ("get_key", Faults(drop_before_rate=1), 503, {}),
        ("get_key", SLOW, 504, {}),
        ("create_key", Faults(error_rate=1, error_status=500), 502, UNKNOWN),
        ("create_key", Faults(drop_after_rate=1), 502, UNKNOWN),
        ("create_key", SLOW, 504, UNKNOWN),
    ],
)
async def test_failures_of_the_service(
    serve: Serve, action: str, faults: Faults, status: int, members: dict[str, str]
) -> None:
    """Real failures between the client and the service get the same responses."""
    # Long enough to connect on a busy machine: a time-out before that would be a ConnectError.
    timeout = 0.3 if faults is SLOW else 30.0

    async with Emulator(faults=faults) as emulator:

        def make() -> JunkieClient:
            retry = RetryPolicy(attempts=1)
            return JunkieClient(API_KEY, base_url=emulator.url, retry=retry, timeout=timeout)

        async with serve(make) as port:
            reply = await ask(port, f"/act/{action}")
            address = emulator.url.partition("://")[2].partition("/")[0]
    assert reply.status == status
    assert members.items() <= {**reply.headers, **reply.problem}.items()
    assert address not in reply.head + reply.body


@pytest.mark.parametrize("action", ["verify_key", "count_keys", "create_key"])
async def test_a_service_that_hangs(serve: Serve, action: str) -> None:
    """Users get a 504 after the deadline, whatever the client's own time-outs and retries are."""
    async with Emulator(faults=SLOW) as emulator:

        def make() -> JunkieClient:
            return JunkieClient(API_KEY, base_url=emulator.url)

        async with serve(make, deadline=0.3) as port, asyncio.timeout(10):
            problem = (await ask(port, f"/act/{action}")).problem
    assert problem["status"] == 504
    assert problem.get("outcome") == ("unknown" if action == "create_key" else None)


@pytest.mark.parametrize("action", ["verify_key", "count_keys", "create_key"])
async def test_a_pause_beyond_the_deadline(
    serve: Serve, action: str, created: dict[str, list[Any]]
) -> None:
    """Users get a 503 with Retry-After at once, while a job of the app waits the pause out."""
    faults = Faults(throttle_rate=1.0, retry_after=60, operations="bulkDeleteKeys")
    paused = asyncio.Event()

    class Observer(Hooks):
        def on_pause(self, event: PauseEvent) -> None:
            paused.set()

    def make() -> JunkieClient:
        return JunkieClient(API_KEY, base_url=emulator.url, max_in_flight=2, hooks=Observer())

    async with Emulator(faults=faults) as emulator, serve(make) as port, asyncio.timeout(5):
        job = asyncio.create_task(created["clients"][0].keys.delete_many(range(1, 9001)))
        await paused.wait()
        reply = await ask(port, f"/act/{action}")
        job.cancel()
    assert (reply.status, reply.problem.get("outcome")) == (503, None)
    assert 50 <= int(reply.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("options", "deadline"),
    [
        ({}, 10.0),
        ({"deadline": 3}, 3.0),
        ({"deadline": timedelta(minutes=1)}, 60.0),
        ({"deadline": None}, None),
    ],
)
async def test_the_deadline(
    serve: Serve, options: Any, deadline: float | None, created: dict[str, list[Any]]
) -> None:
    """It is 10 s by default, and the app's to set."""
    async with serve(lambda: JunkieClient(API_KEY), **options):
        (client,) = created["clients"]
        assert client.keys.deadline == deadline


@pytest.mark.parametrize("deadline", [0, -1.0, True, "10", float("inf"), float("nan")])
def test_a_wrong_deadline(deadline: Any) -> None:
    """It is refused when the app is made."""
    for make in (junkie_lifespan, aiohttp_ext.junkie_context):
        with pytest.raises(InvalidRequestError) as caught:
            make(deadline=deadline)
        assert caught.value.field == "deadline"


# --- the apps of the page about them, under load --------------------------------------------------


def blocks() -> list[str]:
    """Return the first programs of the page's sections on each framework."""
    sections = re.findall(r"(?ms)^## (?:FastAPI|aiohttp)$(.*?)(?=^## )", PAGE.read_text("utf-8"))
    found = [re.search(r"(?ms)^```python\n(.*?)^```$", section) for section in sections]
    return [block[1] for block in found if block]


@contextlib.contextmanager
def program(code: str) -> Iterator[Any]:
    """Run a program of the page as a module; yields its app."""
    module = ModuleType("app_of_the_page")
    sys.modules[module.__name__] = module  # pydantic looks annotations up there
    try:
        exec(compile(code, "web.md", "exec"), vars(module))
        yield module.app
    finally:
        del sys.modules[module.__name__]


async def verify(
    session: aiohttp.ClientSession, url: str, key: str, *, form: bool, status: int = 200
) -> Any:
    """Ask an app to verify a key."""
    claim = {"key": key, "hwid": f"device of {key}"}
    post = session.post(url, data=claim) if form else session.post(url, json=claim)
    async with post as response:
        assert response.status == status, await response.text()
        return await response.json(content_type=None)


def test_the_apps_are_short() -> None:
    """There are two, of at most 25 lines."""
    lines = [len(code.splitlines()) for code in blocks()]
    assert len(lines) == 2
    assert max(lines) <= 25


@pytest.mark.parametrize("number", [0, 1], ids=["fastapi", "aiohttp"])
async def test_the_apps_under_load(
    number: int, created: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each serves 200 concurrent requests with one client, one session and no error."""
    form = number == 1
    async with Emulator() as emulator:
        await emulator.seed(REQUESTS, key_value=lambda index: f"JNK-{index}", hwid_limit=1)
        monkeypatch.setenv("JUNKIE_API_KEY", API_KEY)
        monkeypatch.setenv("JUNKIE_BASE_URL", emulator.url)
        with program(blocks()[number]) as app:
            running = serve_aiohttp(app) if form else serve_uvicorn(app)
            async with running as port, unlimited() as session:
                url = f"http://127.0.0.1:{port}/verify"
                calls = (verify(session, url, f"JNK-{n}", form=form) for n in range(REQUESTS))
                verdicts = await asyncio.gather(*calls)
                unknown = await verify(session, url, "JNK-unknown", form=form)
                (client,) = created["clients"]
                assert not client.closed
        assert emulator.calls["getKey"] == REQUESTS + 1
        assert set(emulator.statuses) == {200, 404}
    assert verdicts == [{"valid": True, "reason": None}] * REQUESTS
    assert unknown == {"valid": False, "reason": "not_found"}
    assert client.closed
    assert [session.closed for session in created.pop("sessions")] == [True]
    del session
    gc.collect()  # a session that was not closed emits a warning, which fails the test


@pytest.mark.parametrize("number", [0, 1], ids=["fastapi", "aiohttp"])
async def test_a_wrong_api_key_is_seen(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users get a 500, and stderr says once what to correct: without any logging configured."""
    form = number == 1
    async with Emulator(api_keys=["right"]) as emulator:
        monkeypatch.setenv("JUNKIE_API_KEY", API_KEY)
        monkeypatch.setenv("JUNKIE_BASE_URL", emulator.url)
        with program(blocks()[number]) as app, unconfigured():
            running = serve_aiohttp(app) if form else serve_uvicorn(app)
            async with running as port, unlimited() as session:
                url = f"http://127.0.0.1:{port}/verify"
                for _ in range(3):
                    await verify(session, url, "JNK-1", form=form, status=500)
    assert capsys.readouterr().err.count("AuthenticationError") == 1


def unlimited() -> aiohttp.ClientSession:
    """Create a session without a limit of connections."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
