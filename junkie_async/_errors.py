"""The exceptions of this package, and whether a failed call was carried out.

JunkieError
├── InvalidRequestError        an argument is out of its limits; also a ValueError
├── ConfigurationError         no API key, an invalid base URL, a missing extra
├── ClientClosedError          the client is closed, or in use in another event loop
├── TransportError             no complete response
│   ├── ConnectError           could not connect; nothing was sent
│   └── RequestTimeoutError    timed out before a full response
├── OutcomeUnknownError        a create or an HWID reset may have been carried out
├── InvalidResponseError       the response can't be used
├── DriftError                 the list changed faster than a strict walk could follow
├── TooManyMatchesError        too many keys contain the value that was looked for
├── APIError                   the service refused the request or failed
│   ├── BadRequestError        400, 422
│   ├── AuthenticationError    401
│   ├── PermissionDeniedError  403
│   ├── NotFoundError          404
│   ├── ConflictError          409
│   ├── RateLimitError         429, or a 403 that says so
│   └── ServerError            5xx
└── BatchError                 a job ended early; has the report of what was done
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


class Outcome(enum.Enum):
    """Whether the service carried out a failed call."""

    NOT_EXECUTED = "not executed"
    """The service provably did not carry it out."""

    UNKNOWN = "unknown"
    """The service may have carried it out."""

    EXECUTED = "executed"
    """The service carried it out, but its response can't be used."""


class JunkieError(Exception):
    """Base class of all errors of this package.

    Attributes:
        outcome: Whether the service carried out the call.
        method: The HTTP method of the call, or None when no call was made.
        path: The path template of the call, such as ``/keys/{keyId}``. It contains no key value.
        attempts: Number of requests sent for the call.
        page: The page of a list walk that failed, or None.
        advice: Which of the client's settings to look at, or None: where a refused API key came
            from, a base URL without its path, a cap on waits. It is for operators, not for users of
            an app: it has the first four characters of an API key, and the base URL.
        request_id: The ID that the last response gave the request, for questions to the service's
            support: its ``X-Request-Id``, or Cloudflare's ``CF-Ray``. None without one.
        transient: Whether the same call may succeed a little later.
    """

    # Class attributes, since pickle and copy call `cls(*args)` and then restore `__dict__`: an
    # attribute that no error sets needs no place in either.
    outcome: Outcome = Outcome.NOT_EXECUTED
    transient: bool = False
    method: str | None = None
    path: str | None = None
    attempts: int = 0
    page: int | None = None
    advice: str | None = None
    request_id: str | None = None

    def __init__(
        self, message: str = "", *, outcome: Outcome | None = None, transient: bool | None = None
    ) -> None:
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome
        if transient is not None:
            self.transient = transient

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Describe an error to pydantic, as models have them: a string, as `to_dict` writes it."""
        from pydantic_core import core_schema

        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )

    @property
    def message(self) -> str:
        """What happened, without the name of the call."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        where = f"{self.method} {self.path}: " if self.method else ""
        advice = f"; {self.advice}" if self.advice else ""
        page = f" (page {self.page})" if self.page is not None else ""
        tries = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        request = f" (request ID {self.request_id})" if self.request_id else ""
        return f"{where}{self.message}{advice}{page}{tries}{self._show_status()}{request}"

    def _show_status(self) -> str:
        return ""


class InvalidRequestError(JunkieError, ValueError):
    """An argument is out of its limits. Nothing was sent.

    Attributes:
        field: The argument's name, with an index in a sequence (``keys[3]``).
        value: The refused value, shortened and safe to log: key values are masked.
        limit: What is accepted.
    """

    def __init__(self, field: str = "", value: str = "", limit: str = "") -> None:
        super().__init__(f"{field} must be {limit}, got {value}")
        self.field = field
        self.value = value
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle by `args`, which are the message here and not these arguments.
        return type(self), (self.field, self.value, self.limit), vars(self)


class ConfigurationError(JunkieError):
    """The client's configuration is wrong: no API key, an invalid base URL, a missing extra."""


class ClientClosedError(JunkieError):
    """The client is closed, or belongs to another event loop, which is not closed."""


class TransportError(JunkieError):
    """There was no complete response: the connection was lost, or the body was cut short."""

    outcome = Outcome.UNKNOWN
    transient = True


class ConnectError(TransportError):
    """Could not connect (refused, DNS, TLS, connect time-out). Nothing was sent."""

    outcome = Outcome.NOT_EXECUTED


class RequestTimeoutError(TransportError):
    """The request timed out before a full response."""


class OutcomeUnknownError(JunkieError):
    """A request that must not be repeated was sent, and its outcome is unknown.

    ``__cause__`` is the error of its last attempt. Check the service's state before you repeat the
    call: a repeated create makes another key.
    """

    outcome = Outcome.UNKNOWN


class InvalidResponseError(JunkieError):
    """The response can't be used: HTML, broken JSON, a wrong shape, too large, or a redirect.

    Attributes:
        status: The response's HTTP status, or None when several responses contradict each other.
        field: The field that could not be read (``keys[3].created_at``), or None.
        row: The index (from 0) of the first row that could not be read, or None.
        rows: The readable rows: the `Key` objects of a page, or the key values that were created.
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
    """The list changed so fast that a strict walk can't guarantee to have missed no key.

    The walk has yielded all keys that it found.
    """


class TooManyMatchesError(JunkieError):
    """The key may exist, but too many others contain its value to look through them.

    The service finds keys by parts of their values. A value that a path can't hold, such as ``7``,
    is looked for among the first 500 keys that contain it. Pass the key's ID where the call takes
    one, or search ``list(key=...)``.
    """


class APIError(JunkieError):
    """The service, or a gateway before it, answered with an error status.

    Attributes:
        status: The HTTP status.
        body: The beginning of the response's body as text, up to 16,384 characters on one line.
        headers: The response's headers, names in lower case, up to 16,384 characters in all.
        challenge: Whether a CDN refused the request in the service's place: with an HTML page, or
            with an error of its own.
        retry_after: Seconds to wait that ``Retry-After`` or the body states, or None.

    In all texts the API key, and the key values and HWIDs of the call, are masked (``***``).
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

    def _show_status(self) -> str:
        return f" [{self.status}]" if self.status else ""


class BadRequestError(APIError):
    """400 or 422: the service refused the request's content."""


class AuthenticationError(APIError):
    """401: the API key is missing, wrong or revoked."""


class PermissionDeniedError(APIError):
    """403: the API key lacks the permission, or the CDN in front of the service refused it."""


class NotFoundError(APIError):
    """404: there is no such key."""


class ConflictError(APIError):
    """409: the key's state does not allow the call."""


class RateLimitError(APIError):
    """429, or a 403 that says so: too many requests. Retry after ``retry_after`` seconds."""

    transient = True


class ServerError(APIError):
    """5xx: the service or a gateway in front of it failed."""

    outcome = Outcome.UNKNOWN
    transient = True


class BatchError(JunkieError):
    """A job ended before all its calls succeeded. ``__cause__`` is the first failure.

    Attributes:
        report: The full report: what was done, what failed, and what is unknown.
        did_nothing: Whether no key was changed: no call succeeded, and no request to change keys
            can have been carried out.
    """

    outcome = Outcome.UNKNOWN
    did_nothing: bool = False

    def __init__(self, message: str = "", report: Any = None) -> None:
        super().__init__(message)
        self.report = report
