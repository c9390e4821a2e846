"""Proxies, headers and sessions of the application's own, over real sockets."""

from __future__ import annotations

import asyncio
import copy
import gc
import gzip
import itertools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from junkie_async import (
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)

from ..unit.scripted import CREATE
from ..unit.test_error_memory import watch_requests
from .operations import on_virtual_clock

AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_jitter=0.0, outage=0.0)
HANGING = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
KEY = b'{"key": {"id": 1, "key_value": "JNK"}}'

Respond = Callable[[bytes], bytes]


@asynccontextmanager
async def raw_server(respond: Respond) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve raw bytes: the function gets a request's head, and b"" closes the connection."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                response = respond(head)
                writer.write(response)
                if not response:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}", heads
    finally:
        server.close()


def client(url: str) -> JunkieClient:
    """Make a client with a session of its own."""
    return JunkieClient("k", base_url=url)


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Write an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (response(b"", "403 Forbidden"), 1),
        (response(b"", "407 Proxy Authentication Required"), 1),
        (response(b"", "408 Request Timeout"), 3),
        (response(b"", "429 Too Many Requests"), 3),
        (response(b"", "500 Internal Server Error"), 3),
        (response(b"", "502 Bad Gateway"), 3),
        (response(b"", "503 Service Unavailable"), 3),
        (b"", 3),
    ],
    ids=["403", "407", "408", "429", "500", "502", "503", "closed"],
)
async def test_a_proxy_that_refuses_has_sent_nothing(answer: bytes, requests: int) -> None:
    """A call through it did not happen; only what may pass is tried again."""
    async with (
        raw_server(lambda _: answer) as (proxy, heads),
        aiohttp.ClientSession(proxy=proxy) as session,
        JunkieClient("k", base_url="https://shop.test", session=session, retry=AT_ONCE) as junkie,
    ):
        for call in junkie.keys.create(provider_id=42), junkie.keys.get(5):
            with pytest.raises(ConnectError) as caught:
                await call
            assert caught.value.outcome is Outcome.NOT_EXECUTED
    assert len(heads) == 2 * requests
    assert all(head.startswith(b"CONNECT ") for head in heads)


@pytest.mark.parametrize("headers", [None, {"content-type": "application/json"}])
async def test_no_body_has_no_content_type(headers: dict[str, str] | None) -> None:
    """Fastify answers 415 to an empty body of type octet-stream, and 400 to one of type JSON."""
    async with (
        raw_server(lambda _: response(b"{}")) as (url, heads),
        aiohttp.ClientSession(headers=headers) as session,
        JunkieClient("k", base_url=url, session=session if headers else None) as junkie,
    ):
        await junkie.keys.reset_hwid(5)
        await junkie.keys.delete(5)
    assert len(heads) == 2
    assert all(b"content-type" not in head.lower() for head in heads)


async def test_an_empty_body_of_a_middleware_has_no_content_type() -> None:
    """As of one that writes each body anew, also that of a GET."""

    async def write_anew(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        await request.update_body(b"")
        return await handler(request)

    async with (
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(middlewares=[write_anew]) as session,
    ):
        await JunkieClient("k", base_url=url, session=session).keys.get(1)
    assert [b"content-type" in head.lower() for head in heads] == [False]


@pytest.mark.parametrize(
    "headers",
    [[f"X-Policy: {'x' * 9_000}"], [f"X-Header-{number}: x" for number in range(150)]],
    ids=["9 KB", "150"],
)
async def test_many_and_long_headers_are_read(headers: list[str]) -> None:
    """A created key is not lost to a CDN's headers."""
    created = response(KEY, "201 Created", *headers)
    async with raw_server(lambda _: created) as (url, _), client(url) as junkie:
        assert (await junkie.keys.create(provider_id=42)).key_value == "JNK"


async def test_a_compressed_response_in_many_pieces() -> None:
    """It is put together, and decompressed once."""
    rows = b",".join(b'{"id": %d, "name": "%x"}' % (at, at**40) for at in range(1, 9_000))
    zipped = gzip.compress(b'{"folders": [%s]}' % rows)
    assert len(zipped) > 2**18  # what asyncio reads at most at a time
    answer = response(zipped, "200 OK", "Content-Encoding: gzip")
    async with raw_server(lambda _: answer) as (url, _), client(url) as junkie:
        assert len(await junkie.keys.folders()) == 8_999


async def test_a_response_that_is_too_large() -> None:
    """It is not read to its end, although its pieces are small."""
    answer = response(b'{"folders": []}' + b" " * (9 * 2**20))
    async with raw_server(lambda _: answer) as (url, _), client(url) as junkie:
        with pytest.raises(InvalidResponseError):
            await junkie.keys.folders()


@pytest.mark.parametrize("base", ["", "/", "/api/v2", "/a%20b/c/"])
async def test_a_path_is_sent_as_it_is_written(base: str) -> None:
    """It follows that of the base URL. Whoever encodes more than is necessary has a reason."""
    async with raw_server(lambda _: response(b"{}")) as (url, heads), client(url + base) as junkie:
        await junkie.request("GET", "/a%21%7Eb?c=%3A%27")
    expected = f"GET {base.rstrip('/')}/a%21%7Eb?c=%3A%27 HTTP/1.1\r\n"
    assert heads[0].startswith(expected.encode())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("300 Multiple Choices", InvalidResponseError),
        ("399 Odd", InvalidResponseError),
        ("400 Bad Request", BadRequestError),
        ("404 Not Found", NotFoundError),
    ],
)
async def test_a_session_that_raises_for_a_status(status: str, error: Any) -> None:
    """Its setting is not that of the client, which reads the response, or a redirect without it."""
    async with (
        raw_server(lambda _: response(b'{"error": "no such key"}', status)) as (url, _),
        aiohttp.ClientSession(raise_for_status=True) as session,
    ):
        with pytest.raises(error) as caught:
            await JunkieClient("k", base_url=url, session=session, retry=AT_ONCE).keys.get(1)
    assert caught.value.status == int(status[:3])
    assert ("no such key" in caught.value.message) is (status[0] == "4")


