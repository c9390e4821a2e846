"""What callers see of a bad network: the common rows of the fault table, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest
import trustme

from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConflictError,
    ConnectError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
)

from .conftest import AT_ONCE
from .server import (
    ANSWERS,
    Exchange,
    Fault,
    FaultServer,
    answers,
    closes_after_answering,
    commits_and_drops,
    commits_but_answers,
    drops,
    hangs,
    http,
)

Operation = Callable[[JunkieClient], Awaitable[object]]

REPEATABLE: dict[str, Operation] = {
    "list": lambda junkie: junkie.keys.list(),
    "get": lambda junkie: junkie.keys.get(1),
    "update": lambda junkie: junkie.keys.update(1, key_name="x"),
    "delete": lambda junkie: junkie.keys.delete(1),
    "bulk_delete": lambda junkie: junkie.keys.bulk_delete([1]),
    "folders": lambda junkie: junkie.keys.folders(),
}
ONCE: dict[str, Operation] = {
    "create": lambda junkie: junkie.keys.create(provider_id=1),
    "create_batch": lambda junkie: junkie.keys.create_batch(provider_id=1, amount=1),
    "reset_hwid": lambda junkie: junkie.keys.reset_hwid(1),
}
HTML = b"<!doctype html><html>Just a moment...</html>"
GOOD_PAGE = ANSWERS["GET", "/keys"][1]


def by_name(operations: dict[str, Operation]) -> pytest.MarkDecorator:
    """Run a test with each of the operations."""
    return pytest.mark.parametrize("operation", operations.values(), ids=operations.keys())


def faults(**named: Fault) -> pytest.MarkDecorator:
    """Run a test with each of the faults."""
    return pytest.mark.parametrize("fault", named.values(), ids=named.keys())


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and all that hang on it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


TRANSIENT = {
    "drops": drops,
    "commits_and_drops": commits_and_drops,
    "cut_body": commits_but_answers(cut=3),
    "cut_json": commits_but_answers(http(200, b'{"keys": [')),
    "cut_gzip": commits_but_answers(
        http(200, gzip.compress(b"{}" * 50)[:-5], content_encoding="gzip")
    ),
    "bad_chunks": commits_but_answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\r\nzz\r\n"
    ),
    "not_http": commits_but_answers(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "html": commits_but_answers(http(200, HTML, content_type="text/html")),
    "500": answers(500, {"error": "oops"}),
    "502_html": answers(502, HTML, content_type="text/html"),
    "503": answers(503),
    "522": answers(522, HTML, content_type="text/html"),
}


@by_name(REPEATABLE)
@faults(**TRANSIENT)
async def test_repeatable_calls_outlive_one_fault(
    server: FaultServer, client: JunkieClient, operation: Operation, fault: Fault
) -> None:
    """A call that can do no harm is sent again, once for one fault."""
    server.script.append(fault)
    await operation(client)
    assert len(server.requests) in (1, 2)
    # DELETE reads no body, so that only a broken exchange makes it a failure.
    reads_no_body = server.requests[0].method == "DELETE" and fault in (
        TRANSIENT["cut_json"],
        TRANSIENT["html"],
    )
    assert len(server.requests) == (1 if reads_no_body else 2)


@by_name(ONCE)
@faults(**TRANSIENT)
async def test_once_calls_are_never_repeated_blindly(
    server: FaultServer, client: JunkieClient, operation: Operation, fault: Fault
) -> None:
    """A create or reset whose outcome is open is sent once, and the caller is told so."""
    server.script.append(fault)
    with pytest.raises(OutcomeUnknownError) as caught:
        await operation(client)
    assert len(server.requests) == 1
    assert caught.value.outcome is Outcome.UNKNOWN
    assert isinstance(caught.value.__cause__, TransportError | ServerError | InvalidResponseError)
    assert all(isinstance(error, JunkieError) for error in chain(caught.value))


@by_name(REPEATABLE | ONCE)
async def test_refused_connections_are_tried_again(operation: Operation) -> None:
    """Nothing was sent when no connection came about, so that every call may be repeated."""
    async with FaultServer() as gone:
        pass
    async with JunkieClient("secret", base_url=gone.url, retry=AT_ONCE) as client:
        with pytest.raises(ConnectError) as caught:
            await operation(client)
    assert caught.value.outcome is Outcome.NOT_EXECUTED
    assert caught.value.attempts == 3
    assert all(isinstance(error, JunkieError) for error in chain(caught.value))


@by_name(REPEATABLE)
async def test_time_out_of_a_repeatable_call(server: FaultServer, operation: Operation) -> None:
    """A call without an answer ends in a time-out that tells what was called, how often."""
    server.script.extend([hangs, hangs])
    retry = RetryPolicy(attempts=2, wait_initial=0, wait_jitter=0)
    async with JunkieClient("secret", base_url=server.url, timeout=0.4, retry=retry) as client:
        with pytest.raises(RequestTimeoutError) as caught:
            await operation(client)
    assert (caught.value.method, caught.value.attempts) == (server.requests[0].method, 2)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert len(server.requests) == 2


@by_name(ONCE)
async def test_time_out_of_a_once_call(server: FaultServer, operation: Operation) -> None:
    """A create without an answer is not repeated: it may well have been carried out."""
    server.script.append(hangs)
    async with JunkieClient("secret", base_url=server.url, timeout=0.4) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await operation(client)
    assert isinstance(caught.value.__cause__, RequestTimeoutError)
    assert (len(server.requests), server.commits) == (1, 1)


@by_name(REPEATABLE | ONCE)
@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, APIError),
        (422, BadRequestError),
    ],
)
async def test_a_refusal_is_final(
    server: FaultServer,
    client: JunkieClient,
    operation: Operation,
    status: int,
    cls: type[APIError],
) -> None:
    """4xx raises its own class after one request, with the service's words."""
    server.script.append(answers(status, {"error": "not like this"}))
    with pytest.raises(APIError) as caught:
        await operation(client)
    error = caught.value
    assert type(error) is cls
    assert (error.status, error.message, error.outcome) == (
        status,
        "not like this",
        Outcome.NOT_EXECUTED,
    )
    assert len(server.requests) == 1


