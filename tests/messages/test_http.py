"""The exact texts of the client's, the transport's, the dispatcher's and the hooks' messages."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import pickle
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from junkie_async import (
    AttemptEvent,
    ConfigurationError,
    ConnectError,
    Hooks,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    RateLimit,
    RequestTimeoutError,
    RetryPolicy,
    TransportError,
)
from junkie_async._http.advice import advise
from junkie_async._http.aiohttp_errors import translate_error
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.transport import Response
from junkie_async._protocol import requests
from junkie_async.emulator import Emulator
from junkie_async.pytest_plugin import running_emulator

from ..faults.test_given_sessions import HANGING, raw_server
from ..unit.clock import run
from ..unit.scripted import CREATE, FOLDERS, Script, delayed, hang, make_client, make_dispatcher
from ..unit.test_shared_rate import Store
from ..unit.test_shared_rate import make as make_shared_throttle
from ..unit.test_transport import PEER, REQUEST

URL = "http://127.0.0.1:9"
LOST = TransportError("the connection was lost: ServerDisconnectedError")
LATE = RequestTimeoutError("timed out before a full response")
NOT_JSON: Response = (201, {}, b'{"key": ')
BAD_ROW: Response = (201, {}, b'{"key": {"id": 3}}')


async def send_after_a_long_pause() -> None:
    """Send a call while the service's pause goes on for longer than the call may take."""
    retry = RetryPolicy(deadline=30.0)
    dispatcher = make_dispatcher(Script((429, {"Retry-After": "60"}, b"")), retry)
    await asyncio.gather(dispatcher.send(FOLDERS), return_exceptions=True)
    await dispatcher.send(FOLDERS)


async def send_without_a_slot() -> None:
    """Send a call while another one has the only slot."""
    dispatcher = make_dispatcher(Script(hang), RetryPolicy(deadline=5.0), max_in_flight=1)
    first = asyncio.create_task(dispatcher.send(FOLDERS))
    await asyncio.sleep(1)
    first.add_done_callback(lambda task: task.exception())
    await dispatcher.send(FOLDERS)


async def send_amid_an_outage() -> None:
    """Send a job's call while the probe of another one takes longer than it can wait."""
    retry = RetryPolicy(outage=60.0)
    dispatcher = make_dispatcher(Script(*[ConnectError("refused")] * 5, hang), retry)
    first = asyncio.create_task(dispatcher.send(FOLDERS, priority="job"))
    await asyncio.sleep(30)
    try:
        await dispatcher.send(FOLDERS, priority="job")
    finally:
        first.cancel()


async def send_too_late() -> None:
    """Send a request of a call whose time earlier ones have taken."""
    await make_dispatcher(Script()).send(FOLDERS, max_seconds=0.0)


async def send_when_closed() -> None:
    """Send a call after `close`."""
    dispatcher = make_dispatcher(Script())
    await dispatcher.close()
    await dispatcher.send(FOLDERS)


async def close_during(*steps: Any, max_in_flight: int = 4, calls: int = 1) -> None:
    """Close the dispatcher while its last call waits."""
    retry = RetryPolicy(wait_initial=100.0, wait_max=100.0, deadline=1000.0)
    dispatcher = make_dispatcher(Script(*steps), retry, max_in_flight)
    tasks = [asyncio.create_task(dispatcher.send(FOLDERS)) for _ in range(calls)]
    await asyncio.sleep(1)
    await dispatcher.close()
    if calls > 1:
        tasks[0].cancel()
    await tasks[-1]


async def send_to(request: requests.Request[Any], *steps: Any) -> None:
    """Send a request to a script."""
    await make_dispatcher(Script(*steps)).send(request)


