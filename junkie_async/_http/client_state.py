"""What changes while a client works, and is the same for all its views."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from .._errors import APIError, ClientClosedError, JunkieError, RateLimitError
from .._hooks import Hooks, PauseEvent, notify_hooks
from .._protocol.rate_limit_headers import read_date, read_rate_limit
from .call_state import CallState
from .local_rate import RateLimit
from .retry import RetryPolicy, shorten_wait
from .shared_rate import RateStore, SharedRate
from .throttle import Throttle


class ClientState:
    """A client's throttle, its event loop, and its latest response.

    ``policy`` is that of the client itself: it says how long all its calls pause.
    """

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None,
        policy: RetryPolicy,
        hooks: Sequence[Hooks],
    ) -> None:
        self.policy = policy
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_closed: bool = False
        self._answered_at: float = 0.0
        self._last_headers: Mapping[str, str] = {}
        self._max_in_flight, self._rate_limit = max_in_flight, rate_limit
        self._hooks = hooks
        self._loop_lock = threading.Lock()
        self._store: RateStore | None = None
        self._closing_rates: set[asyncio.Task[None]] = set()  # those of former API keys
        self.throttle: Throttle = self._make_throttle()

    def service_time(self) -> datetime:
        """Return the time by the service's clock, as its latest response states it.

        Without a response it is that of the local clock, which may be wrong.
        """
        stated = read_date(self._last_headers)
        if stated is None:
            return datetime.now(UTC)
        age = asyncio.get_running_loop().time() - self._answered_at
        return stated + timedelta(seconds=age)

    def record_response(
        self,
        call: CallState[Any],
        headers: Mapping[str, str],
        failure: JunkieError | None,
        *,
        sent: float,
        now: float,
    ) -> None:
        """Learn from a response, and slow the whole client down if it asks for that.

        ``sent`` is when its request got its slot.
        """
        self._answered_at, self._last_headers = now, headers
        if isinstance(failure, APIError) and failure.challenge and failure.status != 429:
            seconds = self.throttle.record_challenge(now, call.name_target(), sent=sent)
            self._report_pause(seconds)
        elif isinstance(failure, RateLimitError):
            self._record_refusal(failure, sent, now)
        else:
            self.throttle.record_success(now, read_rate_limit(headers))

    def _record_refusal(self, refusal: RateLimitError, sent: float, now: float) -> None:
        wait = refusal.retry_after
        if wait is not None and wait > self.policy.retry_after_cap:
            return  # no pause: each call is to raise now, rather than to wait for an hour
        if wait is not None:
            wait = shorten_wait(self.policy, wait)
        seconds = self.throttle.record_refusal(now, wait, sent=sent)
        self._report_pause(seconds, from_server=wait is not None)

    def _report_pause(self, seconds: float | None, *, from_server: bool = False) -> None:
        if seconds is not None:
            ceiling = self.throttle.ceiling
            event = PauseEvent(seconds=seconds, from_server=from_server, ceiling=ceiling)
            notify_hooks(self._hooks, event)

    def use_store(self, store: RateStore) -> None:
        """Share the rate of a store from now on: that of another API key."""
        self._store = store
        former = self.throttle.replace_shared_rate(self._share_rate(store))
        if former is not None:
            closing = asyncio.create_task(former.close())
            self._closing_rates.add(closing)
            closing.add_done_callback(self._closing_rates.discard)

    def enter_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Go on in an event loop, if the one before it is closed. False if it is the same.

        Raises:
            ClientClosedError: The one before it is not closed.
        """
        with self._loop_lock:  # two threads may make their first calls at once
            before = self.loop
            if before is loop:
                return False
            if before is not None and not before.is_closed():
                raise ClientClosedError(
                    "the client belongs to another event loop, which is not closed:"
                    " create one client per event loop"
                )
            self.loop = loop
            if before is not None:
                self._start_anew(is_same_clock=before.time() <= loop.time() + 1.0)
        return True

    def _start_anew(self, *, is_same_clock: bool) -> None:
        # What was learned ends at moments of the clock. By an earlier clock it would hold for long.
        self._closing_rates.clear()
        self.throttle = self.throttle.renew() if is_same_clock else self._make_throttle()

    async def close(self) -> None:
        """End all waits for a slot, now and later, and close the stores."""
        self.is_closed = True
        self.throttle.close()
        if self.throttle.shared_rate is not None:
            await self.throttle.shared_rate.close()
        for closing in tuple(self._closing_rates):
            await closing

    def _make_throttle(self) -> Throttle:
        return Throttle(
            self._max_in_flight,
            self._rate_limit,
            max_reset=shorten_wait(self.policy, self.policy.retry_after_cap),
            back_off=self.policy.back_off,
            shared_rate=None if self._store is None else self._share_rate(self._store),
        )

    def _share_rate(self, store: RateStore) -> SharedRate:
        return SharedRate(store, partial(notify_hooks, self._hooks))
