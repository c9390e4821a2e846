"""Errors die with their last reference: they are in no cycle that waits for the garbage collector.

An error's traceback has the frames that it went through. If one of these has the error in a local
variable, the error keeps itself alive, and with it the body of its response.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from junkie_async import (
    AttemptEvent,
    Hooks,
    JunkieClient,
    JunkieError,
    Keys,
    NotFoundError,
    RequestTimeoutError,
    RetryPolicy,
    TransportError,
)
from junkie_async._http.transport import Response
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.record import LeaseLostError
from junkie_async._jobs.sqlite_record import SqliteRecord
from tests.durability.clients import make_client
from tests.durability.server import PROVIDER, Service

from .scripted import Script, Step, make_dispatcher

LARGE = 2**16
JSON = {"Content-Type": "application/json"}


def fails(error: type[JunkieError]) -> Callable[[], Coroutine[None, None, Response]]:
    """Make a step that raises a new error each time."""

    async def step() -> Response:
        raise error("lost")

    return step


FAILURES: dict[str, Step] = {
    "a large refusal": (400, JSON, b'{"error": "%s"}' % (b"x" * LARGE)),
    "a rate limit": (429, {"Retry-After": "0"}, b"{}"),
    "a long wait": (429, {"Retry-After": "9999"}, b"{}"),
    "an outage": (500, {}, b"x" * LARGE),
    "a page for browsers": (503, {"Content-Type": "text/html"}, b"<html>" + b"x" * LARGE),
    "no JSON": (200, JSON, b"x" * LARGE),
    "bad rows": (200, JSON, b'{"keys": [%s]}' % b",".join([b'{"id": "x"}'] * 100)),
    "a wrong shape": (200, JSON, b'{"key": [], "keys": {}, "folders": 1, "deleted": "x"}'),
    "a cut body": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08"),
    "a body beyond the cap": (200, JSON, None),
    "a redirect": (302, {}, b""),
    "a lost connection": fails(TransportError),
    "a time-out": fails(RequestTimeoutError),
}
CALLS: dict[str, Callable[[Keys], Awaitable[object]]] = {
    "list": lambda keys: keys.list(),
    "walk": lambda keys: keys.list().collect(),
    "strict walk": lambda keys: keys.list(strict=True).collect(),
    "get": lambda keys: keys.get(1),
    "get a value": lambda keys: keys.get("JNK-1"),
    "find": lambda keys: keys.find("JNK-1"),
    "verify": lambda keys: keys.verify("JNK-1"),
    "create": lambda keys: keys.create(provider_id=1),
    "create_many": lambda keys: keys.create_many(150, provider_id=1),
    "create_many of eight calls": lambda keys: keys.create_many(800, provider_id=1),
    "update": lambda keys: keys.update(1, key_name="x"),
    "update_many": lambda keys: keys.update_many([1], key_name="x"),
    "update_many of eight calls": lambda keys: keys.update_many(range(1, 9), key_name="x"),
    "reset_hwid_many": lambda keys: keys.reset_hwid_many([1, 2]),
    "delete": lambda keys: keys.delete(1),
    "delete_many": lambda keys: keys.delete_many(range(1, 1500)),
    "purge": lambda keys: keys.purge(everything=True),
    "reset_hwid": lambda keys: keys.reset_hwid(1),
    "folders": lambda keys: keys.folders(),
    "a task": lambda keys: asyncio.create_task(keys.get(1)),
    "a refused argument": lambda keys: keys.get("\0"),
}


class Watch(Hooks):
    """An observer, as the programs have that see errors before their callers do."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Collect garbage by reference counts alone."""
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def keys_over(failure: Step) -> AsyncIterator[Keys]:
    """Make a client of a service that fails so, always."""
    retry = RetryPolicy(attempts=2, wait_initial=0.0, wait_jitter=0.0, outage=0.0)
    script = Script(*[failure] * 40)
    yield Keys(make_dispatcher(script, retry, hooks=[Watch()]))


async def watch_errors(
    call: Callable[[Keys], Awaitable[object]], keys: Keys
) -> list[weakref.ref[BaseException]]:
    """Make a call that fails, and return references to its error and to those behind it."""
    try:
        await call(keys)
    except JunkieError as error:
        return list(watch_chain(error))  # in a frame of its own: this one is in the traceback
    return []


