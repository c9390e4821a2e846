"""From a call to its value over HTTP: a turn, the request, the answer, and again if need be.

The only file that knows `aiohttp.ClientSession`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TypeVar

import aiohttp
import stamina
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from . import _wire
from ._errors import (
    APIError,
    ClientClosedError,
    ConnectError,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    TransportError,
)
from ._retry import RetryBudget, RetryPolicy
from ._throttle import RateLimit, Throttle
from ._version import __version__
from ._wire import Call

T = TypeVar("T")

# Unless the application asks for stamina's log, a retry is no reason to write to its stderr.
logging.getLogger("stamina").addHandler(logging.NullHandler())

_KEEPALIVE = 15.0
# A server that closes an idle connection just as we send makes the outcome unknown. Calls that
# must not be repeated therefore only reuse a connection that has just answered.
_KEEPALIVE_ONCE = 0.5
_READ_BUFFER = 2**18  # a page in one piece: the default pauses reading at every 128 KiB
_CONNECT_TIMEOUT = 10.0


class _LostError(Exception):
    """Carries aiohttp's error past aiohttp's own silent resend."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _no_hidden_resend(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep attempts ours to count: aiohttp sends GET, PUT and DELETE again on these errors."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        lost = error
    raise _LostError(lost)


class _Progress:
    """How far a request came. ``sent`` stays None where no trace looks."""

    __slots__ = ("sent",)

    def __init__(self, *, traced: bool) -> None:
        self.sent: bool | None = False if traced else None


async def _note_sent(_: object, context: object, __: object) -> None:
    progress: _Progress = context.trace_request_ctx  # type: ignore[attr-defined]  # ours, see _exchange
    progress.sent = True


