"""When a request may be sent by the rate limit that the service states in its headers."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from .._protocol.rate_limit_headers import RateLimitState

_SCARCE: Final = 0.2
"""Below this share of the stated limit, the remaining requests are spread until the reset."""

_RESERVE: Final = 0.1
"""The share of a stated limit that walks and jobs leave to interactive calls."""

_SAME_MOMENT: Final = 0.01
"""Seconds within which the order of two responses does not tell which of them is newer."""


class Turn(NamedTuple):
    """What a limit that is nearly used up allows: the next slot not before, and not faster."""

    due: float = -math.inf
    rate: float = math.inf


class StatedLimit(msgspec.Struct, eq=False):
    """The latest statement, which is believed up to ``max_reset`` seconds.

    A statement is as old as its response: requests in flight may not be in it.
    """

    max_reset: float
    _state: RateLimitState | None = None
    _stated_at: float = -math.inf
    _resets_at: float = -math.inf
    _last_interactive: float = -math.inf

    def record_statement(self, now: float, stated: RateLimitState | None) -> None:
        """Take the statement of a response, or forget the one before if it makes none."""
        stated = self._state = self._choose_lower(now, stated)
        if stated is not None:
            self._resets_at = now + min(stated.reset, self.max_reset)

    def record_interactive(self, due: float) -> None:
        """Remember when an interactive call had its turn."""
        self._last_interactive = due

    def is_scarce(self, in_flight: int) -> bool:
        """Whether the requests in flight could use up what remains."""
        return self._state is not None and _is_scarce(self._state, in_flight, 0.0)

    def find_turn(
        self, now: float, in_flight: int, *, interactive: bool, at_least: bool
    ) -> Turn | None:
        """Compute when the next slot may be given, None while enough remains.

        It is infinity when that depends on a response, which ``at_least`` leaves out.
        """
        state = self._state
        if state is None:
            return None
        if now >= self._resets_at:
            state = self._state = msgspec.structs.replace(state, remaining=state.limit or math.inf)
        reserve = 0.0 if interactive else _RESERVE * (state.limit or 0.0)
        if not _is_scarce(state, in_flight, reserve):
            return None
        spare, left = state.remaining - in_flight - reserve, self._resets_at - now
        if left <= 0:  # a response tells what is left now
            return Turn(math.inf) if in_flight and not at_least else Turn()
        if spare < 1:
            return Turn(self._resets_at)
        if interactive:  # spread over their own turns only
            return Turn(self._last_interactive + left / spare)
        return Turn(rate=spare / left)

    def _choose_lower(self, now: float, stated: RateLimitState | None) -> RateLimitState | None:
        """Choose the lower one of statements that arrive together: they come in any order."""
        before = self._state
        if stated is None or before is None or now - self._stated_at > _SAME_MOMENT:
            self._stated_at = now
            return stated
        return min(before, stated, key=lambda state: state.remaining)


def _is_scarce(state: RateLimitState, in_flight: int, reserve: float) -> bool:
    enough = 2.0 * in_flight
    if state.limit is not None:
        # At most half of the limit: a small limit must not count as scarce from the beginning.
        enough = min(max(enough, _SCARCE * state.limit), state.limit / 2)
    return state.remaining - reserve <= max(enough, in_flight)
