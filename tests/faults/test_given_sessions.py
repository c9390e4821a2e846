"""Proxies, headers and sessions of the application's own, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from junkie_async import ConnectError, JunkieClient, Outcome, RetryPolicy

AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_jitter=0.0)
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
        (response(b"", "502 Bad Gateway"), 3),
        (response(b"", "503 Service Unavailable"), 3),
        (b"", 3),
    ],
    ids=["403", "407", "502", "503", "closed"],
)
async def test_a_proxy_that_refuses_has_sent_nothing(answer: bytes, requests: int) -> None:
    """A create through it did not happen; only what may pass is tried again."""
    async with (
        raw_server(lambda _: answer) as (proxy, heads),
        aiohttp.ClientSession(proxy=proxy) as session,
        JunkieClient("k", base_url="https://shop.test", session=session, retry=AT_ONCE) as junkie,
    ):
        with pytest.raises(ConnectError) as caught:
            await junkie.keys.create(provider_id=42)
    assert caught.value.outcome is Outcome.NOT_EXECUTED
    assert len(heads) == requests
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
