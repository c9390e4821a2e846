"""Checks of single arguments: a good value is normalised, a bad one is refused with its limit."""

from __future__ import annotations

import contextlib
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sized
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from ._errors import InvalidRequestError
from ._masking import mask_key_value
from ._models import Key

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""

MAX_KEY_VALUE = 1024
"""Bytes of a key value in UTF-8: it has to fit into a URL. Real ones have up to 100."""

# C0, DEL, C1 and Unicode's line separators: whatever could break a line of somebody's log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PASTED = frozenset(
    "`'\"\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"  # quotes
    "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # invisible
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# Words and numbers; a key value has letters and digits, or is too long to be shown anyway.
_HARMLESS = r"[ A-Za-z_]*|[ +-]?[ .0-9]*"


def safe_repr(value: object) -> str:
    """Describe a refused value: short, and safe to log even if it is or contains a key value."""
    kind = f"a {ascii(type(value).__name__)[1:-1][:40]}"
    try:
        shown = _describe_value(value, kind)
    except Exception:  # a subclass's repr, a tzinfo or a length is the caller's code
        return kind
    return shown if len(shown) <= 64 else kind


def _describe_value(value: object, kind: str) -> str:
    if isinstance(value, str):
        plain = str.__str__(value)
        if len(plain) < 16 and not re.fullmatch(_HARMLESS, plain):
            return f"a string of {len(plain)} characters"
        # Not `ascii` of the mask, which would write its "…" as an escape. Its ends are escaped.
        return ascii(plain) if len(plain) < 16 else f"'{mask_key_value(plain)}'"
    if (number := _as_index(value)) is not None:
        bits = number.bit_length()  # Python refuses to write integers of more than 4,300 digits
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
    """Check an integer; anything with ``__index__`` is one (numpy's too), except a bool."""
    number = value if type(value) is int else _as_index(value)
    if number is None or not low <= number <= high:
        open_end = high == MAX_INTEGER and (number is None or number < low)
        limit = f"an integer >= {low}" if open_end else f"an integer from {low} to {high}"
        if number is None and low == -MAX_INTEGER and high == MAX_INTEGER:
            limit = "an integer"
        raise InvalidRequestError(name, _describe_number(value), limit)
    return number


def _describe_number(value: Any) -> str:
    """Describe what was given for a number: ``'1'`` alone would read as if it were one."""
    shown = safe_repr(value)
    return f"the string {shown}" if isinstance(value, str) and shown.startswith("'") else shown


def check_identifier(name: str, value: Any, low: int = -MAX_INTEGER) -> int:
    """Check an ID: an integer, and never a string of digits, as the environment has them."""
    if isinstance(value, str):
        limit = "an integer, such as 123 or int(os.environ[...])"
        raise InvalidRequestError(name, _describe_number(value), limit)
    return check_integer(name, value, low)


def _as_index(value: Any) -> int | None:
    """Return a value as an integer; None if it is not one, as a bool."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except Exception:  # classes and numpy arrays have an __index__ that raises
        return None


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Check a finite number of seconds, above 0, or from 0 if ``zero`` is true."""
    limit = f"a finite number of seconds {'>=' if zero else '>'} 0"
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    # Compared, not converted: float() raises OverflowError for an integer beyond all floats.
    if not (0 if zero else math.ulp(0.0)) <= number <= sys.float_info.max:
        raise InvalidRequestError(name, safe_repr(value), limit)
    return float(number)


def check_text(name: str, value: Any, longest: int | None = None, *, empty: bool = False) -> str:
    """Check a string: its length in characters, and that it can be sent and logged."""
    limit = f"a string of at most {longest} characters" if longest else "a string"
    if not isinstance(value, str):
        raise InvalidRequestError(name, safe_repr(value), limit)
    plain = str.__str__(value)  # msgspec and urllib refuse or mistreat subclasses
    if not plain and not empty:
        raise InvalidRequestError(name, "''", "a string that is not empty")
    if longest and len(plain) > longest:
        raise InvalidRequestError(name, f"one of {len(plain)} characters", limit)
    if found := _CONTROL.search(plain):
        shown = f"one with {found[0]!a} at {found.start()}"
        raise InvalidRequestError(name, shown, "a string without control characters")
    if not plain.isascii() and any("\ud800" <= letter <= "\udfff" for letter in plain):
        raise InvalidRequestError(name, "one with a lone surrogate", "a string of valid Unicode")
    return plain


