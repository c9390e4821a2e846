"""What a client tells those who watch it: each attempt, retry, pause and step of a job.

Events name paths by their templates, so that no key value is in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs

from ._errors import InvalidRequestError, JunkieError
from ._validation import safe_repr

EventT = TypeVar("EventT")

_log = logging.getLogger("junkie_async")

InFlightCallback: TypeAlias = Callable[[bool], None]
"""Called with True when a request is about to be sent, and with False once it can't have acted."""


@attrs.frozen(kw_only=True)
class AttemptEvent:
    """A request is over: answered, failed or cancelled.

    Attributes:
        method: The HTTP method.
        path: The path template, such as ``/keys/{keyId}``.
        url: The address with the template in it.
        attempt: The number of this attempt of its call, from 1.
        seconds: How long it took, from its turn to the end of its answer.
        status: The answer's HTTP status, or None without one. Whether a good answer can be read
            shows later: then a retry is told, or the call raises.
        error: The name of the class of what ended it without an answer, or None.
    """

    method: str
    path: str
    url: str
    attempt: int
    seconds: float
    status: int | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class RetryEvent:
    """A call is about to be sent again.

    Attributes:
        method: The HTTP method.
        path: The path template.
        attempt: The number of the attempt that begins, from 2.
        seconds: How long it has waited since the last one failed, for its turn too.
        error: How that one ended.
    """

    method: str
    path: str
    attempt: int
    seconds: float
    error: JunkieError


@attrs.frozen(kw_only=True)
class PauseEvent:
    """The service refused a request because of too many, and the whole client pauses.

    Attributes:
        seconds: How long no request is sent.
        from_server: Whether the service named that time.
        ceiling: How many requests may be in flight afterwards.
    """

    seconds: float
    from_server: bool
    ceiling: int


@attrs.frozen(kw_only=True)
class JobEvent:
    """A call of a large job is done.

    Attributes:
        job: ``"create_many"`` or ``"delete_many"``.
        keys: Keys that were done since the last such event of the job.
        done: Keys done so far.
        total: Keys in all, or None where that is not known.
    """

    job: str
    keys: int
    done: int
    total: int | None


class Hooks:
    """Told of what a client does. Override what you want to know.

    The methods are called in the event loop and must not block. What they raise is logged, and
    changes nothing.
    """

    def on_attempt(self, event: AttemptEvent) -> None:
        """A request is over."""

    def on_retry(self, event: RetryEvent) -> None:
        """A call is about to be sent again."""

    def on_pause(self, event: PauseEvent) -> None:
        """The whole client pauses."""

    def on_job(self, event: JobEvent) -> None:
        """A call of a large job is done."""


class AllHooks(Hooks):
    """Tells several, each whatever becomes of the others."""

    def __init__(self, hooks: Iterable[Hooks]) -> None:
        self._hooks: Sequence[Hooks] = tuple(hooks)

    def on_attempt(self, event: AttemptEvent) -> None:
        """Tell all."""
        for hook in self._hooks:
            _tell(hook.on_attempt, event)

    def on_retry(self, event: RetryEvent) -> None:
        """Tell all."""
        for hook in self._hooks:
            _tell(hook.on_retry, event)

    def on_pause(self, event: PauseEvent) -> None:
        """Tell all."""
        for hook in self._hooks:
            _tell(hook.on_pause, event)

    def on_job(self, event: JobEvent) -> None:
        """Tell all."""
        for hook in self._hooks:
            _tell(hook.on_job, event)


def _tell(method: Callable[[EventT], object], event: EventT) -> None:
    try:
        method(event)
    except Exception:  # it watches; what it watches must not fail on its account
        _log.exception("a hook raised, which changes nothing")


def all_hooks(given: Any) -> AllHooks | None:
    """Check one hook, or several; None for none, so that nobody is told for nothing."""
    hooks = (given,) if isinstance(given, Hooks) else given
    if not isinstance(hooks, list | tuple):
        raise InvalidRequestError(
            "hooks", safe_repr(given), "an instance of Hooks, or a list of some"
        )
    for index, hook in enumerate(hooks):
        if not isinstance(hook, Hooks):
            raise InvalidRequestError(f"hooks[{index}]", safe_repr(hook), "an instance of Hooks")
    return AllHooks(hooks) if hooks else None
