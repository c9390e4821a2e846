"""What servers of canned responses share: just enough HTTP, and a process of their own."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol, abc.ABC):
    """One client's connection: requests and responses in turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or (length is not None and len(body) < int(length[1])):
            return
        self._received = b""
        self.respond(head + b"\r\n", body)

    @abc.abstractmethod
    def respond(self, head: bytes, body: bytes) -> None:
        """Write the response to a request."""


@contextlib.contextmanager
def running(module: str) -> Iterator[int]:
    """Run a server's module in another process, and yield its port."""
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("the server process did not start; see its message above")
            yield int(port)
        finally:
            process.stdin.close()  # the server exits at the end of its input


async def serve(connection: type[Connection]) -> None:
    """Serve until the input ends, and print the port first."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
