"""Answers without I/O: status, headers and body to a value or an error."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Mapping
from typing import TypeVar

from .._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from . import codec as _codec
from .decompression import inflate, too_large
from .rate_limit_headers import read_retry_after
from .requests import Request

T = TypeVar("T")

_MOST = 64 * 1024  # bytes of a body that an error keeps
_LETTERS = string.ascii_letters.encode() + string.digits.encode()


def read(call: Request[T], status: int, headers: Mapping[str, str], raw: bytes | None) -> T:
    """Turn a good answer into the call's value.

    Args:
        call: The call that it answers.
        status: Its HTTP status, a 2xx.
        headers: Its headers, in a mapping that takes names in any case.
        raw: Its body as it came, or None where that went beyond `MAX_BODY`.

    Raises:
        InvalidResponseError: It can't be read.
    """
    body = b""
    try:
        body = _whole(headers, raw)
        return call.read(body)
    except InvalidResponseError as error:
        invalid = error
    invalid.status = status
    if invalid.transient and _is_html(headers, body):
        invalid.args = ("an HTML page came instead of JSON",)
    raise invalid


def refusal(status: int, headers: Mapping[str, str], raw: bytes | None) -> JunkieError | None:
    """Say what an answer means that is no 2xx; None of one that is, whatever its body.

    Args:
        status: Its HTTP status.
        headers: Its headers, in a mapping that takes names in any case.
        raw: Its body as it came, or None where that went beyond `MAX_BODY`.
    """
    if 200 <= status < 300:
        return None
    body = b""
    with contextlib.suppress(InvalidResponseError):  # it says no, even if its words can't be read
        body = _whole(headers, raw)
    return _refusal(status, headers, body)


def _whole(headers: Mapping[str, str], raw: bytes | None) -> bytes:
    if raw is None:
        raise too_large()
    encoding = headers.get("Content-Encoding", "")
    return inflate(raw, encoding.strip().lower()) if encoding else raw


_CLASSES: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    429: RateLimitError,
}


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> JunkieError:
    if status < 400:
        return InvalidResponseError(
            f"an answer with status {status} can't be used; redirects are not followed",
            status=status,
        )
    cls = _CLASSES.get(status, ServerError if status >= 500 else APIError)
    wait = read_retry_after(headers)
    html = _is_html(headers, body)
    challenge = html and status in (403, 429)
    # A 503 that says when to come back was refused at the door.
    refused = status < 500 or (status == 503 and wait is not None)
    return cls(
        _message(status, body, html=html),
        outcome=Outcome.NOT_EXECUTED if refused else Outcome.UNKNOWN,
        transient=False if challenge else None,
        status=status,
        body=_cut(body).decode("utf-8", "replace"),
        headers={name.lower(): value for name, value in headers.items()},
        challenge=challenge,
        retry_after=wait,
    )


def _message(status: int, body: bytes, *, html: bool) -> str:
    if html:
        by = "the CDN in front of the service" if status in (403, 429) else "a gateway"
        return f"{by} answered with an HTML page"
    said = _codec.read_error(body) or _cut(body).decode("utf-8", "replace").strip()
    return " ".join(said.split()) or "the service gave no reason"


def _cut(body: bytes) -> bytes:
    """Cut a body to what an error keeps of it, but not in a word, which may have to be masked."""
    kept = body[:_MOST]
    whole = kept.rstrip(_LETTERS) if len(body) > _MOST else kept
    return whole if len(kept) - len(whole) < 1024 else kept


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body[:64].lstrip()[:1] == b"<"
