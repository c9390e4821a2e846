"""Problem details (RFC 9457): the HTTP status and body that a web app sends for each `JunkieError`.

The app called the key service; its users did not. So a wrong API key is your server's fault, and
users get a 500, not a 401. A rate limit of the app is a 503, not a 429. Only errors that a user can
correct are 4xx:

    400  `InvalidRequestError`, with the field and its limit; `TooManyMatchesError`
    404  `NotFoundError` of a call about one key, in the service's own words: see `is_missing_key`
    409  `ConflictError` of a call about one key
    500  `AuthenticationError`, `PermissionDeniedError`, `ConfigurationError`: correct the app
    502  `OutcomeUnknownError` and `BatchError`, with the outcome; `InvalidResponseError`; TLS
         failures; `BadRequestError`, other 404s, and every other `APIError`
    503  `RateLimitError`, `ServerError`, `ConnectError` and other `TransportError`s, `DriftError`,
         `ClientClosedError`, a challenge page of a CDN; with ``Retry-After``: the service's, or
         10 s
    504  `RequestTimeoutError`, and an `OutcomeUnknownError` caused by one

A `BatchError` of a job that changed nothing is answered like its cause.

The body contains only texts of this module: no value, no address, and nothing from the service's
response.
"""

from __future__ import annotations

import json
import logging
import math
import re
from http import HTTPStatus
from typing import Any, Final, cast

import attrs

import junkie_async
from junkie_async import (
    APIError,
    BatchError,
    ConflictError,
    InvalidRequestError,
    JunkieError,
    NotFoundError,
    OutcomeUnknownError,
)

__all__ = ["MEDIA_TYPE", "ProblemDetails", "is_missing_key", "problem_details"]

MEDIA_TYPE: Final = "application/problem+json"
"""The content type of problem details."""

_log = logging.getLogger("junkie_async.ext")

_RETRY_AFTER = 10.0  # seconds, where the service states none
_MAX_RETRY_AFTER = 86_400.0  # one day; `retry_after` can be infinite, which is no integer

_WORDS = ("error", "message")  # where the service writes; gateways also use other members
_KEY = re.compile(r"\bkey\b", re.IGNORECASE)
# Words about another kind of key, or about an address.
_NO_KEY = re.compile(
    r"\b(?:api|app|application|access|secret|public)[ _-]?key\b|\b(?:route|path|url|endpoint)\b|/",
    re.IGNORECASE,
)

_NOT_SET_UP = (500, "This server is not set up correctly for the key service.")
_REJECTED = (502, "The key service rejected the request.")
_IN_DOUBT = (502, "All or part of this may have been carried out. Check before you repeat it.")
# Looked up along the class's MRO, so that a subclass may come without a row of its own.
_STATUS_AND_DETAIL: dict[type[JunkieError], tuple[int, str]] = {
    JunkieError: (502, "The key service can't be used."),
    InvalidRequestError: (400, "The input is invalid."),
    junkie_async.TooManyMatchesError: (400, "Too many keys contain this value to look it up."),
    junkie_async.ConfigurationError: _NOT_SET_UP,
    junkie_async.AuthenticationError: _NOT_SET_UP,
    junkie_async.PermissionDeniedError: _NOT_SET_UP,
    junkie_async.ClientClosedError: (503, "This server is not ready to use the key service."),
    junkie_async.TransportError: (503, "The key service is unreachable."),
    junkie_async.RequestTimeoutError: (504, "The key service did not respond in time."),
    junkie_async.ServerError: (503, "The key service failed."),
    junkie_async.RateLimitError: (503, "The key service is busy."),
    junkie_async.DriftError: (503, "The keys changed while they were being read."),
    junkie_async.InvalidResponseError: (502, "The key service sent an invalid response."),
    APIError: _REJECTED,
    NotFoundError: (404, "There is no such key."),
    ConflictError: (409, "The key's state does not allow this."),
    OutcomeUnknownError: _IN_DOUBT,
    BatchError: _IN_DOUBT,
}