CLOSED_WHILE_WAITING = "GET /keys/folders: the client was closed while this call was waiting"
CALLS: list[tuple[Callable[[], Awaitable[None]], str]] = [
    (send_after_a_long_pause, "GET /keys/folders: rate limited: retry in 60 s [429]"),
    (
        send_without_a_slot,
        "GET /keys/folders: timed out waiting for a request slot (max_in_flight)",
    ),
    (send_when_closed, "GET /keys/folders: the client is closed"),
    (
        send_too_late,
        "GET /keys/folders: not sent: the deadline of this call has passed",
    ),
    (
        send_amid_an_outage,
        (
            "GET /keys/folders: not sent: the service was failing for as long as this call could"
            " wait"
        ),
    ),
    (
        lambda: close_during(LOST, LOST),
        f"{CLOSED_WHILE_WAITING} (after 2 attempts)",
    ),
    (lambda: close_during(delayed(1000.0), max_in_flight=1, calls=2), CLOSED_WHILE_WAITING),
    (
        lambda: send_to(FOLDERS, *[(500, {}, b'{"message": "database down"}')] * 5),
        "GET /keys/folders: database down (after 5 attempts) [500]",
    ),
    (  # a note is no secret
        lambda: send_to(
            requests.create_key({"provider_id": 42, "key_name": "provider launch"}),
            (400, {}, b'{"error": "provider 42 does not exist"}'),
        ),
        "POST /keys: provider 42 does not exist [400]",
    ),
    (  # our own words have no secrets
        lambda: send_to(
            requests.list_keys("key=created", 1, 100),
            (200, {}, b'{"keys": [{"id": 1, "key_value": "v", "created_at": []}]}'),
        ),
        (
            "GET /keys: keys[0].created_at must be an RFC 3339 date-time, got a list; the other "
            "0 rows are in this error's `rows`"
        ),
    ),
    (
        lambda: send_to(FOLDERS, (404, {}, b"no \x1b[31mfolders\x1b[0m\xe2\x80\xae\r\nhere")),
        (
            "GET /keys/folders: no [31mfolders[0m here; http://127.0.0.1 has no path: is the base "
            "URL http://127.0.0.1/api/v2? [404]"
        ),
    ),
    (
        lambda: send_to(CREATE, LATE),
        "POST /keys: outcome unknown: the request was sent, but timed out before a full response",
    ),
    (
        lambda: send_to(CREATE, LOST),
        (
            "POST /keys: outcome unknown: the request was sent, but the connection was lost: "
            "ServerDisconnectedError"
        ),
    ),
    (
        lambda: send_to(CREATE, (500, {}, b'{"message": "database down"}')),
        (
            "POST /keys: outcome unknown: the request was sent, but the service answered 500: "
            "database down"
        ),
    ),
    (
        lambda: send_to(CREATE, (429, {}, b""), LOST),
        (
            "POST /keys: outcome unknown: the request was sent, but the connection was lost: "
            "ServerDisconnectedError (after 2 attempts)"
        ),
    ),
]


@pytest.mark.parametrize(("call", "text"), CALLS)
def test_failed_calls(call: Callable[[], Awaitable[None]], text: str) -> None:
    """A failed call names itself, what happened, and what to do."""

    async def main() -> None:
        with pytest.raises(JunkieError) as caught:
            await call()
        assert str(caught.value) == text

    run(main())


