"""Responses without I/O: status, headers and body to a value or an error."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from typing import TypeVar

import junkie_async._errors as errors

from .._errors import APIError, InvalidResponseError, JunkieError, Outcome
from .bodies import RefusedError
from .codec import find_created
from .decompression import body_too_large, decompress
from .error_details import ErrorDetails, find_error_details, read_error_details
from .json_documents import decode_document
from .rate_limit_headers import read_retry_after
from .redaction import Redactor, find_secrets
from .requests import Request

T = TypeVar("T")

# Characters that an error keeps. Redaction must search them all, and people need the beginning.
_MAX_BODY = 16 * 1024
_MAX_HEADERS = 16 * 1024  # of all headers together
_MAX_HEADER = 1024
_MAX_WORDS = 2048  # of the service's message, before redaction
_MAX_MESSAGE = 200  # and after it

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_success(
    request: Request[T],
    status: int,
    headers: Mapping[str, str],
    raw: bytes | None,
    *api_keys: str,
) -> T:
    """Turn a 2xx into the request's value, or raise `InvalidResponseError`.

    Headers are in a mapping that ignores case. A body that exceeds `MAX_BODY` is None. A 2xx that
    says of itself that the request was refused is an `APIError`, unless it has keys that the
    request has created.
    """
    body = b""
    try:
        body = _decode_body(headers, raw)
        if request.read_whole is not None:
            return request.read_whole(status, headers, body)
        return request.read(body)
    except RefusedError as error:
        refused = error
    except InvalidResponseError as error:
        error.status = status
        if error.transient and _is_html(headers, body):
            error.args = ("got an HTML page instead of JSON",)
        raise
    document = decode_document(body) if refused.document is None else refused.document
    details = find_error_details(document)
    created = None if request.name_created is None else find_created(document)
    redact = Redactor([*api_keys, *find_secrets(request), *(created or ())])
    if created is not None:
        raise _make_partial(created, status, details, redact)
    raise _make_refusal(refused, status, headers, body, details, redact)


def _make_partial(
    created: tuple[str, ...], status: int, details: ErrorDetails, redact: Redactor
) -> InvalidResponseError:
    """Return the error for a refused creation that has created keys nonetheless."""
    reason = _shorten_words(redact(details.message, _MAX_WORDS))
    message = f"the response says that the call failed, but has keys ({len(created)}): {reason}"
    return InvalidResponseError(message, status=status, field="keys", rows=created)


def _make_refusal(
    refused: RefusedError,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    details: ErrorDetails,
    redact: Redactor,
) -> APIError:
    """Return the error that a refusal in a 2xx stands for."""
    if refused.no_key:
        message = "there is no such key"
        return errors.NotFoundError(message, status=status, body=redact(_text_of(body), _MAX_BODY))
    return APIError(
        _shorten_words(redact(details.message, _MAX_WORDS)),
        outcome=Outcome.NOT_EXECUTED if refused.not_executed else Outcome.UNKNOWN,
        status=status,
        body=redact(_text_of(body), _MAX_BODY),
        headers=_keep_headers(headers, redact),
    )


def _text_of(body: bytes) -> str:
    return body[: 4 * _MAX_BODY + 4].decode("utf-8", "replace")


def read_failure(
    request: Request[object],
    status: int,
    headers: Mapping[str, str],
    raw: bytes | None,
    *api_keys: str,
) -> JunkieError | None:
    """Return the error that a response stands for; None for a 2xx, whatever its body.

    What the service says is in the error without the API keys and the secrets of the request.
    """
    if 200 <= status < 300:
        return None
    if status < 400:
        message = f"unexpected status {status}; redirects are not followed"
        return InvalidResponseError(message, status=status)
    body = b""
    with contextlib.suppress(InvalidResponseError):  # the status counts, readable body or not
        body = _decode_body(headers, raw)
    return _make_error(status, headers, body, Redactor([*api_keys, *find_secrets(request)]))


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
# 501: the service does not have the operation. The others are Cloudflare's, for an origin that it
# did not reach: refused, unreachable, no TLS, an invalid certificate, no address.
_NOT_EXECUTED = (501, 521, 523, 525, 526, 530)

_REASONS: dict[type[APIError], str] = {
    errors.AuthenticationError: "the API key was refused",
    errors.RateLimitError: "rate limited",
}
"""What happened, where the service does not say it."""

_RATE_LIMIT = r"(?i)\brate[ _-]?limit|\btoo many requests\b"
_CLOUDFLARE_RATE_LIMIT = 1015


def is_turned_away(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a response that is no success says that the request was not carried out."""
    # A 503 with a Retry-After is load shedding.
    is_shed = status == 503 and read_retry_after(headers) is not None
    return status < 500 or status in _NOT_EXECUTED or is_shed


