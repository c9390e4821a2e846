"""The fields of a log entry for an event of a client."""

from __future__ import annotations

from typing import Any

import attrs

from .. import AttemptEvent, JobEvent, PauseEvent, RetryEvent


def event_fields(event: AttemptEvent | RetryEvent | PauseEvent | JobEvent) -> dict[str, Any]:
    """Return an event's attributes by name, with the class name in place of an error."""
    values = attrs.asdict(event, recurse=False)
    if isinstance(event, RetryEvent):
        # The error's message quotes the service, which may have quoted a key value.
        values["error"] = type(event.error).__name__
    return values
