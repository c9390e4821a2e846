"""What must not be shown: key values and the API key, in whatever form an answer repeats them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote

from .._errors import APIError, InvalidResponseError, JunkieError
from . import codec as _codec
from .requests import KEY, Request

T = TypeVar("T")

_WORD = 4  # letters; a shorter value may be a part of words that have nothing to do with it
_LONGEST_MESSAGE = 200
# No quoting changes ASCII letters and digits, be it a URL's, JSON's or HTML's, once or twice. What
# an escape ends with is no part of a word.
_WORDS = re.compile(r"%(?:25)*[0-9a-f]{2}|\\+(?:u[0-9a-f]{4}|[a-z])|([0-9a-z]{6,})", re.IGNORECASE)


def redact(call: Request[T], error: JunkieError, api_key: str) -> None:
    """Take the API key and the key values of the call out of what the service said in an error."""
    if not isinstance(error, APIError | InvalidResponseError):
        return  # its words are ours
    secrets = [api_key, *_named(call)]
    forms = sorted(_forms(secrets), key=len, reverse=True)
    words = {word[1].lower() for one in secrets for word in _WORDS.finditer(one) if word[1]}

    def mask(text: str) -> str:
        return _WORDS.sub(
            lambda word: "***" if (word[1] or "").lower() in words else word[0],
            _without(forms, text),
        )

    error.args = tuple(mask(str(arg))[:_LONGEST_MESSAGE] for arg in error.args)
    if isinstance(error, APIError):
        error.body = mask(error.body)
        error.headers = {mask(name): mask(text) for name, text in error.headers.items()}


def _named(call: Request[T]) -> Iterable[str]:
    path, _, query = call.target.partition("?")
    if call.path.startswith(KEY) and not (key := path.split("/")[2]).isdigit():  # not an ID
        yield unquote(key)
    for name, values in parse_qs(query).items():
        if name in ("key", "hwid"):
            yield from values
    sent = _codec.decode_json(call.body) if call.body else {}
    for name in ("keys", "hwid", "hwids", "key_name"):
        value = sent.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield one


def _forms(values: Iterable[str]) -> set[str]:
    """Give the ways in which an answer may repeat a value."""
    forms: set[str] = set()
    for value in values:
        quoted, written = quote(value, safe=""), _codec.encode_json(value)[1:-1].decode()
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
