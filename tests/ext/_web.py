"""Shared by the tests of both web frameworks: servers, raw requests, errors and canaries."""

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
    DeleteReport,
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
    TooManyMatchesError,
    TransportError,
)

CANARIES = ("q7w3z9k2m5x8", "h4j6v1n8b3t9", "y2r5d8f1g7c4", "internal.example")
API_KEY, KEY_VALUE = f"jk_{CANARIES[0]}", f"JNK-{CANARIES[1]}"
SERVICE_TEXT = f"our database {CANARIES[2]}"
ALL_CANARIES = f"{API_KEY} {KEY_VALUE} {SERVICE_TEXT} https://internal.example"


def leaks(text: str) -> list[str]:
    """Return the canaries in a text."""
    return [canary for canary in CANARIES if canary in text.lower()]


# --- servers --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serve_aiohttp(app: web.Application) -> AsyncIterator[int]:
    """Serve an app with aiohttp on loopback; yields the port."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # pytest handles them
        yield


@contextlib.asynccontextmanager
async def serve_uvicorn(app: FastAPI) -> AsyncIterator[int]:
    """Serve an app with uvicorn on loopback, in this event loop; yields the port."""
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
    """A raw response: the status line with the headers, and the body."""

    head: str
    body: str

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by lower-case name."""
        lines = [line.partition(": ") for line in self.head.splitlines()[1:]]
        return {name.lower(): value for name, _, value in lines}

    @property
    def problem(self) -> Any:
        """The problem details in the body, after the checks that apply to all of them."""
        assert self.headers["content-type"].split(";")[0] == "application/problem+json"
        assert self.headers["cache-control"] == "no-store"
        assert not leaks(self.head + self.body)
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return problem


async def ask(port: int, target: str) -> Reply:
    """Send a GET and read the whole response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return Reply(head, body)


# --- errors ---------------------------------------------------------------------------------------


@attrs.frozen
class Case:
    """An error, and the response to it."""

    error: JunkieError
    status: int
    retry_after: str | None = None
    members: dict[str, Any] = attrs.field(factory=dict)


def api_error(
    cls: type[APIError], status: int, path: str = "/keys/{keyId}", **attributes: Any
) -> APIError:
    """Create an error with canaries everywhere that the service's response can put them."""
    error = cls(
        SERVICE_TEXT,
        status=status,
        body=ALL_CANARIES,
        headers={"x-text": ALL_CANARIES},
        **attributes,
    )
    error.method, error.path = "GET", path
    return error


def not_found(body: str, path: str = "/keys/{keyId}") -> NotFoundError:
    """Create the error of a 404 that was received."""
    error = NotFoundError(SERVICE_TEXT, status=404, body=body)
    error.method, error.path, error.attempts = "GET", path, 1
    return error


def with_cause(error: JunkieError, cause: JunkieError) -> JunkieError:
    """Set the cause of an error."""
    error.__cause__ = cause
    return error


def refused(report: CreateReport | DeleteReport, cause: JunkieError) -> JunkieError:
    """Create the error of a job whose only call failed."""
    error = BatchError(SERVICE_TEXT, report)
    error.did_nothing = cause.outcome is Outcome.NOT_EXECUTED
    return with_cause(error, cause)


NONE_CREATED = CreateReport(requested=9, keys=(), failed=9)
NONE_DELETED = DeleteReport(requested=9, failed=9)

DONE = {"outcome": "executed"}
UNKNOWN = {"outcome": "unknown"}
FIELD = {"field": "hwid", "limit": "a string of at most 255 characters"}
TIMED_OUT = RequestTimeoutError(ALL_CANARIES)

