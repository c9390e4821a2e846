"""The keys that a client has created lately, by which a response that comes again is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from .._errors import InvalidResponseError, Outcome
from .._protocol.echoes import ECHO
from .._protocol.requests import Request

T = TypeVar("T")

# A gateway that repeats a response does so within a minute. At 100 creations a second this is more.
_MOST_KEPT: Final = 10_000


class CreatedKeys:
    """Remembers a key value of each response to a creation, as a hash: 1 MB at most."""

    def __init__(self) -> None:
        self._hashes: dict[int, None] = {}  # in order, the oldest first

    def check(self, request: Request[T], result: T) -> None:
        """Check that a request has created another key than those before it.

        Raises:
            InvalidResponseError: The key came before. No two creations give the same key, so one of
                the two responses was not that of its call.
        """
        if request.name_created is not None:
            self._check_value(request.name_created(result))

    def check_rows(self, request: Request[T], unusable: InvalidResponseError) -> None:
        """Check the readable keys of a response as `check` does, where the others can't be used."""
        is_foreign = (unusable.field or "").startswith(f"{ECHO}.")  # its call may get them, too
        if request.name_created is not None and not is_foreign:
            self._check_value(next(iter(unusable.rows), ""))

    def _check_value(self, value: str) -> None:
        if not value:
            return
        found = hash(value)
        if found in self._hashes:
            raise InvalidResponseError(
                "the response has a key value that came before, so it may be that of another call",
                outcome=Outcome.UNKNOWN,
                field="key_value",
            )
        self._add_hash(found)

    def remember(self, values: Iterable[str]) -> None:
        """Remember keys whose response was lost: it may yet come to another call."""
        for value in values:
            self._add_hash(hash(value))

    def _add_hash(self, found: int) -> None:
        self._hashes[found] = None
        if len(self._hashes) > _MOST_KEPT:
            del self._hashes[next(iter(self._hashes))]
