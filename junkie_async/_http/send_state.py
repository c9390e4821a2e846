"""One attempt as aiohttp makes it: how far it got, and that it is one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection

from .._errors import JunkieError
from .._protocol.responses import is_turned_away
from .api_key import IssuedKey


class ConnectionLostError(Exception):
    """Carries aiohttp's error past aiohttp's own silent resend."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class SendState:
    """Whether a request was sent, and over what connection.

    ``fresh`` asks for a new connection. When one pooled connection is dead, most often all are: a
    retry that draws the next one from the pool fails like the first attempt. ``is_queued`` is true
    while the request waits for one of the connections that a session passed in may have.
    ``before_send`` is called just before a request with a body is written, and keeps it back by
    raising. ``timeout`` is in place of the transport's own. ``may_have_acted`` is true if the
    middlewares of a session passed in have sent a request that may have been carried out, and that
    the attempt's own result says nothing about.
    """

    __slots__ = (
        "_before_send",
        "_in_flight",
        "_is_over",
        "_latest",
        "_protocol",
        "api_key",
        "fresh",
        "is_queued",
        "may_have_acted",
        "sent",
        "timeout",
    )

    def __init__(
        self,
        api_key: IssuedKey | None = None,
        fresh: bool = False,
        before_send: Callable[[], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.api_key: IssuedKey | None = api_key
        self.fresh: bool = fresh
        self.timeout: float | None = timeout
        self._before_send = before_send
        self.is_queued: bool = False
        self.sent: bool = False
        self.may_have_acted: bool = False
        self._protocol: asyncio.BaseProtocol | None = None
        # Of the requests that a session's middlewares send.
        self._is_over: bool = False
        self._in_flight: int = 0
        self._latest: aiohttp.ClientResponse | BaseException | None = None

    async def watch_middlewares(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Act as the first middleware: see whether a session's own end with a request's result.

        They may also end with an error of their own, or while another request is in flight. One
        that has not been sent by then is not sent any more, unless it only reads.
        """
        result: aiohttp.ClientResponse | BaseException | None = None
        self._is_over = False
        try:
            result = await handler(request)
            return result
        except BaseException as error:
            result = error
            raise
        finally:
            if self._in_flight or result is not self._latest:
                self._lose_sight()
            # An error refers to the frames that it came through, and so to these: a cycle.
            self._latest, self._is_over = None, True
            del result

    async def send_by_middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Act as the middleware after a session's own, which may send the request several times."""
        self._lose_sight()
        self._latest = None
        self._in_flight += 1
        result: aiohttp.ClientResponse | BaseException | None = None
        try:
            result = await handler(request)
            return result
        except BaseException as error:
            result = error
            raise
        finally:
            self._in_flight -= 1
            if self._in_flight:
                self._lose_sight()
            if not self._is_over:
                self._latest = result
            del result

    def _lose_sight(self) -> None:
        """Note that the attempt's result will not be that of the latest request."""
        if self.sent and not _is_refusal(self._latest):
            self.may_have_acted = True

    def close_connection(self) -> None:
        """Close the connection that the request was sent over, also if it is idle now."""
        transport = getattr(self._protocol, "transport", None)
        if transport is not None:
            transport.close()

    async def middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Act as aiohttp's middleware for one request: one attempt is one request.

        aiohttp silently sends GET, PUT and DELETE again when a connection drops, even a fresh one.
        It does so for these two classes only, so an error of our own ends the attempt instead.
        """
        if not request.body:
            # One of a given session's own headers. Fastify and Express then look for a body.
            request.headers.popall(hdrs.CONTENT_TYPE, None)
        send = request.send

        def tracked_send(conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            if self._is_over and request.method != "GET":
                raise aiohttp.ClientConnectionError("not sent: its call goes on without it")
            if self._before_send is not None:
                self._check_before_write(request, self._before_send)
            self.sent, self._protocol = True, conn.protocol
            return send(conn)

        # aiohttp's tracing (`on_request_headers_sent`) says the same, for 15 to 23% of a request's
        # CPU. A request class would not reach a session that was passed in.
        request.send = tracked_send  # type: ignore[method-assign]  # on this one request
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # No other variable may refer to it: this frame is in its traceback, a reference cycle.
            raise ConnectionLostError(error) from None
        finally:
            # Other cycles: they refer to the request. A session's middleware may have sent it twice
            # at once. `vars` makes a dict of the request, which takes 3,000 instructions.
            try:  # noqa: SIM105 - `suppress` takes 2,000
                del request.send
            except AttributeError:
                pass
            if self._before_send is not None:
                vars(request).pop("write_bytes", None)

    def _check_before_write(
        self, request: aiohttp.ClientRequest, before_send: Callable[[], None]
    ) -> None:
        """Call a function when the request with its body is about to be written.

        Up to Python 3.11 that is in a task, after others had their turn.
        """
        write = request.write_bytes

        async def checked_write(writer: Any, conn: Connection, length: int | None) -> None:
            try:
                before_send()
            except JunkieError as error:
                self.sent = False
                assert conn.protocol is not None
                conn.protocol.set_exception(error)  # which the wait for the response raises
            else:
                await write(writer, conn, length)

        request.write_bytes = checked_write  # type: ignore[method-assign, assignment]


def _is_refusal(result: aiohttp.ClientResponse | BaseException | None) -> bool:
    if not isinstance(result, aiohttp.ClientResponse):
        return False
    return result.status >= 400 and is_turned_away(result.status, result.headers)
