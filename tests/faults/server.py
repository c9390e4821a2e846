"""A server on raw sockets that plays a scripted fault for each request.

It is neither the emulator nor a mock: it counts what arrived and what was carried out, so that a
test can hold what a client's error claims against what really happened. It closes its own half of
a connection only, and goes on reading: it notices a client that leaves its half open.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import attrs

from .world import Answer, World, operation_of

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attrs.frozen
class Fault:
    """What the server does to one request.

    Attributes:
        play: Does it.
        commits: Whether the service carries the request out first.
        unread: Whether `play` comes before the request is read off the connection.
    """

    play: Callable[[Exchange], Awaitable[None]]
    commits: bool = False
    unread: bool = False


@attrs.define(eq=False)
class Connection:
    """One accepted connection."""

    number: int
    sock: socket.socket
    buffer: bytes = b""
    finished: bool = False

    async def arrives(self) -> bool:
        """Wait for bytes without reading them; False when the client has hung up."""
        if self.buffer:
            return True
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.sock, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.sock)
        return bool(self.sock.recv(1, socket.MSG_PEEK))

    async def read(self) -> tuple[str, str, dict[str, str], bytes]:
        """Read one request; an unfinished one is a `ConnectionError`."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        size = int(headers.get("content-length", 0))
        while len(self.buffer) < size:
            await self._more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        method, target, _ = first.split(" ")
        return method, target, headers, body

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def finish(self) -> None:
        """Send a FIN: no more bytes will come from this side."""
        self.finished = True
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()

    async def hung_up(self) -> None:
        """Wait until the client closes its side."""
        while await asyncio.get_running_loop().sock_recv(self.sock, 2**16):
            pass

    async def _more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.sock, 2**16)
        if not data:
            raise ConnectionResetError
        self.buffer += data


@attrs.define(eq=False)
class Exchange:
    """One request that a fault answers."""

    connection: Connection
    operation: str = ""
    method: str = ""
    target: str = ""
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    answer: Answer = attrs.field(factory=lambda: Answer(500, {"error": "not carried out"}))

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.connection.send(data)


async def _answer(exchange: Exchange) -> None:
    await exchange.send(http(exchange.answer.status, exchange.answer.body))


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Build an HTTP response; the header ``a-b`` is passed as ``a_b``."""
    lines = {"content_type": "application/json", "content_length": str(len(body))} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + body


HEALTHY = Fault(_answer, commits=True)
"""No fault: the request is carried out and answered."""


class FaultServer:
    """Give it faults with `script`: each request takes one.

    Leaving it fails when a fault was not met, a request came that the script has nothing for
    (with ``strict``), or a client left a connection open.

    Args:
        strict: Whether a request without an entry in the script is a failure; else it is answered.
        refuses: Whether it refuses connections until `listen` is called.
    """

    def __init__(self, *, strict: bool = True, refuses: bool = False) -> None:
        self.strict = strict
        self.world = World()
        self.script: deque[Fault] = deque()
        self.arrivals: list[int] = []  # of requests, read or not: their connections' numbers
        self.requests: list[Exchange] = []
        self.connections = 0
        self.turns_away = 0  # so many connections are closed as soon as they are there
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.default: Callable[[], Fault] = lambda: HEALTHY
        self._refuses = refuses
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._wrong: list[str] = []

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def commits(self) -> int:
        """The number of requests carried out."""
        return sum(self.world.commits.values())

    async def __aenter__(self) -> Self:
        if not self._refuses:
            self.listen()
        return self

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener.listen()
        self._start(self._accept())

    async def __aexit__(self, *exc: object) -> None:
        try:
            if exc[0] is None:
                await self.wait_until_closed()
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self._listener.close()
        if exc[0] is None:
            assert not self._wrong, self._wrong
            unmet = len(self.script) + self.turns_away
            assert not unmet, f"{unmet} faults were not met"

    async def wait_until_closed(self) -> None:
        """Wait until the clients have closed all their connections; fail if they don't."""
        deadline = time.monotonic() + 5.0  # whatever clock the loop has
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0)
        assert not self.open, sorted(connection.number for connection in self.open)

    def idle(self) -> Connection:
        """Return the only open connection."""
        (connection,) = self.open
        return connection

    def _start(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                self._wrong.append(repr(error))
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            if self.turns_away:
                self.turns_away -= 1
                sock.close()
                continue
            connection = Connection(self.connections, sock)
            self.open.add(connection)
            self._start(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        try:
            while connection.sock.fileno() >= 0 and await connection.arrives():
                self.arrivals.append(connection.number)
                if connection.finished:
                    await connection.hung_up()
                    return
                await self._play(connection, self._next())
        except ConnectionError:
            pass  # the client hung up, as it may
        except Exception as error:  # a fault that fails must fail the test
            self._wrong.append(repr(error))
        finally:
            connection.sock.close()
            self.open.discard(connection)

    async def _play(self, connection: Connection, fault: Fault) -> None:
        if fault.unread:
            await fault.play(Exchange(connection))
            return
        method, target, headers, body = await connection.read()
        exchange = Exchange(connection, operation_of(method, target), method, target, headers, body)
        self.requests.append(exchange)
        if fault.commits:
            exchange.answer = self.world.carry_out(exchange.operation, target, body)
        await fault.play(exchange)

    def _next(self) -> Fault:
        if self.script:
            return self.script.popleft()
        if self.strict:
            self._wrong.append("a request came that the script has nothing for")
        return self.default()


def open_files() -> int:
    """Count the open files and sockets of this process."""
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a number is all that is needed
    except OSError:
        return len(list(Path("/proc/self/fd").iterdir()))
