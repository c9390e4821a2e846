"""Connections that fail, end early, are kept, or belong to the caller."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from junkie_async import (
    ConnectError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Outcome,
    RetryPolicy,
    TransportError,
)

from .faults import answers, commits_and_drops, drops
from .operations import (
    BY_NAME,
    IDEMPOTENT,
    NO_WAIT,
    NON_IDEMPOTENT,
    OPERATIONS,
    SAMPLES,
    SECRET,
    Operation,
    calm,
    check_failure,
    client_of,
    connect,
    on_virtual_clock,
    warm_up,
    with_each,
)
from .server import HEALTHY, FaultServer

NO, MAYBE = Outcome.NOT_EXECUTED, Outcome.UNKNOWN


class Refusals:
    """Counts refused connections, and lets the server listen after some of them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, server: FaultServer, listens_after: int = 0
    ) -> None:
        self.count = 0
        self._listens_after = listens_after
        self._server = server
        loop = asyncio.get_running_loop()
        self._connect = loop.sock_connect
        monkeypatch.setattr(loop, "sock_connect", self._try)

    async def _try(self, sock: socket.socket, address: Any) -> None:
        try:
            await self._connect(sock, address)
        except ConnectionRefusedError:
            self.count += 1
            if self.count == self._listens_after:
                self._server.listen()
            raise


@with_each(OPERATIONS)
async def test_refused_connections_that_come_up(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent to a port that refuses, so every call survives a restart."""
    async with FaultServer(refuses=True) as server, connect(server) as client:
        refusals = Refusals(monkeypatch, server, listens_after=2)
        server.script.append(HEALTHY)
        assert await operation.call(client) == operation.value
    assert (refusals.count, len(server.arrivals), server.commits) == (2, 1, 1)


@with_each(OPERATIONS)
async def test_refused_connections(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that keeps refusing raises after the last attempt, with nothing carried out."""
    async with FaultServer(refuses=True) as server, connect(server) as client:
        refusals = Refusals(monkeypatch, server)
        with pytest.raises(ConnectError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ConnectError, NO, 3)
    assert refusals.count == 3


@with_each(NON_IDEMPOTENT)
async def test_a_refused_connection_and_then_a_lost_answer(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is retried after a refused connection, but not after it was sent."""
    async with FaultServer(refuses=True) as server, connect(server) as client:
        refusals = Refusals(monkeypatch, server, listens_after=1)
        server.script.append(commits_and_drops)
        with pytest.raises(JunkieError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, TransportError, MAYBE, 2)
    assert (refusals.count, len(server.arrivals), server.commits) == (1, 1, 1)


@with_each(SAMPLES)
async def test_names_that_do_not_resolve(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing DNS server is a failed connection: every call is retried."""
    asked = []

    async def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with calm(), client_of("https://keys.invalid") as client:
        with pytest.raises(ConnectError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ConnectError, NO, 3)
    assert asked == ["keys.invalid"] * 3


@with_each([BY_NAME["get"], BY_NAME["create"]])  # one of each class: each waits on a real clock
async def test_connecting_takes_too_long(operation: Operation, full_port: str) -> None:
    """After a connect time-out nothing was sent, so every call is retried."""
    retry = RetryPolicy(attempts=2, wait_initial=0, wait_jitter=0, outage=0.0)
    async with calm(), client_of(full_port, timeout=0.4, retry=retry) as client:
        with pytest.raises(ConnectError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ConnectError, NO, 2)


@pytest.mark.parametrize(
    ("whole", "left", "seconds"),
    [(8.0, 99.0, 4.0), (15.0, 99.0, 7.5), (60.0, 99.0, 10.0), (60.0, 6.0, 3.0)],
)
@on_virtual_clock
async def test_how_long_connecting_may_take(
    full_port: str, whole: float, left: float, seconds: float
) -> None:
    """Half of the time-out or of what is left, for a retry must fit; ten seconds at most."""
    loop, policy = asyncio.get_running_loop(), RetryPolicy(attempts=1, deadline=left)
    begin = loop.time()
    async with client_of(full_port, timeout=whole, retry=policy) as client:
        with pytest.raises(ConnectError):
            await client.keys.get(1)
    assert loop.time() - begin == pytest.approx(seconds, abs=0.01)


async def test_the_connection_of_a_retry_is_used_once(server: FaultServer) -> None:
    """It is a new one for each retry of a call whose connection was dead."""
    async with client_of(server.url, retry=NO_WAIT) as client:
        for _ in range(3):
            server.script.extend([drops, HEALTHY])
            await client.keys.get(1)
    assert server.connections == 6


async def test_a_response_in_two_pieces() -> None:
    """Both belong to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"folders"')
        await asyncio.sleep(0.02)
        writer.write(b": []}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of(url) as client:
            assert await client.keys.folders() == []


async def test_as_many_connections_as_requests() -> None:
    """No limit of aiohttp's, which is a hundred by default, holds one back."""
    arrived, all_there = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n")
        arrived += 1
        if arrived == 120:
            all_there.set()
        await all_there.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"folders": []}')
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=200)
    async with server, asyncio.timeout(10):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        once = RetryPolicy(attempts=1)
        async with client_of(url, max_in_flight=150, retry=once) as client:
            await asyncio.gather(*(client.keys.folders() for _ in range(120)))