BEGINNING = "0f1e2d3c-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("client", "response", "text"),
    [
        (
            {"api_key": BEGINNING},
            (401, {}, b""),
            "the API key was refused; check api_key= (the key begins with '0f1e') [401]",
        ),
        (
            {"api_key": "0123456789abcdef"},
            (401, {}, b""),
            "the API key was refused; check api_key= (the key begins with '0123') [401]",
        ),
        (
            {"api_key": "0123456789abcde"},
            (401, {}, b""),
            "the API key was refused; check api_key= [401]",
        ),
        (
            {"api_key": "short"},
            (401, {}, b'{"error": "Invalid API key"}'),
            "Invalid API key; check api_key= [401]",
        ),
        ({}, (401, {}, b""), "the API key was refused; check $JUNKIE_API_KEY [401]"),
        (
            {"api_key": lambda: BEGINNING},
            (401, {}, b""),
            (
                "the API key was refused; check the function passed as api_key= "
                "(the key begins with '0f1e') [401]"
            ),
        ),
        (
            {"api_key": "short"},
            (429, {"Retry-After": "3600"}, b""),
            (
                "rate limited: retry in 3600 s; the client waits for up to 120 s "
                "(RetryPolicy.retry_after_cap) [429]"
            ),
        ),
        (
            {"api_key": "short", "retry": RetryPolicy(attempts=1)},
            (429, {"Retry-After": "0.5"}, b'{"message": "slow down"}'),
            "slow down: retry in 1 s [429]",
        ),
        (
            {"api_key": "short", "retry": RetryPolicy(attempts=1, retry_after_cap=7.0)},
            (429, {"Retry-After": "7"}, b'{"message": "slow down"}'),
            "slow down: retry in 7 s [429]",
        ),
        (
            {"api_key": "short", "retry": RetryPolicy(attempts=1, retry_after_cap=0.5)},
            (429, {}, b'{"message": "slow down"}'),
            "slow down [429]",
        ),
        (
            {"api_key": "short"},
            (404, {}, b""),
            "the service gave no reason; is the base URL http://127.0.0.1/api/v1 right? [404]",
        ),
    ],
)
def test_advice(
    monkeypatch: pytest.MonkeyPatch, client: dict[str, Any], response: Response, text: str
) -> None:
    """A refusal says which setting of the client to look at."""
    monkeypatch.setenv("JUNKIE_API_KEY", "short")

    async def main() -> None:
        junkie = make_client(Script(*[response] * 5), **{"api_key": None, **client})
        junkie._dispatcher.base_url = "http://127.0.0.1/api/v1"
        with pytest.raises(JunkieError) as caught:
            await junkie.keys.folders()
        assert str(caught.value) == f"GET /keys/folders: {text}"

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "is_list"),
    [
        ("GET", "/keys", True),
        ("GET", "/keys/folders", True),
        ("POST", "/keys", False),
        ("GET", "/keys/{keyId}", False),
    ],
)
def test_advice_on_the_base_url(method: str, path: str, is_list: bool) -> None:
    """The lists always exist: a 404 is about the URL. Other 404s may be about a key."""
    error = NotFoundError("no", status=404)
    error.method, error.path = method, path
    url = "https://keys.example/api/v1"
    advice = advise(error, base_url=url, api_key="k", source="api_key=", longest_pause=1.0)
    assert advice == (f"is the base URL {url} right?" if is_list else None)


@pytest.mark.parametrize(
    ("body", "outcome", "prefix"),
    [
        (NOT_JSON, Outcome.UNKNOWN, "outcome unknown: the request was sent, but "),
        (
            BAD_ROW,
            Outcome.EXECUTED,
            "the request was carried out, but its response can't be used: ",
        ),
    ],
)
def test_unreadable_responses_of_creates(body: Response, outcome: Outcome, prefix: str) -> None:
    """What follows the prefix is the message of the protocol's error, unchanged."""

    async def main() -> None:
        with pytest.raises(JunkieError) as caught:
            await send_to(CREATE, body)
        error = caught.value
        assert isinstance(error.__cause__, JunkieError)
        assert error.outcome is outcome
        assert error.message == prefix + error.__cause__.message

    run(main())


async def test_another_event_loop() -> None:
    """A client in a second event loop says what to do instead."""
    dispatcher = make_dispatcher(Script())
    await dispatcher.send(FOLDERS)
    with pytest.raises(JunkieError) as caught:
        await asyncio.to_thread(run, dispatcher.send(FOLDERS))
    assert caught.value.message == (
        "the client belongs to another event loop, which is not closed:"
        " create one client per event loop"
    )
    await dispatcher.close()


