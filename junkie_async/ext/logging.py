"""For the standard library's logging: a line for each attempt, retry, pause and step of a job.

JunkieClient(hooks=LoggingHooks())
"""

from __future__ import annotations

import logging

from .. import AttemptEvent, Hooks, JobEvent, PauseEvent, RetryEvent
from ._fields import fields

__all__ = ["LoggingHooks"]


class LoggingHooks(Hooks):
    """Logs what a client does.

    Each record has its event's attributes as its own, with ``junkie_`` before their names
    (``record.junkie_status``), so that they hide nothing of a record's. No key value is in them.

    Args:
        logger: Where to; ``junkie_async.ext.logging`` by default.
        level: The level of attempts and steps of jobs. Retries and pauses have WARNING.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger(__name__)
        self._level = level

    def on_attempt(self, event: AttemptEvent) -> None:
        """Log how a request ended."""
        ended = event.error or event.status
        words = "%s %s: %s, attempt %d, %.1f ms"
        took = event.seconds * 1e3
        self._log(self._level, event, words, event.method, event.path, ended, event.attempt, took)

    def on_retry(self, event: RetryEvent) -> None:
        """Log that a call is sent again, and after what."""
        error, waited = type(event.error).__name__, event.seconds
        words = "%s %s: sent again after %s, attempt %d, %.3f s later"
        values = event.method, event.path, error, event.attempt, waited
        self._log(logging.WARNING, event, words, *values)

    def on_pause(self, event: PauseEvent) -> None:
        """Log that no request is sent for a while."""
        words = "too many requests: all wait for %.3f s, then %d at once"
        self._log(logging.WARNING, event, words, event.seconds, event.ceiling)

    def on_job(self, event: JobEvent) -> None:
        """Log how far a job has come."""
        of = "" if event.total is None else f" of {event.total}"
        self._log(self._level, event, "%s: %d keys%s", event.job, event.done, of)

    def _log(
        self,
        level: int,
        event: AttemptEvent | RetryEvent | PauseEvent | JobEvent,
        words: str,
        *values: object,
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {f"junkie_{name}": value for name, value in fields(event).items()}
            self._logger.log(level, words, *values, extra=extra)
