"""Markers in key names, by which a durable job recognizes the keys of each of its calls.

A marker such as ``jk-k3v9x2mq4f7z.1f`` is the prefix, the job's ID, and the call's number in base
36. It is the last word of ``key_name``. Only this file knows that form.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import Any, Final

from .._errors import InvalidRequestError
from .._protocol.fields import MAX_TEXT
from .._validation import check_text, safe_repr

DEFAULT_PREFIX: Final = "jk"

_DIGITS: Final = string.digits + string.ascii_lowercase

# 36**12 IDs: among ten million orders of one provider, two share an ID with a probability of 1e-5.
# The IDs of version 0.1 have eight digits.
_JOB_ID_LENGTH: Final = 12

# Out of reach. Room for it is checked, so that a name is refused before the first call or never.
_MAX_NUMBER_LENGTH: Final = 10


def check_prefix(prefix: str | None) -> str | None:
    """Check a prefix: 1 to 32 characters without spaces, or None for no markers."""
    if prefix is not None and " " in check_text("marker", prefix, 32):
        raise InvalidRequestError("marker", safe_repr(prefix), "a string without spaces")
    return prefix


def new_job_id() -> str:
    """Return a random ID for a new job."""
    return "".join(secrets.choice(_DIGITS) for _ in range(_JOB_ID_LENGTH))


def make_marker(prefix: str, job_id: str, number: int) -> str:
    """Return the marker of a job's call, by the call's number from 0."""
    return f"{prefix}-{job_id}.{_to_base36(number)}"


def check_room(key_name: object, prefix: str) -> None:
    """Check that a name, if it is one, has room for any marker with this prefix."""
    longest = make_marker(prefix, "x" * _JOB_ID_LENGTH, 36**_MAX_NUMBER_LENGTH - 1)
    room = MAX_TEXT - len(longest) - 1
    if isinstance(key_name, str) and len(key_name) > room:
        example = make_marker(prefix, "k3v9x2mq4f7z", 51)
        limit = f"a string of at most {room} characters, since a marker like {example} follows it"
        raise InvalidRequestError("key_name", f"one of {len(key_name)} characters", limit)


def add_marker(fields: Mapping[str, Any], marker: str | None) -> Mapping[str, Any]:
    """Append a marker to the ``key_name`` of a request's fields, if there is one."""
    if marker is None:
        return fields
    return {**fields, "key_name": f"{fields.get('key_name') or ''} {marker}".lstrip()}


def read_marker(key_name: str | None) -> str:
    """Return the last word of a key's name, which is its marker if it has one."""
    return (key_name or "").rpartition(" ")[2]


def read_number(marker: str, prefix: str, job_id: str) -> int | None:
    """Return the number of a job's call from its marker, or None for any other text."""
    start = f"{prefix}-{job_id}."
    digits = marker.removeprefix(start)
    if digits == marker or len(digits) > _MAX_NUMBER_LENGTH or not set(digits) <= {*_DIGITS}:
        return None
    number = int(digits or "0", 36)
    return number if make_marker(prefix, job_id, number) == marker else None


def _to_base36(number: int) -> str:
    leading, last = divmod(number, 36)
    return (_to_base36(leading) if leading else "") + _DIGITS[last]