def watch_chain(error: BaseException | None) -> Iterator[weakref.ref[BaseException]]:
    """Refer to an error and to those behind it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield weakref.ref(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("failure", FAILURES)
async def test_an_error_is_in_no_cycle(name: str, failure: str) -> None:
    """It is gone as soon as its handler has ended."""
    async with keys_over(FAILURES[failure]) as keys:
        errors = await watch_errors(CALLS[name], keys)
        await asyncio.sleep(0)  # the loop lets go of the task that has ended
        assert [error() for error in errors if error() is not None] == []


def list_errors() -> list[NotFoundError]:
    """List what the collector has not freed."""
    return [one for one in gc.get_objects() if type(one) is NotFoundError]


@pytest.mark.parametrize(
    "call",
    [lambda keys: keys.verify("JNK-1"), lambda keys: keys.update_many([1], key_name="x")],
    ids=["verify", "update_many"],
)
async def test_a_404_that_is_an_answer_is_in_no_cycle(
    call: Callable[[Keys], Awaitable[object]],
) -> None:
    """Anybody can type a key that does not exist, any number of times."""
    before = list_errors()  # of other tests
    gone: Step = (404, {}, b"x" * LARGE)
    nothing: Step = (200, {}, b'{"keys": []}')
    await call(Keys(make_dispatcher(Script(gone, nothing))))
    await asyncio.sleep(0)
    assert not [error for error in list_errors() if not any(error is one for one in before)]


async def test_failures_that_a_job_does_not_raise_are_in_no_cycle() -> None:
    """Of the calls in flight many fail, and the job raises the first error alone."""
    errors: list[weakref.ref[BaseException]] = []

    async def step() -> Response:
        await asyncio.sleep(0)
        errors.extend(watch_chain(lost := TransportError("lost")))
        try:
            raise lost
        finally:
            del lost

    async with keys_over(step) as keys:
        await watch_errors(CALLS["create_many of eight calls"], keys)
        await asyncio.sleep(0)
    assert len(errors) > 1
    assert [error() for error in errors if error() is not None] == []


@pytest.mark.parametrize(
    "create",
    [
        lambda keys, **options: keys.create_many(150, **options),
        lambda keys, **options: keys.create(idempotency_key="order", **options),
    ],
    ids=["create_many", "create"],
)
async def test_the_failed_deletion_of_surplus_keys_is_in_no_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: Callable[..., Awaitable[object]]
) -> None:
    """The job that deletes them has an error of its own, which is not behind the one raised."""

    def hang_up(ids: list[int]) -> dict[str, int]:
        raise ConnectionResetError

    def create_exactly(keys: Keys) -> Awaitable[object]:
        path = tmp_path / "ledger"
        return create(keys, provider_id=PROVIDER, ledger=path, reconcile_after=0.0)

    async with Service(1) as service, make_client(service) as client:
        monkeypatch.setattr(service, "_delete_keys", hang_up)
        service.script.append("twice")
        await watch_errors(create_exactly, client.keys)  # an order's outcome is unknown at first
        errors = await watch_errors(create_exactly, client.keys)
        await asyncio.sleep(0)
        assert service.requests["POST /keys/bulk-delete"] > 0
    assert errors
    assert [error() for error in errors if error() is not None] == []


async def test_a_lease_lost_at_the_deletion_of_surplus_keys_is_in_no_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order goes on, and nobody gets the error: it would keep the order's keys."""
    lost: list[weakref.ref[BaseException]] = []

    def lose_once(_: Ledger) -> None:
        if not lost:
            lost.extend(watch_chain(error := LeaseLostError("lost")))
            try:
                raise error
            finally:
                del error

    def order(keys: Keys) -> Awaitable[object]:
        return keys.create(
            provider_id=PROVIDER,
            idempotency_key="order",
            ledger=tmp_path / "ledger",
            reconcile_after=0.0,
        )

    async with Service(1, script=["twice"]) as service, make_client(service) as client:
        assert await watch_errors(order, client.keys)
        monkeypatch.setattr(SqliteRecord, "has_lease", True)  # as a ledger in PostgreSQL has
        monkeypatch.setattr(Ledger, "check_writer", lose_once)
        await order(client.keys)
        await asyncio.sleep(0)
    assert [error() is None for error in lost] == [True]


def watch_requests() -> tuple[
    aiohttp.ClientMiddlewareType, list[weakref.ref[aiohttp.ClientRequest]]
]:
    """Make a middleware, and the list of the requests that it has seen, which keeps none."""
    requests: list[weakref.ref[aiohttp.ClientRequest]] = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        requests.append(weakref.ref(request))
        return await handler(request)

    return watch, requests


@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_request_is_in_no_cycle(is_sent: bool) -> None:
    """A request has the API key in its headers; it dies with the call that made it."""
    watch, requests = watch_requests()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if not is_sent:
        server.close()
    retry = RetryPolicy(attempts=1)
    async with (
        aiohttp.ClientSession(middlewares=[watch]) as session,
        JunkieClient("secret", base_url=url, session=session, retry=retry) as junkie,
    ):
        await watch_errors(CALLS["create"], junkie.keys)
        await asyncio.sleep(0)
    server.close()
    assert [request() is None for request in requests] == [True]