@attrs.frozen
class ProblemDetails:
    """The response of a web app to a `JunkieError`.

    Attributes:
        status: The HTTP status.
        headers: The headers, without the content type, which is `MEDIA_TYPE`.
        body: The problem details (RFC 9457).
    """

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def problem_details(error: JunkieError) -> ProblemDetails:
    """Choose a web app's response to an error, and log the error.

    The body of an `OutcomeUnknownError` or `BatchError` has the error's ``outcome``.

    The logger ``junkie_async.ext`` gets a line with the class, the call and the status: ERROR for a
    500, which an operator has to correct; WARNING for 502 to 504; INFO for 4xx.
    """
    answered = _first_refusal(error) or error
    status, detail = _choose_status(answered)
    # Caches may store even a 404 without being told to (RFC 9110, section 15.1).
    headers = {"Cache-Control": "no-store"}
    # Never with a 502 or 504 for an unknown outcome: it would invite the user to repeat the call.
    if status == 503:
        headers["Retry-After"] = str(_choose_retry_after(answered))
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    level = logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO
    # No `exc_info`: the error's message may quote the service (`test_web.test_every_error`).
    line, advice = _describe_error(error), _advise_operator(answered, status)
    _log.log(level, "%s: answered with HTTP %d%s", line, status, advice)
    return ProblemDetails(status, headers, body | _extra_members(answered))


def _choose_retry_after(error: JunkieError) -> int:
    stated = error.retry_after if isinstance(error, APIError) else None
    return math.ceil(min(_RETRY_AFTER if stated is None else stated, _MAX_RETRY_AFTER))


def _first_refusal(error: JunkieError) -> JunkieError | None:
    """Return the refusal that ended a job before it did anything."""
    cause = error.__cause__ if isinstance(error, BatchError) and error.did_nothing else None
    return cause if isinstance(cause, JunkieError) else None


def _choose_status(error: JunkieError) -> tuple[int, str]:
    mro = type(error).__mro__
    status, detail = next(_STATUS_AND_DETAIL[cls] for cls in mro if cls in _STATUS_AND_DETAIL)
    if isinstance(error, APIError) and error.challenge:
        status = 503  # whatever status the CDN chose, the service itself never saw the request
    if isinstance(error, junkie_async.TransportError) and not error.transient:
        status = 502  # a refused certificate stays refused, and a 503 would invite a retry
    cause = error.__cause__ if isinstance(error, OutcomeUnknownError) else None
    if isinstance(cause, junkie_async.RequestTimeoutError):
        status = 504
    if isinstance(error, NotFoundError) and not is_missing_key(error):
        return _REJECTED
    if isinstance(error, ConflictError) and not _is_about_one_key(error):
        return _REJECTED
    return status, detail


def is_missing_key(error: NotFoundError) -> bool:
    """Tell whether a 404 says that there is no such key.

    A wrong base URL, a gateway, and a route without a key answer 404 as well. So the call must be
    about one key, and the service's own JSON must speak of a key, as in
    ``{"error": "Key not found"}`` or ``{"key": null}``. An error that no response caused is
    believed: the client looked the key up, or the app itself raised it.
    """
    return _is_about_one_key(error) and (not error.attempts or _speaks_of_a_key(error.body))


def _is_about_one_key(error: JunkieError) -> bool:
    # Only the path of a single key has a parameter. Without a path, the app raised the error.
    return error.path is None or "{" in error.path


def _speaks_of_a_key(body: str) -> bool:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    members = cast("dict[str, Any]", document)
    if "key" in members and members["key"] is None:
        return True
    texts = [text for name in _WORDS if (text := _read_text(members.get(name)))]
    return any(map(_KEY.search, texts)) and not any(map(_NO_KEY.search, texts))


def _read_text(member: Any) -> str:
    if isinstance(member, dict):
        member = cast("dict[str, Any]", member).get("message")
    return member if isinstance(member, str) else ""


def _extra_members(error: JunkieError) -> dict[str, Any]:
    # A BadRequestError gets no field: it broke no rule of the contract, or it would not have been
    # sent, and the service's own text for it may quote a key value.
    if isinstance(error, InvalidRequestError):
        detail = f"{error.field} must be {error.limit}."
        return {"detail": detail, "field": error.field, "limit": error.limit}
    if isinstance(error, OutcomeUnknownError | BatchError):
        return {"outcome": error.outcome.value}
    return {}


def _advise_operator(error: JunkieError, status: int) -> str:
    if isinstance(error, NotFoundError) and status == 502:
        return ": this 404 says nothing about a key, so check the base URL"
    return ": check the API key" if isinstance(error, APIError) and status == 500 else ""


def _describe_error(error: JunkieError) -> str:
    """Name an error and its call for the log, without the service's text."""
    name = type(error).__name__
    if isinstance(error, InvalidRequestError):
        return f"{name} ({error.field} must be {error.limit})"
    if isinstance(error, junkie_async.ConfigurationError):
        return f"{name} ({error.message})"
    call = f"{name} of {error.method} {error.path}" if error.method else name
    refusal = _first_refusal(error)
    return f"{call} ({type(refusal).__name__})" if refusal else call