@by_name(REPEATABLE | ONCE)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(
    server: FaultServer, client: JunkieClient, operation: Operation, status: int
) -> None:
    """A service that says when to come back has not acted: the call waits and is sent again."""
    server.script.append(answers(status, retry_after="0"))
    await operation(client)
    assert (len(server.requests), server.commits) == (2, 1)


async def test_retry_after_as_a_date_holds_back_the_whole_client(server: FaultServer) -> None:
    """The wait is measured against the answer's own Date, and other calls wait it out too."""
    now = datetime(2000, 1, 1, tzinfo=UTC)  # a server whose clock is 26 years behind
    date, until = format_datetime(now, usegmt=True), format_datetime(now.replace(second=1), True)
    server.script.append(answers(429, date=date, retry_after=until))
    loop = asyncio.get_running_loop()
    async with JunkieClient("secret", base_url=server.url, max_in_flight=1) as client:
        begin = loop.time()
        first = asyncio.create_task(client.keys.get(1))
        await asyncio.gather(first, client.keys.folders())
    assert loop.time() - begin >= 1.0
    assert [exchange.target for exchange in server.requests].count("/keys/1") == 2


@by_name(REPEATABLE | ONCE)
async def test_retry_after_beyond_the_cap_raises_at_once(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """Nobody waits longer than the cap: the caller gets the seconds to decide on."""
    server.script.append(answers(429, retry_after="121"))
    with pytest.raises(RateLimitError) as caught:
        await operation(client)
    assert caught.value.retry_after == 121.0
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "cls"), [(403, PermissionDeniedError), (429, RateLimitError)])
async def test_a_challenge_page_is_not_retried(
    server: FaultServer, client: JunkieClient, status: int, cls: type[APIError]
) -> None:
    """The CDN's challenge page is told from the service's own refusal."""
    server.script.append(answers(status, HTML, content_type="text/html; charset=utf-8"))
    with pytest.raises(cls, match="CDN") as caught:
        await client.keys.get(1)
    assert caught.value.challenge
    assert len(server.requests) == 1