async def test_a_session_of_another_event_loop() -> None:
    """It says where to create the session."""
    async with aiohttp.ClientSession() as session:
        client = JunkieClient("k", base_url="http://127.0.0.1:9", session=session)
        with pytest.raises(JunkieError) as caught:
            await asyncio.to_thread(run, client.keys.folders())
    assert caught.value.message == (
        "the aiohttp session passed as session= belongs to another event loop:"
        " create it in the event loop that makes the calls"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of auth=
async def test_credentials_of_a_given_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says where they come from."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password pw")
    monkeypatch.setenv("NETRC", str(netrc))
    messages = []
    for options in ({"trust_env": True}, {"auth": aiohttp.BasicAuth("somebody", "pw")}):
        async with aiohttp.ClientSession(**options) as session:
            client = JunkieClient("k", base_url="http://127.0.0.1:9", session=session)
            with pytest.raises(JunkieError) as caught:
                await client.keys.folders()
        messages.append(caught.value.message)
    by_netrc, by_auth = messages
    assert by_netrc == (
        "the session passed as session= takes credentials for 127.0.0.1 from .netrc:"
        " remove that entry, or create the session without trust_env=True"
    )
    assert by_auth == (
        "the session passed as session= has credentials of its own: create it without auth="
    )


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 443)")
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NOT_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
NOT_TLS.reason = "WRONG_VERSION_NUMBER"


def _refuse_certificate(code: int, reason: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_code, error.verify_message = code, reason
    return error


@pytest.mark.parametrize(
    ("error", "sent", "text"),
    [
        (
            aiohttp.ClientConnectorError(PEER, REFUSED),
            False,
            "could not connect to h:443: connection refused",
        ),
        (
            aiohttp.ClientConnectorDNSError(PEER, NO_NAME),
            False,
            "could not connect to h:443: Name or service not known",
        ),
        (
            aiohttp.ClientConnectorError(PEER, OSError("Multiple exceptions: secret")),
            False,
            "could not connect to h:443: OSError",
        ),
        (aiohttp.ConnectionTimeoutError("secret"), False, "could not connect: timed out"),
        (
            aiohttp.ClientConnectorCertificateError(
                PEER, ssl.SSLCertVerificationError(1, "self-signed")
            ),
            False,
            "the TLS handshake with h:443 failed: certificate refused: self-signed",
        ),
        (
            aiohttp.ServerFingerprintMismatch(b"a", b"b", "h", 443),
            False,
            "the TLS handshake with h:443 failed: ServerFingerprintMismatch",
        ),
        (
            aiohttp.ClientConnectorCertificateError(PEER, _refuse_certificate(20, "unknown CA")),
            False,
            (
                "the TLS handshake with h:443 failed: certificate refused: unknown CA."
                " To trust its CA, pass the CA's file as ssl= (or --ca-file)"
            ),
        ),
        (
            aiohttp.ClientConnectorCertificateError(PEER, _refuse_certificate(10, "has expired")),
            False,
            "the TLS handshake with h:443 failed: certificate refused: has expired",
        ),
        (
            aiohttp.ClientConnectorSSLError(PEER, NOT_TLS),
            False,
            (
                "the TLS handshake with h:443 failed: no TLS is spoken there:"
                " should its URL begin with http://?"
            ),
        ),
        (
            aiohttp.ClientConnectorSSLError(PEER, ssl.SSLError(1, "[SSL] no shared cipher")),
            False,
            "the TLS handshake with h:443 failed: [SSL] no shared cipher",
        ),
        (
            aiohttp.ClientProxyConnectionError(PEER, REFUSED),
            False,
            "could not connect to the proxy h:443: connection refused",
        ),
        (
            aiohttp.ServerDisconnectedError(),
            False,
            "the connection was lost before the request was sent: ServerDisconnectedError",
        ),
        (
            aiohttp.ServerDisconnectedError(),
            True,
            "the connection was lost: ServerDisconnectedError",
        ),
        (TimeoutError(), True, "timed out before a full response"),
        (aiohttp.ClientPayloadError("secret"), True, "the response was cut short"),
        (
            aiohttp.ClientResponseError(REQUEST, (), message="secret"),
            True,
            "the response was not HTTP",
        ),
        (aiohttp.InvalidURL("secret"), False, "the base URL is not a valid URL"),
    ],
)
def test_aiohttps_errors(error: Exception, sent: bool, text: str) -> None:
    """An error of aiohttp's becomes a text without the URL and the headers."""
    assert str(translate_error(error, sent=sent)) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            403,
            "refused the connection with status 403: it does not allow connections to the service",
        ),
        (
            407,
            (
                "refused the connection with status 407: give the right user and password in its"
                " URL, http://user:password@host:port"
            ),
        ),
        (502, "refused the connection with status 502: it could not connect to the service"),
        (418, "refused the connection with status 418"),
    ],
)
def test_a_proxys_refusal(error: int, text: str) -> None:
    """It names the proxy, if that is the client's own, and says what to do."""
    refusal = aiohttp.ClientHttpProxyError(REQUEST, (), status=error, message="secret")
    for proxy, name in (("p.test:3128", "the proxy p.test:3128"), ("", "the proxy")):
        assert str(translate_error(refusal, sent=False, proxy=proxy)) == f"{name} {text}"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            aiohttp.ConnectionTimeoutError("secret"),
            "could not connect through the proxy p.test:3128: timed out",
        ),
        (
            aiohttp.ClientConnectorDNSError(PEER._replace(host="p.test", port=3128), NO_NAME),
            "could not connect to the proxy p.test:3128: Name or service not known",
        ),
        (
            aiohttp.ServerDisconnectedError(),
            (
                "the connection through the proxy p.test:3128 was lost before the request was sent:"
                " ServerDisconnectedError"
            ),
        ),
    ],
)
def test_a_proxy_that_fails(error: Exception, text: str) -> None:
    """The client's own is named."""
    assert str(translate_error(error, sent=False, proxy="p.test:3128")) == text


