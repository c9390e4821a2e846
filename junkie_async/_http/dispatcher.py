"""A call on its way from its turn to its value: attempts, and more of them if need be."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, NoReturn, TypeVar

import attrs
import stamina

from .._errors import (
    APIError,
    ClientClosedError,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
    TransportError,
)
from .._hooks import AttemptEvent, Hooks, InFlightCallback, PauseEvent, RetryEvent
from .._protocol import responses
from .._protocol.rate_limit_headers import read_rate_limit
from .._protocol.redaction import redact
from .._protocol.requests import Request
from .retry import RetryBudget, RetryPolicy
from .throttle import Priority, RateLimit, Throttle, wake
from .transport import Response, SendState, Transport

T = TypeVar("T")

_log = logging.getLogger("junkie_async")
_log.addHandler(logging.NullHandler())
# Unless the application asks for stamina's log, a retry is no reason to write to its stderr. (Where
# structlog is installed stamina uses that; `stamina.instrumentation.set_on_retry_hooks` decides.)
logging.getLogger("stamina").addHandler(logging.NullHandler())


@attrs.define(eq=False)
class _Errand(Generic[T]):
    """A call on its way.

    Attributes:
        call: What is to be done.
        deadline: When it must be over, on the event loop's clock.
        on_in_flight: Told when an attempt begins, and when it is over and can't have acted.
        attempts: How many requests were sent for it.
        failure: How the latest of them ended, once one has failed.
        failed_at: When that was, on the event loop's clock.
    """

    call: Request[T]
    deadline: float
    on_in_flight: InFlightCallback | None
    attempts: int = 0
    failure: JunkieError | None = None
    failed_at: float = 0.0

    def tell(self, *, in_flight: bool) -> None:
        """Tell whoever wants to know whether the call may be carried out just now."""
        if self.on_in_flight is not None:
            self.on_in_flight(in_flight)

    def note(self, failure: JunkieError) -> None:
        """Keep how the latest attempt ended, and when."""
        self.failure, self.failed_at = failure, asyncio.get_running_loop().time()

    def failed(self, error: JunkieError) -> None:
        """Tell that an attempt is over, if it can't have acted."""
        if error.outcome is Outcome.NOT_EXECUTED:
            self.tell(in_flight=False)


