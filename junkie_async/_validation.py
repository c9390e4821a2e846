"""Single values, checked: what can be sent passes, and what can't is named with its limit."""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Iterable, Mapping, Sized
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ._errors import InvalidRequestError
from ._masking import mask_key_value
from ._models import Key

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_SECRET = re.compile(r"[ A-Za-z_]*|[ +-]?[ .0-9]*")  # words and numbers, while they are short


def safe_repr(value: object) -> str:
    """Show a refused value: short, and safe to log even if it was, or has in it, a key value."""
    kind = f"a {ascii(type(value).__name__)[1:-1][:40]}"
    try:
        shown = _shown(value, kind)
    except Exception:  # a subclass's repr, a tzinfo or a length is the caller's code
        return kind
    return shown if len(shown) <= 64 else kind


def _shown(value: object, kind: str) -> str:
    if isinstance(value, str):
        plain = str.__str__(value)
        if len(plain) < 16 and not _NO_SECRET.fullmatch(plain):
            return f"a string of {len(plain)} characters"
        return ascii(plain if len(plain) < 16 else mask_key_value(plain))
    if (number := _index(value)) is not None:
        bits = number.bit_length()  # Python refuses to write out the longest ones
        return str(number) if bits <= 128 else f"an integer of {bits} bits"
    if isinstance(value, Key):
        return f"Key(id={safe_repr(value.id)})"
    if isinstance(value, datetime):
        return ("" if value.tzinfo else "the naive ") + value.isoformat()
    if isinstance(value, timedelta):
        return f"a timedelta of {value.total_seconds()} seconds"
    if isinstance(value, bool | float | complex | date | None):
        return ascii(value)
    return f"{kind} of {len(value)}" if isinstance(value, Sized) else kind


def check_integer(name: str, value: Any, low: int = -MAX_INTEGER, high: int = MAX_INTEGER) -> int:
    """Check an integer; whatever has ``__index__`` will do, but a bool won't."""
    number = value if type(value) is int else _index(value)
    if number is None or not low <= number <= high:
        open_end = high == MAX_INTEGER and (number is None or number < low)
        limit = f"an integer >= {low}" if open_end else f"an integer from {low} to {high}"
        raise InvalidRequestError(name, safe_repr(value), limit)
    return number


def check_identifier(name: str, value: Any, low: int = -MAX_INTEGER) -> int:
    """Check an ID: an integer, and never a string of digits, which would be a key value."""
    if isinstance(value, str):
        limit = "an ID as an int, such as 123 (a str is a key value, even '123')"
        raise InvalidRequestError(name, safe_repr(value), limit)
    return check_integer(name, value, low)


def _index(value: Any) -> int | None:
    """Give what ``value`` is as an integer, and None for what is none: a bool among others."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except Exception:  # a class has __index__ too, an array of one number may; or it just raises
        return None


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Check a finite number of seconds, above zero or from zero on."""
    limit = f"a finite number of seconds {'>=' if zero else '>'} 0"
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (0 if zero else math.ulp(0.0)) <= number <= sys.float_info.max:
        raise InvalidRequestError(name, safe_repr(value), limit)
    return float(number)


def check_text(name: str, value: Any, longest: int | None = None, *, empty: bool = False) -> str:
    """Check a string: its length in characters, and that it can be sent and read back."""
    most = f" of at most {longest} characters" if longest else ""
    if not isinstance(value, str):
        raise InvalidRequestError(name, safe_repr(value), f"a string{most}")
    plain = str.__str__(value)  # encoders know no subclasses
    if not plain and not empty:
        raise InvalidRequestError(name, "''", "a string that is not empty")
    if longest and len(plain) > longest:
        raise InvalidRequestError(name, f"one of {len(plain)} characters", f"a string{most}")
    if found := _CONTROL.search(plain):
        shown = f"one with {found[0]!a} at {found.start()}"
        raise InvalidRequestError(name, shown, "a string without controls")
    if not plain.isascii() and any("\ud800" <= letter <= "\udfff" for letter in plain):
        raise InvalidRequestError(name, "one with a lone surrogate", "a string of valid Unicode")
    return plain


def check_datetime(name: str, value: Any) -> datetime:
    """Check an aware datetime, and give it in UTC."""
    limit = "an aware datetime (give it a tzinfo, such as datetime.UTC)"
    if not isinstance(value, datetime):
        raise InvalidRequestError(name, safe_repr(value), limit)
    try:
        if value.utcoffset() is not None:
            return value.astimezone(UTC)
    except OverflowError:
        limit = "within the years 1 to 9999 in UTC"
    except Exception:  # a tzinfo is the caller's code
        limit = "an aware datetime whose tzinfo works"
    raise InvalidRequestError(name, safe_repr(value), limit)


def check_reference(name: str, value: Any) -> int | str:
    """Check a reference to a key: an ID (int), a key value (str), or a `Key`, which gives its ID.

    ``.`` and ``..`` are refused: in a path they would lead to another resource.
    """
    if isinstance(value, Key):
        return check_integer(f"{name}.id", value.id, 1)
    if isinstance(value, str):
        written = check_text(name, value)
        if written in (".", "..") or written.isspace():
            raise InvalidRequestError(name, safe_repr(value), "a key value, not blank, '.' or '..'")
        return written
    number = _index(value)
    if number is None or not 0 < number <= MAX_INTEGER:
        limit = f"a key's ID (an int from 1 to {MAX_INTEGER}), its value (a str) or a Key"
        raise InvalidRequestError(name, safe_repr(value), limit)
    return number


def key_value_or_none(name: str, value: Any) -> str | None:
    """Give a string that may be a key's value, and None for one that can't."""
    written = check_text(name, value) if not isinstance(value, str) else value
    try:
        return str(check_reference(name, written))
    except InvalidRequestError:
        return None


def check_iterable(name: str, value: Any, limit: str) -> Iterable[Any]:
    """Check an iterable of things; text, bytes and mappings are iterable too, but never meant."""
    misread = isinstance(value, str | bytes | bytearray | memoryview | Mapping)
    if misread or not isinstance(value, Iterable):
        shown = "a single string" if isinstance(value, str) else safe_repr(value)
        raise InvalidRequestError(name, shown, limit)
    return value


def check_boolean(name: str, value: Any) -> bool:
    """Check a bool: neither 1 nor "false" will do."""
    if not isinstance(value, bool):
        raise InvalidRequestError(name, safe_repr(value), "True or False")
    return value