CASES = [
    Case(JunkieError(ALL_CANARIES), 502),
    Case(InvalidRequestError("hwid", ALL_CANARIES, FIELD["limit"]), 400, members=FIELD),
    Case(ConfigurationError("no API key"), 500),
    Case(ClientClosedError("the client is closed"), 503, "10"),
    Case(TransportError(ALL_CANARIES), 503, "10"),
    Case(ConnectError(ALL_CANARIES), 503, "10"),
    Case(ConnectError(ALL_CANARIES, transient=False), 502),
    Case(TIMED_OUT, 504),
    Case(OutcomeUnknownError(ALL_CANARIES), 502, members=UNKNOWN),
    Case(OutcomeUnknownError(ALL_CANARIES, outcome=Outcome.EXECUTED), 502, members=DONE),
    Case(with_cause(OutcomeUnknownError(ALL_CANARIES), TIMED_OUT), 504, members=UNKNOWN),
    Case(
        with_cause(OutcomeUnknownError(SERVICE_TEXT), api_error(ServerError, 503, retry_after=9.0)),
        502,
        members=UNKNOWN,
    ),
    Case(InvalidResponseError(ALL_CANARIES, status=200, field=KEY_VALUE, rows=(KEY_VALUE,)), 502),
    Case(DriftError(ALL_CANARIES), 503, "10"),
    Case(TooManyMatchesError(ALL_CANARIES), 400),
    Case(api_error(APIError, 418), 502),
    Case(api_error(BadRequestError, 400), 502),
    Case(api_error(BadRequestError, 422, retry_after=5.0), 502),
    Case(api_error(AuthenticationError, 401), 500),
    Case(api_error(PermissionDeniedError, 403), 500),
    Case(api_error(PermissionDeniedError, 403, challenge=True), 503, "10"),
    Case(api_error(NotFoundError, 404), 404),
    Case(not_found('{"error": "Key not found"}'), 404),
    Case(not_found('{"success": false, "message": "No such key"}'), 404),
    Case(not_found('{"error": "Key not found"}', "/keys"), 502),
    Case(not_found('{"error": "Not found"}'), 502),
    Case(not_found('{"error": null, "message": "Route GET:/keys/7 not found"}'), 502),
    Case(not_found('{"error": {"message": "The page could not be found"}}'), 502),
    Case(not_found('{"detail": "This key has no route"}'), 502),
    Case(not_found('{"error": {"message": "Key not found"}}'), 404),
    Case(not_found('{"error": "API key not found"}'), 502),
    Case(not_found('{"error": "Application key not found"}'), 502),
    Case(not_found('{"error": "Route /keys/Key not found"}'), 502),
    Case(not_found('["Key not found"]'), 502),
    Case(not_found("Key not found"), 502),
    Case(not_found("<html>Key not found</html>"), 502),
    Case(not_found('{"a":' * 20_000), 502),
    Case(not_found(""), 502),
    Case(api_error(ConflictError, 409), 409),
    Case(api_error(ConflictError, 409, path="/keys"), 502),
    Case(api_error(RateLimitError, 429), 503, "10"),
    Case(api_error(RateLimitError, 429, retry_after=0.0), 503, "0"),
    Case(api_error(RateLimitError, 429, retry_after=1.2), 503, "2"),
    Case(api_error(RateLimitError, 429, retry_after=float("inf")), 503, "86400"),
    Case(api_error(RateLimitError, 429, retry_after=300.0, challenge=True), 503, "300"),
    Case(api_error(ServerError, 500), 503, "10"),
    Case(api_error(ServerError, 503, retry_after=7.0), 503, "7"),
    Case(
        with_cause(
            BatchError(SERVICE_TEXT, CreateReport(requested=9, keys=(KEY_VALUE,))),
            api_error(RateLimitError, 429, retry_after=3.0),
        ),
        502,
        members=UNKNOWN,
    ),
    Case(refused(NONE_CREATED, api_error(RateLimitError, 429, retry_after=3.0)), 503, "3"),
    Case(refused(NONE_CREATED, api_error(AuthenticationError, 401)), 500),
    Case(refused(NONE_DELETED, not_found('{"error": "Key not found"}', "/keys/bulk-delete")), 502),
    Case(
        refused(NONE_DELETED, InvalidRequestError("hwid", "", FIELD["limit"])), 400, members=FIELD
    ),
    Case(refused(NONE_DELETED, api_error(ServerError, 500)), 502, members=UNKNOWN),
]


async def get_key(client: JunkieClient) -> object:
    """Fetch a key that does not exist."""
    return await client.keys.get(KEY_VALUE)


async def create_key(client: JunkieClient) -> object:
    """Create a key."""
    return (await client.keys.create(provider_id=1)).id


async def verify_key(client: JunkieClient) -> object:
    """Verify a key."""
    return (await client.keys.verify(KEY_VALUE)).valid


async def count_keys(client: JunkieClient) -> object:
    """Walk over all keys."""
    return len(await client.keys.list().collect())


async def invalid_input(client: JunkieClient) -> object:
    """Verify a key with a device that is too long for the API."""
    return await client.keys.verify(KEY_VALUE, hwid=KEY_VALUE * 20)


ACTIONS: dict[str, Callable[[JunkieClient], Awaitable[object]]] = {
    action.__name__: action
    for action in (get_key, create_key, verify_key, count_keys, invalid_input)
}
