"""The API key of requests: a string, or what a function of the caller's returns."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs

from .._errors import ConfigurationError, JunkieError, Outcome, RequestTimeoutError
from .._validation import safe_repr
from .waiter import make_closed_error

APIKeySource: TypeAlias = str | Callable[[], str | Awaitable[str]]

_MOST_KNOWN: Final = 4
"""Keys that errors must not show: the current one and those before it, which others may repeat."""


@attrs.frozen(eq=False)
class IssuedKey:
    """An API key as it was given: the same value that is given again is another one."""

    value: str = attrs.field(repr=False)


@attrs.define(eq=False, repr=False)
class _Refresh:
    """One call of an async function for the key, on which any number of calls wait."""

    task: asyncio.Task[None] | None = None
    failure: Callable[[], JunkieError] | None = None


class APIKey:
    """The key that requests carry now, and the function that is asked for the next one.

    ``on_issue`` is called with each new key. An async function may take ``patience`` seconds, or
    longer if the call that asks waits longer: others may join it.
    """

    def __init__(
        self, source: APIKeySource, on_issue: Callable[[str], None], *, patience: float
    ) -> None:
        self._on_issue = on_issue
        self._patience = patience
        self.current: IssuedKey = IssuedKey("")
        self.is_due: bool = callable(source)
        """Whether the function is to be asked before the next request."""
        self.known: tuple[str, ...] = ()
        self._source = source if callable(source) else None
        self._refresh: _Refresh | None = None
        self._is_closed = False
        if not callable(source):
            self._issue(source)

    def refuse(self, key: IssuedKey) -> bool:
        """Learn that a 401 answered a request with a key. False if there is no other to be had.

        A key that was refused while the function was asked is not asked for again.
        """
        if self._source is None:
            return False
        self.is_due |= key is self.current
        return True

    async def obtain(self, deadline: float, timeout: float) -> None:  # noqa: ASYNC109 - of others, too
        """Ask for the key, or wait for a call that does, until the deadline and the timeout.

        Raises:
            ConfigurationError: The function raised, which is the ``__cause__``, or returned what
                can't be a key.
            RequestTimeoutError: It took too long.
            ClientClosedError: The client was closed meanwhile.
        """
        refresh = self._refresh or self._start_refresh(max(timeout, self._patience))
        if refresh.task is not None:
            seconds = min(timeout, deadline - asyncio.get_running_loop().time())
            await asyncio.wait([refresh.task], timeout=max(0.0, seconds))
            if not refresh.task.done():
                raise _make_late_error()
        if self._is_closed:
            raise make_closed_error()
        if refresh.failure is not None:
            raise refresh.failure()

    async def close(self) -> None:
        """End a refresh that is under way."""
        self._is_closed = True
        if (refresh := self._refresh) is not None and refresh.task is not None:
            refresh.task.cancel()
            await asyncio.wait([refresh.task])

    def forget_loop(self) -> None:
        """Forget a refresh that began in an event loop that is closed."""
        self._refresh = None

    def _start_refresh(self, seconds: float) -> _Refresh:
        assert self._source is not None
        refresh = _Refresh()
        try:
            returned: Any = self._source()
        except Exception as error:  # the caller's code may raise anything
            refresh.failure = _blame(error)
            return refresh
        if inspect.isawaitable(returned):
            refresh.failure = _make_cancelled_error  # unless it comes to an end
            work = self._await_key(refresh, returned, seconds)
            refresh.task = asyncio.get_running_loop().create_task(work)
            refresh.task.add_done_callback(lambda _: self._end_refresh(refresh, returned))
            self._refresh = refresh
        else:
            self._accept_key(refresh, returned)
        return refresh

    async def _await_key(
        self, refresh: _Refresh, returned: Awaitable[object], seconds: float
    ) -> None:
        # It returns nothing: the repr of a task that has ended shows its result.
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                given = await returned
        except Exception as error:  # the caller's code may raise anything
            refresh.failure = _make_late_error if limit.expired() else _blame(error)
        else:
            self._accept_key(refresh, given)

    def _end_refresh(self, refresh: _Refresh, returned: Awaitable[object]) -> None:
        if self._refresh is refresh:
            self._refresh = None
        if inspect.iscoroutine(returned):
            returned.close()  # it warns if the task was cancelled before it began

    def _accept_key(self, refresh: _Refresh, given: object) -> None:
        refresh.failure = None
        try:
            self._issue(given)
        except ConfigurationError as error:
            message = f"{error.message} (the function passed as api_key= returned it)"
            if not given:
                message = "no API key: the function passed as api_key= returned none"
            refresh.failure = lambda: ConfigurationError(message)

    def _issue(self, given: object) -> None:
        value = check_api_key(given)
        before, self.current = self.current, IssuedKey(value)
        self.is_due = False
        if value != before.value:
            others = [one for one in self.known if one != value]
            self.known = (value, *others[: _MOST_KNOWN - 1])
            self._on_issue(value)


def check_api_key(given: Any) -> str:
    """Check that a header can carry an API key.

    Raises:
        ConfigurationError: It can't. The message does not show the key.
    """
    if not given:
        raise ConfigurationError(
            "no API key: pass api_key= to JunkieClient, or set $JUNKIE_API_KEY"
        )
    if not isinstance(given, str):
        raise ConfigurationError(f"the API key must be a string, got {safe_repr(given)}")
    if given.strip() != given:  # as read from a file
        where = "begins" if given[0].isspace() else "ends"
        what = "a newline" if "\n" in (given[0], given[-1]) else "a blank"
        raise ConfigurationError(f"the API key {where} with {what}: strip() it")
    if " " in given:
        raise ConfigurationError("the API key contains a space: was more than the key copied?")
    if not given.isascii() or not given.isprintable():
        raise ConfigurationError("the API key must have printable ASCII characters only")
    return str.__str__(given)


def _blame(cause: Exception) -> Callable[[], JunkieError]:
    """Return a function that makes the error of one of the calls that wait."""
    name = type(cause).__name__

    def make_error() -> JunkieError:
        error = ConfigurationError(f"not sent: the function passed as api_key= raised {name}")
        error.__cause__ = cause
        return error

    return make_error


def _make_cancelled_error() -> JunkieError:
    return ConfigurationError("not sent: the function passed as api_key= was cancelled")


def _make_late_error() -> JunkieError:
    return RequestTimeoutError(
        "not sent: timed out waiting for the function passed as api_key=",
        outcome=Outcome.NOT_EXECUTED,
        transient=False,
    )
