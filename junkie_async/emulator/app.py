"""HTTP: who may ask, how often, when the answer leaves and what goes wrong; answers are JSON."""

import asyncio
import json
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from .contract import BadRequestError, Operation, operations
from .faults import NO_FAULT, Fault, Faults, Injector
from .operations import HANDLERS, Answer, Call
from .ratelimit import RateLimiter, checked_burst
from .store import Store

PREFIX = "/api/v2"
_MAX_BODY = 1024 * 1024  # bytes; a bulk delete of 1,000 key values has about 30 KB

_log = logging.getLogger("junkie_async.emulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Run = Callable[[Callable[[Store, Call], Answer], Call], Awaitable[Answer]]


class _UnauthorizedError(Exception):
    """The request carries no bearer token that is known."""


def _json_response(
    body: str, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=body.encode(),
        status=status,
        headers={"Content-Type": "application/json", **(headers or {})},
    )


def _error(status: int, message: str, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _json_response(json.dumps({"error": message}), status, named)


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:  # the client may have been first
        request.transport.abort()
    return web.Response()  # aiohttp wants one; there is nobody to get it


def _from_http(error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return _error(405, "Method not allowed", Allow=", ".join(sorted(error.allowed_methods)))
    return _error(error.status, "Not found" if error.status == 404 else error.reason)


class Service:
    """The state of a running service, and the web application that shows it.

    Args:
        run: Runs one of the operations in the store's thread.
        api_keys: The accepted bearer tokens; None accepts any that is not empty.
        rate_limit_headers: Whether every answer tells the state of the rate limit.

    Attributes:
        requests: How many requests were answered.
        calls: How many requests went to each operation, by operationId, whatever came of it.
        statuses: How many answers had each status.
        faults_injected: How many faults of each kind were made.
    """

    def __init__(
        self, run: Run, *, api_keys: Collection[str] | None, rate_limit_headers: bool
    ) -> None:
        self._run = run
        self._api_keys = None if api_keys is None else frozenset(api_keys)
        self._rate_limit_headers = rate_limit_headers
        self._latency = 0.0
        self._limiter: RateLimiter | None = None
        self._burst: float | None = None
        self._injector: Injector | None = None
        self.requests = 0
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults_injected: Counter[str] = Counter()

    @property
    def latency(self) -> float:
        """The least time between a request's coming and its answer's leaving, in seconds."""
        return self._latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"latency must be a finite number of seconds from 0, not {seconds!r}")
        self._latency = seconds

    @property
    def rate_limit(self) -> float | None:
        """How many requests a second are admitted; None admits all."""
        return self._limiter.rate if self._limiter else None

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        self._limiter = None if rate is None else RateLimiter(rate, self._burst)

    @property
    def rate_limit_burst(self) -> float | None:
        """How many requests are admitted at once; None is a second's worth, at least 1."""
        return self._burst

    @rate_limit_burst.setter
    def rate_limit_burst(self, burst: float | None) -> None:
        self._burst = None if burst is None else checked_burst(burst)
        self.rate_limit = self.rate_limit  # a new bucket

    @property
    def faults(self) -> Faults | None:
        """What goes wrong on purpose; None is nothing."""
        return self._injector.faults if self._injector else None

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._injector = None if faults is None else Injector(faults)

    def application(self) -> web.Application:
        """Return the application; its routes are those of the contract."""
        app = web.Application(middlewares=[self._front], client_max_size=_MAX_BODY)
        for operation in operations():  # aiohttp tries paths without placeholders first
            path = PREFIX + operation.path
            handler, name = self._handler(operation), operation.operation_id
            app.router.add_route(operation.method, path, handler, name=name)
        return app

    def _handler(self, operation: Operation) -> Handler:
        handler = HANDLERS[operation.operation_id]

        async def handle(request: web.Request) -> web.Response:
            self.calls[operation.operation_id] += 1
            self._authenticate(request)
            parameters = operation.check_parameters(request.query, request.match_info)
            body = operation.check_body(request.content_type, await request.read())
            answer = await self._run(handler, Call(parameters, body))
            return _json_response(answer.body, answer.status)

        return handle

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        known = bool(token) if self._api_keys is None else token in self._api_keys
        if scheme.lower() != "bearer" or not known:
            raise _UnauthorizedError

    @web.middleware
    async def _front(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        leaves_at = loop.time() + self._latency
        fault = self._fault(request)
        response = await self._unless(fault, request, handler)
        if (wait := max(0, leaves_at - loop.time()) + fault.latency) > 0:
            await asyncio.sleep(wait)
        if response is None:
            return _hang_up(request)
        self.requests += 1
        self.statuses[response.status] += 1
        return response

    def _fault(self, request: web.Request) -> Fault:
        if self._injector is None:
            return NO_FAULT
        fault = self._injector.draw(request.match_info.route.name)
        if fault.kind:
            self.faults_injected[fault.kind] += 1
        if fault.latency:
            self.faults_injected["latency"] += 1
        return fault

    async def _unless(
        self, fault: Fault, request: web.Request, handler: Handler
    ) -> web.StreamResponse | None:
        if fault.status:
            wait = {} if fault.retry_after is None else {"Retry_After": str(fault.retry_after)}
            return _error(fault.status, "Injected fault", **wait)
        if fault.kind == "drop_before":
            return None
        response = await self._limited(request, handler)
        return None if fault.kind == "drop_after" else response

    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        verdict = self._limiter.admit() if self._limiter else None
        if verdict is None or verdict.admitted:
            response = await self._answered(request, handler)
        else:
            response = _error(429, "Too many requests", Retry_After=str(verdict.retry_after))
        if verdict and self._rate_limit_headers:
            response.headers.update(verdict.headers)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadRequestError as error:
            body = json.dumps({"error": str(error), "field": error.field})
            return _json_response(body, 400)
        except _UnauthorizedError:
            return _error(401, "Invalid API key", WWW_Authenticate="Bearer")
        except web.HTTPException as error:
            return _from_http(error)
        except (web.RequestPayloadError, ConnectionError):  # or the client went away meanwhile
            return _error(400, "The request's body can't be read")
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return _error(500, "Internal error")
