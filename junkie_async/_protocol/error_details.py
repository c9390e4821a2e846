"""Error bodies: what the service, a gateway or Cloudflare says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from .._errors import InvalidResponseError
from .json_documents import decode_document
from .lenient import is_object

_MESSAGES = ("error", "message", "detail", "title")
_NAMES = ("title", "code", "error_code", "error_name", "error_category")
_CLOUDFLARE_CODE = r"(?i)\s*error(?: code:)? (1[0-9]{3})\b"
_PHRASES = frozenset(status.phrase.lower() for status in HTTPStatus)


class ErrorDetails(msgspec.Struct, frozen=True):
    """What an error body says.

    Attributes:
        message: Its message, or an empty string.
        names: What it calls the error, if anything.
        retry_after: Seconds to wait, or None.
        cloudflare_code: Cloudflare's code of the error, 1000 to 1999, or None.
    """

    message: str = ""
    names: str = ""
    retry_after: float | None = None
    cloudflare_code: int | None = None


def read_error_details(body: bytes) -> ErrorDetails:
    """Read an error body, in any of the usual forms.

    These are the contract's ``error``, and what gateways send: ``message``, the ``detail`` and
    ``title`` of problem details (RFC 9457), and what Cloudflare adds to those.
    """
    try:
        document = decode_document(body)
    except InvalidResponseError:
        return ErrorDetails(cloudflare_code=_find_cloudflare_code(body[:32].decode("latin-1")))
    return find_error_details(document)


def find_error_details(document: Any) -> ErrorDetails:
    """Find in a body's JSON what `read_error_details` reads."""
    if not is_object(document):
        return ErrorDetails()
    texts = {name: _read_text(document, name) for name in (*_MESSAGES, *_NAMES)}
    wait: Any = document.get("retry_after")
    return ErrorDetails(
        message=_pick_message([texts[name] for name in _MESSAGES if texts[name]]),
        names=" ".join(texts[name] for name in _NAMES),
        retry_after=float(wait) if type(wait) in (int, float) and 0 <= wait < 1e12 else None,
        cloudflare_code=_find_cloudflare_code(f"error {document.get('error_code')!s:.4}")
        or _find_cloudflare_code(texts["title"]),
    )


def _pick_message(texts: Sequence[str]) -> str:
    """Choose the text that says something: not a status's name, nor a code such as NOT_ALLOWED."""
    telling = (text for text in texts if " " in text and text.lower() not in _PHRASES)
    return next(telling, texts[0] if texts else "")


def _read_text(document: dict[str, Any], name: str) -> str:
    found = document.get(name)
    if is_object(found):
        found = found.get("message")
    return found if isinstance(found, str) else ""


def _find_cloudflare_code(text: str) -> int | None:
    found = re.match(_CLOUDFLARE_CODE, text)
    return int(found[1]) if found else None