def check_key_value(name: str, value: Any) -> str:
    """Check a key value: a string of up to 1024 bytes in UTF-8."""
    checked = check_text(name, value)
    if (length := len(checked.encode())) > MAX_KEY_VALUE:
        limit = f"a key value of at most {MAX_KEY_VALUE} bytes"
        raise InvalidRequestError(name, f"one of {length} bytes", limit)
    return checked


def check_datetime(name: str, value: Any) -> datetime:
    """Check an aware datetime, and convert it to UTC."""
    limit = "an aware datetime (give it a tzinfo, such as datetime.UTC)"
    if not isinstance(value, datetime):
        raise InvalidRequestError(name, safe_repr(value), limit)
    try:
        if value.utcoffset() is not None:  # a tzinfo may know no offset: then it is naive
            return value.astimezone(UTC)
    except OverflowError:
        limit = "within the years 1 to 9999 in UTC"
    except Exception:  # a tzinfo is the caller's code
        limit = "an aware datetime whose tzinfo works"
    raise InvalidRequestError(name, safe_repr(value), limit)


def check_reference(name: str, value: Any) -> int | str:
    """Check a reference to a key: its ID (int), its value (str), or the `Key`, for its ID."""
    if isinstance(value, Key):
        return check_integer(f"{name}.id", value.id, 1)
    if isinstance(value, str):
        key_value = check_key_value(name, value)
        # RFC 3986, section 5.2.4: "." and ".." in a path lead to another resource.
        if key_value in (".", "..") or key_value.isspace():
            raise InvalidRequestError(name, safe_repr(value), "a key value, not blank, '.' or '..'")
        return key_value
    number = _as_index(value)
    if number is None or not 0 < number <= MAX_INTEGER:
        limit = f"a key's ID (an int from 1 to {MAX_INTEGER}), its value (a str) or a Key"
        raise InvalidRequestError(name, safe_repr(value), limit)
    return number


def key_values_in(name: str, pasted: Any, check: Callable[[str, Any], object]) -> tuple[str, ...]:
    """Return the texts to look for where somebody pasted a key value; none if it can't be one.

    First what is given, then without the blanks, quotes and invisible characters around it.
    """
    if not isinstance(pasted, str):
        raise InvalidRequestError(name, safe_repr(pasted), "a string")
    values: list[str] = []
    given = str.__str__(pasted)  # a subclass may answer otherwise
    for form in dict.fromkeys((given, _strip_edges(given))):
        with contextlib.suppress(InvalidRequestError):
            check(name, form)
            values.append(form)
    return tuple(values)


def _strip_edges(pasted: str) -> str:
    if len(pasted) > 2 * MAX_KEY_VALUE:  # no key value
        return pasted
    begin, end = 0, len(pasted)
    while begin < end and _is_edge(pasted[begin]):
        begin += 1
    while begin < end and _is_edge(pasted[end - 1]):
        end -= 1
    return pasted[begin:end] or pasted


def _is_edge(letter: str) -> bool:
    return letter.isspace() or letter in _PASTED


def check_iterable(name: str, value: object, limit: str) -> Iterable[Any]:
    """Check an iterable of keys or devices; strings, bytes and mappings are never meant as one."""
    items = cast("Iterable[Any]", value)
    if isinstance(value, str):
        raise InvalidRequestError(name, "a single string", limit)
    misread = isinstance(value, bytes | bytearray | memoryview | Mapping)
    if misread or not isinstance(value, Iterable):
        raise InvalidRequestError(name, safe_repr(items), limit)
    return items


def check_boolean(name: str, value: Any) -> bool:
    """Check a bool; neither 1 nor "false" is one."""
    if not isinstance(value, bool):
        raise InvalidRequestError(name, safe_repr(value), "True or False")
    return value
