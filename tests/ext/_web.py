"""What the tests of both web frameworks share: real servers, raw requests, errors and canaries."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import attrs
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    CreateReport,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)

CANARIES = ("q7w3z9k2m5x8", "h4j6v1n8b3t9", "y2r5d8f1g7c4", "internal.example")
API_KEY, KEY_VALUE, SAID = f"jk_{CANARIES[0]}", f"JNK-{CANARIES[1]}", f"our database {CANARIES[2]}"
EVERYTHING = f"{API_KEY} {KEY_VALUE} {SAID} https://internal.example"


def leaks(text: str) -> list[str]:
    """Name the canaries in a text."""
    return [canary for canary in CANARIES if canary in text.lower()]


# --- servers --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serve_aiohttp(app: web.Application) -> AsyncIterator[int]:
    """Serve an app with aiohttp on loopback; gives the port."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # they are pytest's
        yield


@contextlib.asynccontextmanager
async def serve_uvicorn(app: FastAPI) -> AsyncIterator[int]:
    """Serve an app with uvicorn on loopback, in this event loop; gives the port."""
    config = uvicorn.Config(app, port=0, lifespan="on", log_config=None, ws="none", backlog=512)
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.001)
        assert server.started
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


# --- requests -------------------------------------------------------------------------------------


@attrs.frozen
class Reply:
    """An answer as it came: the status line and headers, and the body."""

    head: str
    body: str

    @property
    def status(self) -> int:
        """The status."""
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by their names in lower case."""
        lines = [line.partition(": ") for line in self.head.splitlines()[1:]]
        return {name.lower(): value for name, _, value in lines}

    @property
    def problem(self) -> Any:
        """The body's problem details, after all that goes for each of them."""
        assert self.headers["content-type"].split(";")[0] == "application/problem+json"
        assert self.headers["cache-control"] == "no-store"
        assert not leaks(self.head + self.body)
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return problem


async def ask(port: int, target: str) -> Reply:
    """Send a GET, and read all bytes of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return Reply(head, body)


# --- errors ---------------------------------------------------------------------------------------


@attrs.frozen
class Case:
    """An error, and what is answered for it."""

    error: JunkieError
    status: int
    retry_after: str | None = None
    more: dict[str, Any] = attrs.field(factory=dict)


def refused(cls: type[APIError], status: int, **more: Any) -> APIError:
    """Make an error that has canaries wherever the service can have put some."""
    error = cls(SAID, status=status, body=EVERYTHING, headers={"x-said": EVERYTHING}, **more)
    error.method, error.path = "GET", "/keys/{keyId}"
    return error


def caused(error: JunkieError, cause: JunkieError) -> JunkieError:
    """Have an error come of another."""
    error.__cause__ = cause
    return error


DONE = {"outcome": "executed"}
UNKNOWN = {"outcome": "unknown"}
FIELD = {"field": "hwid", "limit": "a string of at most 255 characters"}
TIMED_OUT = RequestTimeoutError(EVERYTHING)

CASES = [
    Case(JunkieError(EVERYTHING), 502),
    Case(InvalidRequestError("hwid", EVERYTHING, FIELD["limit"]), 400, more=FIELD),
    Case(ConfigurationError("no API key"), 500),
    Case(ClientClosedError("the client is closed"), 503),
    Case(TransportError(EVERYTHING), 503),
    Case(ConnectError(EVERYTHING), 503),
    Case(ConnectError(EVERYTHING, transient=False), 502),
    Case(TIMED_OUT, 504),
    Case(OutcomeUnknownError(EVERYTHING), 502, more=UNKNOWN),
    Case(OutcomeUnknownError(EVERYTHING, outcome=Outcome.EXECUTED), 502, more=DONE),
    Case(caused(OutcomeUnknownError(EVERYTHING), TIMED_OUT), 504, more=UNKNOWN),
    Case(
        caused(OutcomeUnknownError(SAID), refused(ServerError, 503, retry_after=9.0)),
        502,
        more=UNKNOWN,
    ),
    Case(InvalidResponseError(EVERYTHING, status=200, field=KEY_VALUE, rows=(KEY_VALUE,)), 502),
    Case(DriftError(EVERYTHING), 503),
    Case(refused(APIError, 418), 502),
    Case(refused(BadRequestError, 400), 502),
    Case(refused(BadRequestError, 422, retry_after=5.0), 502),
    Case(refused(AuthenticationError, 401), 500),
    Case(refused(PermissionDeniedError, 403), 500),
    Case(refused(PermissionDeniedError, 403, challenge=True), 503),
    Case(refused(NotFoundError, 404), 404),
    Case(refused(ConflictError, 409), 409),
    Case(refused(RateLimitError, 429), 503),
    Case(refused(RateLimitError, 429, retry_after=0.0), 503, "0"),
    Case(refused(RateLimitError, 429, retry_after=1.2), 503, "2"),
    Case(refused(RateLimitError, 429, retry_after=float("inf")), 503, "86400"),
    Case(refused(RateLimitError, 429, retry_after=300.0, challenge=True), 503, "300"),
    Case(refused(ServerError, 500), 503),
    Case(refused(ServerError, 503, retry_after=7.0), 503, "7"),
    Case(
        caused(
            BatchError(SAID, CreateReport(requested=9, keys=(KEY_VALUE,))),
            refused(RateLimitError, 429, retry_after=3.0),
        ),
        502,
        more=UNKNOWN,
    ),
]


async def get_key(client: JunkieClient) -> object:
    """Fetch a key that is not there."""
    return await client.keys.get(KEY_VALUE)


async def create_key(client: JunkieClient) -> object:
    """Make a key."""
    return (await client.keys.create(provider_id=1)).id


async def bad_input(client: JunkieClient) -> object:
    """Verify a key with a device that is too long for the API."""
    return await client.keys.verify(KEY_VALUE, hwid=KEY_VALUE * 20)


ACTIONS: dict[str, Callable[[JunkieClient], Awaitable[object]]] = {
    action.__name__: action for action in (get_key, create_key, bad_input)
}
