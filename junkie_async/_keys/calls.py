"""How the operations on keys make their calls: how urgent they are, and what refers to a key."""

from __future__ import annotations

import copy
import math
from collections.abc import Coroutine, Iterable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Self, TypeVar

from .. import _validation as validation
from .._errors import InvalidRequestError, NotFoundError, TooManyMatchesError
from .._http.coroutines import running_loop
from .._http.dispatcher import Dispatcher
from .._http.throttle import PRIORITIES, Priority
from .._masking import clear_frames
from .._models import Key, KeyRef
from .._pagination.list_pass import FetchPage, ListPass, PendingPage
from .._pagination.seen_ids import SeenIDs
from .._protocol import requests as wire
from .._validation import check_seconds, safe_repr

T = TypeVar("T")
CallsT = TypeVar("CallsT", bound="KeyCalls")

_PAGE_SIZE = 100
# Anyone may type a value that half of the shop's keys contain, and must not start a walk over them.
_MAX_SEARCHED_PAGES = 5


class KeyCalls:
    """The base of `Keys`: sends its requests, and looks up keys by their values."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._deadline: float | None = None
        self._priority: Priority | None = None
        self._ends_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """Seconds that one call may take, with all its requests, waits and retries; or None.

        `RetryPolicy.deadline` counts as well. Set it, also to a `timedelta`, where somebody waits
        for an answer, as the integrations for web apps and Discord do. A call that a rate limit or
        a pause would hold for longer raises `RateLimitError` immediately, with ``retry_after``, and
        is not sent. asyncio does not tell a client about a caller's own `asyncio.timeout`, so this
        can't be done for that: the call ends with it. A walk over a list has the deadline for its
        first page only, and jobs have none: they may have to wait out a pause.
        `JunkieClient.with_options` gives some calls another one.

        Raises:
            InvalidRequestError: It is set to something else.
        """
        return self._deadline

    @deadline.setter
    def deadline(self, value: float | timedelta | None) -> None:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        self._deadline = None if seconds is None else check_seconds("deadline", seconds)

    @property
    def priority(self) -> Priority | None:
        """Whose turn comes first while the rate is limited: "interactive", "walk" or "job".

        None is "interactive" for single calls and "walk" for walks. Jobs are always "job".

        Raises:
            InvalidRequestError: It is set to something else.
        """
        return self._priority

    @priority.setter
    def priority(self, value: Priority | None) -> None:
        if value not in (None, *PRIORITIES):
            limit = f"one of {', '.join(PRIORITIES)}, or None"
            raise InvalidRequestError("priority", safe_repr(value), limit)
        self._priority = value

    def _begin(self) -> Self:
        """Return what makes the requests of one operation, which share its deadline.

        An operation begins with ``self = self._begin()``.
        """
        if self.deadline is None or self._ends_at is not None:
            return self
        timed = copy.copy(self)
        timed._ends_at = running_loop().time() + self.deadline  # noqa: SLF001 - of this class
        return timed

    def _seconds_left(self) -> float | None:
        """Return the seconds that a request of the operation may take."""
        if self._ends_at is None:
            return self.deadline
        return max(0.0, self._ends_at - running_loop().time())

    @property
    def _urgency(self) -> Priority:
        return self.priority or "interactive"

    def _look_up_until(
        self, value: str, ends_at: float | None, *, secrets: tuple[str, ...]
    ) -> Coroutine[Any, Any, Key | None]:
        """Find a key by its value as `_look_up_value` does, until then by the loop's clock."""
        if ends_at == self._ends_at:
            return self._look_up_value(value, secrets)
        calls = copy.copy(self)
        calls._ends_at = ends_at  # noqa: SLF001 - of this class
        return calls._look_up_value(value, secrets)  # noqa: SLF001

    async def _look_up_value(self, value: str, secrets: tuple[str, ...]) -> Key | None:
        """Find a key by its value in one or two requests; no error shows the other secrets.

        `find` alone would take a request for each page of longer values that contain this one.
        """
        if wire.is_ambiguous(value):
            return await self._search(value, "GET", wire.KEY, "search list(key=...)", secrets)
        request = wire.get_key(wire.segment(value), unsent_secrets=secrets)
        try:
            return _find_exact(value, [await self._send(request)])
        except NotFoundError as error:
            clear_frames(error)  # they refer to it: a reference cycle
        # A gateway's 404 looks the same. A list can only come from the service: it settles it.
        read = await self._make_fetch(
            wire.filter_query({"key": value}), self._urgency, secrets=secrets
        )(1, _PAGE_SIZE)
        return _find_exact(value, (await read()).keys)

    async def _search(
        self, value: str, method: str, path: str, advice: str, secrets: tuple[str, ...] = ()
    ) -> Key | None:
        """Look for a value among the keys that contain it.

        The error names the caller's call, and advises what that call can do.
        """
        query = wire.filter_query({"key": value})
        fetch = self._make_fetch(query, self._urgency, secrets=secrets)
        walk = ListPass(fetch=fetch, seen=SeenIDs(), limit=_PAGE_SIZE)
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                if found := _find_exact(value, page.keys):
                    return found
                if walk.end.number >= _MAX_SEARCHED_PAGES and walk.end.states_more:
                    error = TooManyMatchesError(
                        f"none of the first {walk.end.rows} keys that contain this value is equal"
                        f" to it, and there are more: {advice}"
                    )
                    error.method, error.path = method, path
                    raise error
        return None

    def _send(self, request: wire.Request[T]) -> Coroutine[Any, Any, T]:
        return self._dispatcher.send(
            request, priority=self._urgency, max_seconds=self._seconds_left()
        )

    def _make_fetch(
        self,
        query: str,
        priority: Priority,
        last_timed_page: float = math.inf,
        secrets: tuple[str, ...] = (),
        bad_rows: wire.BadRows = "raise",
    ) -> FetchPage:
        def fetch(page: int, limit: int) -> Coroutine[Any, Any, PendingPage]:
            return self._dispatcher.fetch(
                wire.list_keys(query, page, limit, secrets, bad_rows),
                priority=priority,
                max_seconds=self._seconds_left() if page <= last_timed_page else None,
            )

        return fetch

    async def _path_segment(self, key: KeyRef, method: str) -> str:
        """Return what refers to a key in a path.

        The service takes any number there for an ID. A key whose value reads as a number is looked
        up first, or the call would act on another key.
        """
        checked: Any = validation.check_reference("key", key)
        if isinstance(checked, str) and wire.is_ambiguous(checked):
            advice = "pass the key's ID as an int, or search list(key=...)"
            found = await self._search(checked, method, wire.KEY, advice)
            if found is None:
                error = NotFoundError("no key has this value (pass an ID as an int)", status=404)
                error.method, error.path = method, wire.KEY
                raise error
            checked = found.id
        return wire.segment(checked)


def copy_calls(calls: CallsT, dispatcher: Dispatcher) -> CallsT:
    """Make calls of the same client that go through a view of its dispatcher."""
    view = copy.copy(calls)
    vars(view).update(_dispatcher=dispatcher)
    return view


def _find_exact(value: str, keys: Iterable[Key]) -> Key | None:
    return next((key for key in keys if key.key_value == value), None)
