"""Everything that this package raises, and what a failed call did.

JunkieError
├── InvalidRequestError        an argument breaks the contract; nothing was sent (a ValueError too)
├── ConfigurationError         no API key, a bad base URL, a missing extra
├── ClientClosedError          the client, or the event loop that it belongs to, is closed
├── TransportError             no complete answer came
│   ├── ConnectError           no connection came about, so nothing was sent
│   └── RequestTimeoutError    the answer did not come in time
├── OutcomeUnknownError        a create or a reset may or may not have been carried out
├── InvalidResponseError       an answer came that can't be used
├── DriftError                 a list changed faster than a strict walk could follow
├── APIError                   the service said no
│   ├── BadRequestError        400, 422
│   ├── AuthenticationError    401
│   ├── PermissionDeniedError  403
│   ├── NotFoundError          404
│   ├── ConflictError          409
│   ├── RateLimitError         429
│   └── ServerError            5xx
└── BatchError                 a job ended early; carries the report of what was done
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class Outcome(enum.Enum):
    """Whether the service carried out a call that failed."""

    NOT_EXECUTED = "not executed"
    """The service provably did not act."""

    UNKNOWN = "unknown"
    """It may have acted."""

    EXECUTED = "executed"
    """It acted, though its answer can't be used."""


class JunkieError(Exception):
    """The root of all errors of this package.

    Every attribute has a default, so that errors survive pickling.

    Attributes:
        outcome: Whether the service carried the call out.
        method: The HTTP method of the call, or None when no call was made.
        path: The path *template* of the call, such as ``/keys/{keyId}``: key values stay out of it.
        attempts: How many requests were sent for the call.
        page: The page of a walk that failed, or None.
        transient: Whether the same call may succeed if it is made again soon.
    """

    outcome: Outcome = Outcome.NOT_EXECUTED
    transient: bool = False
    method: str | None = None
    path: str | None = None
    attempts: int = 0
    page: int | None = None

    def __init__(
        self, message: str = "", *, outcome: Outcome | None = None, transient: bool | None = None
    ) -> None:
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome
        if transient is not None:
            self.transient = transient

    @property
    def message(self) -> str:
        """What happened, without the call that it happened to."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        where = f"{self.method} {self.path}: " if self.method else ""
        page = f" (page {self.page})" if self.page is not None else ""
        tries = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{where}{self.message}{page}{tries}"


class InvalidRequestError(JunkieError, ValueError):
    """An argument breaks the contract. Nothing was sent.

    Attributes:
        field: The argument's name, with an index where it is one of many (``keys[3]``).
        value: The value, shortened and safe to log: key values are masked.
        limit: What would have been accepted.
    """

    def __init__(self, field: str = "", value: str = "", limit: str = "") -> None:
        super().__init__(f"{field} must be {limit}, got {value}")
        self.args = (field, value, limit)
        self.field = field
        self.value = value
        self.limit = limit

    @property
    def message(self) -> str:
        """The field, the limit and the value, in one sentence."""
        return f"{self.field} must be {self.limit}, got {self.value}"


class ConfigurationError(JunkieError):
    """The client can't work as configured: no API key, a bad base URL, a missing extra."""


class ClientClosedError(JunkieError):
    """The client was closed, or is used outside the event loop that it belongs to."""


class TransportError(JunkieError):
    """No complete answer came: the connection was lost, or the body was cut short."""

    outcome = Outcome.UNKNOWN
    transient = True


class ConnectError(TransportError):
    """No connection came about (refused, DNS, TLS, connect time-out), so nothing was sent."""

    outcome = Outcome.NOT_EXECUTED


class RequestTimeoutError(TransportError):
    """The answer, or the rest of it, did not come in time."""


class OutcomeUnknownError(JunkieError):
    """A call that must not be repeated was sent, and what became of it is not known.

    ``__cause__`` is what happened. Look at the service's state before you repeat the call: a
    repeated create makes another key.
    """

    outcome = Outcome.UNKNOWN


class InvalidResponseError(JunkieError):
    """An answer came that can't be used: HTML, broken JSON, a wrong shape, too large, a redirect.

    Attributes:
        status: The answer's HTTP status, or None when the answers are wrong taken together.
        field: The field that could not be read (``keys[3].created_at``), or None.
        row: The index (from 0) of the first row that could not be read, or None.
        rows: What could be read of the answer: the good rows of a page (`Key`s), or the good key
            values of a batch.
    """

    outcome = Outcome.UNKNOWN

    def __init__(
        self,
        message: str = "",
        *,
        outcome: Outcome | None = None,
        transient: bool | None = None,
        status: int | None = None,
        field: str | None = None,
        row: int | None = None,
        rows: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, outcome=outcome, transient=transient)
        self.status = status
        self.field = field
        self.row = row
        self.rows = rows


class DriftError(JunkieError):
    """The list changed so fast that a strict walk could not tell that it has missed nothing.

    All keys that it found have been given.
    """


class APIError(JunkieError):
    """The service answered with a status that says no.

    Attributes:
        status: The HTTP status.
        body: What the service sent as its body, decoded as text, 64 KiB at most.
        headers: The answer's headers, names in lower case.
        challenge: True when a CDN's HTML page answered instead of the service.
        retry_after: Seconds that the service asked to wait, or None when it did not say.
    """

    def __init__(
        self,
        message: str = "",
        *,
        outcome: Outcome | None = None,
        transient: bool | None = None,
        status: int = 0,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        challenge: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, outcome=outcome, transient=transient)
        self.status = status
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})
        self.challenge = challenge
        self.retry_after = retry_after

    def __str__(self) -> str:
        return super().__str__() + (f" [{self.status}]" if self.status else "")


class BadRequestError(APIError):
    """400 or 422: the service refused the request's contents."""


class AuthenticationError(APIError):
    """401: the API key is missing, wrong or revoked."""


class PermissionDeniedError(APIError):
    """403: the API key lacks the scope, or the CDN in front of the service refused us."""


class NotFoundError(APIError):
    """404: there is no such key."""


class ConflictError(APIError):
    """409: the key's state does not allow the call."""


class RateLimitError(APIError):
    """429: too many requests. ``retry_after`` says how long the service asked to wait."""

    transient = True


class ServerError(APIError):
    """5xx: the service, or the gateway in front of it, failed."""

    outcome = Outcome.UNKNOWN
    transient = True


class BatchError(JunkieError):
    """A job ended before all its calls succeeded; ``__cause__`` is the first failure.

    Attributes:
        report: The full report: what was done, what failed, and what is not known.
    """

    outcome = Outcome.UNKNOWN

    def __init__(self, message: str = "", report: Any = None) -> None:
        super().__init__(message)
        self.report = report