class Dispatcher:
    """Sends calls over a transport, in the event loop of the first one.

    Args:
        transport: Makes single attempts.
        api_key: What no error may show.
        retry: Whether, and when, a failed call is sent again.
        max_in_flight: Attempts under way at once, 1 to 10,000.
        rate_limit: A rate of our own, or None.
        hooks: Told of attempts, retries and pauses, or None.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        api_key: str,
        retry: RetryPolicy,
        max_in_flight: int,
        rate_limit: RateLimit | None,
        hooks: Hooks | None = None,
    ) -> None:
        self.base_url = transport.base_url
        self.hooks = hooks
        self._transport = transport
        self._api_key = api_key
        self._policy = retry
        self._budget = RetryBudget()
        longest = max(retry.retry_after_cap, retry.wait_max)
        self._throttle = Throttle(
            max_in_flight, rate_limit, longest=longest, back_off=retry.back_off
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resting: set[asyncio.Timeout] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def close(self) -> None:
        """Turn away all who wait, and close the connections. May be called again."""
        self._closed = True
        self._throttle.close()
        for scope in self._resting:
            wake(scope)
        await self._transport.close()

    async def send(
        self,
        call: Request[T],
        *,
        priority: Priority = Priority.INTERACTIVE,
        on_in_flight: InFlightCallback | None = None,
    ) -> T:
        """Send a call, again where that can do no harm, and give its value.

        Args:
            call: What is to be done.
            priority: Walks and jobs wait for a slot as long as it takes; interactive calls have a
                deadline.
            on_in_flight: Told when an attempt begins, and when it is over and can't have acted.

        Raises:
            JunkieError: The class that says what happened.
        """
        read = await self.fetch(call, priority=priority, on_in_flight=on_in_flight)
        return await read()

    async def fetch(
        self,
        call: Request[T],
        *,
        priority: Priority = Priority.INTERACTIVE,
        on_in_flight: InFlightCallback | None = None,
    ) -> Callable[[], Awaitable[T]]:
        """Send a call as `send` does, and give what reads its answer, when that is wanted.

        Until then the answer takes the room of its bytes. If it can't be read, it is fetched again
        as far as the policy allows.
        """
        deadline = math.inf
        if priority is Priority.INTERACTIVE:
            deadline = asyncio.get_running_loop().time() + self._policy.deadline
        errand = _Errand(call, deadline, on_in_flight)
        try:
            answer = await self._attempt(errand)
        except JunkieError as error:
            failure = error
        else:  # functions, since a partial's repr, which a task may log, has the answer in it
            return lambda: self._finish(errand, answer)
        value = await self._recover(errand, failure)

        async def read() -> T:
            return value

        return read

    async def _finish(self, errand: _Errand[T], answer: Response) -> T:
        """Read the answer of the first attempt."""
        try:
            value = self._read(errand, answer)
        except JunkieError as error:
            failure = error
        else:
            self._budget.earn()
            return value
        return await self._recover(errand, failure)

    async def _recover(self, errand: _Errand[T], failure: JunkieError) -> T:
        # Out here no error hangs on another, and stamina's loop costs nothing on the usual way.
        errand.note(failure)
        errand.deadline = min(errand.deadline, errand.failed_at + self._policy.deadline)
        decision = self._decide(errand, failure)
        if decision is False:
            raise _ending(errand, failure)
        return await self._again(errand, failure, decision)

    async def _again(self, errand: _Errand[T], first: JunkieError, decision: bool | float) -> T:
        failures = [first]

        def hook(error: Exception) -> bool | float:
            if not isinstance(error, JunkieError):
                return False
            return decision if error is first else self._decide(errand, error)

        last: JunkieError = ClientClosedError("the client was closed while the call waited")
        rest = asyncio.timeout(None)  # nothing but `close` ends it
        try:
            async with rest:
                async for attempt in stamina.retry_context(
                    on=hook,
                    attempts=None,
                    timeout=None,
                    wait_initial=self._policy.wait_initial,
                    wait_max=self._policy.wait_max,
                    wait_jitter=self._policy.wait_jitter,
                ):
                    self._resting.discard(rest)
                    with attempt:
                        if attempt.num == 1:
                            self._resting.add(rest)
                            raise first
                        try:
                            value = self._read(errand, await self._attempt(errand))
                        except JunkieError as error:
                            failures.append(error)
                            errand.note(error)
                            self._resting.add(rest)
                            raise
                        self._budget.earn(retried=True)
                        return value
        except JunkieError as error:
            last = error
        except TimeoutError:
            failures.append(last)
        finally:
            self._resting.discard(rest)
        if _is_gone(errand.call, failures):
            return errand.call.read(b"")
        if last.outcome is Outcome.NOT_EXECUTED and _may_have_acted(failures):
            last.outcome = Outcome.UNKNOWN
        raise _ending(errand, last)

    def _decide(self, errand: _Errand[T], error: JunkieError) -> bool | float:
        """Ask the policy and the budget whether, and after how many seconds, to send again."""
        left = errand.deadline - asyncio.get_running_loop().time()
        again = self._policy.decide(
            error, idempotent=errand.call.idempotent, attempt=errand.attempts, left=left
        )
        if again is False or left <= 0 or not self._budget.take(error):
            return False
        return 0.0 if isinstance(error, RateLimitError) else again  # the throttle has us wait

    async def _attempt(self, errand: _Errand[T]) -> Response:
        loop = self._enter()  # a closed client says so at once, not when its turn comes
        await self._throttle.acquire(errand.deadline)
        try:
            return await self._in_turn(errand, loop)
        finally:
            self._throttle.release()

    async def _in_turn(self, errand: _Errand[T], loop: asyncio.AbstractEventLoop) -> Response:
        if self._closed:
            raise ClientClosedError("the client was closed while the call waited")
        begin = loop.time()
        if self.hooks is not None and errand.failure is not None:
            self.hooks.on_retry(
                RetryEvent(
                    method=errand.call.method,
                    path=errand.call.path,
                    attempt=errand.attempts + 1,
                    seconds=begin - errand.failed_at,
                    error=errand.failure,
                )
            )
        answer = await self._exchange(errand, loop, begin)
        status, headers, raw = answer
        failure = responses.refusal(status, headers, raw)
        if failure is None:
            self._throttle.admitted(loop.time(), read_rate_limit(headers))
            return answer
        self._slow_down(failure, headers, begin)
        redact(errand.call, failure, self._api_key)
        errand.failed(failure)
        raise failure

    def _read(self, errand: _Errand[T], answer: Response) -> T:
        try:
            return responses.read(errand.call, *answer)
        except JunkieError as error:
            failure = error
        redact(errand.call, failure, self._api_key)
        raise failure

    async def _exchange(
        self, errand: _Errand[T], loop: asyncio.AbstractEventLoop, begin: float
    ) -> Response:
        """Make the attempt, and note it."""
        progress, status, lost = SendState(), None, "CancelledError"
        errand.attempts += 1
        if errand.on_in_flight is not None:
            errand.on_in_flight(True)
        try:
            answer = await self._transport.attempt(errand.call, progress, errand.deadline - begin)
            status, lost = answer[0], ""
            return answer
        except JunkieError as error:
            lost = type(error).__name__
            errand.failed(error)
            if not isinstance(error, TransportError):
                errand.attempts -= 1  # the session was of no use: no request came about
            raise
        except asyncio.CancelledError:
            if progress.sent is False:
                errand.tell(in_flight=False)
            raise
        finally:
            if self.hooks is not None or _log.isEnabledFor(logging.DEBUG):
                self._note(errand, status, lost, loop.time() - begin)

    def _slow_down(self, failure: JunkieError, headers: Mapping[str, str], begin: float) -> None:
        """Let the whole client slow down where an answer asks for it."""
        now = asyncio.get_running_loop().time()
        too_many = isinstance(failure, RateLimitError)
        if isinstance(failure, APIError) and (too_many or failure.challenge):
            if (failure.retry_after or 0.0) > self._policy.retry_after_cap:
                return  # no pause: each call is to hear of it at once
            told = failure.retry_after
            pause = self._throttle.refused(now, told, sent=begin, slower=too_many)
            if pause is not None and self.hooks is not None:
                ceiling = self._throttle.ceiling
                event = PauseEvent(seconds=pause, from_server=told is not None, ceiling=ceiling)
                self.hooks.on_pause(event)
        else:
            self._throttle.admitted(now, read_rate_limit(headers))

    def _note(self, errand: _Errand[T], status: int | None, error: str, took: float) -> None:
        call, number = errand.call, errand.attempts
        line, ended = "%s %s: %s, attempt %d, %.1f ms", error or status
        _log.debug(line, call.method, call.path, ended, number, took * 1e3)
        if self.hooks is not None:
            event = AttemptEvent(
                method=call.method,
                path=call.path,
                url=self.base_url + call.path,
                attempt=number,
                seconds=took,
                status=status,
                error=error or None,
            )
            self.hooks.on_attempt(event)

    def _enter(self) -> asyncio.AbstractEventLoop:
        """Give the running loop, which the first call made the client's own."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise ClientClosedError("the client belongs to another event loop; make one per loop")
        return loop

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client can't be pickled: it holds the API key, and connections")


def _is_gone(call: Request[T], failures: list[JunkieError]) -> bool:
    """Whether a DELETE was carried out by an attempt whose answer was lost."""
    gone = call.method == "DELETE" and isinstance(failures[-1], NotFoundError)
    return gone and _may_have_acted(failures)


def _may_have_acted(failures: list[JunkieError]) -> bool:
    """Whether an attempt before the last one may have been carried out."""
    return any(error.outcome is not Outcome.NOT_EXECUTED for error in failures[:-1])


def _ending(errand: _Errand[T], error: JunkieError) -> JunkieError:
    """Say what a call's last failure means for its caller, and which call it was."""
    call = errand.call
    error.method, error.path, error.attempts = call.method, call.path, errand.attempts
    error.__cause__ = error.__context__ = None
    if call.idempotent or error.outcome is Outcome.NOT_EXECUTED:
        return error
    unknown = OutcomeUnknownError(
        f"sent, and what became of it is not known: {error.message}", outcome=error.outcome
    )
    unknown.method, unknown.path, unknown.attempts = call.method, call.path, errand.attempts
    unknown.__cause__ = error
    return unknown
