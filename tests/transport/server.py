"""A server on raw sockets that does to each request what its script says.

It is neither the emulator nor a mock: it counts the requests that it read and the ones that it
carried out, so that a test can tell what a client's error claims from what really happened.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import attrs

KEY = {"id": 1, "key_value": "JNK-0001", "created_at": "2026-01-01T00:00:00Z"}
ANSWERS: dict[tuple[str, str], tuple[int, object]] = {
    ("GET", "/keys"): (
        200,
        {"keys": [KEY], "pagination": {"page": 1, "limit": 100, "total": 1, "totalPages": 1}},
    ),
    ("GET", "/keys/1"): (200, {"key": KEY}),
    ("GET", "/keys/folders"): (200, {"folders": []}),
    ("POST", "/keys"): (201, {"key": KEY}),
    ("POST", "/keys/batch"): (201, {"keys": ["JNK-0001"], "count": 1, "config": {}}),
    ("POST", "/keys/bulk-delete"): (200, {"deleted": 1, "requested": 1}),
    ("POST", "/keys/1/reset-hwid"): (200, {"success": True, "message": "done"}),
    ("PUT", "/keys/1"): (200, {"success": True, "message": "done", "keys_hwid": []}),
    ("DELETE", "/keys/1"): (200, {"success": True}),
}


def http(status: int, body: bytes | object = b"", **headers: str) -> bytes:
    """Write an HTTP answer; anything but bytes becomes JSON, ``a_b`` the header ``a-b``."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content_type": "application/json", "content_length": str(len(raw))} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + raw


@attrs.define
class Exchange:
    """One request in a fault's hands."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    server: FaultServer
    writer: asyncio.StreamWriter
    connection: int

    @property
    def good(self) -> bytes:
        """The answer of a service in good health."""
        status, body = ANSWERS[self.method, self.target.partition("?")[0]]
        return http(status, body)

    def commit(self) -> None:
        """Carry the request out."""
        self.server.commits += 1

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.writer.transport.abort()


Fault = Callable[[Exchange], Awaitable[None]]


class FaultServer:
    """Give it faults with `script`; each request takes one, and then good answers follow."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Exchange] = []
        self.commits = 0
        self.connections = 0
        self.script: deque[Fault] = deque()
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if exc[0] is None:
            assert not self.script, f"{len(self.script)} faults were not met"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        number = self.connections
        try:
            while not writer.is_closing() and (request := await _read(reader)):
                exchange = Exchange(*request, self, writer, number)
                self.requests.append(exchange)
                await (self.script.popleft() if self.script else healthy)(exchange)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    return method, target, headers, body


async def healthy(exchange: Exchange) -> None:
    """Carry it out and answer."""
    exchange.commit()
    exchange.send(exchange.good)


def answers(status: int, body: bytes | object = b"", **headers: str) -> Fault:
    """Answer so, without carrying it out."""

    async def fault(exchange: Exchange) -> None:
        exchange.send(http(status, body, **headers))

    return fault


def commits_but_answers(data: bytes | None = None, *, cut: int | None = None) -> Fault:
    """Carry it out, and answer with these bytes, or with the good answer but its last few."""

    async def fault(exchange: Exchange) -> None:
        exchange.commit()
        exchange.send(exchange.good[: -cut if cut else None] if data is None else data)
        if cut:
            exchange.writer.close()

    return fault


async def drops(exchange: Exchange) -> None:
    """Read the request and close without a word, not having carried it out."""
    exchange.writer.close()


async def commits_and_drops(exchange: Exchange) -> None:
    """Carry it out and break the connection."""
    exchange.commit()
    exchange.reset()


async def hangs(exchange: Exchange) -> None:
    """Carry it out and never answer."""
    exchange.commit()
    await asyncio.Event().wait()


def closes_after_answering(exchange: Exchange) -> Awaitable[None]:
    """Answer well, then close the idle connection under the client."""

    async def fault() -> None:
        await healthy(exchange)
        exchange.writer.close()

    return fault()
