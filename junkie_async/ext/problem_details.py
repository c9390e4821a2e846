"""Problem details (RFC 9457): the HTTP status and body that a web app sends for each `JunkieError`.

The app called the key service; its users did not. So a wrong API key is your server's fault, and
users get a 500, not a 401. A rate limit of the app is a 503, not a 429. Only errors that a user can
correct are 4xx:

400  `InvalidRequestError`, with the field and its limit
404  `NotFoundError`
409  `ConflictError`
500  `AuthenticationError`, `PermissionDeniedError`, `ConfigurationError`: correct the app
502  `OutcomeUnknownError` and `BatchError`, with the outcome; `InvalidResponseError`; TLS failures;
     `BadRequestError` and every other `APIError`
503  `RateLimitError`, `ServerError`, `ConnectError` and other `TransportError`s, `DriftError`,
     `ClientClosedError`, a challenge page of a CDN; with ``Retry-After`` if the service sent one
504  `RequestTimeoutError`, and an `OutcomeUnknownError` caused by one

The body contains only texts of this module: no value, no address, and nothing from the service's
response.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

import attrs

import junkie_async
from junkie_async import APIError, InvalidRequestError, JunkieError, OutcomeUnknownError

MEDIA_TYPE: Final = "application/problem+json"

_log = logging.getLogger("junkie_async.ext")

_MAX_RETRY_AFTER = 86_400.0  # one day; `retry_after` can be infinite, which is no integer

_NOT_SET_UP = (500, "This server is not set up correctly for the key service.")
_IN_DOUBT = (502, "All or part of this may have been carried out. Check before you repeat it.")
# Looked up along the class's MRO, so that a subclass may come without a row of its own.
_STATUS_AND_DETAIL: dict[type[JunkieError], tuple[int, str]] = {
    JunkieError: (502, "The key service can't be used."),
    InvalidRequestError: (400, "The input is invalid."),
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
    APIError: (502, "The key service rejected the request."),
    junkie_async.NotFoundError: (404, "There is no such key."),
    junkie_async.ConflictError: (409, "The key's state does not allow this."),
    OutcomeUnknownError: _IN_DOUBT,
    junkie_async.BatchError: _IN_DOUBT,
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
    status, detail = _choose_status(error)
    # Caches may store even a 404 without being told to (RFC 9110, section 15.1).
    headers = {"Cache-Control": "no-store"}
    # Never with a 502 or 504 for an unknown outcome: it would invite the user to repeat the call.
    if status == 503 and isinstance(error, APIError) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(min(error.retry_after, _MAX_RETRY_AFTER)))
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    level = logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO
    # No `exc_info`: the error's message may quote the service (`test_web.test_every_error`).
    _log.log(level, "%s: answered with HTTP %d", _describe_error(error), status)
    return ProblemDetails(status, headers, body | _extra_members(error))


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
    return status, detail


def _extra_members(error: JunkieError) -> dict[str, Any]:
    # A BadRequestError gets no field: it broke no rule of the contract, or it would not have been
    # sent, and the service's own text for it may quote a key value.
    if isinstance(error, InvalidRequestError):
        detail = f"{error.field} must be {error.limit}."
        return {"detail": detail, "field": error.field, "limit": error.limit}
    if isinstance(error, OutcomeUnknownError | junkie_async.BatchError):
        return {"outcome": error.outcome.value}
    return {}


def _describe_error(error: JunkieError) -> str:
    """Name an error and its call for the log, without the service's text."""
    name = type(error).__name__
    if isinstance(error, InvalidRequestError):
        return f"{name} ({error.field} must be {error.limit})"
    if isinstance(error, junkie_async.ConfigurationError):
        return f"{name} ({error.message})"
    return f"{name} of {error.method} {error.path}" if error.method else name