@by_name(REPEATABLE)
async def test_server_errors_end_in_a_server_error(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """After the last attempt the service's own words reach the caller."""
    server.script.extend([answers(500, {"message": "database down"})] * 3)
    with pytest.raises(ServerError, match="database down") as caught:
        await operation(client)
    assert (caught.value.attempts, caught.value.status) == (3, 500)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused(
    server: FaultServer, client: JunkieClient, status: int
) -> None:
    """A redirect would carry the API key elsewhere: it is an error, and is not followed."""
    server.script.append(answers(status, location=f"{server.url}/keys/folders"))
    with pytest.raises(InvalidResponseError, match="redirect"):
        await client.keys.get(1)
    assert len(server.requests) == 1


async def test_html_twice_is_what_the_service_has_to_say(
    server: FaultServer, client: JunkieClient
) -> None:
    """Of a 2xx with HTML there is one retry, no more."""
    server.script.extend([answers(200, HTML, content_type="text/html")] * 2)
    with pytest.raises(InvalidResponseError, match="HTML"):
        await client.keys.get(1)
    assert len(server.requests) == 2


async def test_a_wrong_shape_is_not_retried(server: FaultServer, client: JunkieClient) -> None:
    """Good JSON of a wrong shape will not get better; the error names the row and its field."""
    rows = [{"id": 1, "key_value": "a"}, {"id": "x", "key_value": "b"}, {"id": 3, "key_value": "c"}]
    server.script.append(answers(200, {"keys": rows}))
    with pytest.raises(InvalidResponseError) as caught:
        await client.keys.list()
    error = caught.value
    assert (error.field, error.row, [key.id for key in error.rows]) == ("keys[1].id", 1, [1, 3])
    assert error.status == 200
    assert len(server.requests) == 1


@by_name({name: ONCE[name] for name in ("create", "create_batch")})
async def test_a_create_with_an_unreadable_answer_was_carried_out(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """2xx with JSON says that it was done, though its answer is lost."""
    server.script.append(answers(201, {"key": {"id": 1}, "keys": [5.5]}))
    with pytest.raises(OutcomeUnknownError) as caught:
        await operation(client)
    assert caught.value.outcome is Outcome.EXECUTED
    assert isinstance(caught.value.__cause__, InvalidResponseError)


async def test_a_bad_row_does_not_take_a_batch_with_it(
    server: FaultServer, client: JunkieClient
) -> None:
    """Of a created batch every readable key value reaches the caller."""
    values = ["JNK-1", {"key_value": "JNK-2"}, 5, {"key_value": "JNK-4"}]
    server.script.append(answers(201, {"keys": values, "count": "four"}))
    with pytest.raises(BatchError) as caught:
        await client.keys.create_many(4, provider_id=1)
    report = caught.value.report
    assert (report.keys, report.unknown, report.failed) == (("JNK-1", "JNK-2", "JNK-4"), 1, 0)


async def test_good_json_under_a_wrong_content_type_is_accepted(
    server: FaultServer, client: JunkieClient
) -> None:
    """The body decides, not its label."""
    server.script.append(answers(200, GOOD_PAGE, content_type="text/plain"))
    page = await client.keys.list()
    assert [key.id for key in page.keys] == [1]


async def test_gzip_answers_are_read(server: FaultServer, client: JunkieClient) -> None:
    """A compressed answer is what was asked for."""
    body = gzip.compress(http(200, GOOD_PAGE).partition(b"\r\n\r\n")[2])
    server.script.append(answers(200, body, content_encoding="gzip"))
    assert [key.id for key in (await client.keys.list()).keys] == [1]
    assert server.requests[0].headers["accept-encoding"] == "gzip"


async def test_a_gzip_bomb_is_refused_in_little_memory(
    server: FaultServer, client: JunkieClient
) -> None:
    """300 MiB of zeros in 300 KB are refused long before they are inflated."""
    bomb = gzip.compress(bytes(300 * 2**20), compresslevel=9)
    server.script.append(answers(200, bomb, content_encoding="gzip"))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponseError, match="larger"):
            await client.keys.get(1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20
    assert len(server.requests) == 1


async def test_endless_bodies_are_refused(server: FaultServer, client: JunkieClient) -> None:
    """A body over the cap is not read to its end."""

    async def endless(exchange: object) -> None:
        writer = server.requests[-1].writer
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            writer.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
            await writer.drain()

    server.script.append(endless)
    with pytest.raises(InvalidResponseError, match="larger"):
        await client.keys.get(1)


async def test_a_delete_that_was_carried_out_unheard_succeeds(
    server: FaultServer, client: JunkieClient
) -> None:
    """404 on the second try of a DELETE whose first answer was lost means that it is done."""
    server.script.extend([commits_and_drops, answers(404, {"error": "Key not found"})])
    await client.keys.delete(1)
    assert len(server.requests) == 2


async def test_a_delete_that_was_refused_before_is_not_taken_for_done(
    server: FaultServer, client: JunkieClient
) -> None:
    """404 after a 429 is a 404: the first try did nothing."""
    server.script.extend([answers(429, retry_after="0"), answers(404)])
    with pytest.raises(NotFoundError):
        await client.keys.delete(1)


async def test_an_idle_connection_closed_under_us(
    server: FaultServer, client: JunkieClient
) -> None:
    """Reads on a connection that the server has closed succeed, by one more request at most."""
    for _ in range(5):
        server.script.append(closes_after_answering)
        await client.keys.get(1)
    assert server.commits == 5


async def test_connections_are_reused(server: FaultServer, client: JunkieClient) -> None:
    """Ten calls one after the other need one connection, not ten handshakes."""
    for _ in range(10):
        await client.keys.get(1)
    assert server.connections == 1
    for _ in range(10):
        await client.keys.create(provider_id=1)
    assert server.connections == 2  # once calls have their own


async def test_in_flight_ceiling(server: FaultServer) -> None:
    """No more requests are under way than max_in_flight, whatever the tasks ask for."""
    under_way = most = 0

    async def slow(exchange: object) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        writer = exchange.writer  # type: ignore[attr-defined]
        writer.write(exchange.good)  # type: ignore[attr-defined]

    server.script.extend([slow] * 30)
    async with JunkieClient("secret", base_url=server.url, max_in_flight=3) as client:
        await asyncio.gather(*(client.keys.get(1) for _ in range(30)))
    assert most == 3


async def test_cancellation_is_immediate_and_leaks_nothing(server: FaultServer) -> None:
    """A cancelled call ends at once, gives its turn back, and its connection is closed."""
    server.script.append(hangs)
    async with JunkieClient("secret", base_url=server.url, max_in_flight=1) as client:
        call = asyncio.create_task(client.keys.get(1))
        while not server.requests:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.keys.get(1)).id == 1
    assert server.connections == 2


async def test_asyncio_timeout_works_as_expected(server: FaultServer, client: JunkieClient) -> None:
    """A caller's own deadline raises TimeoutError, not an error of ours."""
    server.script.append(hangs)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.02):
            await client.keys.get(1)
    assert not isinstance(caught.value, JunkieError)


