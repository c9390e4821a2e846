"""For structlog: an event for each attempt, retry, pause and step of a job.

JunkieClient(hooks=StructlogHooks())

It needs the extra ``structlog``.
"""

from __future__ import annotations

from typing import Any

from .. import AttemptEvent, Hooks, JobEvent, PauseEvent, RetryEvent
from . import needs_extra
from ._fields import fields

with needs_extra("structlog"):
    import structlog

__all__ = ["StructlogHooks"]


class StructlogHooks(Hooks):
    """Logs what a client does, as key-value pairs: the events' attributes. No key value is in them.

    Attempts and retries are logged by the task that makes the call, so that its context variables
    (``structlog.contextvars``) are on them.

    Args:
        logger: Where to; ``structlog.get_logger("junkie_async")`` by default. Attempts and steps
            of jobs are logged at info, retries and pauses at warning.
    """

    def __init__(self, logger: Any = None) -> None:
        self._logger = structlog.get_logger("junkie_async") if logger is None else logger

    def on_attempt(self, event: AttemptEvent) -> None:
        """Log ``junkie.attempt``: how a request ended."""
        self._logger.info("junkie.attempt", **fields(event))

    def on_retry(self, event: RetryEvent) -> None:
        """Log ``junkie.retry``: a call is sent again, and after what."""
        self._logger.warning("junkie.retry", **fields(event))

    def on_pause(self, event: PauseEvent) -> None:
        """Log ``junkie.pause``: no request is sent for a while."""
        self._logger.warning("junkie.pause", **fields(event))

    def on_job(self, event: JobEvent) -> None:
        """Log ``junkie.job``: how far a job has come."""
        self._logger.info("junkie.job", **fields(event))
