"""Whether the service is taken to be down, by what look-ups of known keys meet."""

from __future__ import annotations

import logging
from typing import Final

from .._errors import (
    APIError,
    ConnectError,
    InvalidResponseError,
    JunkieError,
    RateLimitError,
    ServerError,
    TransportError,
)

_log = logging.getLogger("junkie_async")

PROBE_AFTER: Final = 5.0
"""Seconds from one look-up to the next while the service is down."""


def is_outage(error: JunkieError) -> bool:
    """Whether an error says nothing of the key, nor of how the program is set up.

    A wrong API key and a 404 of a gateway are no outage: somebody has to correct the program.
    """
    if isinstance(error, APIError) and error.challenge:
        return True
    return isinstance(error, TransportError | ServerError | RateLimitError | InvalidResponseError)


class ServiceHealth:
    """Holds look-ups back while the service is down, all but one in ``probe_after`` seconds.

    It is down after the failures of two different keys without an answer in between. The trouble
    of one key alone, whose owner may be after just that, does not keep the others' from being
    looked up. A connection that is refused, and a rate limit, have nothing to do with the key.
    """

    def __init__(self, probe_after: float = PROBE_AFTER) -> None:
        self._probe_after = probe_after
        self._is_down = self._is_reported = False
        self._failed: bytes | None = None
        self._next_probe_at = 0.0

    def record_answer(self) -> None:
        """Look keys up again."""
        if self._is_reported:
            _log.warning("verify: the service answers again")
        self._is_down = self._is_reported = False
        self._failed = None

    def record_failure(self, name: bytes | None, error: JunkieError, now: float) -> None:
        """Count a failure, with what the key is remembered by; None for one that is not known."""
        is_general = isinstance(error, ConnectError | RateLimitError)
        is_second = None not in (name, self._failed) and self._failed != name
        self._failed = name or self._failed
        # Not by those of unknown keys, which anybody can type: they would put the probe off.
        if is_general or is_second or (self._is_down and name is not None):
            self._is_down, self._next_probe_at = True, now + self._probe_after

    def report_stale(self, error: JunkieError) -> None:
        """Tell the operator, once an outage, that a stale answer is used because of this error."""
        if self._is_down and not self._is_reported:
            self._is_reported = True
            line = "verify: the service fails (%s): answers are stale until it works again"
            _log.warning(line, type(error).__name__)

    def holds_back(self, now: float) -> bool:
        """Whether a call that can do without a look-up should. It is the probe otherwise."""
        if not self._is_down:
            return False
        # From 0: the clock of another event loop may be behind.
        if 0 < self._next_probe_at - now <= self._probe_after:
            return True
        self._next_probe_at = now + self._probe_after
        return False