async def test_a_closed_client_says_so(server: FaultServer) -> None:
    """After close, calls raise at once; closing again does no harm."""
    client = JunkieClient("secret", base_url=server.url)
    await client.keys.get(1)
    await client.close()
    await client.close()
    assert client.closed
    with pytest.raises(ClientClosedError) as caught:
        await client.keys.create(provider_id=1)
    assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
    assert len(server.requests) == 1


def test_a_client_belongs_to_one_event_loop() -> None:
    """A client that is used in a second event loop says so instead of hanging."""
    client = JunkieClient("secret", base_url="http://127.0.0.1:9", retry=AT_ONCE)

    async def call(error: type[JunkieError], match: str) -> None:
        with pytest.raises(error, match=match):
            await client.keys.get(1)

    asyncio.run(call(ConnectError, "no connection"))
    asyncio.run(call(ClientClosedError, "another event loop"))
    asyncio.run(client.close())


@pytest.mark.parametrize("given", [False, True])
async def test_closing_reaches_those_who_wait_for_their_turn(
    server: FaultServer, given: bool
) -> None:
    """A call that has no turn yet when the client is closed is not sent any more."""
    server.script.append(hangs)
    async with aiohttp.ClientSession() as session:
        client = JunkieClient(
            "secret",
            base_url=server.url,
            max_in_flight=1,
            retry=RetryPolicy(attempts=1),
            session=session if given else None,
        )
        calls = [asyncio.create_task(client.keys.get(1)) for _ in range(3)]
        while not server.requests:
            await asyncio.sleep(0)
        await client.close()
        calls[0].cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in ended[1:]] == [ClientClosedError] * 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("last", [answers(401), drops, None], ids=["401", "lost", "closed"])