@pytest.mark.parametrize("given", [True, False])
async def test_a_request_that_is_kept_back(given: bool) -> None:
    """A check just before a create is written may refuse it: nothing is sent, and it is final."""
    seen: list[int] = []
    refusal = JunkieError("lost the ledger", outcome=Outcome.NOT_EXECUTED, transient=False)

    def refuse() -> None:
        seen.append(len(heads))
        raise refusal

    async with (
        raw_server(lambda _: response(KEY, "201 Created")) as (url, heads),
        aiohttp.ClientSession() as session,
        JunkieClient("k", base_url=url, session=session if given else None) as junkie,
    ):
        send = junkie._dispatcher.send
        with pytest.raises(JunkieError) as caught:
            await send(CREATE, before_send=refuse)
        assert (caught.value, caught.value.attempts, seen) == (refusal, 0, [0])
        assert caught.value.outcome is Outcome.NOT_EXECUTED
        assert (await send(CREATE, before_send=lambda: seen.append(len(heads)))).id == 1
        assert (seen, len(heads)) == ([0, 0], 1)
        assert b"\r\nContent-Type: application/json\r\n" in heads[0]


@pytest.mark.parametrize("checked", [False, True])
async def test_a_request_is_freed_with_its_call(checked: bool) -> None:
    """Without the garbage collector: it has the API key, and the body."""
    watch, requests = watch_requests()
    async with (
        raw_server(lambda _: response(KEY, "201 Created")) as (url, _),
        aiohttp.ClientSession(middlewares=[watch]) as session,
        JunkieClient("k", base_url=url, session=session) as junkie,
    ):
        gc.collect()
        gc.disable()
        try:
            await junkie._dispatcher.send(CREATE, before_send=(lambda: None) if checked else None)
            await asyncio.sleep(0)
            assert [request() for request in requests] == [None]
        finally:
            gc.enable()


async def test_a_given_sessions_own_name_is_kept() -> None:
    """The application's User-Agent is sent; without one, ours is."""
    async with raw_server(lambda _: response(KEY)) as (url, heads):
        for name in ({"User-Agent": "shop/1.2"}, {}):
            async with aiohttp.ClientSession(headers=name) as session:
                await JunkieClient("k", base_url=url, session=session).keys.get(1)
    assert b"User-Agent: shop/1.2\r\n" in heads[0]
    assert b"User-Agent: junkie_async/" in heads[1]


async def test_a_given_sessions_middlewares_run() -> None:
    """They see each request, in their order."""
    seen: list[str] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        raw_server(lambda _: response(KEY)) as (url, _),
        aiohttp.ClientSession(middlewares=[middleware]) as session,
    ):
        await JunkieClient("k", base_url=url, session=session).keys.get(1)
    assert seen == ["GET"]


