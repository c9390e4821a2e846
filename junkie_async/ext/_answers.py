"""What an error of the SDK means to the users of a web app: status, headers and problem details.

They did not call the key service, the app did. So a wrong API key is no 401 of theirs, and too
many requests of the app are no 429 of theirs; 4xx is for what they can do something about:

400  `InvalidRequestError`, with the field and its limit
404  `NotFoundError`
409  `ConflictError`
500  `AuthenticationError`, `PermissionDeniedError`, `ConfigurationError`: mend the app
502  `OutcomeUnknownError` and `BatchError`, with the outcome; `InvalidResponseError`; what TLS
     refused; `BadRequestError` and every other `APIError`
503  `RateLimitError`, `ServerError`, `ConnectError` and other `TransportError`s, `DriftError`,
     `ClientClosedError`, a CDN's challenge; with ``Retry-After`` where the service named a time
504  `RequestTimeoutError`, and an `OutcomeUnknownError` that comes of one

The words are ours: nothing that the service said, no value and no address is in an answer.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

import attrs

from .. import (
    APIError,
    AuthenticationError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)

MEDIA_TYPE: Final = "application/problem+json"

_log = logging.getLogger("junkie_async.ext")

_DAY = 86_400.0
_NOT_SET_UP = "This server can't use the key service."

_MEANINGS: dict[type[JunkieError], tuple[int, str]] = {
    JunkieError: (502, "The key service can't be used."),
    InvalidRequestError: (400, ""),  # in words of its own: see `_more`
    ConfigurationError: (500, _NOT_SET_UP),
    AuthenticationError: (500, _NOT_SET_UP),
    PermissionDeniedError: (500, _NOT_SET_UP),
    ClientClosedError: (503, "This server is not ready to use the key service."),
    TransportError: (503, "The key service is out of reach."),
    RequestTimeoutError: (504, "The key service did not answer in time."),
    ServerError: (503, "The key service failed."),
    RateLimitError: (503, "The key service is busy."),
    DriftError: (503, "The keys changed while they were read."),
    InvalidResponseError: (502, "The key service gave an answer that can't be used."),
    APIError: (502, "The key service refused the request."),
    NotFoundError: (404, "There is no such key."),
    ConflictError: (409, "The key's state does not allow this."),
    OutcomeUnknownError: (502, "This may have been done. Look before you repeat it."),
    BatchError: (502, "A part of this may have been done. Look before you repeat it."),
}


@attrs.frozen
class Answer:
    """What a web app answers.

    Attributes:
        status: The HTTP status.
        headers: The headers, but for the content type, which is `MEDIA_TYPE`.
        problem: The body: problem details (RFC 9457).
    """

    status: int
    headers: dict[str, str]
    problem: dict[str, Any]


def answer(error: JunkieError) -> Answer:
    """Say what an error means to the users of a web app, and log that they were told.

    An `InvalidRequestError` may be the program's mistake as well as the user's. The program's shows
    in its first test; users will always send what they like, and are helped by hearing which field
    has which limit. So it is a 400. A `BadRequestError` is none: it broke no rule of the contract,
    or it would not have been sent, and the service's own words for it may quote what must not show.

    Where something may have been done, the answer has its ``outcome``, and no ``Retry-After``: that
    would ask for a repetition. None may be stored, as a cache may otherwise do even with a 404
    (RFC 9110, section 15.1).

    The log (``junkie_async.ext``) has a line of class, call and status: ERROR for 500, which takes
    somebody to mend it, WARNING for 502 and above, INFO for what is the user's.
    """
    status, detail = next(_MEANINGS[cls] for cls in type(error).__mro__ if cls in _MEANINGS)
    status = _status(error, status)
    headers = {"Cache-Control": "no-store"}
    if status == 503 and (wait := _retry_after(error)) is not None:
        headers["Retry-After"] = str(wait)
    problem = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    level = logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO
    _log.log(level, "%s%s, answered with %d", type(error).__name__, _circumstances(error), status)
    return Answer(status, headers, problem | _more(error))


def _status(error: JunkieError, usual: int) -> int:
    if isinstance(error, APIError) and error.challenge:
        return 503
    if isinstance(error, TransportError) and not error.transient:
        return 502
    if isinstance(error, OutcomeUnknownError) and isinstance(error.__cause__, RequestTimeoutError):
        return 504
    return usual


def _retry_after(error: JunkieError) -> int | None:
    """Give the whole seconds that the service asked to wait, a day at most."""
    told = error.retry_after if isinstance(error, APIError) else None
    return None if told is None else math.ceil(min(told, _DAY))


def _more(error: JunkieError) -> dict[str, Any]:
    if isinstance(error, InvalidRequestError):
        words = f"{error.field} must be {error.limit}."
        return {"detail": words, "field": error.field, "limit": error.limit}
    if isinstance(error, OutcomeUnknownError | BatchError):
        return {"outcome": error.outcome.value}
    return {}


def _circumstances(error: JunkieError) -> str:
    """Tell more of an error for the log, in words of ours alone."""
    if isinstance(error, InvalidRequestError):
        return f" ({error.field} must be {error.limit})"
    if isinstance(error, ConfigurationError):
        return f" ({error.message})"
    return f" of {error.method} {error.path}" if error.method else ""
