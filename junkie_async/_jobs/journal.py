"""A job's record in memory: the keys it has created, and the calls whose results are outstanding.

`Ledger` keeps the same record in a file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence

import msgspec

from .key_hashes import KeySet, SeenValues


class Intent(msgspec.Struct, eq=False):
    """One call that the job intends to make. It is open until nothing more can come of it."""

    number: int
    outstanding: int  # keys that are not logged yet, 0 to 100
    marker: str | None = None
    in_doubt: bool = False  # it may have been sent, and its outcome is unknown


class Journal:
    """A job's record: write-ahead, so an intent is logged before its call is sent."""

    is_durable: bool = False
    can_lose_writer: bool = False
    """Whether another worker may take the job over from this one."""

    def __init__(self) -> None:
        self.created: int = 0
        self.begun: float | None = None  # in Unix time, where keys can be looked for
        self.open_intents: dict[int, Intent] = {}
        # All that were ever in doubt, by marker: the service may still create keys for these.
        self.suspects: dict[str, Intent] = {}
        self._next_number = 0
        self._keys: list[str] = []
        self.seen: SeenValues = KeySet(self._keys)  # all logged keys

    @property
    def outstanding(self) -> int:
        """Keys of open intents that are not logged yet."""
        return sum(intent.outstanding for intent in self.open_intents.values())

    def snapshot_keys(self) -> tuple[int, Callable[[], tuple[str, ...]]]:
        """Return how many key values are logged, and a function that reads these, in order."""
        keys = tuple(self._keys)
        return len(keys), lambda: keys

    async def open(self) -> None:
        """Start the record, or resume the one of an earlier run."""

    async def end(self) -> None:
        """Close, with the intents whose calls were not sent: nobody need wait for these."""
        try:
            for intent in [one for one in self.open_intents.values() if not one.in_doubt]:
                self.log_result(intent, (), final=True)
        finally:
            await self.close()

    async def close(self) -> None:
        """Flush and close."""

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the key values that earlier runs have logged, in chunks."""
        for keys in list[Sequence[str]]():  # none: what is in memory ends with its run
            yield keys

    async def log_intents(self, amounts: Sequence[int]) -> list[Intent]:
        """Open an intent for each amount of keys. Their calls may be sent after this returns."""
        first = self._next_number
        self._next_number += len(amounts)
        intents = [
            Intent(number, amount, self._marker_of(number))
            for number, amount in enumerate(amounts, first)
        ]
        self.open_intents |= {intent.number: intent for intent in intents}
        return intents

    def log_result(self, intent: Intent, keys: Collection[str], *, final: bool) -> bool:
        """Log keys of an intent, and close the intent if nothing more can come of it.

        False, and nothing is logged, unless all keys are new and differ.
        """
        if not self.seen.add_all(keys):
            return False
        self._keys += keys
        self._update_intent(intent, keys, final=final)
        return True

    async def sync(self) -> None:
        """Wait until everything logged so far is durable."""

    async def wait_until_writer(self) -> None:
        """Wait as long as it is unsure whether this worker may send calls."""

    def check_writer(self) -> None:
        """Raise LeaseLostError unless this worker may send a call at this moment."""

    def find_intent(self, marker: str) -> int | None:  # noqa: ARG002 - a ledger has marked ones
        """Return the number of the intent that has this marker, or None if none of the job has."""
        return None

    def _marker_of(self, number: int) -> str | None:  # noqa: ARG002 - a ledger's has one
        return None

    def _update_intent(self, intent: Intent, keys: Collection[str], *, final: bool) -> None:
        self.created += len(keys)
        intent.outstanding -= len(keys)
        if final:
            del self.open_intents[intent.number]
        elif intent.marker is not None:
            self.suspects[intent.marker] = intent
