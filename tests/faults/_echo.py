"""A service on a raw socket that passes each request to a function, and counts connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import attrs


@attrs.frozen
class Request:
    """A request as received, undecoded."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        """The request's method."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """The path and query as they were written."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def header_lines(self) -> list[bytes]:
        """The request's headers, a line each."""
        return self.head.split(b"\r\n")[1:-2]


HANG = None
"""No response at all."""

DROP = b""
"""A closed connection instead of a response."""


class Last(bytes):
    """A response after which the connection is closed."""

    __slots__ = ()


Answer = Callable[[Request], bytes | None]


class Service:
    """A service on loopback. ``answer`` returns the bytes to send, `DROP` or `HANG`."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[Request] = []
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            while request := await _read(reader):
                self.requests.append(request)
                answer = self.answer(request)
                if answer is HANG:
                    await asyncio.Event().wait()
                elif answer == DROP:
                    break
                else:
                    writer.write(answer)
                if isinstance(answer, Last):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((line[15:] for line in lines if line.startswith(b"content-length:")), b"0")
    return Request(head, await reader.readexactly(int(length)))


def http(status: int, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """Build a response with its Content-Length."""
    lines = [f"HTTP/1.1 {status} Echo", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body