class Transport:
    """Sends calls. Belongs to the event loop that first uses it."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout: float,
        retry: RetryPolicy,
        max_in_flight: int,
        rate_limit: RateLimit | None,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self._base_url = base_url
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"junkie_async/{__version__}",
        }
        self._body_headers = self._headers | {"Content-Type": "application/json"}
        # `total` ends a drip of bytes as well as silence, so that `sock_read`, which costs a timer
        # for each piece that comes, would add nothing.
        self._timeout = aiohttp.ClientTimeout(
            total=timeout,
            # Sooner than `total`, even when aiohttp rounds to whole seconds: nothing was sent yet.
            connect=min(timeout / 2, _CONNECT_TIMEOUT),
            sock_connect=min(timeout / 2, _CONNECT_TIMEOUT),
        )
        self._policy = retry
        self._budget = RetryBudget()
        self._throttle = Throttle(max_in_flight, rate_limit)
        self._given = session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._repeatable: aiohttp.ClientSession | None = session
        self._once: aiohttp.ClientSession | None = session
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def close(self) -> None:
        """Close the connections, but never a session that was given. May be called again."""
        self._closed = True
        for session in (self._repeatable, self._once):
            if session is not None and session is not self._given:
                await session.close()  # kept until then, for a second close after a cancelled one

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that can do no harm, and give its value.

        Raises:
            JunkieError: The class that says what happened.
        """
        try:
            value = await self._attempt(call)
        except JunkieError as error:
            failure = error
        else:
            self._budget.earn()
            return value
        # Out here no error hangs on another, and stamina's loop costs nothing on the usual way.
        decision = self._decide(call, failure, 1, self._policy.deadline)
        if decision is False:
            raise _ending(call, failure, 1)
        return await self._again(call, failure, decision)

    async def _again(self, call: Call[T], first: JunkieError, decision: bool | float) -> T:
        failures = [first]
        deadline = time.monotonic() + self._policy.deadline

        def decide(error: Exception) -> bool | float:
            if not isinstance(error, JunkieError):
                return False
            if error is first:
                return decision
            left = deadline - time.monotonic()
            return self._decide(call, error, len(failures), left)

        try:
            async for attempt in stamina.retry_context(
                on=decide,
                attempts=None,
                timeout=None,
                wait_initial=self._policy.wait_initial,
                wait_max=self._policy.wait_max,
                wait_jitter=self._policy.wait_jitter,
            ):
                with attempt:
                    if attempt.num == 1:
                        raise first
                    try:
                        value = await self._attempt(call)
                    except JunkieError as error:
                        failures.append(error)
                        raise
                    self._budget.earn(retried=True)
                    return value
        except JunkieError as error:
            last = error
        if _is_gone(call, failures):
            return call.read(b"")
        if last.outcome is Outcome.NOT_EXECUTED and _may_have_acted(failures):
            last.outcome = Outcome.UNKNOWN
        raise _ending(call, last, len(failures))

    def _decide(self, call: Call[T], error: JunkieError, attempt: int, left: float) -> bool | float:
        """Ask the policy and the budget; let the whole client wait where the service said so."""
        again = self._policy.decide(error, once=call.once, attempt=attempt, left=left)
        if isinstance(error, RateLimitError) or (isinstance(error, APIError) and error.challenge):
            asked = error.retry_after
            wait = self._policy.wait_initial if asked is None else asked
            if wait <= self._policy.retry_after_cap:  # beyond it, each call is to raise at once
                self._throttle.pause(wait)
        return again if again is not False and self._budget.take() else False

    async def _attempt(self, call: Call[T]) -> T:
        self._session(call)  # a closed client says so at once, not when its turn comes
        failure: JunkieError | None = None
        async with self._throttle:
            session = self._session(call)
            progress = _Progress(traced=call.once and session is not self._given)
            try:
                status, headers, body = await self._exchange(session, call, progress)
            except _LostError as lost:
                failure = _translate(lost.error, progress.sent)
            except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
                failure = _translate(error, progress.sent)
        if failure is not None:
            raise failure
        return _wire.read_answer(call, status, headers, body)

    async def _exchange(
        self, session: aiohttp.ClientSession, call: Call[T], progress: _Progress
    ) -> tuple[int, Mapping[str, str], bytes | None]:
        async with session.request(
            call.method,
            URL(self._base_url + call.target, encoded=True),
            data=call.body,
            headers=self._headers if call.body is None else self._body_headers,
            timeout=self._timeout,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            middlewares=(_no_hidden_resend,),
            trace_request_ctx=progress,
        ) as response:
            if 300 <= response.status < 400:
                response.close()
                return response.status, response.headers, b""
            return response.status, response.headers, await _read_body(response)

    def _session(self, call: Call[T]) -> aiohttp.ClientSession:
        """Give the session for the call's class, opened in the running loop at the first call."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise ClientClosedError("the client belongs to another event loop; make one per loop")
        session = self._once if call.once else self._repeatable
        if session is None:
            session = _open(once=call.once)
            if call.once:
                self._once = session
            else:
                self._repeatable = session
        elif session.closed:
            raise ClientClosedError("the session that the client was given is closed")
        return session


def _open(*, once: bool) -> aiohttp.ClientSession:
    traces = []
    if once:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        traces.append(trace)
    return aiohttp.ClientSession(
        # The throttle counts requests; a connector's own limit can lose a cancelled waiter's turn.
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEPALIVE_ONCE if once else _KEEPALIVE
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=traces,
    )


async def _read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the whole body as it came; None, with the connection closed, if it is over the cap."""
    content, chunks, size = response.content, [], 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > _wire.MAX_BODY:
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
    reason = getattr(error, "strerror", None) or type(error).__name__
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


def _is_gone(call: Call[T], failures: list[JunkieError]) -> bool:
    """Whether a DELETE was carried out by an attempt whose answer was lost."""
    gone = call.method == "DELETE" and isinstance(failures[-1], NotFoundError)
    return gone and _may_have_acted(failures)


def _may_have_acted(failures: list[JunkieError]) -> bool:
    """Whether an attempt before the last one may have been carried out."""
    return any(error.outcome is not Outcome.NOT_EXECUTED for error in failures[:-1])


def _ending(call: Call[T], error: JunkieError, attempts: int) -> JunkieError:
    """Say what a call's last failure means for its caller, and which call it was."""
    error.method, error.path = call.method, call.path
    error.attempts = attempts - 1 if isinstance(error, ClientClosedError) else attempts
    error.__cause__ = error.__context__ = None
    if not call.once or error.outcome is Outcome.NOT_EXECUTED:
        return error
    unknown = OutcomeUnknownError(
        f"sent, and what became of it is not known: {error.message}", outcome=error.outcome
    )
    unknown.method, unknown.path, unknown.attempts = call.method, call.path, attempts
    unknown.__cause__ = error
    return unknown
