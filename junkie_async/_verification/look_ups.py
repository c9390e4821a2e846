"""The look-ups of `verify`: made once at a time, and spared where an earlier answer will do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Hashable, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import attrs
import msgspec

from .._errors import JunkieError
from .._http.coroutines import running_loop
from .._models import Key, KeyRef
from .known_keys import KnownKey, KnownKeys
from .service_health import PROBE_AFTER, ServiceHealth, is_outage
from .shared_calls import SharedCalls

_PATIENCE: Final = 3.0
"""Seconds that a look-up may take where an earlier answer will do. Users wait for it."""


class Fetch(Protocol):
    """Looks a value up at the service, until a moment of the loop's clock."""

    def __call__(self, value: str, ends_at: float | None, /) -> Coroutine[Any, Any, Key | None]: ...


class Answer(msgspec.Struct, frozen=True):
    """What is known of a value, and since when."""

    value: str
    key: Key | None
    age: float = 0.0
    stale: bool = False


class LookUp(msgspec.Struct, frozen=True):
    """A look-up of what a user typed: the values that it may be, and what will do for an answer.

    ``scope`` has what else makes two look-ups equal. ``ends_at`` is by the loop's clock.
    """

    values: Sequence[str]
    fetch: Fetch
    scope: tuple[Hashable, ...] = ()
    ends_at: float | None = None
    max_age: float = 0.0
    stale_if_error: float = 0.0


def _loop_time() -> float:
    return running_loop().time()


class LookUps:
    """The look-ups of one client and all its views."""

    def __init__(
        self, clock: Callable[[], float] = _loop_time, probe_after: float = PROBE_AFTER
    ) -> None:
        self._clock = clock
        self._known = KnownKeys(clock)
        self._shared: SharedCalls[Key | None] = SharedCalls()
        self._health = ServiceHealth(probe_after)

    def clear(self) -> None:
        """Forget all keys."""
        self._known.clear()

    @contextmanager
    def changing(self, *keys: KeyRef) -> Generator[None]:
        """Forget keys while a call changes them, whatever its outcome is."""
        self._known.forget(keys)
        try:
            yield
        finally:
            self._known.forget(keys)

    @contextmanager
    def changing_any(self, method: str, target: str) -> Generator[None]:
        """Forget all keys while a request that is not modelled may change any of them."""
        changes_keys = method != "GET" and "keys" in target.partition("?")[0].split("/")
        if changes_keys:
            self.clear()
        try:
            yield
        finally:
            if changes_keys:
                self.clear()

    async def answer(self, look_up: LookUp) -> Answer:
        """Find the first of the values that is a key's."""
        self._known.keep_for(max(look_up.max_age, look_up.stale_if_error))
        answer = Answer("", None)
        for value in look_up.values:
            answer = await self._answer_one(value, look_up)
            if answer.key is not None:
                break
        return answer

    async def _answer_one(self, value: str, look_up: LookUp) -> Answer:
        if known := self._known.find(value, look_up.max_age):
            return self._recall(value, known)
        spare = self._find_spare(look_up)
        if spare is not None and self._health.holds_back(self._clock()):
            return spare
        try:
            return Answer(value, await self._fetch_shared(value, look_up, spare))
        except JunkieError as error:
            if not is_outage(error):
                raise
            name = None if spare is None else self._known.hash_value(spare.value)
            self._health.record_failure(name, error, self._clock())
            # Anew: it may have grown too old meanwhile, or the key may have been changed.
            if (spare := self._find_spare(look_up)) is None:
                raise
            self._health.report_stale(error)
        return spare

    def _find_spare(self, look_up: LookUp) -> Answer | None:
        """Find an earlier answer that will do if there is no other."""
        for value in look_up.values:
            if known := self._known.find(value, look_up.stale_if_error):
                return self._recall(value, known, stale=True)
        return None

    def _recall(self, value: str, known: KnownKey, *, stale: bool = False) -> Answer:
        age = self._clock() - known.looked_up_at
        return Answer(value, attrs.evolve(known.key, key_value=value), age, stale)

    async def _fetch_shared(self, value: str, look_up: LookUp, spare: Answer | None) -> Key | None:
        ends_at = look_up.ends_at
        if spare is not None:
            patience = running_loop().time() + _PATIENCE
            ends_at = patience if ends_at is None else min(ends_at, patience)
        # With the number of changes: what is asked after one must not get what was there before.
        changes = self._known.changes
        name = (self._known.hash_value(value), changes, *look_up.scope)

        async def fetch() -> Key | None:
            began = self._clock()
            found = await look_up.fetch(value, ends_at)
            self._health.record_answer()
            self._known.remember(value, found, began, changes)
            return found

        return await self._shared.share(name, fetch, ends_at)