def _make_error(status: int, headers: Mapping[str, str], body: bytes, redact: Redactor) -> APIError:
    html = _is_html(headers, body)
    details = ErrorDetails() if html else read_error_details(body)
    text = _text_of(body)
    words = redact(details.message or text, _MAX_WORDS)
    wait = read_retry_after(headers)
    turned_away = is_turned_away(status, headers)
    wait = details.retry_after if wait is None else wait
    challenge = _is_challenge(status, headers, details, html=html)
    cls = _ERROR_CLASSES.get(status, errors.ServerError if status >= 500 else APIError)
    # Cloudflare's own refusals are final, whatever they say.
    if status == 403 and (html or not challenge):
        says_so = wait is not None or re.search(_RATE_LIMIT, f"{words} {details.names}")
        cls = errors.RateLimitError if says_so else cls
    if details.cloudflare_code == _CLOUDFLARE_RATE_LIMIT:
        cls = errors.RateLimitError
    message = _make_message(
        status, words, html=html, challenge=challenge, default=_REASONS.get(cls)
    )
    if cls is errors.RateLimitError and wait is not None:
        message = f"{message}: retry in {math.ceil(wait)} s"
    return cls(
        message,
        outcome=Outcome.NOT_EXECUTED if turned_away or challenge else Outcome.UNKNOWN,
        # A challenge is for browsers: a retry would meet it again.
        transient=False if challenge or status == 501 else None,
        status=status,
        body=redact(text, _MAX_BODY),
        headers=_keep_headers(headers, redact),
        challenge=challenge,
        retry_after=wait,
    )


def _is_challenge(
    status: int, headers: Mapping[str, str], details: ErrorDetails, *, html: bool
) -> bool:
    """Whether the CDN refused the request, by a page for browsers or by one of its own errors."""
    if html and status in (403, 429):
        return True
    refused = status == 403 and details.cloudflare_code not in (None, _CLOUDFLARE_RATE_LIMIT)
    return refused or headers.get("cf-mitigated", "").strip().lower() == "challenge"


def _make_message(
    status: int, words: str, *, html: bool, challenge: bool, default: str | None
) -> str:
    if html:
        sender = "the CDN in front of the service" if status in (403, 429) else "a gateway"
        return f"{sender} answered with an HTML page"
    message = _shorten_words(words, default)
    return f"the CDN in front of the service refused: {message}" if challenge else message


def _shorten_words(words: str, default: str | None = None) -> str:
    return " ".join(words.split())[:_MAX_MESSAGE] or default or "the service gave no reason"


def _keep_headers(headers: Mapping[str, str], redact: Redactor) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = _MAX_HEADERS
    for name, value in headers.items():
        room -= len(name) + min(len(value), _MAX_HEADER)
        if room >= 0:
            kept[redact(name, _MAX_HEADER).lower()] = redact(value, _MAX_HEADER)
    return kept


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    # By the body too: some gateways send their pages as application/json.
    return "html" in headers.get("Content-Type", "").lower() or body[:64].lstrip()[:1] == b"<"