def _forget(clients: list[JunkieClient]) -> None:
    clients.clear()
    gc.collect()


@pytest.mark.parametrize("given", [False, True])
async def test_a_proxy_that_forbids_the_service(given: bool) -> None:
    """The client's own is named. That of a session isn't known."""
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with (
        raw_server(lambda _: answer) as (proxy, _),
        aiohttp.ClientSession(proxy=proxy) as session,
    ):
        options: dict[str, Any] = {"session": session} if given else {"proxy": proxy}
        async with JunkieClient("x", base_url="https://shop.test", **options) as junkie:
            with pytest.raises(ConnectError) as caught:
                await junkie.keys.folders()
    name = "" if given else f" {proxy.removeprefix('http://')}"
    assert caught.value.message == (
        f"the proxy{name} refused the connection with status 403:"
        " it does not allow connections to the service"
    )


def test_a_response_that_comes_again() -> None:
    """It may be that of another call."""
    created: Response = (201, {}, b'{"key": {"id": 1, "key_value": "JNK"}}')

    async def main() -> None:
        dispatcher = make_dispatcher(Script(created, created))
        await dispatcher.send(CREATE)
        with pytest.raises(JunkieError) as caught:
            await dispatcher.send(CREATE)
        assert caught.value.message == (
            "outcome unknown: the request was sent, but the response has a key value that came"
            " before, so it may be that of another call"
        )

    run(main())


