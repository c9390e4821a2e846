"""One attempt of a request over HTTP, through an `aiohttp.ClientSession`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, TypeAlias
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from .._errors import (
    ClientClosedError,
    ConfigurationError,
    JunkieError,
)
from .._masking import clear_frames
from .._protocol.decompression import MAX_BODY
from .._protocol.requests import Request
from .._version import __version__
from .aiohttp_errors import translate_error
from .deadlines import Deadlines
from .given_session import check_open, describe_credentials, make_queue_error, wait_for_turn
from .own_session import close_with_loop, open_session
from .proxy import Proxy
from .send_state import ConnectionLostError, SendState
from .unclosed import warn_unclosed

Response: TypeAlias = tuple[int, Mapping[str, str], bytes | None]
"""Status, headers (names in any case), and the undecoded body; None if that is too large."""

# Requests that must not be repeated have a session of their own. A server that closes an idle
# connection just as we send makes the outcome unknown: 30% of the POSTs on reused connections
# failed so against a server that closes after each response. They therefore reuse a connection
# only right after its last response (`test_non_idempotent_calls_reuse_no_idle_connection`).
_KEEPALIVE = 15.0
_KEEPALIVE_NON_IDEMPOTENT = 0.5

_CONNECT_TIMEOUT = 10.0

_JSON = "application/json"
_JSON_BODY = {"Content-Type": _JSON}
# aiohttp gives a POST without a body the type application/octet-stream, which web frameworks
# refuse: Fastify 5 answers 415.
_NO_BODY = {"skip_auto_headers": ("Content-Type",)}

_USER_AGENT = f"junkie_async/{__version__}"

_LOOP_ENDS = "the client's connections are being closed, because its event loop ends"


class Transport:
    """Connections to the service, in one event loop after another.

    ``base_url`` has no slash at the end. A ``session`` is used instead of the transport's own two,
    with the proxy and the TLS context that it has.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout: float,
        session: aiohttp.ClientSession | None,
        proxy: Proxy | None = None,
        tls_context: ssl.SSLContext | None = None,
        app: str | None = None,
    ) -> None:
        self.base_url = base_url
        self._make_url = _make_url_builder(base_url)
        # aiohttp's own names are known not to need another case. Making them anew for each request
        # takes 1,700 instructions.
        self._headers = {
            hdrs.ACCEPT: _JSON,
            hdrs.ACCEPT_ENCODING: "gzip",
            # RFC 9110, section 10.1.5: the most significant product comes first.
            hdrs.USER_AGENT: f"{app} {_USER_AGENT}" if app else _USER_AGENT,
        }
        if session is not None and not app and hdrs.USER_AGENT in session.headers:
            del self._headers[hdrs.USER_AGENT]  # the application's own name
        self.max_seconds = timeout
        self._given = session
        self._proxy, self._tls_context = proxy, tls_context
        # aiohttp merges these anew for each request: 16,000 instructions, 3% of a call. So they are
        # the defaults of our own sessions. A session that was passed in has other ones.
        self._defaults: dict[str, Any] = {
            "headers": self._headers,
            "timeout": _make_limits(timeout),
            "raise_for_status": False,
            "auto_decompress": False,
        }
        # With redirects, aiohttp would repeat our headers, and so the API key.
        self._options: dict[str, Any] = {"allow_redirects": False}
        if proxy is not None:
            # aiohttp sends a session's own headers, and so the API key, to the proxy as well.
            self._options["headers"] = self._defaults.pop("headers")
            # Its errors show the proxy's URL, so that has no credentials.
            self._options |= {"proxy": proxy.url, "proxy_headers": proxy.headers}
        self._payload: tuple[bytes, aiohttp.Payload] | None = None  # the latest, and its body
        self._sessions: dict[float, aiohttp.ClientSession] = {}  # by seconds of keep-alive
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._deadlines = Deadlines()
        self._closer: AsyncGenerator[None, None] | None = None
        # What the sessions and the closer refer to is not this object: it ends before they do.
        weakref.finalize(self, warn_unclosed, base_url, self._sessions)

    def authorize(self, api_key: str) -> None:
        """Send this API key from now on."""
        self._headers[hdrs.AUTHORIZATION] = f"Bearer {api_key}"
        for session in self._sessions.values():
            session.headers.update(self._defaults.get("headers", {}))

    async def close(self) -> None:
        """Close the connections, but not a session that was passed in. May be called again."""
        self._payload = None
        for session in [*self._sessions.values()]:
            await session.close()  # not forgotten: a cancelled close is finished by the next
        # aiohttp forgets connections that a proxy, or a TLS handshake, keeps waiting.
        for each in self._sockets:
            with contextlib.suppress(OSError):  # most are closed
                each.shutdown(socket.SHUT_RDWR)
        if self._closer is not None:
            await self._closer.aclose()

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raise ConfigurationError if a session that was passed in belongs to another loop."""
        given = self._given
        if given is not None and not given.closed and getattr(given, "_loop", loop) is not loop:
            raise ConfigurationError(
                "the aiohttp session passed as session= belongs to another event loop:"
                " create it in the event loop that makes the calls"
            )

    async def enter_loop(self) -> None:
        """Begin in the running event loop. The one before it is closed."""
        dead = [*self._sessions.values()]
        self._sessions.clear()
        self._deadlines.forget_loop()
        self._closer = close_with_loop(self._sessions)
        await anext(self._closer)
        for session in dead:  # open only if their loop ended without its async generators
            with contextlib.suppress(RuntimeError):  # "Event loop is closed"
                await session.close()

    async def attempt(self, request: Request[object], state: SendState, left: float) -> Response:
        """Send one request and read its undecoded response, with ``left`` seconds to the deadline.

        ``state`` says how far the request got, also when the attempt is cancelled. Any error but a
        TransportError means that the session that was passed in can't be used.
        """
        longest = self.max_seconds if state.timeout is None else state.timeout
        try:
            if self._given is not None:
                return await self._exchange_over_given(self._given, request, state, left, longest)
            keepalive = _KEEPALIVE if request.idempotent else _KEEPALIVE_NON_IDEMPOTENT
            return await self._exchange_bytes(
                self._get_session(0.0 if state.fresh else keepalive),
                request,
                min(left, longest),
                self._make_options(request),
                state.middleware,
            )
        except ConnectionLostError as lost:
            failure = self._translate(lost.error, state)
            clear_frames(lost)  # aiohttp's have the error, and the request, in variables
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            failure = make_queue_error() if state.is_queued else self._translate(error, state)
            clear_frames(error)
        except ValueError as error:  # aiohttp refuses two credentials for one request
            given, url = self._given, URL(self.base_url)
            refusal = None if given is None else describe_credentials(given, url)
            if refusal is None:
                clear_frames(error)
                raise
            failure = ConfigurationError(refusal)
        except BaseException as error:  # a cancellation, or an error of the session's own hooks
            clear_frames(error)  # here too: an error of our hooks would be logged with it
            raise
        # Outside of the except blocks: aiohttp's errors hold the request's headers, and with them
        # the API key. `from None` would hide them but keep them in `__context__`.
        raise failure

    def _translate(self, error: Exception, state: SendState) -> JunkieError:
        address = "" if self._proxy is None else self._proxy.address
        return translate_error(error, sent=state.sent, proxy=address)

    def _exchange_over_given(
        self,
        session: aiohttp.ClientSession,
        request: Request[object],
        state: SendState,
        left: float,
        longest: float,
    ) -> Coroutine[Any, Any, Response]:
        """Use the session that was passed in, whose connector may have a limit of its own.

        Only the call's deadline ends the wait for one of its connections.
        """
        check_open(session)
        caller, deadline = _current_task(), asyncio.get_running_loop().time() + left

        async def wait_for_connection(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            task = _current_task()
            state.is_queued = True
            self._deadlines.start(task, deadline)
            try:
                await wait_for_turn(session.connector, request.connection_key)
                state.is_queued = False
                self._deadlines.start(task, min(deadline, task.get_loop().time() + longest))
                return await state.send_by_middleware(request, handler)
            finally:
                if task is not caller:  # one of the session's own middlewares
                    self._deadlines.end(task)

        options = self._defaults | self._options
        if request.body is None:
            options |= {"headers": self._headers, **_NO_BODY}
        else:  # its middlewares may change the payload that aiohttp makes of the bytes
            options |= {"headers": self._headers | _JSON_BODY, "data": request.body}
        # The session's own are among them: an argument here replaces them.
        own = getattr(session, "_middlewares", ())
        return self._exchange_bytes(
            session,
            request,
            min(left, longest),
            options,
            state.watch_middlewares,
            *own,
            wait_for_connection,
            state.middleware,
        )

    async def _exchange_bytes(
        self,
        session: aiohttp.ClientSession,
        request: Request[object],
        seconds: float,
        options: dict[str, Any],
        *middlewares: aiohttp.ClientMiddlewareType,
    ) -> Response:
        """Send a request, and read the response within so many seconds."""
        task, response, seconds = _current_task(), None, max(seconds, 0.001)
        if seconds != self.max_seconds:
            options = options | {"timeout": _make_limits(seconds)}
        outer = self._deadlines.start(task, task.get_loop().time() + seconds)
        try:
            response = await session.request(
                request.method,
                self._make_url(request.target),
                middlewares=middlewares,
                **options,
            )
            if 300 <= response.status < 400:
                response.close()
                return response.status, response.headers, b""
            content = response.content
            # Small bodies mostly come with the headers. To await what is there takes 4,000
            # instructions.
            is_there = content.is_eof() and content.total_bytes <= MAX_BODY
            body = content.read_nowait() if is_there else await _read_body(response)
            return response.status, response.headers, body
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, asyncio.CancelledError) and self._deadlines.end(task):
                raise TimeoutError from error
            raise
        finally:
            self._deadlines.end(task)
            if outer is not None:  # a session's middleware has made this call within another
                self._deadlines.resume(task, outer)

    def _make_options(self, request: Request[object]) -> dict[str, Any]:
        """Return what a request over a session of our own has beside the session's defaults."""
        body = request.body
        if body is None:
            return self._options if request.method == "GET" else self._options | _NO_BODY
        # All calls of a job mostly send the same. To make aiohttp's payload of it takes 11,000
        # instructions, 2% of a call.
        if self._payload is None or self._payload[0] != body:
            self._payload = body, aiohttp.BytesPayload(body, content_type=_JSON)
        return self._options | {"data": self._payload[1]}

    def _get_session(self, keepalive: float) -> aiohttp.ClientSession:
        """Return the session that keeps idle connections so long, and open it for its first use."""
        session = self._sessions.get(keepalive)
        if session is None:
            session = self._sessions[keepalive] = open_session(
                keepalive, self._tls_context, self._sockets, self._defaults
            )
        elif session.closed:  # and about to be forgotten, by `close_with_loop`
            raise ClientClosedError(_LOOP_ENDS)
        return session


