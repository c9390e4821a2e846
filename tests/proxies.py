"""A service behind TLS with a private CA, and a proxy in front of it, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import attrs
import trustme

HOST = "keys.test"
"""The service's name: it resolves nowhere, so that only the proxy can reach it."""

USER = "shop"
PASSWORD = "p@ss:wörd/s3cr3t-c0re"  # what a URL has to encode, and Latin-1 can
ENCODED = "p%40ss%3Aw%C3%B6rd%2Fs3cr3t-c0re"

HANG = b"hang"
"""An answer that the proxy never gives."""


class ConnectProxy:
    """An HTTP proxy that tunnels CONNECT to a port of loopback, whatever host is asked for.

    Args:
        port: The service's port.
        context: The proxy's own TLS, for an ``https://`` proxy.
        authenticates: Whether it answers 407 without the right credentials.

    Attributes:
        answers: What it answers to the next requests, in place of a tunnel: ``b""`` hangs up.
        refusal: What it answers to all others.
        heads: The head of each request, without the credentials once they were right.
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
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """Its URL without credentials."""
        return f"{'https' if self._context else 'http'}://{self.address}"

    @property
    def full_url(self) -> str:
        """Its URL with credentials."""
        return self.url.replace("://", f"://{USER}:{ENCODED}@")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._context, limit=2**18
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._open:
            writer.close()

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
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            self._open.discard(writer)

    def _answer(self, head: bytes) -> bytes | None:
        if self.answers:
            return self.answers.pop(0)
        if self.refusal is not None:
            return self.refusal
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        if self._authenticates and b"Basic " + expected + b"\r\n" not in head:
            return refuse(407, 'Proxy-Authenticate: Basic realm="proxy"')
        return None

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnels += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await join(reader, writer, self._port)


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy bytes between a connection and a port of loopback, until either side ends."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    copies = [
        asyncio.ensure_future(_copy(reader, back)),
        asyncio.ensure_future(_copy(there, writer)),
    ]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
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
        with contextlib.suppress(OSError):
            await join(reader, writer, port)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
