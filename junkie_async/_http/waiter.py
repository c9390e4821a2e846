"""A task that waits for its request slot, and the errors that end the wait."""

from __future__ import annotations

import asyncio

import msgspec

from .._errors import (
    ClientClosedError,
    JunkieError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
)


class Waiter(msgspec.Struct, eq=False):
    """A task that waits for its slot."""

    turn: asyncio.Future[JunkieError | None]
    """Set to None with the slot, or to the error that ends the wait."""
    deadline: float
    timers: list[asyncio.TimerHandle] = msgspec.field(default_factory=list[asyncio.TimerHandle])

    def end(self, error: JunkieError | None) -> bool:
        """Wake the task, unless it was cancelled or woken before."""
        if self.turn.done():
            return False
        self.turn.set_result(error)
        return True

    def time_out(self) -> None:
        """End the wait at its deadline."""
        message = "timed out waiting for a request slot (max_in_flight)"
        self.end(RequestTimeoutError(message, outcome=Outcome.NOT_EXECUTED))


def make_closed_error() -> ClientClosedError:
    """Make the error of a call that waits while the client is closed."""
    return ClientClosedError("the client was closed while this call was waiting")


def make_rate_limit_error(wait: float) -> RateLimitError:
    """Make the error of a call whose turn is too late."""
    return RateLimitError(
        f"rate limited: retry in {wait:.0f} s",
        outcome=Outcome.NOT_EXECUTED,
        transient=False,
        status=429,
        retry_after=wait,
    )