async def test_a_client_that_is_not_closed() -> None:
    """The warning names the client and says how to close it."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with Emulator() as emulator:
        clients = [JunkieClient("x", base_url=emulator.url)]
        await clients[0].keys.folders()
        text = (
            f"unclosed JunkieClient of {emulator.url}: use `async with JunkieClient() as junkie`, "
            "or `await junkie.close()` at the end"
        )
        with pytest.warns(ResourceWarning, match=f"^{re.escape(text)}$"):
            _forget(clients)


async def test_a_closed_session() -> None:
    """A session of the caller's that is closed is named by its argument."""
    async with aiohttp.ClientSession() as session:
        junkie = JunkieClient("x", base_url=URL, session=session)
    with pytest.raises(JunkieError) as caught:
        await junkie.keys.folders()
    assert caught.value.message == "the aiohttp session passed as session= is closed"


def test_a_loop_that_ends() -> None:
    """Clean-up code that the loop runs at its end finds the connections being closed."""
    texts: list[str] = []

    async def clean_up(junkie: JunkieClient) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)  # the client begins to close its connections
            try:
                await junkie.keys.create(provider_id=42)
            except JunkieError as error:
                texts.append(error.message)

    async def main(junkie: JunkieClient) -> AsyncGenerator[None, None]:
        await junkie.keys.create(provider_id=42)
        late = clean_up(junkie)
        await anext(late)
        return late

    with running_emulator() as emulator:
        junkie = JunkieClient("x", base_url=emulator.url)
        assert asyncio.run(main(junkie)) is not None  # it is kept until the loop ends
        asyncio.run(junkie.close())
    text = "the client's connections are being closed, because its event loop ends"
    assert texts == [text]


async def test_a_busy_session() -> None:
    """The limit of its connector keeps a call waiting until its deadline."""
    async with (
        raw_server(lambda _: HANGING) as (url, _),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        held = await session.get(url)
        retry = RetryPolicy(deadline=0.05)
        with pytest.raises(JunkieError) as caught:
            await JunkieClient("x", base_url=url, session=session, retry=retry).keys.folders()
        held.close()
    assert caught.value.message == (
        "timed out waiting for a free connection of session= (the limit of its connector)"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"api_key": ""}, "no API key: pass api_key= to JunkieClient, or set $JUNKIE_API_KEY"),
        (
            {"api_key": "key\n"},
            "the API key ends with a newline: strip() it",
        ),
        ({"api_key": " key"}, "the API key begins with a blank: strip() it"),
        ({"api_key": "\nkey"}, "the API key begins with a newline: strip() it"),
        ({"api_key": "kéy"}, "the API key must have printable ASCII characters only"),
        ({"api_key": 5}, "the API key must be a string, got 5"),
        (
            {"api_key": "two words"},
            "the API key contains a space: was more than the key copied?",
        ),
        (
            {"base_url": "ftp://127.0.0.1"},
            "the base URL must start with https:// or http:// and name a host",
        ),
        (
            {"base_url": "https:// x/"},
            "the base URL must start with https:// or http:// and name a host",
        ),
        (
            {"base_url": "https://user:secret@keys.example"},
            "the base URL must not contain a user, password, query or fragment",
        ),
        (
            {"base_url": "http://keys.example"},
            "plain http to keys.example would expose the API key: use https",
        ),
        (
            {"base_url": "http://junkie:8000"},
            (
                "plain http to junkie would expose the API key: use https. For `junkie serve`, use"
                " an API key that begins with test-"
            ),
        ),
        (
            {"proxy": "ftp://user:secret@proxy.example"},
            (
                "the proxy must be an http:// or https:// URL, such as"
                " http://user:password@proxy.example:3128"
                " (in a password, write special characters percent-encoded)"
            ),
        ),
        (
            {"proxy": "socks5://proxy.example"},
            (
                "the proxy is a SOCKS proxy, which is not supported: use an http:// or https://"
                " one, or pass an aiohttp session with a SOCKS connector as session="
            ),
        ),
        (
            {"proxy": "http://user:secret@proxy.example/proxy.pac"},
            (
                "the proxy must not have a path, query or fragment"
                " (in a password, write '/', '?' and '#' percent-encoded)"
            ),
        ),
        (
            {"proxy": "http://a%3Ab:secret@proxy.example"},
            "the proxy must not have a colon in its user name",
        ),
        (
            {"ssl": "/nowhere/ca.pem"},
            "can't load the CA file, '/nowhere/ca.pem': No such file or directory",
        ),
        ({"ssl": ""}, "can't load the CA file, '': the path is empty"),
        (
            {"ssl": "x" * 5000},
            f"can't load the CA file, '{'x' * 199}: File name too long",
        ),
        ({"ssl": "a\0b"}, r"can't load the CA file, 'a\x00b': not a valid path"),
        (
            {"ssl": __file__},
            f"can't load the CA file, '{__file__}': it has no valid certificate in PEM format",
        ),
        (
            {"ssl": "-----BEGIN CERTIFICATE-----"},
            (
                "the CA file is given as text: pass its path, or an ssl.SSLContext"
                " with load_verify_locations(cadata=...)"
            ),
        ),
        (
            {"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
            "ssl= is a context for servers: make one with ssl.create_default_context()",
        ),
    ],
)
def test_configuration(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], text: str) -> None:
    """A wrong configuration says what is wrong, without the secret."""
    monkeypatch.delenv("JUNKIE_API_KEY", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient(**{"api_key": "x", "base_url": URL, **options})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "SSL_CERT_FILE",
            "/nowhere.pem",
            "can't load $SSL_CERT_FILE, '/nowhere.pem': No such file or directory",
        ),
        (
            "HTTPS_PROXY",
            "http://",
            (
                "the proxy in $HTTPS_PROXY must be an http:// or https:// URL, such as"
                " http://user:password@proxy.example:3128"
                " (in a password, write special characters percent-encoded)"
            ),
        ),
    ],
)
def test_configuration_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    """The variable is named."""
    for other in ("NO_PROXY", "no_proxy", name.lower()):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("x", base_url="https://keys.example", trust_env=True)
    assert str(caught.value) == text


