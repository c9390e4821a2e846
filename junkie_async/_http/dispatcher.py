"""One call, from its request slot to its value: attempts, retries, and what a failure means.

In reading order: `Dispatcher.send` -> `_attempt` -> `_finish_call` -> `_recover`.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import msgspec

from .._errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    InvalidResponseError,
    JunkieError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)
from .._hooks import Hooks, InFlightCallback, notify_hooks
from .._protocol import responses
from .._protocol.rate_limit_headers import read_date, read_rate_limit
from .._protocol.request_ids import read_request_id
from .._protocol.requests import Request
from .advice import advise
from .api_key import APIKey, APIKeySource
from .call_state import CallState
from .coroutines import running_loop
from .created_keys import CreatedKeys
from .local_rate import RateLimit
from .outage import Outage, Outages
from .reports import Reports
from .retry import RetryBudget, RetryPolicy, hurry, shorten_wait
from .send_state import SendState
from .shared_rate import RateStore, SharedRate, SharedThrottle
from .throttle import Priority, Throttle
from .transport import Response, Transport

T = TypeVar("T")


class _ClientState(msgspec.Struct, eq=False):
    """What changes while a client works, and is the same for all its views."""

    throttle: Throttle
    store: RateStore | None = None
    former_rates: set[asyncio.Task[None]] = msgspec.field(default_factory=set["asyncio.Task[None]"])
    """Shared rates of former API keys, that are being closed."""
    loop: asyncio.AbstractEventLoop | None = None
    answered_at: float = 0.0
    last_headers: Mapping[str, str] = {}


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
        self._policy = self._own_policy = hurry(retry, self.base_url)
        self._timeout: float | None = None
        self._budget = RetryBudget()
        self._outages = Outages(hooks)
        self.created: CreatedKeys = CreatedKeys()
        self._max_in_flight, self._rate_limit = max_in_flight, rate_limit
        self._shared_throttle = shared_throttle
        self._state = _ClientState(self._make_throttle(None))
        self._api_key = APIKey(api_key, self._use_key)
        self._key_source = "the function passed as api_key=" if callable(api_key) else key_source
        self._reports = Reports(hooks, self.base_url)
        self._loop_lock = threading.Lock()
        self._closing = asyncio.Event()

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

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    def service_time(self) -> datetime:
        """Return the time by the service's clock, as its latest response states it.

        Without a response it is that of the local clock, which may be wrong.
        """
        stated = read_date(self._state.last_headers)
        if stated is None:
            return datetime.now(UTC)
        age = asyncio.get_running_loop().time() - self._state.answered_at
        return stated + timedelta(seconds=age)

    async def close(self) -> None:
        """End all waiting calls with ClientClosedError, and close the connections.

        Raises ClientClosedError if the calls run in another event loop.
        """
        if self._state.loop is not None and not self.closed:
            await self._enter_loop(asyncio.get_running_loop())
        self._closing.set()
        self._state.throttle.close()
        if self._state.throttle.shared_rate is not None:
            await self._state.throttle.shared_rate.close()
        await self._api_key.close()
        for closing in tuple(self._state.former_rates):
            await closing
        await self._transport.close()

    async def send(
        self,
        request: Request[T],
        *,
        priority: Priority = "interactive",
        max_seconds: float | None = None,
        on_in_flight: InFlightCallback | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> T:
        """Send a request, retry it where that can do no harm, and return its value."""
        read = await self.fetch(
            request,
            priority=priority,
            max_seconds=max_seconds,
            on_in_flight=on_in_flight,
            before_send=before_send,
        )
        return await read()

    async def fetch(
        self,
        request: Request[T],
        *,
        priority: Priority = "interactive",
        max_seconds: float | None = None,
        on_in_flight: InFlightCallback | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Callable[[], Awaitable[T]]:
        """Send a request as `send` does, and return a function that reads the response.

        Until then the response takes the memory of its bytes only. If it can't be read, the request
        is retried as far as the policy allows. The call takes ``max_seconds`` at most, with its
        waits and retries. ``before_send`` is called just before each request is written, which must
        have a body; if it raises, that request is not sent.
        """
        deadline = running_loop().time() + self._choose_limit(priority, max_seconds)
        call = CallState(request, self._policy, deadline, on_in_flight, priority, deadline)
        call.before_send = before_send
        if max_seconds is not None and max_seconds <= 0:  # earlier requests of the call took all
            message = "not sent: the deadline of this call has passed"
            late = RequestTimeoutError(message, outcome=Outcome.NOT_EXECUTED, transient=False)
            raise call.make_final_error(late)
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

    def _choose_limit(self, priority: Priority, max_seconds: float | None) -> float:
        limit = self._policy.deadline if priority == "interactive" else math.inf
        return limit if max_seconds is None else min(limit, max_seconds)

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
            call.report_not_executed(refusal)
            raise

    async def _attempt(self, call: CallState[T], back_off: float = 0.0) -> Response:
        """Wait for a request slot, and send the request once."""
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
        await throttle.acquire(call.deadline, back_off=back_off, priority=call.priority)
        try:
            return await self._attempt_in_slot(call, loop)
        finally:
            throttle.release(call.priority)

    async def _attempt_in_slot(
        self, call: CallState[T], loop: asyncio.AbstractEventLoop
    ) -> Response:
        begin = loop.time()
        if call.failure is not None:
            self._reports.report_retry(call, call.failure, begin - call.failed_at)
        response = await self._send_once(call, loop, begin)
        status, headers, body = response
        self._state.answered_at, self._state.last_headers = loop.time(), headers
        failure = responses.read_failure(call.request, status, headers, body, *self._api_key.known)
        if not isinstance(failure, ServerError):
            self._outages.record_response(call)
        if failure is None:
            self._state.throttle.record_success(loop.time(), read_rate_limit(headers))
            return response
        self._adapt_throttle(call, failure, headers, begin, loop.time())
        call.report_not_executed(failure)
        raise failure

    async def _send_once(
        self, call: CallState[T], loop: asyncio.AbstractEventLoop, begin: float
    ) -> Response:
        """Send the request once, and count and report the attempt."""
        call.send_state = state = SendState(
            fresh=isinstance(call.failure, TransportError),
            before_send=call.before_send,
            timeout=self._timeout,
        )
        result: int | str = "CancelledError"
        call.headers = {}
        state.api_key = self._api_key.current
        call.attempts += 1
        if call.on_in_flight is not None:
            call.on_in_flight(True)
        try:
            response = await self._transport.attempt(call.request, state, call.deadline - begin)
            result, call.headers, _ = response
            return response
        except JunkieError as error:
            result = type(error).__name__
            call.report_not_executed(error)
            if state.is_queued or not isinstance(error, TransportError):
                call.attempts -= 1  # the session can't be used, or was busy: there was no request
            raise
        except asyncio.CancelledError:
            if call.on_in_flight is not None and not state.sent:
                call.on_in_flight(False)
            raise
        finally:
            self._reports.report_attempt(call, result, loop.time() - begin, self._api_key)

    async def _recover(self, call: CallState[T], failure: JunkieError) -> T:
        """Retry a call that has failed, while the policy and the budget allow it."""
        # Callers are outside of their except blocks, and so is what follows the loop: otherwise
        # each error would hang on the one before it as its `__context__`.
        loop = asyncio.get_running_loop()
        self._record_failure(call, failure, loop.time())
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
                longest_pause=self._own_policy.retry_after_cap,
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
        return then(call, failure, now) if seconds is None else seconds

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

    def _adapt_throttle(
        self,
        call: CallState[T],
        failure: JunkieError,
        headers: Mapping[str, str],
        begin: float,
        now: float,
    ) -> None:
        """Slow the whole client down if a response asks for it."""
        retry_after: float | None = None
        if isinstance(failure, APIError) and failure.challenge and failure.status != 429:
            seconds = self._state.throttle.record_challenge(now, call.name_target(), sent=begin)
        elif isinstance(failure, RateLimitError):
            retry_after = failure.retry_after
            if retry_after is not None and retry_after > self._own_policy.retry_after_cap:
                return  # no pause: each call is to raise now, rather than to wait for an hour
            wait = None if retry_after is None else shorten_wait(self._policy, retry_after)
            seconds = self._state.throttle.record_refusal(now, wait, sent=begin)
        else:
            self._state.throttle.record_success(now, read_rate_limit(headers))
            return
        if seconds is not None:
            self._reports.report_pause(seconds, retry_after, self._state.throttle.ceiling)

    async def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the client to the running event loop, if the one before it is closed."""
        with self._loop_lock:  # two threads may make their first calls at once
            before = self._state.loop
            if before is loop:
                return
            if before is not None and not before.is_closed():
                raise ClientClosedError(
                    "the client belongs to another event loop, which is not closed:"
                    " create one client per event loop"
                )
            self._state.loop = loop
            if before is not None:
                self._start_anew(is_same_clock=before.time() <= loop.time() + 1.0)
        await self._transport.enter_loop()

    def _make_throttle(self, store: RateStore | None) -> Throttle:
        return Throttle(
            self._max_in_flight,
            self._rate_limit,
            max_reset=shorten_wait(self._own_policy, self._own_policy.retry_after_cap),
            back_off=self._own_policy.back_off,
            shared_rate=None if store is None else self._share_rate(store),
        )

    def _share_rate(self, store: RateStore) -> SharedRate:
        return SharedRate(store, partial(notify_hooks, self.hooks))

    def _use_key(self, api_key: str) -> None:
        """Send an API key from now on. A rate is shared by those who have the same."""
        self._transport.authorize(api_key)
        if self._shared_throttle is not None:
            store = self._shared_throttle.open_store(api_key, self.base_url)
            self._state.store = store
            former = self._state.throttle.replace_shared_rate(self._share_rate(store))
            if former is not None:
                closing = asyncio.create_task(former.close())
                self._state.former_rates.add(closing)
                closing.add_done_callback(self._state.former_rates.discard)

    def _start_anew(self, *, is_same_clock: bool) -> None:
        # What was learned ends at moments of the clock. By an earlier clock it would hold for long.
        self._outages.forget()
        self._api_key.forget_loop()
        self._state.former_rates.clear()
        state = self._state
        if is_same_clock:
            state.throttle = state.throttle.renew()
        else:
            state.throttle = self._make_throttle(state.store)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client can't be pickled: it holds the API key and open connections")
