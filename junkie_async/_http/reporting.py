"""What observers see of a call: a debug log line for each attempt, and the hooks' events."""

from __future__ import annotations

import logging

import attrs

from .._errors import JunkieError
from .._hooks import AttemptEvent, Hooks, PauseEvent, RetryEvent
from .._protocol.requests import Request

_log = logging.getLogger("junkie_async")
# The handler of last resort would otherwise write a library's warnings to the application's stderr.
_log.addHandler(logging.NullHandler())


@attrs.frozen
class Reporter:
    """Reports attempts, retries and pauses to the debug log and to the client's hooks.

    Attributes:
        base_url: The service's address.
        hooks: Who receives the events, or None.
    """

    base_url: str
    hooks: Hooks | None

    @property
    def reports_attempts(self) -> bool:
        """Whether anything receives the attempts. If not, the usual call builds no event."""
        return self.hooks is not None or _log.isEnabledFor(logging.DEBUG)

    def report_attempt(
        self,
        request: Request[object],
        attempt: int,
        *,
        status: int | None,
        error: str | None,
        seconds: float,
    ) -> None:
        """Report an attempt that has ended: with a status, or with an error's class name."""
        _log.debug(
            "%s %s: %s, attempt %d, %.1f ms",
            request.method,
            request.path,
            error or status,
            attempt,
            seconds * 1e3,
        )
        if self.hooks is not None:
            event = AttemptEvent(
                method=request.method,
                path=request.path,
                url=self.base_url + request.path,
                attempt=attempt,
                seconds=seconds,
                status=status,
                error=error,
            )
            self.hooks.on_attempt(event)

    def report_retry(
        self, request: Request[object], attempt: int, *, error: JunkieError, seconds: float
    ) -> None:
        """Report an attempt that begins now, so many seconds after the one that failed."""
        if self.hooks is not None:
            event = RetryEvent(
                method=request.method,
                path=request.path,
                attempt=attempt,
                seconds=seconds,
                error=error,
            )
            self.hooks.on_retry(event)

    def report_pause(self, *, seconds: float, from_server: bool, ceiling: int) -> None:
        """Report a pause of the whole client."""
        if self.hooks is not None:
            event = PauseEvent(seconds=seconds, from_server=from_server, ceiling=ceiling)
            self.hooks.on_pause(event)
