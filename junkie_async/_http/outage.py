"""An outage: the walks and jobs that wait for the service, and probe it one at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from .._errors import APIError, JunkieError, ServerError, TransportError
from .._hooks import Hooks, OutageEvent, notify_hooks
from .call_state import CallState
from .retry import shorten_wait

_MIN_PROBE_WAIT: Final = 1.0
"""Seconds between two probes at least: a policy without waits must not send thousands."""

# Where a third of the requests fails at random, that happens once in 60,000. In an outage, all
# workers of a job would make all their attempts before the first of them waits.
_DOWN_AFTER: Final = 10
"""Failures in a row, of all calls, after which walks and jobs wait without further attempts."""


class Outage(msgspec.Struct, eq=False):
    """The state of one endpoint that fails for longer than a call's attempts take.

    All workers of a job fail within a moment. If each of them went on alone, they would multiply
    the load on a service that is failing. So one call is sent at a time, after a back-off.
    """

    failures: int = 0
    next_probe_at: float = -math.inf
    is_over: bool = False
    _probe: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    def record_failure(self, now: float, wait: float) -> None:
        """Let the next probe wait."""
        self.failures += 1
        self.next_probe_at = now + wait

    async def begin_probe(self, deadline: float) -> bool:
        """Wait until no other call probes. False if that took until the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._probe.acquire()
        except TimeoutError:
            return False
        return True

    def end_probe(self) -> None:
        """Let the next call probe, or learn that the outage is over."""
        self._probe.release()


class Outages:
    """The outages of a client's endpoints, and what its walks and jobs do in them."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._hooks = hooks
        self._by_endpoint: dict[str, Outage] = {}
        self._failures = 0  # in a row, of all calls

    def forget(self) -> None:
        """Begin anew, as in another event loop."""
        self._by_endpoint, self._failures = {}, 0

    def find(self, call: CallState[Any]) -> Outage | None:
        """Return the outage that a walk or a job has to wait for, if there is one."""
        if not self._by_endpoint or call.is_interactive:
            return None
        return self._by_endpoint.get(call.endpoint)

    def record_response(self, call: CallState[Any]) -> None:
        """End the outage of an endpoint that has answered with other than a 5xx."""
        self._failures = 0
        if self._by_endpoint and (outage := self._by_endpoint.pop(call.endpoint, None)):
            outage.is_over = True

    def record_failure(self, call: CallState[Any], failure: JunkieError) -> bool:
        """Count a failure, and return whether the service is taken to be down."""
        is_failing = isinstance(failure, ServerError | TransportError)
        self._failures += is_failing and not call.has_met_dead_connection(failure)
        return call.endpoint in self._by_endpoint or self._failures >= _DOWN_AFTER

    def wait_out(self, call: CallState[Any], failure: JunkieError, now: float) -> float | None:
        """Let a walk or a job wait for the end of an outage: 0.0, or None to give up."""
        seconds, idempotent = now - call.failing_since(now), call.request.idempotent
        if call.is_interactive or not call.policy.rides_out(
            failure, idempotent=idempotent, seconds=seconds
        ):
            return None
        # It must not wait for the next probe: until then it would be refused in an endless loop.
        if now >= self.end_of_patience(call, now):
            return None
        call.report_idle()  # a job that is stopped need not wait for it
        outage = self._by_endpoint.setdefault(call.endpoint, Outage())
        # A call that was in flight when the outage began was no probe.
        if now < outage.next_probe_at or self._delay_probe(call, outage, failure, now):
            return 0.0  # the next attempt finds the outage, and waits
        return None

    def end_of_patience(self, call: CallState[Any], now: float) -> float:
        """Compute when an outage ends the call."""
        return min(call.limit, call.failing_since(now) + call.policy.outage)

    def _delay_probe(
        self, call: CallState[Any], outage: Outage, failure: JunkieError, now: float
    ) -> bool:
        """Let the next probe wait, and say so. False if that is for longer than the call may."""
        wait = failure.retry_after if isinstance(failure, APIError) else None
        policy = call.policy
        if wait is None:
            least = shorten_wait(policy, _MIN_PROBE_WAIT)
            wait = max(least, policy.back_off(outage.failures))
        else:
            wait = shorten_wait(policy, wait)
        call.waited += wait
        if now + wait >= self.end_of_patience(call, now) or call.waited >= call.patience:
            return False
        outage.record_failure(now, wait)
        event = OutageEvent(
            method=call.request.method,
            path=call.request.path,
            seconds=now - call.failing_since(now),
            limit=call.policy.outage,
            wait=wait,
            error=failure,
        )
        notify_hooks(self._hooks, event)
        return True
