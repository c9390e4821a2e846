"""What observers see of a call: a debug log line for each attempt, and the hooks' events."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs

from .._errors import JunkieError
from .._hooks import AttemptEvent, Hooks, PauseEvent, RetryEvent, notify_hooks
from .._protocol.requests import Request

_log = logging.getLogger("junkie_async")
# Without a handler, logging's handler of last resort writes warnings to the application's stderr.
_log.addHandler(logging.NullHandler())


@attrs.frozen
class Reporter:
    """Reports attempts, retries and pauses to the debug log and to the client's hooks."""

    base_url: str
    hooks: Sequence[Hooks]

    @property
    def reports_attempts(self) -> bool:
        """Whether anything receives the attempts. If not, the usual call builds no event."""
        return bool(self.hooks) or _log.isEnabledFor(logging.DEBUG)

    def report_attempt(
        self, request: Request[object], attempt: int, result: int | str, seconds: float
    ) -> None:
        """Report an attempt that has ended with an HTTP status, or with an error's class name."""
        method, path = request.method, request.path
        line = "%s %s: %s, attempt %d, %.1f ms"
        _log.debug(line, method, path, result, attempt, seconds * 1e3)
        if self.hooks:
            event = AttemptEvent(
                method=method,
                path=path,
                url=self.base_url + path,
                attempt=attempt,
                seconds=seconds,
                status=result if isinstance(result, int) else None,
                error=result if isinstance(result, str) else None,
            )
            notify_hooks(self.hooks, event)

    def report_retry(
        self, request: Request[object], attempt: int, error: JunkieError, seconds: float
    ) -> None:
        """Report an attempt that begins now, and the seconds since the last one failed."""
        if self.hooks:
            method, path = request.method, request.path
            event = RetryEvent(
                method=method, path=path, attempt=attempt, seconds=seconds, error=error
            )
            notify_hooks(self.hooks, event)

    def report_pause(self, seconds: float, ceiling: int, *, from_server: bool) -> None:
        """Report a pause of the whole client."""
        if self.hooks:
            event = PauseEvent(seconds=seconds, from_server=from_server, ceiling=ceiling)
            notify_hooks(self.hooks, event)
