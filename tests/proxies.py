"""A service behind TLS with a private CA, and a proxy in front of it, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import trustme
from yarl import URL

from junkie_async import JunkieClient, RetryPolicy
from junkie_async.emulator import Emulator

HOST = "keys.test"
"""The service's name: it resolves nowhere, so that only the proxy can reach it."""

USER = "shop"
PASSWORD = "p@ss:wörd/s3cr3t-c0re"  # what a URL has to encode, and Latin-1 can
ENCODED = "p%40ss%3Aw%C3%B6rd%2Fs3cr3t-c0re"

HANG = b"hang"
"""An answer that the proxy never gives."""

AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_jitter=0.0, outage=0.0)


class ConnectProxy:
    """An HTTP proxy that tunnels CONNECT to a port of loopback, whatever host is asked for.

    Args:
        port: The service's port.
        context: The proxy's own TLS, for an ``https://`` proxy.
        authenticates: Whether it answers 407 without the right credentials.

    Attributes:
        answers: What it answers to the next requests, in place of a tunnel: ``b""`` hangs up.
        refusal: What it answers to all others.
        heads: The head of each request.
        tunnels: The number of tunnels that it made.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        context: ssl.SSLContext | None = None,
        authenticates: bool = False,
        refusal: bytes | None = None,
    ) -> None:
        self.answers: list[bytes] = []
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.tunnels = 0
        self._port = port
        self._context = context
        self._authenticates = authenticates
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """Host and port."""
        host = "localhost" if self._context else "127.0.0.1"
        return f"{host}:{self._listening_port}"

    @property
    def url(self) -> str:
        """Its URL without credentials."""
        return f"{'https' if self._context else 'http'}://{self.address}"

    @property
    def full_url(self) -> str:
        """Its URL with credentials."""
        return self.url.replace("://", f"://{USER}:{ENCODED}@")

    @property
    def credentials(self) -> bytes:
        """The credentials as they are sent."""
        return base64.b64encode(f"{USER}:{PASSWORD}".encode())

    async def wait_until_closed(self) -> None:
        """Wait until the clients have closed all their connections; fail if they don't."""
        async with asyncio.timeout(5):
            while self._open:
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._listening_port = await self._stack.enter_async_context(
            listen(self._serve, self._context)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            answer = self._answer(head)
            if answer == HANG:
                await reader.read()
            elif answer is not None:
                writer.write(answer)
            else:
                await self._tunnel(reader, writer)
        finally:
            self._open.discard(writer)

    def _answer(self, head: bytes) -> bytes | None:
        if self.answers:
            return self.answers.pop(0)
        if self.refusal is not None:
            return self.refusal
        if self._authenticates and b"Basic " + self.credentials + b"\r\n" not in head:
            return refuse(407, 'Proxy-Authenticate: Basic realm="proxy"')
        return None

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnels += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await join(reader, writer, self._port)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listen(handle: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections on a port of loopback, and yield it. Ends all of them at the end."""
    served: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served[writer] = asyncio.current_task()
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            del served[writer]

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        tasks = [task for task in served.values() if task is not None]
        for writer in served:
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy bytes between a connection and a port of loopback, until either side ends."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    copies = [
        asyncio.ensure_future(_copy(reader, back)),
        asyncio.ensure_future(_copy(there, writer)),
    ]
    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    for copy in copies:
        copy.cancel()
    await asyncio.gather(*copies, return_exceptions=True)
    back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


def refuse(status: int, *headers: str) -> bytes:
    """Write a proxy's refusal, with a page as proxies have it."""
    page = b"<html>No</html>"
    lines = [f"HTTP/1.1 {status} No", f"Content-Length: {len(page)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + page


@attrs.frozen
class PrivateCA:
    """A CA that no system trusts, and its file."""

    ca: trustme.CA
    file: Path

    def make_server_context(self, *hosts: str) -> ssl.SSLContext:
        """Make a server's context with a certificate for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*hosts).configure_cert(context)
        return context


def make_ca(folder: Path) -> PrivateCA:
    """Make a CA, and write its certificate to a file in a folder."""
    ca = trustme.CA()
    file = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return PrivateCA(ca, file)


@asynccontextmanager
async def behind_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Put a TLS server in front of a plain one, and yield its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, port)

    async with listen(serve, context) as own:
        yield own


@attrs.frozen
class Shop:
    """The emulator behind TLS, and the proxy in front of it."""

    emulator: Emulator
    proxy: ConnectProxy
    url: str
    ca: PrivateCA

    def connect(self, **options: Any) -> JunkieClient:
        """Make a client that uses the proxy and trusts the CA."""
        ours = {"proxy": self.proxy.full_url, "ssl": self.ca.file, "retry": AT_ONCE}
        return JunkieClient("any", base_url=self.url, **{**ours, **options})


def port_of(emulator: Emulator) -> int:
    """Return the port that it listens to."""
    port = URL(emulator.url).port
    assert port is not None
    return port


def proxy_to(port: int, ca: PrivateCA, scheme: str) -> ConnectProxy:
    """Make a proxy that wants credentials."""
    context = ca.make_server_context("localhost") if scheme == "https" else None
    return ConnectProxy(port, context=context, authenticates=True)


@asynccontextmanager
async def open_shop(ca: PrivateCA, scheme: str = "http", host: str = HOST) -> AsyncIterator[Shop]:
    """Start it all; the service's certificate is for a host."""
    async with (
        Emulator() as emulator,
        behind_tls(port_of(emulator), ca.make_server_context(host)) as port,
        proxy_to(port, ca, scheme) as proxy,
    ):
        yield Shop(emulator, proxy, f"https://{HOST}:{port}/api/v2", ca)
