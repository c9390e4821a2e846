"""Redaction: key values and the API key are removed from what a response says in an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote

from .._errors import APIError, InvalidResponseError, JunkieError
from . import codec as _codec
from .lenient import is_list
from .requests import KEY, Request

T = TypeVar("T")

_REDACTED = "***"
_MIN_LENGTH = 4  # a shorter value may well be a part of words that have nothing to do with it
_MAX_MESSAGE = 200
# Quoting for a URL, JSON or HTML, once or twice, leaves ASCII letters and digits as they are. The
# first two alternatives skip escapes, whose last letters are no part of a word.
_WORD = re.compile(r"%(?:25)*[0-9a-f]{2}|\\+(?:u[0-9a-f]{4}|[a-z])|([0-9a-z]{6,})", re.IGNORECASE)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def redact(request: Request[T], error: JunkieError, api_key: str) -> None:
    """Remove the API key and the request's key values from an error, in place."""
    if not isinstance(error, APIError | InvalidResponseError):
        return  # its message is our own
    secrets = [api_key, *_secret_values(request)]
    # Longest first: a form may contain a shorter one, whose removal would hide it from the search.
    forms = sorted(_written_forms(secrets), key=len, reverse=True)
    words = {word[1].lower() for secret in secrets for word in _WORD.finditer(secret) if word[1]}

    def redact_text(text: str) -> str:
        return _WORD.sub(
            lambda word: _REDACTED if (word[1] or "").lower() in words else word[0],
            _remove_forms(forms, text),
        )

    # Cut only now: half a secret would not be found.
    error.args = tuple(redact_text(str(arg))[:_MAX_MESSAGE] for arg in error.args)
    if isinstance(error, APIError):
        error.body = redact_text(error.body)
        error.headers = {
            redact_text(name): redact_text(value) for name, value in error.headers.items()
        }


def _secret_values(request: Request[T]) -> Iterable[str]:
    path, _, query = request.target.partition("?")
    if request.path.startswith(KEY) and not (key := path.split("/")[2]).isdigit():  # not an ID
        yield unquote(key)
    for name, values in parse_qs(query).items():
        if name in ("key", "hwid"):
            yield from values
    fields: dict[str, Any] = _codec.decode_json(request.body) if request.body else {}
    for name in ("keys", "hwid", "hwids", "key_name"):
        value = fields.get(name)
        yield from (one for one in (value if is_list(value) else [value]) if isinstance(one, str))


def _written_forms(values: Iterable[str]) -> set[str]:
    """Return the forms in which a response may repeat the values: quoted, escaped, as JSON."""
    forms: set[str] = set()
    for value in values:
        quoted, as_json = quote(value, safe=""), _codec.encode_json(value)[1:-1].decode()
        forms |= {value, quoted, quote(value), quoted.lower(), escape(value), as_json}
        forms.add(_NOT_ASCII.sub(_json_escape, as_json))
    return forms


def _json_escape(letter: re.Match[str]) -> str:
    r"""Write a letter as JSON may: ``\uXXXX``, twice beyond the basic plane (RFC 8259)."""
    return re.sub("(....)", r"\\u\1", letter[0].encode("utf-16-be").hex())


def _remove_forms(forms: Iterable[str], text: str) -> str:
    for form in forms:
        if form.isalnum() and len(form) < _MIN_LENGTH:
            text = re.sub(rf"\b{form}\b", _REDACTED, text)  # not within other words
        elif form in text:
            text = text.replace(form, _REDACTED)
    return text
