"""The sessions that a client opens for itself."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any
from weakref import WeakSet

import aiohttp

_MAX_HEADER_BYTES = 2**16
_MAX_HEADERS = 1000

# asyncio reads into a new block of 256 KiB each time. glibc maps and unmaps such a block anew until
# one that is larger was freed once (mallopt(3), M_MMAP_THRESHOLD: the threshold then grows). The
# page faults of a fresh mapping cost more than to decode what was read.
_BLOCK_TO_FREE = 2**19


def open_session(
    keepalive: float,
    tls_context: ssl.SSLContext | None,
    sockets: WeakSet[socket.socket],
    defaults: dict[str, Any],
) -> aiohttp.ClientSession:
    """Open a session that keeps idle connections for ``keepalive`` seconds.

    Its sockets are added to ``sockets``. ``defaults`` are arguments of `aiohttp.ClientSession`.
    """
    bytes(_BLOCK_TO_FREE)
    # The throttle limits the requests in flight. aiohttp's own limit can lose the wake-up of a
    # waiter that is cancelled, and its time-outs count the wait for a connection.
    connector = aiohttp.TCPConnector(
        limit=0,
        keepalive_timeout=keepalive or None,
        force_close=not keepalive,
        ssl=tls_context or True,
        socket_factory=partial(_open_socket, sockets),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # it would take credentials from .netrc, and look for proxies in threads
        # The default of 8,190 bytes a field makes a created key's response unreadable.
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
        **defaults,
    )
    # sentry-sdk and OpenTelemetry add one to each new session. It records URLs, and so key values.
    session.trace_configs.clear()
    return session


async def close_with_loop(
    sessions: dict[float, aiohttp.ClientSession],
) -> AsyncGenerator[None, None]:
    """Close the sessions when the event loop ends.

    `asyncio.run` finishes all async generators that were begun in its loop before it closes it.
    Nothing else that asyncio offers runs at that moment.
    """
    try:
        yield
    finally:
        for session in [*sessions.values()]:
            await session.close()
        sessions.clear()


def _open_socket(sockets: WeakSet[socket.socket], address: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(*address[:3])
    sockets.add(opened)
    return opened
