"""A pooler for tests that behaves as PgBouncer does with ``pool_mode = transaction``.

A client has a server connection from the first message of a transaction to its end. What belongs to
a session (named prepared statements, SET, LISTEN, advisory locks) stays with the server connection,
which is the next client's. Only the settings in `TRACKED` go with the client. The behaviour is that
of PgBouncer 1.18, but for one thing: what a client sent before it went away is executed even if it
had no server connection yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Container
from typing import Any, Final, Self
from urllib.parse import urlsplit

import attrs

from tests import postgres_messages as messages

_OF_SQL: Final = ("client_encoding", "datestyle", "timezone", "standard_conforming_strings")
TRACKED: Final = (*_OF_SQL, "application_name")
"""Parameters that a client may state at its start, and that are set again in each transaction."""

_LOGIN_RETRY: Final = 0.05  # seconds; PgBouncer waits 15
_LOST: Final = (asyncio.IncompleteReadError, OSError)


@attrs.define(eq=False)
class _Server:
    """A connection to PostgreSQL, and the client that has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: bytes
    settings: dict[str, str]
    client: _Client | None = None
    requests: int = 0  # that wait for their ReadyForQuery
    applies_settings: bool = False  # the response to come is not for the client


@attrs.define(eq=False)
class _Client:
    writer: asyncio.StreamWriter
    settings: dict[str, str]
    server: _Server | None = None


@attrs.define(eq=False, slots=False)
class TransactionPooler:
    """A proxy on loopback whose clients take turns on a few server connections.

    Args:
        server_dsn: Database, user and password of the server connections, for trust or SCRAM.
            Clients are not authenticated, and all get this database.
        connections: How many server connections there are at most.
        ignored: Startup parameters to ignore, as in PgBouncer's ``ignore_startup_parameters``.
        query_wait: Seconds to wait for a server connection, also while the server is down.
    """

    _server_dsn: str
    _connections: int = 2
    _ignored: Container[str] = ()
    _query_wait: float = 120.0

    def __attrs_post_init__(self) -> None:
        self._url = urlsplit(self._server_dsn)
        self._unassigned = asyncio.Semaphore(self._connections)
        self._idle: list[_Server] = []
        self._clients: dict[bytes, _Client] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        self._welcome = await self._connect()
        self._idle.append(self._welcome)
        self._listener = await asyncio.start_server(self._serve_client, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(one.wait_closed() for one in self._writers), return_exceptions=True)

    @property
    def dsn(self) -> str:
        """DSN of the database by way of the pooler."""
        port = self._listener.sockets[0].getsockname()[1]
        return self._url._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.append(task)
        self._writers.append(writer)
        key = secrets.token_bytes(8)
        with contextlib.suppress(*_LOST):
            code, body = await messages.read_startup(reader, writer)
            if code == messages.CANCEL:
                if (client := self._clients.get(body)) and client.server:
                    await messages.cancel_request(self._url, client.server.key)
            elif (settings := self._check_parameters(body, writer)) is not None:
                self._greet(writer, key)
                self._clients[key] = _Client(writer, settings)
                await self._relay_requests(reader, self._clients[key])
        writer.close()
        if (left := self._clients.pop(key, None)) and left.server:  # amid a transaction
            left.server.client = None
            left.server.writer.close()

    def _check_parameters(self, body: bytes, writer: asyncio.StreamWriter) -> dict[str, str] | None:
        stated = messages.read_parameters(body)
        for name in stated.keys() - {*TRACKED, "user", "database"}:
            if name not in self._ignored:
                messages.refuse_client(writer, f"unsupported startup parameter: {name}")
                return None
        return {name: stated[name] for name in TRACKED if name in stated}

    def _greet(self, writer: asyncio.StreamWriter, key: bytes) -> None:
        writer.write(messages.frame_message(b"R", bytes(4)))
        for name, value in self._welcome.settings.items():
            writer.write(messages.frame_message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(messages.frame_message(b"K", key) + messages.frame_message(b"Z", b"I"))

    async def _relay_requests(self, reader: asyncio.StreamReader, client: _Client) -> None:
        while (message := await messages.read_message(reader))[:1] != b"X":
            server = client.server or await self._assign_server(client)
            server.requests += message[:1] in b"QSF"
            server.writer.write(message)

    async def _assign_server(self, client: _Client) -> _Server:
        try:
            async with asyncio.timeout(self._query_wait):
                server = await self._take_server()
        except TimeoutError:
            messages.refuse_client(client.writer, "query_wait_timeout")
            raise
        client.server, server.client = server, client
        if changes := client.settings.items() - server.settings.items():
            server.writer.write(messages.frame_settings(changes))
            server.applies_settings = True
        return server

    async def _take_server(self) -> _Server:
        await self._unassigned.acquire()
        try:
            while not self._idle:
                with contextlib.suppress(*_LOST):
                    return await self._connect()
                await asyncio.sleep(_LOGIN_RETRY)
            return self._idle.pop()
        except asyncio.CancelledError:
            self._unassigned.release()
            raise

    async def _connect(self) -> _Server:
        server = _Server(*await messages.open_session(self._url))
        self._writers.append(server.writer)
        self._tasks.append(asyncio.create_task(self._relay_responses(server)))
        return server

    async def _relay_responses(self, server: _Server) -> None:
        with contextlib.suppress(*_LOST):
            while True:
                self._relay_response(server, await messages.read_message(server.reader))
        server.writer.close()
        if server in self._idle:
            self._idle.remove(server)
            return
        self._unassigned.release()
        if server.client:
            server.client.server = None
            messages.refuse_client(server.client.writer, "server conn crashed?")

    def _relay_response(self, server: _Server, message: bytes) -> None:
        kind, client = message[:1], server.client
        if kind == b"S":
            name, value = messages.read_setting(message[5:])
            server.settings[name] = value
            if client and name in TRACKED:
                client.settings[name] = value
        if client is None:
            return  # a notification or notice for nobody
        if server.applies_settings:
            server.applies_settings = kind != b"Z"
            return
        server.requests -= kind == b"Z"
        if message[5:] == b"I" and kind == b"Z" and not server.requests:
            client.server = server.client = None
            self._idle.append(server)
            self._unassigned.release()
        client.writer.write(message)
