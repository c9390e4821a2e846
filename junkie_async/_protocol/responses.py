"""Responses without I/O: status, headers and body to a value or an error."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Mapping
from typing import TypeVar

import junkie_async._errors as errors

from .._errors import APIError, InvalidResponseError, JunkieError, Outcome
from . import codec as _codec
from .decompression import body_too_large, decompress
from .rate_limit_headers import read_retry_after
from .requests import Request

T = TypeVar("T")

_MAX_ERROR_BODY = 64 * 1024
"""Bytes of a body that an error keeps."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_WORD = 1024
_WORD_BYTES = string.ascii_letters.encode() + string.digits.encode()


def read_success(
    request: Request[T], status: int, headers: Mapping[str, str], raw: bytes | None
) -> T:
    """Turn a 2xx into the request's value, or raise `InvalidResponseError`.

    Headers are in a mapping that ignores case. A body that exceeds `MAX_BODY` is None.
    """
    body = b""
    try:
        body = _decode_body(headers, raw)
        return request.read(body)
    except InvalidResponseError as error:
        error.status = status
        if error.transient and _is_html(headers, body):
            error.args = ("got an HTML page instead of JSON",)
        raise


def read_failure(status: int, headers: Mapping[str, str], raw: bytes | None) -> JunkieError | None:
    """Return the error that a response stands for; None for a 2xx, whatever its body."""
    if 200 <= status < 300:
        return None
    if status < 400:
        message = f"unexpected status {status}; redirects are not followed"
        return InvalidResponseError(message, status=status)
    body = b""
    with contextlib.suppress(InvalidResponseError):  # the status counts, readable body or not
        body = _decode_body(headers, raw)
    return _make_error(status, headers, body)


def _decode_body(headers: Mapping[str, str], raw: bytes | None) -> bytes:
    if raw is None:
        raise body_too_large()
    encoding = headers.get("Content-Encoding", "")
    body = decompress(raw, encoding) if encoding else raw
    return body.removeprefix(_BYTE_ORDER_MARK)


_ERROR_CLASSES: dict[int, type[APIError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}


def _make_error(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    cls = _ERROR_CLASSES.get(status, errors.ServerError if status >= 500 else APIError)
    retry_after = read_retry_after(headers)
    html = _is_html(headers, body)
    # Cloudflare's challenges come with these statuses. A retry would meet the same page.
    challenge = html and status in (403, 429)
    # A 503 with a Retry-After is load shedding: the request was turned away, not carried out.
    not_executed = status < 500 or (status == 503 and retry_after is not None)
    return cls(
        _error_message(status, body, html=html),
        outcome=Outcome.NOT_EXECUTED if not_executed else Outcome.UNKNOWN,
        transient=False if challenge else None,
        status=status,
        body=_truncate_body(body).decode("utf-8", "replace"),
        headers={name.lower(): value for name, value in headers.items()},
        challenge=challenge,
        retry_after=retry_after,
    )


def _error_message(status: int, body: bytes, *, html: bool) -> str:
    if html:
        sender = "the CDN in front of the service" if status in (403, 429) else "a gateway"
        return f"{sender} answered with an HTML page"
    message = _codec.read_error_message(body) or _truncate_body(body).decode("utf-8", "replace")
    return " ".join(message.split()) or "the service gave no reason"


def _truncate_body(body: bytes) -> bytes:
    """Return what an error keeps of a body, cut between words."""
    kept = body[:_MAX_ERROR_BODY]
    if len(body) <= _MAX_ERROR_BODY:
        return kept
    # Redaction would not recognise half a key value, so the last word goes unless it is huge.
    whole_words = kept.rstrip(_WORD_BYTES)
    return whole_words if len(kept) - len(whole_words) < _MAX_WORD else kept


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    # By the body too: some gateways send their pages as application/json.
    return "html" in headers.get("Content-Type", "").lower() or body[:64].lstrip()[:1] == b"<"