def _make_url_builder(base_url: str) -> Callable[[str], URL]:
    """Return what makes a URL of a request's target: its path and query, percent-encoded."""
    base = URL(base_url, encoded=True)
    scheme, authority, prefix = base.scheme, base.raw_authority, base.raw_path.removesuffix("/")

    @lru_cache(maxsize=16)  # the calls of a batch job all have the same target
    def make_url(target: str) -> URL:
        # To split the whole URL anew takes 16,000 instructions more for each page of a list.
        path, _, query = target.partition("?")
        return URL.build(
            scheme=scheme,
            authority=authority,
            path=prefix + path,
            query_string=query,
            encoded=True,
        )

    return make_url


def _make_limits(total: float) -> aiohttp.ClientTimeout:
    # `Deadlines` ends the whole. Connecting gets less, so that a retry, which is safe as long as
    # nothing was sent, still fits. aiohttp rounds time-outs above `ceil_threshold` up to seconds.
    connect = min(total / 2, _CONNECT_TIMEOUT)
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_connect=connect, ceil_threshold=math.inf
    )


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # asyncio runs coroutines in tasks only
    return task


async def _read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the undecoded body. None, with the connection closed, if it is larger than the cap."""
    chunks: list[bytes] = []
    content, size = response.content, 0
    while not content.at_eof():
        chunk = await content.readany()
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
