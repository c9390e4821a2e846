"""The web application: authentication, rate limit, latency, faults, and errors as JSON."""

import asyncio
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from .faults import Fault, FaultInjector, Faults
from .operations import HANDLERS, ValidRequest
from .rate_limiter import RateLimiter
from .request_validation import BadRequestError, Operation, load_operations
from .store import Store

PREFIX = "/api/v2"
_MAX_BODY = 1024 * 1024  # bytes; a bulk delete of 1,000 key values has about 30 KB

_log = logging.getLogger("junkie_async.emulator")

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def _json_response(body: str, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=body.encode(), status=status, content_type="application/json", headers=headers
    )


def _error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    return _json_response(json.dumps({"error": message}), status, headers)


def _check_rate(name: str, rate: float) -> float:
    if not (rate > 0 and math.isfinite(rate)):  # NaN fails every comparison
        raise ValueError(f"{name} must be a finite number > 0, got {rate!r}")
    return rate


def _abort_connection(request: web.Request) -> web.Response:
    if request.transport is not None:  # None if the client has closed the connection already
        request.transport.abort()
    return web.Response()  # aiohttp requires one; it is not sent


def _from_http_exception(error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return _error_response(405, "Method not allowed", {"Allow": allowed})
    if isinstance(error, web.HTTPUnauthorized):
        return _error_response(401, "Invalid API key", {"WWW-Authenticate": "Bearer"})
    return _error_response(error.status, "Not found" if error.status == 404 else error.reason)


def _read_api_key(request: web.Request) -> str:
    """Return the request's bearer token, or "" if it has none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Service:
    """The web application over a store and its thread, with its settings and its counters."""

    def __init__(
        self,
        *,
        api_keys: Collection[str] | Mapping[str, float | None] | None,
        rate_limit_headers: bool,
    ) -> None:
        if isinstance(api_keys, str):  # a collection, of its letters
            raise TypeError("api_keys must be a collection of strings, not one string")
        self._api_keys = None if api_keys is None else frozenset(api_keys)
        rates = cast("dict[str, float | None]", api_keys if isinstance(api_keys, Mapping) else {})
        self._own_rates: dict[str, float] = {
            key: _check_rate("the rate limit of an API key", rate)
            for key, rate in rates.items()
            if rate is not None
        }
        self._rate_limit_headers = rate_limit_headers
        self._latency = 0.0
        self._rate: float | None = None
        self._burst: float | None = None
        self._limiters: dict[str, RateLimiter] = {}  # by API key; "" is every refused one
        self._injector: FaultInjector | None = None
        self._calls: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._faults_injected: Counter[str] = Counter()
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None

    @property
    def requests(self) -> int:
        """The number of responses sent, including refusals, errors and those of `faults`.

        A request whose connection a fault aborted does not count.
        """
        return self._statuses.total()

    @property
    def calls(self) -> Counter[str]:
        """The number of requests per operation, by operationId such as ``listKeys``.

        Requests refused for their contents or their API key count; requests refused by the rate
        limit, and those that `faults` kept from being carried out, do not.
        """
        return self._calls

    @property
    def statuses(self) -> Counter[int]:
        """The number of responses per HTTP status; they add up to `requests`."""
        return self._statuses

    @property
    def faults_injected(self) -> Counter[str]:
        """The number of faults: ``error``, ``drop_before``, ``drop_after``, ``throttle``.

        Each 429 of a burst counts. ``latency`` counts the delayed requests, whatever other fault
        they had.
        """
        return self._faults_injected

    @property
    def latency(self) -> float:
        """The minimum time between a request and its response, in seconds, finite and >= 0."""
        return self._latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        if not (seconds >= 0 and math.isfinite(seconds)):  # NaN fails every comparison
            raise ValueError(f"latency must be a finite number of seconds >= 0, got {seconds!r}")
        self._latency = seconds

    @property
    def rate_limit(self) -> float | None:
        """Requests admitted per second and API key, finite and > 0; None admits all.

        It does not apply to API keys with limits of their own.
        """
        return self._rate

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        self._rate = None if rate is None else _check_rate("rate_limit", rate)
        self._limiters.clear()

    @property
    def rate_limit_burst(self) -> float | None:
        """Requests admitted in a burst, finite and >= 1; None is one second's worth.

        Setting it, or `rate_limit`, fills the buckets of all API keys.
        """
        return self._burst

    @rate_limit_burst.setter
    def rate_limit_burst(self, burst: float | None) -> None:
        # With less than one token nothing would ever pass.
        if burst is not None and not (burst >= 1 and math.isfinite(burst)):
            raise ValueError(f"rate_limit_burst must be a finite number >= 1, got {burst!r}")
        self._burst = burst
        self._limiters.clear()

    @property
    def faults(self) -> Faults | None:
        """The faults that are injected, or None.

        Setting it, even to the same value, restarts its seed and its bursts.
        """
        return self._injector.faults if self._injector else None

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._injector = None if faults is None else FaultInjector(faults)

    async def _run_in_store(
        self, function: Callable[[Store, *Arguments], Result], *args: *Arguments
    ) -> Result:
        if self._store is None:
            raise RuntimeError("the emulator is not running: use `async with Emulator()`")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, self._store, *args)

    def _make_application(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=_MAX_BODY)
        for operation in load_operations():  # aiohttp tries paths without placeholders first
            handler = self._make_handler(operation)
            path, name = PREFIX + operation.path, operation.operation_id
            app.router.add_route(operation.method, path, handler, name=name)
        return app

    def _make_handler(self, operation: Operation) -> Handler:
        run_operation = HANDLERS[operation.operation_id]

        async def handle(request: web.Request) -> web.Response:
            self._calls[operation.operation_id] += 1
            self._authenticate(request)
            parameters = operation.validate_parameters(request.query, request.match_info)
            if self.faults is not None:
                for name in self.faults.ignored_filters:
                    parameters.pop(name, None)
            body = operation.validate_body(request.content_type, await request.read())
            response = await self._run_in_store(run_operation, ValidRequest(parameters, body))
            return _json_response(response.body, response.status)

        return handle

    def _authenticate(self, request: web.Request) -> None:
        if not self._is_accepted(_read_api_key(request)):
            raise web.HTTPUnauthorized

    def _is_accepted(self, api_key: str) -> bool:
        return bool(api_key) and (self._api_keys is None or api_key in self._api_keys)

    def _find_limiter(self, request: web.Request) -> RateLimiter | None:
        """Return the bucket of the request's API key, which is full at its first request."""
        api_key = _read_api_key(request)
        if not self._is_accepted(api_key):
            api_key = ""  # guesses share one bucket
        if (rate := self._own_rates.get(api_key, self._rate)) is None:
            return None
        if api_key not in self._limiters:
            self._limiters[api_key] = RateLimiter(rate, self._burst)
        return self._limiters[api_key]

    # From outside in: latency and counters, faults, rate limit, errors, the operation. Faults come
    # before the rate limit, as in a proxy in front of the service.
    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        due_at = loop.time() + self._latency
        fault = self._draw_fault(request)
        response = await self._respond_with_fault(fault, request, handler)
        # The latency is a minimum that includes the processing; a fault's latency comes on top.
        if (wait := max(0, due_at - loop.time()) + fault.latency) > 0:
            await asyncio.sleep(wait)
        if response is None:
            return _abort_connection(request)
        self._statuses[response.status] += 1
        return response

    def _draw_fault(self, request: web.Request) -> Fault:
        if self._injector is None:
            return Fault()
        fault = self._injector.draw(request.match_info.route.name)
        if fault.kind:
            self._faults_injected[fault.kind] += 1
        if fault.latency:
            self._faults_injected["latency"] += 1
        return fault

    async def _respond_with_fault(
        self, fault: Fault, request: web.Request, handler: Handler
    ) -> web.StreamResponse | None:
        if fault.status:
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return _error_response(fault.status, "Injected fault", wait)
        if fault.kind == "drop_before":
            return None
        response = await self._respond_within_limit(request, handler)
        return None if fault.kind == "drop_after" else response

    async def _respond_within_limit(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        limiter = self._find_limiter(request)
        admission = limiter.admit() if limiter else None
        if admission is None or admission.admitted:
            response = await self._respond_or_error(request, handler)
        else:
            wait = {"Retry-After": str(admission.retry_after)}
            response = _error_response(429, "Too many requests", wait)
        if admission and self._rate_limit_headers:
            response.headers.update(admission.headers)
        return response

    async def _respond_or_error(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadRequestError as error:
            return _json_response(json.dumps({"error": str(error), "field": error.field}), 400)
        except web.HTTPException as error:
            return _from_http_exception(error)
        # A bad Content-Encoding, or a client that closed the connection in the middle of its body.
        except (web.RequestPayloadError, ConnectionError):
            return _error_response(400, "The request's body can't be read")
        # The boundary of the service: an unforeseen error is logged, and a client still gets JSON.
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return _error_response(500, "Internal error")
