"""What must not be shown: key values and the API key, in whatever form an answer repeats them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote

from . import _codec
from ._errors import APIError, InvalidResponseError, JunkieError
from ._wire import KEY, Call

T = TypeVar("T")

_WORD = 4  # letters; a shorter value may be a part of words that have nothing to do with it


def redact(call: Call[T], error: JunkieError, api_key: str) -> None:
    """Take the API key and the key values of the call out of what the service said in an error."""
    if not isinstance(error, APIError | InvalidResponseError):
        return  # its words are ours
    forms = sorted(_forms([api_key, *_named(call)]), key=len, reverse=True)
    error.args = tuple(_without(forms, str(arg)) for arg in error.args)
    if isinstance(error, APIError):
        error.body = _without(forms, error.body)
        error.headers = {name: _without(forms, text) for name, text in error.headers.items()}


def _named(call: Call[T]) -> Iterable[str]:
    path, _, query = call.target.partition("?")
    if call.path.startswith(KEY):
        yield unquote(path.split("/")[2])
    for name, values in parse_qs(query).items():
        if name in ("key", "hwid"):
            yield from values
    for key in call.references:
        if isinstance(key, str):
            yield key


def _forms(values: Iterable[str]) -> set[str]:
    """Give the ways in which an answer may repeat a value."""
    forms: set[str] = set()
    for value in values:
        quoted, written = quote(value, safe=""), _codec.encode_plain(value)[1:-1].decode()
        forms |= {value, quoted, quote(value), quoted.lower(), escape(value), written}
        forms.add(_NOT_ASCII.sub(_as_json, written))
    return forms


_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def _as_json(letter: re.Match[str]) -> str:
    """Write a letter as JSON may have it: one or two UTF-16 units."""
    return re.sub("(....)", r"\\u\1", letter[0].encode("utf-16-be").hex())


def _without(forms: Iterable[str], text: str) -> str:
    for form in forms:
        if form.isalnum() and len(form) < _WORD:
            text = re.sub(rf"\b{form}\b", "***", text)  # not within other words
        elif form in text:
            text = text.replace(form, "***")
    return text