async def test_arguments_beside_a_session() -> None:
    """The session has its own."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError) as caught:
            JunkieClient("x", base_url=URL, session=session, trust_env=True)
    assert str(caught.value) == (
        "trust_env= can't be combined with session=: the session has its own proxy and TLS"
        " settings, so set them where you create it"
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: JunkieClient("x", proxy=5),  # type: ignore[arg-type]
            "proxy must be a URL as a string, or None, got 5",
        ),
        (
            lambda: JunkieClient("x", ssl=False),  # type: ignore[arg-type]
            "ssl must be an ssl.SSLContext, the path of a CA file, or None, got False",
        ),
        (
            lambda: JunkieClient("x", hooks=5),  # type: ignore[arg-type]
            "hooks must be an instance of Hooks, or a list of them, got 5",
        ),
        (
            lambda: JunkieClient("x", hooks=[None]),  # type: ignore[list-item]
            "hooks[0] must be an instance of Hooks, got None",
        ),
        (
            lambda: JunkieClient("x", retry=None),  # type: ignore[arg-type]
            "retry must be a RetryPolicy, got None",
        ),
        (
            lambda: JunkieClient("x", rate_limit=5),  # type: ignore[arg-type]
            "rate_limit must be a RateLimit or None, got 5",
        ),
        (
            lambda: JunkieClient("x", max_in_flight=0),
            "max_in_flight must be an integer from 1 to 10000, got 0",
        ),
        (
            lambda: RetryPolicy(attempts=0),
            "RetryPolicy.attempts must be an integer from 1 to 100, got 0",
        ),
        (
            lambda: RetryPolicy(wait_max=-1.0),
            "RetryPolicy.wait_max must be a finite number of seconds >= 0, got -1.0",
        ),
        (
            lambda: RateLimit(5, per=0),
            "RateLimit.per must be a finite number of seconds > 0, got 0",
        ),
    ],
)
def test_arguments(make: Callable[[], object], text: str) -> None:
    """A refused argument is named with its limit."""
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert str(caught.value) == text


def test_pickling() -> None:
    """A client that is pickled says why it can't be."""
    with pytest.raises(TypeError) as caught:
        pickle.dumps(make_dispatcher(Script()))
    assert (
        str(caught.value) == "a client can't be pickled: it holds the API key and open connections"
    )


