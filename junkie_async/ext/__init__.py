"""Integrations for other libraries. Import each one by its path."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from .. import InvalidRequestError

DEADLINE: Final = 10.0
"""Seconds that a call may take where somebody waits for the answer, unless the program says."""


@contextmanager
def needs_extra(name: str) -> Generator[None]:
    """Name the extra to install when an import within the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        # Not its message: the emulator's one names the extra `emulator`, and two hints confuse.
        message = f'No module named {error.name!r}: run `pip install "junkie_async[{name}]"`'
        raise ModuleNotFoundError(message, name=error.name) from None


def check_deadline(given: Any) -> float | None:
    """Check a ``deadline=`` when a program starts, and return its seconds.

    Raises:
        InvalidRequestError: It is neither None nor a time above 0.
    """
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if seconds is None:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= sys.float_info.max:
        shown = str(seconds) if is_number else f"a {type(given).__name__}"
        raise InvalidRequestError("deadline", shown, "seconds or a timedelta above 0, or None")
    return float(seconds)
