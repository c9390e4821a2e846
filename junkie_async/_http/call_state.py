"""One call and its attempts so far, and the error that its caller gets: without I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import attrs

from .._errors import (
    APIError,
    ConfigurationError,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    TransportError,
)
from .._hooks import RequestStatus, StatusCallback
from .._masking import clear_frames
from .._protocol.redaction import find_secrets
from .._protocol.requests import Request
from .api_key import IssuedKey
from .retry import RetryPolicy
from .send_state import SendState
from .throttle import Priority

T = TypeVar("T")

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NOTHING_SENT: Final = SendState()


@attrs.define(eq=False)
class CallState(Generic[T]):
    """One call and its attempts so far. Times are those of the event loop's clock."""

    request: Request[T]
    policy: RetryPolicy
    limit: float
    """The end of the whole call. Without one, ``deadline`` ends it some time after a failure."""
    on_status: StatusCallback | None
    before_send: Callable[[], None] | None
    priority: Priority
    deadline: float
    attempts: int = 0
    send_state: SendState = _NOTHING_SENT
    """That of the latest attempt."""
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    """Those of the latest attempt's response; empty without one."""
    failure: JunkieError | None = None
    """The error of the latest attempt, once one has failed."""
    failed_at: float = 0.0
    first_failed_at: float | None = None
    waited: float = 0.0
    """Seconds of its back-offs and probes' waits so far."""
    patience: float = math.inf
    """The most of these in an outage. Only where waits are hurried does it end before ``limit``."""
    attempts_before: int = 0
    """Those before an outage ended: the policy counts anew from there."""
    refused_key: IssuedKey | None = None
    """The API key that a 401 has answered. The call is sent once more with another one."""
    may_have_acted: bool = False
    """Whether an attempt before the latest one may have been carried out."""

    @property
    def is_interactive(self) -> bool:
        """Whether somebody waits for the call."""
        return self.priority == "interactive"

    @property
    def endpoint(self) -> str:
        """The operation, as far as outages are concerned."""
        return f"{self.request.method} {self.request.path}"

    def name_target(self) -> str:
        """Name what the call is about. All that users may have typed counts as the same."""
        if next(find_secrets(self.request), None) is not None:
            return "a key value or HWID"
        return f"{self.request.method} {self.request.target}"

    def failing_since(self, now: float) -> float:
        """Return when its first attempt failed; now, if none has."""
        return now if self.first_failed_at is None else self.first_failed_at

    def has_met_dead_connection(self, failure: JunkieError) -> bool:
        """Whether its first attempt drew a connection from the pool that was dead, most likely."""
        return type(failure) is TransportError and self.attempts == 1

    def settle_outcome(self, error: JunkieError) -> None:
        """Report the end of an attempt to ``on_status``, if it can't have acted."""
        if error.outcome is not Outcome.NOT_EXECUTED:
            return
        if self.send_state.may_have_acted:
            error.outcome = Outcome.UNKNOWN
        else:
            self.report_idle()

    def report_idle(self) -> None:
        """Report to ``on_status`` that no request is in flight, and whether one may have acted."""
        if self.on_status is not None:
            before = self.failure is not None and self.failure.outcome is not Outcome.NOT_EXECUTED
            is_unsure = self.may_have_acted or before
            self.on_status(RequestStatus.UNCONFIRMED if is_unsure else RequestStatus.NOT_EXECUTED)

    def record_failure(self, failure: JunkieError, now: float) -> None:
        """Remember how the latest attempt ended."""
        if self.failure is not None and self.failure.outcome is not Outcome.NOT_EXECUTED:
            self.may_have_acted = True
        self.failure, self.failed_at = failure, now
        if self.first_failed_at is None:
            self.first_failed_at = now
        clear_frames(failure)  # hooks get it before the call has ended

    def is_already_deleted(self, failure: JunkieError) -> bool:
        """Whether a 404 means that an earlier DELETE, whose response was lost, was carried out."""
        not_found = self.request.method == "DELETE" and isinstance(failure, NotFoundError)
        return not_found and self.may_have_acted

    def make_final_error(self, failure: JunkieError) -> JunkieError:
        """Make the error that the caller gets, from the latest attempt's."""
        if self.may_have_acted and failure.outcome is Outcome.NOT_EXECUTED:
            failure.outcome = Outcome.UNKNOWN
        failure.__context__ = None
        if not isinstance(failure, ConfigurationError):  # that of an API key has a caller's error
            failure.__cause__ = None
        self._name_call(failure)
        if self.request.idempotent or failure.outcome is Outcome.NOT_EXECUTED:
            return failure
        unknown = OutcomeUnknownError(_describe_unknown(failure), outcome=failure.outcome)
        self._name_call(unknown)
        unknown.request_id = failure.request_id
        unknown.__cause__ = failure
        return unknown

    def _name_call(self, error: JunkieError) -> None:
        error.method, error.path = self.request.method, self.request.path
        error.attempts = self.attempts


def _describe_unknown(failure: JunkieError) -> str:
    reason = failure.message
    if isinstance(failure, APIError):
        reason = f"the service answered {failure.status}: {reason}"
    if failure.outcome is Outcome.EXECUTED:
        return f"the request was carried out, but its response can't be used: {reason}"
    return f"outcome unknown: the request was sent, but {reason}"