class Broken(Hooks):
    """Raises at every attempt."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Raise."""
        raise LookupError


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Attempts are debug lines, and a hook's exception is an error line."""
    caplog.set_level(logging.DEBUG, "junkie_async")
    dispatcher: Dispatcher = make_dispatcher(Script(delayed(0.5)), hooks=[Broken()])
    run(dispatcher.send(FOLDERS))
    attempt, ignored = [line for line in caplog.messages if "selector" not in line]
    assert attempt == "GET /keys/folders: 200, attempt 1, 500.0 ms"
    assert ignored == "a hook raised an exception, which is ignored"


def test_log_switch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A value that `$JUNKIE_LOG` can't have is a warning line."""
    monkeypatch.setenv("JUNKIE_LOG", "loud")
    make_dispatcher(Script())
    assert caplog.messages == ["$JUNKIE_LOG must be debug or info: it is ignored"]


def _raise() -> str:
    raise KeyError("secret")


async def _hang() -> str:
    await asyncio.Event().wait()
    return ""


async def _cancel() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_raise, "not sent: the function passed as api_key= raised KeyError"),
        (_hang, "not sent: timed out waiting for the function passed as api_key="),
        (_cancel, "not sent: the function passed as api_key= was cancelled"),
        (lambda: None, "no API key: the function passed as api_key= returned none"),
        (
            lambda: "key\n",
            (
                "the API key ends with a newline: strip() it"
                " (the function passed as api_key= returned it)"
            ),
        ),
    ],
)
async def test_a_function_for_the_api_key(function: Any, text: str) -> None:
    """The error says what the function did."""
    async with JunkieClient(function, base_url="http://127.0.0.1:9", timeout=0.01) as client:
        with pytest.raises(JunkieError) as caught:
            await client.keys.folders()
    assert str(caught.value) == f"GET /keys/folders: {text}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("HEAD", "/a"),
            "method must be one of GET, PUT, DELETE, POST, PATCH, got 'HEAD'",
        ),
        (
            ("GET", "keys"),
            (
                "path must be a path below the base URL that begins with one slash, such as"
                " '/services', got 'keys'"
            ),
        ),
    ],
)
async def test_requests_that_are_refused(arguments: tuple[str, str], text: str) -> None:
    """The error names the argument, its value and what is accepted."""
    async with JunkieClient("any") as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.request(*arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("priority", "high", "priority must be one of interactive, walk, job, or None, got 'high'"),
        ("deadline", 0, "deadline must be a finite number of seconds > 0, got 0"),
    ],
)
def test_options_that_are_refused(option: str, value: Any, text: str) -> None:
    """The error of `with_options` names the option."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("any").with_options(**{option: value})
    assert str(caught.value) == text


def test_a_store_that_is_lost_and_back(caplog: pytest.LogCaptureFixture) -> None:
    """The lines name the store, and what happened to it."""
    caplog.set_level(logging.DEBUG, "junkie_async")

    async def main() -> None:
        store = Store(fails=True)
        throttle, _ = make_shared_throttle(store)
        await throttle.acquire()
        store.drops.set()  # the connection for pauses
        await asyncio.sleep(0.01)
        store.drops.clear()
        store.fails = False
        await asyncio.sleep(0.8)
        store.hangs = True
        await asyncio.gather(*(throttle.acquire() for _ in range(2)))

    run(main())
    assert [line for line in caplog.messages if "selector" not in line] == [
        "store: OSError: each process throttles itself until it is back",
        "store: the connection for pauses was lost",
        "store is back: the rate is shared again",
        "store: TimeoutError: each process throttles itself until it is back",
    ]
