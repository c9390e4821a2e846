"""JSON texts: plain data in both directions, and the limits of what is decoded."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import msgspec

from .._errors import InvalidResponseError

_ENCODER = msgspec.json.Encoder()
_LARGE = 2**17  # bytes; a page of 100 keys has some 50,000
# A page of 100 keys with 100 devices each has some 53,000 values, of which 10,100 are objects. To
# make a model of one takes as long as ten plain values.
_MAX_VALUES = 100_000
_MAX_OBJECTS = 12_000
# msgspec reports bad UTF-8 and deep nesting by Python's own errors.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode_json(body: Any) -> bytes:
    """Write plain data as JSON."""
    return _ENCODER.encode(body)


def decode_json(body: bytes) -> Any:
    """Read JSON as plain data."""
    return msgspec.json.decode(body)


def encode_text(value: object) -> str:
    """Write plain data or models as JSON inside of other text."""
    return _ENCODER.encode(value).decode()


def check_size(body: bytes) -> None:
    """Refuse a large body of small values: 8 MiB of them would take seconds and gigabytes."""
    if len(body) <= _LARGE:
        return
    values = 0
    for begin in range(0, len(body), _LARGE):
        block = body[begin : begin + _LARGE]
        # Each value follows a comma, what opens a list or an object, or the name of a field. The
        # marks within texts count as well: a page of keys has few.
        values += len(block) - len(block.translate(None, b",[{"))  # one pass for the three
        if values > _MAX_VALUES:
            break
    if values > _MAX_VALUES or (values > _MAX_OBJECTS and body.count(b"{") > _MAX_OBJECTS):
        limit = f"{_MAX_VALUES} values or {_MAX_OBJECTS} objects"
        raise InvalidResponseError(f"the response has more than {limit}")


# Half of a character, as JavaScript leaves it where it cuts a text. That is no valid Unicode.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF_CHARACTER = rb"((?<!\\)(?:\\\\)*)(?:%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW)


def decode_document(body: bytes) -> Any:
    """Read a response's JSON as plain data, or raise `InvalidResponseError`."""
    check_size(body)
    with contextlib.suppress(*NOT_JSON):
        return msgspec.json.decode(body)
    if len(body) <= 2 * _LARGE and (rb"\ud" in body or rb"\uD" in body):
        mended, count = re.subn(_HALF_CHARACTER, rb"\1\\ufffd", body)
        with contextlib.suppress(*NOT_JSON):
            if count:  # else it was cut short, and to decode it again would cost as much again
                return msgspec.json.decode(mended)
    raise InvalidResponseError("the response is not JSON, or was cut short", transient=True)