async def test_no_cookie_is_kept() -> None:
    """A load balancer's cookie would send all calls of a client to one server."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        lines = ["HTTP/1.1 200 OK", "Set-Cookie: server=1; Path=/", "Content-Length: 15"]
        writer.write("\r\n".join([*lines, "Connection: close", "", '{"folders": []}']).encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(f"http://localhost:{port}") as client:
            for _ in range(2):
                await client.keys.folders()
    assert len(heads) == 2
    assert not any(b"cookie" in head.lower() for head in heads)


@with_each(OPERATIONS)
async def test_connections_closed_on_accept(operation: Operation) -> None:
    """A connection that is closed after it was accepted is lost: the request may be sent."""
    async with FaultServer() as server, connect(server) as client:
        server.turns_away = 1
        if not operation.idempotent:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
            check_failure(caught.value, operation, TransportError, MAYBE, 1)
        else:
            server.script.append(HEALTHY)
            assert await operation.call(client) == operation.value
    again = operation.idempotent
    assert (server.connections, server.commits) == (1 + again, again)


@with_each(OPERATIONS)
async def test_an_idle_connection_closed_under_us(operation: Operation) -> None:
    """A request that meets the server's close is retried, or its outcome is unknown."""
    async with FaultServer() as server, connect(server) as client:
        server.script.append(HEALTHY)
        await warm_up(client, idempotent=operation.idempotent)
        server.idle().finish()  # the loop does not run from here on: the client can't know yet
        if not operation.idempotent:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
            check_failure(caught.value, operation, TransportError, MAYBE, 1)
        else:
            server.script.append(HEALTHY)
            assert await operation.call(client) == operation.value
    again = operation.idempotent
    assert (server.connections, server.commits) == (1 + again, 1 + again)
    if again:
        assert server.arrivals == [1, 1, 2]  # it did meet the close


@with_each(OPERATIONS)
async def test_an_idle_connection_seen_to_be_closed(operation: Operation) -> None:
    """A connection whose end was noticed is not used again."""
    async with FaultServer() as server, connect(server) as client:
        server.script.extend([HEALTHY] * 2)
        await warm_up(client, idempotent=operation.idempotent)
        server.idle().finish()
        await server.wait_until_closed()
        assert await operation.call(client) == operation.value
    assert server.arrivals == [1, 2]


async def test_connections_are_reused(server: FaultServer, client: JunkieClient) -> None:
    """Ten calls one after the other need one connection, not ten handshakes."""
    server.script.extend([HEALTHY] * 20)
    for _ in range(10):
        await client.keys.get(1)
    assert server.connections == 1
    for _ in range(10):
        await client.keys.create(provider_id=1)
    assert server.connections == 2  # non-idempotent calls have their own


async def test_non_idempotent_calls_reuse_no_idle_connection(
    server: FaultServer, client: JunkieClient
) -> None:
    """A create is never sent on an idle connection, which the server may be closing."""
    server.script.extend([HEALTHY] * 2)
    await client.keys.create(provider_id=1)
    await (
        server.wait_until_closed()
    )  # well before the server, or a gateway, would close it: within 5 s
    await client.keys.create(provider_id=1)
    assert server.arrivals == [1, 2]


@with_each([*IDEMPOTENT[:2], *NON_IDEMPOTENT])
async def test_untrusted_certificates(operation: Operation) -> None:
    """An untrusted certificate is not transient: nothing is sent, and nothing retried."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    said: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read())
        writer.close()

    tls = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{tls.sockets[0].getsockname()[1]}"
    async with tls, calm(), client_of(url) as client:
        with pytest.raises(ConnectError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ConnectError, NO, 1)
    assert not caught.value.transient
    assert not any(said)


async def test_http_1_is_agreed_on_over_tls(tmp_path: Path) -> None:
    """Also with a CA file of the caller's: some servers insist on it."""
    authority, agreed = trustme.CA(), list[str | None]()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agreed.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"folders": []}')
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client_of(url, ssl=tmp_path / "ca.pem") as client:
        await client.keys.folders()
    assert agreed == ["http/1.1"]


@with_each(OPERATIONS)
async def test_handshakes_that_break_off(operation: Operation) -> None:
    """Every call is retried after a connection lost before the request's headers."""
    async with FaultServer() as server, calm(server):
        server.turns_away = 3
        async with client_of(server.url.replace("http:", "https:")) as client:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
    check_failure(caught.value, operation, ConnectError, NO, 3)
    assert server.connections == 3


async def test_a_given_session_is_used_and_left_open(server: FaultServer) -> None:
    """A session of the caller's is used for every call, and stays open."""
    server.script.extend([answers(307, b"", location="/elsewhere"), HEALTHY])
    async with aiohttp.ClientSession(raise_for_status=True, headers={"X-App": "mine"}) as session:
        async with client_of(server.url, session=session) as client:
            with pytest.raises(InvalidResponseError):
                await client.keys.get(1)
            await client.keys.create(provider_id=1)
        assert not session.closed
    assert [exchange.headers["x-app"] for exchange in server.requests] == ["mine", "mine"]
    sent = {exchange.headers["authorization"] for exchange in server.requests}
    assert sent == {f"Bearer {SECRET}"}


@with_each(SAMPLES)
async def test_a_given_session_sends_nothing_twice_by_itself(
    server: FaultServer, operation: Operation
) -> None:
    """With a session of the caller's, one attempt is one request, too."""
    server.script.extend([drops] * (3 if operation.idempotent else 1))
    async with calm(server), aiohttp.ClientSession() as session:
        client = client_of(server.url, session=session, retry=NO_WAIT)
        with pytest.raises(JunkieError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, TransportError, MAYBE, len(server.arrivals))
    assert len(server.arrivals) == (3 if operation.idempotent else 1)
