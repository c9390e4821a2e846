"""An event of a client as the fields of a log entry."""

from __future__ import annotations

from typing import Any

import attrs

from .. import AttemptEvent, JobEvent, PauseEvent, RetryEvent


def fields(event: AttemptEvent | RetryEvent | PauseEvent | JobEvent) -> dict[str, Any]:
    """Give an event's attributes by name, errors as the names of their classes.

    An error's message has words of the service in it, which are not ours to spread.
    """
    values = attrs.asdict(event, recurse=False)
    if isinstance(event, RetryEvent):
        values["error"] = type(event.error).__name__
    return values
