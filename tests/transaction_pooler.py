"""A pooler for tests that behaves as PgBouncer does with ``pool_mode = transaction``.

A client has a server connection from the first message of a transaction to its end. What belongs to
a session (named prepared statements, SET, LISTEN, advisory locks) stays with the server connection,
which is the next client's. Only the settings in `TRACKED` go with the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Container, Coroutine
from typing import Any, Final, Self
from urllib.parse import urlsplit

import attrs

from .postgres_messages import (
    CANCEL,
    cancel_request,
    frame_message,
    frame_settings,
    open_session,
    read_message,
    read_setting,
    read_startup,
    refuse_client,
)

_SQL = ("client_encoding", "datestyle", "timezone", "standard_conforming_strings")
TRACKED: Final = (*_SQL, "application_name")
"""Parameters that a client may state at its start, and that are set again in each transaction."""

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


class TransactionPooler:
    """A proxy on loopback whose clients take turns on a few server connections.

    Args:
        dsn: Database, user and password of the server connections, for trust or SCRAM. Clients
            are not authenticated, and all get this database.
        connections: How many server connections there are at most.
        ignored: Startup parameters to ignore, as in PgBouncer's ``ignore_startup_parameters``.
    """

    def __init__(self, dsn: str, connections: int = 2, ignored: Container[str] = ()) -> None:
        self._url = urlsplit(dsn)
        self._unassigned = asyncio.Semaphore(connections)
        self._ignored = ignored
        self._idle: list[_Server] = []
        self._clients: dict[bytes, _Client] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

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
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @property
    def dsn(self) -> str:
        """DSN of the database by way of the pooler."""
        port = self._listener.sockets[0].getsockname()[1]
        return self._url._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()

    def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._start_task(self._serve(reader, writer))

    def _start_task(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = secrets.token_bytes(8)
        with contextlib.suppress(*_LOST):
            code, body = await read_startup(reader, writer)
            if code == CANCEL:
                await self._cancel_request(body)
            elif (settings := self._check_parameters(body, writer)) is not None:
                self._greet(writer, key)
                self._clients[key] = _Client(writer, settings)
                await self._relay_requests(reader, self._clients[key])
        writer.close()
        client = self._clients.pop(key, None)
        if client and client.server:  # PostgreSQL rolls the transaction back
            client.server.client = None
            client.server.writer.close()

    def _check_parameters(self, body: bytes, writer: asyncio.StreamWriter) -> dict[str, str] | None:
        words = body[:-2].decode().split("\0")
        stated = dict(zip(map(str.lower, words[::2]), words[1::2], strict=True))
        for name in stated.keys() - {*TRACKED, "user", "database"}:
            if name not in self._ignored:
                refuse_client(writer, f"unsupported startup parameter: {name}")
                return None
        return {name: stated[name] for name in TRACKED if name in stated}

    def _greet(self, writer: asyncio.StreamWriter, key: bytes) -> None:
        writer.write(frame_message(b"R", bytes(4)))
        for name, value in self._welcome.settings.items():
            writer.write(frame_message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(frame_message(b"K", key) + frame_message(b"Z", b"I"))

    async def _relay_requests(self, reader: asyncio.StreamReader, client: _Client) -> None:
        while (message := await read_message(reader))[:1] != b"X":
            server = client.server or await self._assign_server(client)
            server.requests += message[:1] in b"QSF"
            server.writer.write(message)

    async def _cancel_request(self, key: bytes) -> None:
        client = self._clients.get(key)
        if client and client.server:
            await cancel_request(self._url, client.server.key)

    async def _assign_server(self, client: _Client) -> _Server:
        await self._unassigned.acquire()
        try:
            server = self._idle.pop() if self._idle else await self._connect()
        except _LOST:
            self._unassigned.release()
            refuse_client(client.writer, "pgbouncer cannot connect to server")
            raise
        client.server, server.client = server, client
        if changes := client.settings.items() - server.settings.items():
            server.writer.write(frame_settings(changes))
            server.applies_settings = True
        return server

    async def _connect(self) -> _Server:
        server = _Server(*await open_session(self._url))
        self._writers.append(server.writer)
        self._start_task(self._relay_responses(server))
        return server

    async def _relay_responses(self, server: _Server) -> None:
        with contextlib.suppress(*_LOST):
            while True:
                self._relay_response(server, await read_message(server.reader))
        server.writer.close()
        if server in self._idle:
            self._idle.remove(server)
            return
        self._unassigned.release()
        if server.client:
            server.client.server = None
            refuse_client(server.client.writer, "server conn crashed?")

    def _relay_response(self, server: _Server, message: bytes) -> None:
        kind, client = message[:1], server.client
        if kind == b"S":
            _note_setting(server, message[5:])
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


def _note_setting(server: _Server, body: bytes) -> None:
    name, value = read_setting(body)
    server.settings[name] = value
    if server.client and name in TRACKED:
        server.client.settings[name] = value
