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
    """An API key, and how many came before it."""

    value: str = attrs.field(repr=False)
    number: int


@attrs.define(eq=False, repr=False)
class _Question:
    """One call of an async function for the key, on which any number of calls wait."""

    task: asyncio.Task[None] | None = None
    failure: Callable[[], JunkieError] | None = None


class APIKey:
    """The key that requests carry now, and the function that is asked for the next one.

    ``on_issue`` is called with each new key.
    """

    def __init__(self, source: APIKeySource, on_issue: Callable[[str], None]) -> None:
        self._on_issue = on_issue
        self.current: IssuedKey = IssuedKey("", 0)
        self.is_due: bool = callable(source)
        """Whether the function is to be asked before the next request."""
        self.known: tuple[str, ...] = ()
        self._source = source if callable(source) else None
        self._question: _Question | None = None
        self._is_closed = False
        if not callable(source):
            self._issue(source)

    def refuse(self, key: IssuedKey) -> bool:
        """Learn that a 401 answered a request with a key. False if there is no other to be had.

        A key that was refused while the function was asked is not asked for again.
        """
        if self._source is None:
            return False
        self.is_due |= key.number == self.current.number
        return True

    async def obtain(self, deadline: float, timeout: float) -> None:  # noqa: ASYNC109 - of others, too
        """Ask for the key, or wait for a call that does, until the deadline and the timeout.

        Raises:
            ConfigurationError: The function raised, which is the ``__cause__``, or returned what
                can't be a key.
            RequestTimeoutError: It took too long.
            ClientClosedError: The client was closed meanwhile.
        """
        question = self._question or self._ask(timeout)
        if question.task is not None:
            seconds = min(timeout, deadline - asyncio.get_running_loop().time())
            await asyncio.wait([question.task], timeout=max(0.0, seconds))
            if not question.task.done():
                raise _make_late_error()
        if self._is_closed:
            raise make_closed_error()
        if question.failure is not None:
            raise question.failure()

    async def close(self) -> None:
        """End a question that has no answer yet."""
        self._is_closed = True
        if (question := self._question) is not None and question.task is not None:
            question.task.cancel()
            await asyncio.wait([question.task])

    def forget_loop(self) -> None:
        """Forget a question that was asked in an event loop that is closed."""
        self._question = None

    def _ask(self, timeout: float) -> _Question:
        assert self._source is not None
        question = _Question()
        try:
            answer: Any = self._source()
        except Exception as error:  # the caller's code may raise anything
            question.failure = _blame(error)
            return question
        if inspect.isawaitable(answer):
            question.failure = _make_cancelled_error  # unless it comes to an end
            work = self._await_answer(question, answer, timeout)
            question.task = asyncio.get_running_loop().create_task(work)
            question.task.add_done_callback(lambda _: self._end_question(question, answer))
            self._question = question
        else:
            self._take_answer(question, answer)
        return question

    async def _await_answer(
        self,
        question: _Question,
        answer: Awaitable[object],
        timeout: float,  # noqa: ASYNC109 - it must not end with the call that has asked
    ) -> None:
        # It returns nothing: the repr of a task that has ended shows its result.
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                given = await answer
        except Exception as error:  # the caller's code may raise anything
            question.failure = _make_late_error if limit.expired() else _blame(error)
        else:
            self._take_answer(question, given)

    def _end_question(self, question: _Question, answer: Awaitable[object]) -> None:
        if self._question is question:
            self._question = None
        if inspect.iscoroutine(answer):
            answer.close()  # it warns if the task was cancelled before it began

    def _take_answer(self, question: _Question, given: object) -> None:
        question.failure = None
        try:
            self._issue(given)
        except ConfigurationError as error:
            message = f"{error.message} (the function passed as api_key= returned it)"
            if not given:
                message = "no API key: the function passed as api_key= returned none"
            question.failure = lambda: ConfigurationError(message)

    def _issue(self, given: object) -> None:
        value = check_api_key(given)
        before = self.current
        self.current = IssuedKey(value, before.number + 1)
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
