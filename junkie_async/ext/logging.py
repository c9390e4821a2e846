"""Hooks that log each attempt, retry, pause, outage and job step with the standard library.

    JunkieClient(hooks=LoggingHooks())

It needs no extra.
"""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import attrs

from .. import (
    AttemptEvent,
    Hooks,
    JobEvent,
    OutageEvent,
    PauseEvent,
    RetryEvent,
    SharedThrottleEvent,
)

__all__ = ["LoggingHooks", "event_fields"]

Event: TypeAlias = (
    AttemptEvent | RetryEvent | PauseEvent | OutageEvent | SharedThrottleEvent | JobEvent
)


def event_fields(event: Event) -> dict[str, Any]:
    """Return an event's attributes by name, with the class name in place of an error."""
    values = attrs.asdict(event, recurse=False)
    if isinstance(event, RetryEvent | OutageEvent):
        # The error's message quotes the service, which may have quoted a key value.
        values["error"] = type(event.error).__name__
    return values


class LoggingHooks(Hooks):
    """Logs each event of a client as a line.

    Each record has the event's attributes as its own, prefixed with ``junkie_``, for example
    ``record.junkie_status``. No record contains a key value.

    Args:
        logger: The logger; ``junkie_async.ext.logging`` by default.
        level: The level for attempts and job steps. Retries, pauses and outages are logged as
            WARNING.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger(__name__)
        self._level = level

    def on_attempt(self, event: AttemptEvent) -> None:
        """Log the result of a request."""
        result, milliseconds = event.error or event.status, event.seconds * 1e3
        values = event.method, event.path, result, event.attempt, milliseconds
        self._log_event(self._level, event, "%s %s: %s (attempt %d, %.1f ms)", *values)

    def on_retry(self, event: RetryEvent) -> None:
        """Log a retry and its reason."""
        reason = type(event.error).__name__
        values = event.method, event.path, reason, event.attempt, event.seconds
        template = "%s %s: retry after %s (attempt %d, waited %.3f s)"
        self._log_event(logging.WARNING, event, template, *values)

    def on_pause(self, event: PauseEvent) -> None:
        """Log a pause of the client."""
        template = "rate limited: pausing for %.3f s, then at most %d in flight"
        self._log_event(logging.WARNING, event, template, event.seconds, event.ceiling)

    def on_outage(self, event: OutageEvent) -> None:
        """Log that a walk or a job waits for the service."""
        reason = type(event.error).__name__
        values = event.method, event.path, reason, event.seconds, event.limit, event.wait
        template = "%s %s: outage (%s) for %.0f s of at most %.0f s, next attempt in %.1f s"
        self._log_event(logging.WARNING, event, template, *values)

    def on_shared_throttle(self, event: SharedThrottleEvent) -> None:
        """Log that the shared throttle's store was lost, or is back."""
        state = "is back" if event.available else f"was lost ({event.error})"
        level = logging.INFO if event.available else logging.WARNING
        self._log_event(level, event, "shared throttle: %s %s", event.store, state)

    def on_job(self, event: JobEvent) -> None:
        """Log a job's progress, or that it waits."""
        total = "" if event.total is None else f" of {event.total}"
        if event.waiting:
            template = "%s: %d%s keys, waiting %.0f s to look for keys of calls without a response"
            values = event.job, event.done, total, event.waiting
            self._log_event(self._level, event, template, *values)
            return
        self._log_event(self._level, event, "%s: %d%s keys", event.job, event.done, total)

    def _log_event(self, level: int, event: Event, template: str, *values: object) -> None:
        # `Logger.log` checks the level too, but only after the fields below were built: for each
        # attempt of a client whose INFO lines are off.
        if self._logger.isEnabledFor(level):
            # The prefix keeps `extra` from colliding with a record's attributes, such as `name`,
            # which makes the standard library raise a KeyError.
            extra = {f"junkie_{name}": value for name, value in event_fields(event).items()}
            self._logger.log(level, template, *values, extra=extra)