async def test_a_middleware_sends_a_request_twice_at_once() -> None:
    """As one that hedges does. Both requests are sent, and the call reads one of the responses."""

    async def hedge(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        spare, found = await asyncio.gather(handler(request), handler(request))
        spare.close()
        return found

    async with (
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(middlewares=[hedge]) as session,
    ):
        found = await JunkieClient("k", base_url=url, session=session).keys.get(1)
    assert (found.id, len(heads)) == (1, 2)


@pytest.mark.parametrize(
    ("first", "last", "outcome"),
    [
        ("502 Bad Gateway", "429 Too Many Requests", Outcome.UNKNOWN),
        ("502 Bad Gateway", None, Outcome.UNKNOWN),
        ("401 Unauthorized", "403 Forbidden", Outcome.NOT_EXECUTED),
        ("501 Not Implemented", "429 Too Many Requests", Outcome.NOT_EXECUTED),
    ],
)
async def test_a_request_that_a_middleware_sends_again_may_have_acted(
    first: str, last: str | None, outcome: Outcome
) -> None:
    """The last response is not all that counts; without one, the service has gone away."""
    statuses = [first, last or ""]

    async def send_again(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        async with await handler(request):
            pass
        if last is None:
            await server.aclose()
        return await handler(request)

    def respond(_: bytes) -> bytes:
        return response(b"{}", statuses.pop(0), "Connection: close")

    async with (
        AsyncExitStack() as server,
        aiohttp.ClientSession(middlewares=[send_again]) as session,
    ):
        url, heads = await server.enter_async_context(raw_server(respond))
        junkie = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(attempts=1))
        with pytest.raises(JunkieError) as caught:
            await junkie.keys.create(provider_id=1)
    assert len(heads) == (1 if last is None else 2)
    assert caught.value.outcome is outcome
    assert isinstance(caught.value, OutcomeUnknownError) == (outcome is Outcome.UNKNOWN)


async def pass_through(
    request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Act as a middleware that does nothing."""
    return await handler(request)


async def fail_to_create(
    respond: Respond, *middlewares: aiohttp.ClientMiddlewareType
) -> tuple[JunkieError, list[bytes]]:
    """Create a key in one attempt that fails; return the error, and what the server got."""
    async with (
        raw_server(respond) as (url, heads),
        aiohttp.ClientSession(middlewares=middlewares) as session,
    ):
        junkie = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(attempts=1))
        with pytest.raises(JunkieError) as caught:
            await junkie.keys.create(provider_id=1)
    return caught.value, heads


@pytest.mark.parametrize("middlewares", [[], [pass_through]])
async def test_a_request_that_was_sent_once_and_turned_away(middlewares: list[Any]) -> None:
    """Whatever the status of a response, it says nothing about an earlier request."""
    error, heads = await fail_to_create(
        lambda _: response(b"{}", "503 Busy", "Retry-After: 1"), *middlewares
    )
    assert type(error) is ServerError
    assert len(heads) == 1
    assert error.outcome is Outcome.NOT_EXECUTED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("200 OK", Outcome.UNKNOWN), ("403 Forbidden", Outcome.NOT_EXECUTED)],
)
@pytest.mark.parametrize(
    "failure",
    [
        aiohttp.ConnectionTimeoutError("of another server"),
        aiohttp.InvalidURL("that of another server"),
        RateLimitError("of another account", status=429, outcome=Outcome.NOT_EXECUTED),
    ],
    ids=repr,
)
async def test_a_middleware_fails_after_the_response(
    failure: Exception, status: str, outcome: Outcome
) -> None:
    """Its error says nothing about the request, and the response says that nothing is repeated."""

    async def fail_afterwards(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        async with await handler(request):
            raise copy.copy(failure)

    error, heads = await fail_to_create(lambda _: response(KEY, status), fail_afterwards)
    assert len(heads) == 1
    assert error.outcome is outcome


async def test_a_middleware_fails_before_the_request() -> None:
    """What was never sent can't have acted."""

    async def fail(*_: object) -> aiohttp.ClientResponse:
        raise aiohttp.ConnectionTimeoutError("of another server")

    error, heads = await fail_to_create(lambda _: response(KEY), fail)
    assert type(error) is ConnectError
    assert not heads
    assert error.outcome is Outcome.NOT_EXECUTED


@pytest.mark.parametrize("status", ["401 Unauthorized", "429 Too Many Requests"])
@pytest.mark.parametrize("refused", [1, 2])
async def test_a_middleware_takes_a_response_while_its_other_request_is_in_flight(
    status: str, refused: int
) -> None:
    """Whichever of the two is refused: the other one may still be carried out."""
    sent = 0
    others: set[asyncio.Task[aiohttp.ClientResponse]] = set()

    def respond(_: bytes) -> bytes:
        nonlocal sent
        sent += 1
        return response(b"{}", status) if sent == refused else b"HTTP/1.1 100 Continue\r\n\r\n"

    async def hedge(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        nonlocal others
        both = [asyncio.ensure_future(handler(request)) for _ in range(2)]
        done, others = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async with (
        raw_server(respond) as (url, _),
        aiohttp.ClientSession(middlewares=[hedge]) as session,
    ):
        junkie = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(attempts=1))
        with pytest.raises(OutcomeUnknownError) as caught:
            await junkie.keys.create(provider_id=1)
        (other,) = others
        other.cancel()
        await asyncio.wait(others)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_middleware_drops_the_first_of_two_responses() -> None:
    """The second one, which it gives on, was sent at the same time, and was refused."""
    statuses = ["200 OK", "429 Too Many Requests"]

    async def send_twice(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        both = await asyncio.gather(handler(request), handler(request))
        done, refused = sorted(both, key=lambda one: one.status)
        done.close()
        return refused

    error, heads = await fail_to_create(lambda _: response(KEY, statuses.pop(0)), send_twice)
    assert len(heads) == 2
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_a_middleware_leaves_behind_is_not_sent(method: str) -> None:
    """Otherwise the call, which counts it as not sent, would send it a second time."""
    left: list[asyncio.Task[aiohttp.ClientResponse]] = []

    async def leave(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        left.append(asyncio.ensure_future(handler(request)))
        raise aiohttp.ConnectionTimeoutError("it took too long")

    async with (
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(middlewares=[leave]) as session,
    ):
        junkie = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(attempts=1))
        with pytest.raises(ConnectError) as caught:
            await (junkie.keys.get(1) if method == "GET" else junkie.keys.create(provider_id=1))
        (result,) = await asyncio.gather(*left, return_exceptions=True)
        if isinstance(result, aiohttp.ClientResponse):
            result.close()
    assert caught.value.outcome is Outcome.NOT_EXECUTED
    assert len(heads) == (method == "GET")


async def test_a_middleware_sends_in_a_task_of_its_own() -> None:
    """As `asyncio.wait_for` does in Python 3.11. The task is freed with the call."""
    tasks: list[weakref.ref[asyncio.Task[aiohttp.ClientResponse]]] = []

    async def send_in_task(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        task = asyncio.ensure_future(handler(request))
        tasks.append(weakref.ref(task))
        return await task

    async with (
        raw_server(lambda _: response(KEY)) as (url, _),
        aiohttp.ClientSession(middlewares=[send_in_task]) as session,
        JunkieClient("k", base_url=url, session=session) as junkie,
    ):
        await junkie.keys.get(1)
        await asyncio.sleep(0)  # the event loop lets go of it
        gc.collect()
        assert [task() for task in tasks] == [None]


async def test_a_middleware_changes_a_body_of_one_request() -> None:
    """What it does to that is not done to the next request with the same body."""

    async def name_body(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        assert request.body
        request.body.set_content_disposition("attachment", filename="body.json")
        return await handler(request)

    async with (
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(middlewares=[name_body]) as session,
    ):
        junkie = JunkieClient("k", base_url=url, session=session)
        for _ in range(2):
            await junkie.keys.update(1, key_name="new")
    assert heads[0] == heads[1]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@on_virtual_clock
async def test_a_middleware_makes_calls_of_its_own(is_after: bool) -> None:
    """Over the same client, and the time-out of the call around them still counts."""
    clients: list[JunkieClient] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        if request.method == "GET":
            return await handler(request)
        found = await handler(request) if is_after else None
        await clients[0].keys.get(1)
        return found or await handler(request)

    def respond(head: bytes) -> bytes:
        return response(KEY) if head.startswith(b"GET") else HANGING

    async with (
        raw_server(respond) as (url, _),
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        JunkieClient("k", base_url=url, session=session, timeout=5.0) as junkie,
    ):
        clients.append(junkie)
        with pytest.raises(RequestTimeoutError):
            await asyncio.wait_for(junkie.keys.update(1, key_name="new"), 1000)


@pytest.mark.parametrize("limits", [{"limit": 2}, {"limit_per_host": 2}], ids=str)
@on_virtual_clock
async def test_a_busy_session_is_waited_for(limits: dict[str, Any]) -> None:
    """The wait for its connections is no attempt and no time-out; only a deadline ends it."""
    numbers = itertools.count(1)

    def busy(head: bytes) -> bytes:
        if b"/keys" in head:
            return response(b'{"key": {"id": 1, "key_value": "K%d"}}' % next(numbers))
        return HANGING

    async with (
        raw_server(busy) as (url, heads),
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(**limits), timeout=aiohttp.ClientTimeout(total=None)
        ) as session,
    ):
        held = [await session.get(url) for _ in range(2)]
        short = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(deadline=50.0))
        junkie = JunkieClient("k", base_url=url, session=session)
        calls = [asyncio.ensure_future(junkie.keys.create(provider_id=42)) for _ in range(4)]
        with pytest.raises(RequestTimeoutError) as caught:
            await short.keys.create(provider_id=42)
        await asyncio.sleep(50.0)
        for answer in held:
            answer.close()
        await asyncio.gather(*calls)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
    assert len(heads) == 2 + 4


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_session_that_is_closed_while_a_call_waits_for_it(is_cancelled: bool) -> None:
    """The call ends with an error of ours, not as if it were cancelled, unless it is that, too."""
    async with raw_server(lambda _: HANGING) as (url, _):
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        held = await session.get(url)
        junkie = JunkieClient("k", base_url=url, session=session)
        call = asyncio.ensure_future(junkie.keys.get(1))
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(session.close())
        if is_cancelled:
            call.cancel()
        with pytest.raises(asyncio.CancelledError if is_cancelled else ClientClosedError):
            await call
        await closing
        held.close()


async def test_an_idle_connection_of_a_busy_session() -> None:
    """It is used at once, although as many others as the session may have are in use."""
    async with (
        raw_server(lambda _: HANGING) as (other, _),
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session,
    ):
        junkie = JunkieClient("k", base_url=url, session=session, retry=RetryPolicy(deadline=5.0))
        held = [await session.get(other)]
        await junkie.keys.get(1)
        held.append(await session.get(other))
        await junkie.keys.get(1)
        assert len(heads) == 2
        for each in held:
            each.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of auth=
@pytest.mark.parametrize("source", ["netrc", "auth"])
async def test_credentials_of_a_given_session_are_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names where they come from; nothing is sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password pw")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    auth = aiohttp.BasicAuth("somebody", "pw") if source == "auth" else None
    async with (
        raw_server(lambda _: response(KEY)) as (url, heads),
        aiohttp.ClientSession(trust_env=source == "netrc", auth=auth) as session,
    ):
        with pytest.raises(ConfigurationError, match=source) as caught:
            await JunkieClient("k", base_url=url, session=session).keys.get(1)
    assert (caught.value.attempts, heads) == (0, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of auth=
@pytest.mark.parametrize("place", ["trace", "middleware"])
async def test_a_value_error_of_the_sessions_own_code(place: str) -> None:
    """It is not taken for aiohttp's complaint about credentials."""

    async def fail(*_: object) -> aiohttp.ClientResponse:
        raise ValueError("a bug of the application")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    options: dict[str, Any] = {
        "trace": {"trace_configs": [trace]},
        "middleware": {"middlewares": [fail]},
    }
    elsewhere: dict[str, Any] = {
        "base_url": "http://127.0.0.1:8",
        "auth": aiohttp.BasicAuth("somebody", "pw"),
    }
    for others in ({}, elsewhere):  # credentials for another service
        async with aiohttp.ClientSession(**options[place], **others) as session:
            junkie = JunkieClient("k", base_url="http://127.0.0.1:9", session=session)
            with pytest.raises(ValueError, match="a bug of the application"):
                await junkie.keys.get(1)


@pytest.mark.parametrize("source", ["url", "netrc"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_of_the_environment_gets_its_own_credentials(
    scheme: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They don't collide with the API key, which a tunnel's proxy does not get."""
    (tmp_path / "netrc").write_text(
        "machine localhost login me password pw" if source == "netrc" else ""
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with raw_server(
        lambda head: response(KEY, "407 No" if b"CONNECT" in head else "200 OK")
    ) as (
        url,
        heads,
    ):
        proxy = url.replace("127.0.0.1", "me:pw@localhost" if source == "url" else "localhost")
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        async with aiohttp.ClientSession(trust_env=True) as session:
            junkie = JunkieClient(
                "k3y", base_url=f"{scheme}://127.0.0.1:9", session=session, retry=AT_ONCE
            )
            with nullcontext() if scheme == "http" else pytest.raises(ConnectError):
                await junkie.keys.get(1)
    assert b"Proxy-Authorization: Basic bWU6cHc=" in heads[0]
    assert (b"k3y" in heads[0]) is (scheme == "http")
