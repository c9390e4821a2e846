"""One attempt of a call over HTTP. The only file that knows `aiohttp.ClientSession`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from .._errors import (
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    JunkieError,
    RequestTimeoutError,
    TransportError,
)
from .._protocol.decompression import MAX_BODY
from .._protocol.requests import Request
from .._version import __version__

Response: TypeAlias = tuple[int, Mapping[str, str], bytes | None]
"""Status, headers (names in any case), and the body as it came; None where that is too large."""

_KEEPALIVE = 15.0
# A server that closes an idle connection just as we send makes the outcome unknown. Calls that
# must not be repeated therefore only reuse a connection that has just answered.
_KEEPALIVE_NON_IDEMPOTENT = 0.5
_READ_BUFFER = 2**18  # a page in one piece: the default pauses reading at every 128 KiB
_CONNECT_TIMEOUT = 10.0
# asyncio reads into a new block of 256 KiB each time. glibc maps such a block anew until a larger
# one was freed once (mallopt(3), M_MMAP_THRESHOLD), which costs more than to decode what was read.
_SPARE = 2**19


class _LostError(Exception):
    """Carries aiohttp's error past aiohttp's own silent resend."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class SendState:
    """How far a request came: whether it was sent, or None where that is not known."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent: bool | None = None

    async def follow(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Be aiohttp's middleware for one request.

        It keeps attempts ours to count: aiohttp sends GET, PUT and DELETE again on these errors.
        """
        if isinstance(request, _Request):
            request.progress = self
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            lost = error
        raise _LostError(lost)


class _Request(aiohttp.ClientRequest):
    """Notes when it is about to be written, for less than what aiohttp's tracing costs."""

    progress: SendState | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if self.progress is not None:
            self.progress.sent = True
        return await super().send(conn)


class Transport:
    """Connections to the service, which belong to the event loop of the first attempt.

    Args:
        base_url: Where the service is, without a slash at the end.
        api_key: Sent as a bearer token.
        timeout: Seconds for an attempt.
        session: A session to use instead of its own two, or None.
    """

    def __init__(
        self, *, base_url: str, api_key: str, timeout: float, session: aiohttp.ClientSession | None
    ) -> None:
        self.base_url = base_url
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"junkie_async/{__version__}",
        }
        self._body_headers = self._headers | {"Content-Type": "application/json"}
        self._longest = timeout
        self._timeout = _time_out(timeout)
        self._given = session
        self._idempotent: aiohttp.ClientSession | None = session
        self._non_idempotent: aiohttp.ClientSession | None = session

    async def close(self) -> None:
        """Close the connections, but never a session that was given. May be called again."""
        for session in (self._idempotent, self._non_idempotent):
            if session is not None and session is not self._given:
                await session.close()  # kept until then, for a second close after a cancelled one

    async def attempt(self, call: Request[object], progress: SendState, left: float) -> Response:
        """Send one request and read its answer as it comes.

        Args:
            call: What to send.
            progress: Told how far it comes, also when it is cancelled.
            left: Seconds that it may take, if that is less than the time-out.

        Raises:
            TransportError: No complete answer came.
            ConfigurationError: The given session can't be used.
            ClientClosedError: The given session is closed.
        """
        session = self._session(call)
        progress.sent = False if not call.idempotent and session is not self._given else None
        try:
            return await self._exchange(session, call, progress, left)
        except _LostError as lost:
            failure = _translate(lost.error, progress.sent)
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            failure = _translate(error, progress.sent)
        except ValueError:  # aiohttp's, about two credentials for one request
            failure = ConfigurationError("the given session has credentials of its own (auth=)")
        raise failure  # out here, where no error of aiohttp's hangs on it

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        call: Request[object],
        progress: SendState,
        left: float,
    ) -> Response:
        async with session.request(
            call.method,
            URL(self.base_url + call.target, encoded=True),
            data=call.body,
            headers=self._headers if call.body is None else self._body_headers,
            timeout=self._timeout if left >= self._longest else _time_out(max(left, 0.001)),
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            middlewares=(progress.follow,),
        ) as response:
            if 300 <= response.status < 400:
                response.close()
                return response.status, response.headers, b""
            return response.status, response.headers, await _read_body(response)

    def _session(self, call: Request[object]) -> aiohttp.ClientSession:
        """Give the session for the call's class, opened by its first call."""
        session = self._idempotent if call.idempotent else self._non_idempotent
        if session is None:
            session = _open(idempotent=call.idempotent)
            if call.idempotent:
                self._idempotent = session
            else:
                self._non_idempotent = session
        elif session.closed:
            raise ClientClosedError("the session that the client was given is closed")
        return session


def _open(*, idempotent: bool) -> aiohttp.ClientSession:
    bytes(_SPARE)
    return aiohttp.ClientSession(
        # The throttle counts requests; a connector's own limit can lose a cancelled waiter's turn.
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEPALIVE if idempotent else _KEEPALIVE_NON_IDEMPOTENT
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        request_class=aiohttp.ClientRequest if idempotent else _Request,
    )


def _time_out(total: float) -> aiohttp.ClientTimeout:
    """Limit one attempt.

    `total` ends a drip of bytes as well as silence, so that `sock_read`, which costs a timer for
    each piece that comes, would add nothing. To connect takes less: nothing is sent until then.
    """
    connect = min(total / 2, _CONNECT_TIMEOUT)
    return aiohttp.ClientTimeout(
        total=total, connect=connect, sock_connect=connect, ceil_threshold=math.inf
    )


async def _read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the whole body as it came; None, with the connection closed, if it is over the cap."""
    content, chunks, size = response.content, [], 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


_REFUSED = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ServerFingerprintMismatch,
)


def _translate(error: Exception, sent: bool | None) -> JunkieError:
    """Name aiohttp's error in our words; ``sent`` says whether the request may have left."""
    # Others' words may have the address in them, and so a key value.
    reason = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.strerror or reason
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the base URL can't be used")
    if isinstance(error, _REFUSED):
        return ConnectError(f"the TLS handshake failed: {reason}", transient=False)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ConnectError(f"no connection came about: {reason}")
    if sent is False:
        return ConnectError(f"the connection was lost before the request was sent: {reason}")
    if isinstance(error, TimeoutError):
        return RequestTimeoutError("no complete answer came in time")
    if isinstance(error, aiohttp.ClientPayloadError | HttpProcessingError):
        return TransportError("the answer was cut short")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the answer was not HTTP")
    return TransportError(f"the connection was lost: {reason}")
