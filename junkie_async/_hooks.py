"""Events of a client for those who observe it: each attempt, retry, pause, outage and job step.

Events name paths by their templates, so that they contain no key value.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import attrs

from ._errors import InvalidRequestError, JunkieError
from ._validation import safe_repr

_log = logging.getLogger("junkie_async")


class RequestStatus(enum.Enum):
    """Where a call of a job is, as far as its caller may end it."""

    IN_FLIGHT = enum.auto()
    """A request is about to be sent, or was sent and has not ended."""

    UNCONFIRMED = enum.auto()
    """None is in flight, and an earlier one may have been carried out."""

    NOT_EXECUTED = enum.auto()
    """None is in flight, and none was carried out."""


StatusCallback: TypeAlias = Callable[[RequestStatus], None]


@attrs.frozen(kw_only=True)
class AttemptEvent:
    """An attempt has ended: with a response, an error, or by cancellation.

    Attributes:
        method: The HTTP method.
        path: The path template, such as ``/keys/{keyId}``.
        url: The full URL of the path template.
        attempt: The number of this attempt of its call, from 1.
        seconds: Duration, from getting the request slot to the end of the response.
        status: The response's HTTP status, or None without a response. A 2xx that turns out to be
            unreadable is reported by on_retry or by the raised error.
        error: The name of the error's class if there was no response, or None.
        request_id: The response's ``X-Request-Id`` or ``CF-Ray``, or None.
    """

    method: str
    path: str
    url: str
    attempt: int
    seconds: float
    status: int | None = None
    error: str | None = None
    request_id: str | None = None


@attrs.frozen(kw_only=True)
class RetryEvent:
    """A call is about to be sent again.

    Attributes:
        method: The HTTP method.
        path: The path template.
        attempt: The number of the attempt that begins, from 2.
        seconds: Time since the last attempt failed, including the wait for a request slot.
        error: The error of that attempt.
    """

    method: str
    path: str
    attempt: int
    seconds: float
    error: JunkieError


@attrs.frozen(kw_only=True)
class PauseEvent:
    """The service is throttling, or a CDN challenges all calls, and the whole client pauses.

    Attributes:
        seconds: Duration of the pause, in which no request is sent.
        from_server: Whether the service stated that duration (``Retry-After``).
        ceiling: Maximum number of requests in flight after the pause.
    """

    seconds: float
    from_server: bool
    ceiling: int


@attrs.frozen(kw_only=True)
class OutageEvent:
    """The service is failing, and a walk or a job waits for it instead of ending.

    It comes after each attempt that has failed in an outage, one at a time for each endpoint.

    Attributes:
        method: The HTTP method of the call that failed.
        path: Its path template.
        seconds: Time since that call first failed.
        limit: Seconds after which it is given up (``RetryPolicy.outage``).
        wait: Seconds until the next attempt.
        error: The error of the latest attempt.
    """

    method: str
    path: str
    seconds: float
    limit: float
    wait: float
    error: JunkieError


@attrs.frozen(kw_only=True)
class SharedThrottleEvent:
    """The shared throttle's store was lost, or is back. Without it no call fails or waits for it.

    Attributes:
        available: Whether the store is back. Until then each process keeps to its own share.
        store: The store's address, without credentials.
        error: The name of the error's class, or None.
        rate: This process's share in requests a second while the store is lost, or None when it is
            not known or the store is back.
    """

    available: bool
    store: str
    error: str | None = None
    rate: float | None = None


@attrs.frozen(kw_only=True)
class JobEvent:
    """One call of a large job has succeeded, or the job begins to wait.

    In a job with one call for each key, also a call that has failed for its key alone.

    Attributes:
        job: ``"create_many"``, ``"delete_many"``, ``"update_many"`` or ``"reset_hwid_many"``.
        keys: Number of keys done since the job's previous event.
        done: Number of keys done so far.
        total: Number of keys in all, or None when it is not known.
        waiting: Seconds that the job waits from now on, until it looks for the keys of calls with
            an unknown outcome. 0 for a call that has succeeded.
    """

    job: str
    keys: int
    done: int
    total: int | None
    waiting: float = 0.0


Event: TypeAlias = (
    AttemptEvent | RetryEvent | PauseEvent | OutageEvent | SharedThrottleEvent | JobEvent
)


class Hooks:
    """Base class for observers of a client. Override the methods you need.

    The methods are called in the event loop and must not block. An exception that one raises is
    logged, and does not affect the call.
    """

    def on_attempt(self, event: AttemptEvent) -> None:
        """Called when an attempt has ended."""

    def on_retry(self, event: RetryEvent) -> None:
        """Called when a call is about to be sent again."""

    def on_pause(self, event: PauseEvent) -> None:
        """Called when the whole client pauses."""

    def on_outage(self, event: OutageEvent) -> None:
        """Called when a walk or a job waits for a service that is failing."""

    def on_shared_throttle(self, event: SharedThrottleEvent) -> None:
        """Called when the shared throttle's store was lost, and when it is back."""

    def on_job(self, event: JobEvent) -> None:
        """Called when one call of a large job has succeeded, or the job begins to wait."""


def notify_hooks(hooks: Iterable[Hooks], event: Event) -> None:
    """Pass an event to each of the hooks, even if one of them raises."""
    for hook in hooks:
        try:
            match event:
                case AttemptEvent():
                    hook.on_attempt(event)
                case RetryEvent():
                    hook.on_retry(event)
                case PauseEvent():
                    hook.on_pause(event)
                case OutageEvent():
                    hook.on_outage(event)
                case SharedThrottleEvent():
                    hook.on_shared_throttle(event)
                case JobEvent():
                    hook.on_job(event)
        except Exception:  # an observer's bug must not fail the call that it observes
            _log.exception("a hook raised an exception, which is ignored")


def check_hooks(given: Any) -> Sequence[Hooks]:
    """Check one hook or several."""
    hooks: Sequence[object] = (given,) if isinstance(given, Hooks) else given
    if not isinstance(hooks, list | tuple):
        limit = "an instance of Hooks, or a list of them"
        raise InvalidRequestError("hooks", safe_repr(given), limit)
    for index, hook in enumerate(hooks):
        if not isinstance(hook, Hooks):
            raise InvalidRequestError(f"hooks[{index}]", safe_repr(hook), "an instance of Hooks")
    return cast("Sequence[Hooks]", tuple(hooks))