async def test_an_earlier_attempt_that_may_have_acted_is_not_forgotten(
    server: FaultServer, client: JunkieClient, last: Fault | None
) -> None:
    """NOT_EXECUTED is only said when no attempt of the call can have been carried out."""

    async def closes_client(exchange: Exchange) -> None:
        exchange.commit()
        await client.close()
        exchange.reset()

    first = commits_and_drops if last else closes_client
    server.script.extend([first, *([last] * (2 if last is drops else 1) if last else [])])
    with pytest.raises(JunkieError) as caught:
        await client.keys.update(1, key_name="x")
    assert caught.value.outcome is Outcome.UNKNOWN
    assert caught.value.attempts == len(server.requests)


async def test_a_given_session_is_used_and_left_open(server: FaultServer) -> None:
    """A session of the caller's is used for every call, and closing it stays the caller's job."""
    server.script.append(answers(307, location="/elsewhere"))
    async with aiohttp.ClientSession(raise_for_status=True, headers={"X-App": "mine"}) as session:
        async with JunkieClient("secret", base_url=server.url, session=session) as client:
            with pytest.raises(InvalidResponseError):
                await client.keys.get(1)
            await client.keys.create(provider_id=1)
        assert not session.closed
    async with JunkieClient("secret", base_url=server.url, session=session) as client:
        with pytest.raises(ClientClosedError):
            await client.keys.get(1)
    assert [exchange.headers["x-app"] for exchange in server.requests] == ["mine", "mine"]
    assert {exchange.headers["authorization"] for exchange in server.requests} == {"Bearer secret"}


async def test_no_secret_in_the_error_chain(server: FaultServer, client: JunkieClient) -> None:
    """Neither the API key nor aiohttp's objects, whose repr shows it, hang on an error."""
    server.script.extend([drops] * 3)
    with pytest.raises(TransportError) as caught:
        await client.keys.get(1)
    for error in chain(caught.value):
        assert isinstance(error, JunkieError)
        assert "secret" not in repr(error) + str(error) + repr(vars(error))


async def test_untrusted_certificates_are_refused_without_a_retry() -> None:
    """A certificate that nobody vouches for is no passing fault: nothing is sent, and not again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with (
        FaultServer(context) as server,
        JunkieClient("secret", base_url=server.url, retry=AT_ONCE) as client,
    ):
        with pytest.raises(ConnectError, match="TLS") as caught:
            await client.keys.create(provider_id=1)
    assert (caught.value.attempts, caught.value.outcome) == (1, Outcome.NOT_EXECUTED)
    assert not server.requests
