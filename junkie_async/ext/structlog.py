"""Hooks that log each attempt, retry, pause, outage and job step with structlog.

    JunkieClient(hooks=StructlogHooks())

It needs the extra ``structlog``.
"""

from __future__ import annotations

from typing import Any

from .. import (
    AttemptEvent,
    Hooks,
    JobEvent,
    OutageEvent,
    PauseEvent,
    RetryEvent,
    SharedThrottleEvent,
)
from . import needs_extra
from .logging import event_fields

with needs_extra("structlog"):
    import structlog

__all__ = ["StructlogHooks"]


class StructlogHooks(Hooks):
    """Logs each event of a client with its attributes as key-value pairs.

    No entry contains a key value. Attempts and retries are logged in the task that makes the call,
    so its context variables (``structlog.contextvars``) are added to the entries. The response's
    request ID is ``service_request_id`` there.

    Args:
        logger: The logger; ``structlog.get_logger("junkie_async")`` by default. Attempts and job
            steps are logged at level info, retries, pauses and outages at level warning.
    """

    def __init__(self, logger: Any = None) -> None:
        # Any: structlog's loggers share no base class; `get_logger` itself returns Any.
        self._logger = structlog.get_logger("junkie_async") if logger is None else logger

    def on_attempt(self, event: AttemptEvent) -> None:
        """Log the result of a request as ``junkie.attempt``."""
        fields = event_fields(event)
        # Web apps bind a `request_id` of their own, which this must not replace.
        fields["service_request_id"] = fields.pop("request_id")
        self._logger.info("junkie.attempt", **fields)

    def on_retry(self, event: RetryEvent) -> None:
        """Log a retry as ``junkie.retry``."""
        self._logger.warning("junkie.retry", **event_fields(event))

    def on_pause(self, event: PauseEvent) -> None:
        """Log a pause of the client as ``junkie.pause``."""
        self._logger.warning("junkie.pause", **event_fields(event))

    def on_outage(self, event: OutageEvent) -> None:
        """Log that a walk or a job waits for the service, as ``junkie.outage``."""
        self._logger.warning("junkie.outage", **event_fields(event))

    def on_shared_throttle(self, event: SharedThrottleEvent) -> None:
        """Log as ``junkie.shared_throttle`` that the store was lost, or is back."""
        log = self._logger.info if event.available else self._logger.warning
        log("junkie.shared_throttle", **event_fields(event))

    def on_job(self, event: JobEvent) -> None:
        """Log a job's progress as ``junkie.job``."""
        self._logger.info("junkie.job", **event_fields(event))
