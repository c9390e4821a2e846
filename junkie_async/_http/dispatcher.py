"""One call, from its request slot to its value: attempts, retries, and what a failure means.

In reading order: `Dispatcher.send` -> `_attempt` -> `_finish_call` -> `_recover`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from .._errors import (
    APIError,
    AuthenticationError,
    InvalidResponseError,
    JunkieError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)
from .._hooks import Hooks, RequestStatus, StatusCallback
from .._protocol import responses
from .._protocol.redaction import Redactor
from .._protocol.request_ids import read_request_id
from .._protocol.requests import Request
from .advice import advise
from .api_key import APIKey, APIKeySource
from .call_state import NO_HEADERS, CallState
from .client_state import ClientState
from .coroutines import running_loop
from .created_keys import CreatedKeys
from .local_rate import RateLimit
from .outage import Outage, Outages
from .reports import Reports
from .retry import RetryBudget, RetryPolicy, hurry, shorten_wait
from .send_state import SendState
from .shared_rate import SharedThrottle
from .throttle import Priority
from .transport import Response, Transport

T = TypeVar("T")


class Dispatcher:
    """Sends calls over a transport, in one event loop after another.

    No error shows the ``api_key``, or what it returns, but for the beginning of a refused one.
    ``key_source`` says where it came from. The other arguments are those of `JunkieClient`.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        api_key: APIKeySource,
        key_source: str = "api_key=",
        retry: RetryPolicy,
        max_in_flight: int,
        rate_limit: RateLimit | None,
        shared_throttle: SharedThrottle | None = None,
        hooks: Sequence[Hooks] = (),
    ) -> None:
        self.base_url: str = transport.base_url
        self.hooks = hooks
        self._transport = transport
        self._policy = policy = hurry(retry, self.base_url)
        self._timeout: float | None = None
        self._budget = RetryBudget()
        self._outages = Outages(hooks)
        self.created: CreatedKeys = CreatedKeys()
        self._state = ClientState(max_in_flight, rate_limit, policy, hooks)
        self._api_key = APIKey(
            api_key,
            partial(_use_key, transport, self._state, shared_throttle),
            patience=transport.max_seconds,
        )
        self._key_source = "the function passed as api_key=" if callable(api_key) else key_source
        self._reports = Reports(hooks, self.base_url)

    def with_options(self, *, retry: RetryPolicy | None, timeout: float | None) -> Dispatcher:
        """Make one whose calls have another policy, or another ``timeout`` for each attempt.

        Everything else is shared: connections, throttle, budget, outages and lifetime.
        """
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        view._policy = self._policy if retry is None else hurry(retry, self.base_url)
        view._timeout = timeout or self._timeout
        return view

    @property
    def options(self) -> tuple[RetryPolicy, float | None]:
        """What `with_options` may change: views with the same options do the same."""
        return self._policy, self._timeout

    def shorten_wait(self, seconds: float) -> float:
        """Return how long a wait of a job takes: less in tests with instant waits."""
        return shorten_wait(self._policy, seconds)

    def redact(self, text: str, secrets: Iterable[str], longest: int) -> str:
        """Mask the API keys and other secrets in a text, on one line of so many characters."""
        return Redactor([*self._api_key.known, *secrets])(text, longest)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._state.is_closed

    def service_time(self) -> datetime:
        """Return the time by the service's clock, as far as it is known."""
        return self._state.service_time()

    async def close(self) -> None:
        """End all waiting calls with ClientClosedError, and close the connections.

        Raises ClientClosedError if the calls run in another event loop.
        """
        if self._state.loop is not None and not self.closed:
            await self._enter_loop(asyncio.get_running_loop())
        await self._state.close()
        await self._api_key.close()
        await self._transport.close()

    async def send(
        self,
        request: Request[T],
        *,
        priority: Priority = "interactive",
        max_seconds: float | None = None,
        on_status: StatusCallback | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> T:
        """Send a request, retry it where that can do no harm, and return its value.

        The call takes ``max_seconds`` at most, with its waits and retries. ``before_send`` is
        called just before each request is written, which must have a body; if it raises, that
        request is not sent.
        """
        call = self._begin_call(request, priority, max_seconds, on_status, before_send)
        try:
            value = self._read_response(call, await self._attempt(call))
        except JunkieError as error:
            failure = error
        else:
            self._budget.earn()
            return value
        return await self._recover(call, failure)

    async def fetch(
        self,
        request: Request[T],
        *,
        priority: Priority = "interactive",
        max_seconds: float | None = None,
    ) -> Callable[[], Awaitable[T]]:
        """Send a request as `send` does, and return a function that reads the response.

        Until then the response takes the memory of its bytes only. If it can't be read, the request
        is retried as far as the policy allows.
        """
        call = self._begin_call(request, priority, max_seconds)
        try:
            response = await self._attempt(call)
        except JunkieError as error:
            failure = error
        else:
            # A function, not a partial: a task's repr may be logged, and a partial's shows the
            # response (`test_a_response_is_read_on_demand`).
            return lambda: self._finish_call(call, response)
        value = await self._recover(call, failure)

        async def read() -> T:
            return value

        return read

    def _begin_call(
        self,
        request: Request[T],
        priority: Priority,
        max_seconds: float | None,
        on_status: StatusCallback | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> CallState[T]:
        loop = running_loop()
        limit = self._policy.deadline if priority == "interactive" else math.inf
        if max_seconds is not None:
            limit = min(limit, max_seconds)
        ends_at = math.inf if limit == math.inf else loop.time() + limit
        call = CallState(request, self._policy, ends_at, on_status, before_send, priority, ends_at)
        if max_seconds is not None and max_seconds <= 0:  # earlier requests of the call took all
            message = "not sent: the deadline of this call has passed"
            late = RequestTimeoutError(message, outcome=Outcome.NOT_EXECUTED, transient=False)
            raise call.make_final_error(late)
        return call

    async def _finish_call(self, call: CallState[T], response: Response) -> T:
        """Read the response of the first attempt."""
        try:
            value = self._read_response(call, response)
        except JunkieError as error:
            failure = error
        else:
            self._budget.earn()
            return value
        del response  # it would stay among the variables of the failure's first frame
        return await self._recover(call, failure)

    def _read_response(self, call: CallState[T], response: Response) -> T:
        try:
            value = responses.read_success(call.request, *response, *self._api_key.known)
            self.created.check(call.request, value)
            return value
        except InvalidResponseError as error:
            # It may belong to another call, and so may what comes next over this connection.
            call.send_state.close_connection()
            self.created.check_rows(call.request, error)
            raise
        except JunkieError as refusal:
            call.settle_outcome(refusal)
            raise

    def _attempt(self, call: CallState[T], back_off: float = 0.0) -> Coroutine[Any, Any, Response]:
        """Wait for a request slot, and send the request once."""
        # A coroutine that awaits no more than another one takes 2,000 instructions.
        is_prepared = asyncio.get_running_loop() is self._state.loop
        is_prepared = is_prepared and not self._api_key.is_due and call.refused_key is None
        if is_prepared and self._outages.find(call) is None:
            return self._attempt_soon(call, back_off)
        return self._prepare_attempt(call, back_off)

    async def _prepare_attempt(self, call: CallState[T], back_off: float) -> Response:
        """Attempt it in the running loop, with an API key that is valid, and as outages allow."""
        loop = asyncio.get_running_loop()
        if loop is not self._state.loop and not self.closed:  # a closed client's throttle says that
            self._transport.check_loop(loop)
            await self._enter_loop(loop)
        if (self._api_key.is_due or call.refused_key is not None) and not self.closed:
            await self._obtain_key(call)
        if outage := self._outages.find(call):
            return await self._attempt_in_outage(call, outage)
        return await self._attempt_soon(call, back_off)

    async def _obtain_key(self, call: CallState[Any]) -> None:
        timeout = self._transport.max_seconds if self._timeout is None else self._timeout
        if self._api_key.is_due:
            await self._api_key.obtain(call.deadline, timeout)
        refused = call.refused_key
        if refused is not None and refused.value == self._api_key.current.value:
            assert call.failure is not None
            raise call.failure

    async def _attempt_in_outage(self, call: CallState[T], outage: Outage) -> Response:
        """Send the request as a probe, once no other call is one, or after the outage."""
        loop = asyncio.get_running_loop()
        call.deadline = self._outages.end_of_patience(call, loop.time())
        if not await outage.begin_probe(call.deadline):
            message = "not sent: the service was failing for as long as this call could wait"
            raise call.failure or RequestTimeoutError(
                message, outcome=Outcome.NOT_EXECUTED, transient=False
            )
        try:
            if not outage.is_over:
                return await self._attempt_soon(call, max(0.0, outage.next_probe_at - loop.time()))
        finally:
            outage.end_probe()
        call.attempts_before = call.attempts
        call.deadline = min(call.limit, loop.time() + self._policy.deadline)
        return await self._attempt(call)

    async def _attempt_soon(self, call: CallState[T], back_off: float) -> Response:
        loop, throttle = asyncio.get_running_loop(), self._state.throttle
        if back_off or not throttle.take_slot(call.priority):
            await throttle.acquire(call.deadline, back_off=back_off, priority=call.priority)
        try:
            begin = loop.time()
            if call.failure is not None:
                self._reports.report_retry(call, call.failure, begin - call.failed_at)
            response = await self._send_once(call, loop, begin)
            self._check_response(call, response, sent=begin, now=loop.time())
            return response
        finally:
            throttle.release(call.priority)

    def _check_response(
        self, call: CallState[T], response: Response, *, sent: float, now: float
    ) -> None:
        """Learn from a response, and raise what it stands for unless it is a 2xx."""
        failure = responses.read_failure(call.request, *response, *self._api_key.known)
        if not isinstance(failure, ServerError):
            self._outages.record_response(call)
        self._state.record_response(call, call.headers, failure, sent=sent, now=now)
        if failure is not None:
            call.settle_outcome(failure)
            raise failure

    async def _send_once(
        self, call: CallState[T], loop: asyncio.AbstractEventLoop, begin: float
    ) -> Response:
        """Send the request once, and count and report the attempt."""
        call.send_state = state = SendState(
            self._api_key.current,
            isinstance(call.failure, TransportError),
            call.before_send,
            self._timeout,
        )
        result: int | str = "CancelledError"
        call.headers = NO_HEADERS
        call.attempts += 1
        if call.on_status is not None:
            call.on_status(RequestStatus.IN_FLIGHT)
        try:
            response = await self._transport.attempt(call.request, state, call.deadline - begin)
            result, call.headers, _ = response
            return response
        except JunkieError as error:
            result = type(error).__name__
            call.settle_outcome(error)
            if state.is_queued or not (state.sent or isinstance(error, TransportError)):
                call.attempts -= 1  # the session can't be used, or was busy: there was no request
            raise
        except asyncio.CancelledError:
            if not state.sent:
                call.report_idle()
            raise
        finally:
            self._reports.report_attempt(call, result, begin, loop, self._api_key)

    async def _recover(self, call: CallState[T], failure: JunkieError) -> T:
        """Retry a call that has failed, while the policy and the budget allow it."""
        # Callers are outside of their except blocks, and so is what follows the loop: otherwise
        # each error would hang on the one before it as its `__context__`.
        loop = asyncio.get_running_loop()
        self._record_failure(call, failure, loop.time())
        call.patience = shorten_wait(self._policy, call.limit - call.failed_at)
        call.deadline = min(call.deadline, call.failed_at + self._policy.deadline)
        while (seconds := self._seconds_to_retry(call, failure, loop.time())) is not None:
            try:
                value = self._read_response(call, await self._attempt(call, seconds))
            except JunkieError as error:
                failure = error
            else:
                self._budget.earn(retried=True)
                return value
            self._record_failure(call, failure, loop.time())
        if call.is_already_deleted(failure):
            return call.request.read(b"")
        raise self._add_advice(call, call.make_final_error(failure))

    def _record_failure(self, call: CallState[Any], failure: JunkieError, now: float) -> None:
        failure.request_id = read_request_id(call.request, call.headers, *self._api_key.known)
        call.record_failure(failure, now)

    def _add_advice(self, call: CallState[Any], error: JunkieError) -> JunkieError:
        if isinstance(error, APIError):
            sent = call.send_state.api_key or self._api_key.current
            error.advice = advise(
                error,
                base_url=self.base_url,
                api_key=sent.value,
                source=self._key_source,
                longest_pause=self._state.policy.retry_after_cap,
            )
        return error

    def _seconds_to_retry(
        self, call: CallState[T], failure: JunkieError, now: float
    ) -> float | None:
        """Decide whether the call goes on: the seconds to wait, or None to give up."""
        if isinstance(failure, AuthenticationError):
            return 0.0 if self._has_other_key(call, now) else None
        if self._outages.record_failure(call, failure):
            first, then = self._outages.wait_out, self._ask_policy  # no more attempts of each call
        else:
            first, then = self._ask_policy, self._outages.wait_out
        seconds = first(call, failure, now)
        seconds = then(call, failure, now) if seconds is None else seconds
        call.waited += seconds or 0.0
        return seconds

    def _has_other_key(self, call: CallState[Any], now: float) -> bool:
        """Whether a call that was answered 401 may be sent again with another key, which is once.

        It was not executed, whatever it is. So this is no retry, and counts as none.
        """
        refused = call.send_state.api_key
        if call.refused_key is not None or refused is None or now >= call.deadline:
            return False
        call.refused_key = refused
        call.attempts_before += 1
        return self._api_key.refuse(refused)

    def _ask_policy(self, call: CallState[T], failure: JunkieError, now: float) -> float | None:
        """Ask the policy and the budget: the seconds to wait, or None to give up."""
        left, attempt = call.deadline - now, call.attempts - call.attempts_before
        decision = self._policy.decide(
            failure,
            idempotent=call.request.idempotent,
            attempt=attempt,
            left=left,
            interactive=call.is_interactive,
        )
        if decision is False or left <= 0:
            return None
        if not self._budget.take(failure, interactive=call.is_interactive):
            return None
        if isinstance(failure, RateLimitError):
            return 0.0  # the throttle pauses this call along with all others
        if decision is True and call.has_met_dead_connection(failure):
            return 0.0  # the next attempt takes a new one
        return self._policy.back_off(max(0, attempt - 1)) if decision is True else decision

    async def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the client to the running event loop, if the one before it is closed."""
        if self._state.enter_loop(loop):
            self._outages.forget()
            self._api_key.forget_loop()
            await self._transport.enter_loop()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client can't be pickled: it holds the API key and open connections")


# Not a method: a client that nobody has closed would be in a reference cycle, and its warning late.
def _use_key(
    transport: Transport, state: ClientState, throttle: SharedThrottle | None, api_key: str
) -> None:
    """Send an API key from now on. A rate is shared by those who have the same."""
    transport.authorize(api_key)
    if throttle is not None:
        state.use_store(throttle.open_store(api_key, transport.base_url))
