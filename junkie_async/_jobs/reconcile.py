"""Reconciling a journal with the service: find the keys of calls in doubt, by their markers.

Knows neither HTTP nor SQLite: takes a journal, and callables that list and delete keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from .._errors import JunkieError
from .._models import Key, KeyPage
from .journal import Intent, Journal
from .markers import read_marker

# Cloudflare gives an origin 100 s to respond before it answers 524. A request that has not been
# carried out by then has run into the service's own time-outs, too.
RECONCILE_AFTER: Final = 120.0
"""Default seconds between an unknown outcome and the walk that reconciles it."""

# Five rounds at the default delay are an outage of 10 minutes: better to end, and be run again.
_MAX_ROUNDS_WITHOUT_KEYS: Final = 5


class Reconciler:
    """Reconciles a journal with the service: adopts keys of intents in doubt, deletes surplus ones.

    Args:
        journal: The journal, whose intents have markers.
        delay: Seconds to wait after the last doubt: longer than the service may still act on a
            request.
        find: Walks all keys that may bear a marker, page by page.
        delete: Deletes keys by ID.

    Attributes:
        doubts_in_a_row: How many calls in a row have had an unknown outcome.
    """

    def __init__(
        self,
        journal: Journal,
        delay: float,
        *,
        find: Callable[[], AsyncGenerator[KeyPage, None]],
        delete: Callable[[list[int | str]], Awaitable[object]],
    ) -> None:
        self.doubts_in_a_row: int = 0
        self._journal = journal
        self._delay = delay
        self._find = find
        self._delete = delete
        self._last_doubt: JunkieError | None = None
        self._last_doubt_at = 0.0  # on the event loop's clock
        self._rounds_without_keys = 0

    def restart_delay(self) -> None:
        """Count the delay from now on."""
        self._last_doubt_at = asyncio.get_running_loop().time()

    def count_doubt(self, error: JunkieError) -> None:
        """Count a call with an unknown outcome."""
        self._last_doubt = error
        self.doubts_in_a_row += 1
        self.restart_delay()

    def count_success(self) -> None:
        """Count a call that has created keys."""
        self.doubts_in_a_row = self._rounds_without_keys = 0

    async def reconcile(self) -> list[list[str]]:
        """Close all open intents, and return the key values adopted for each. No call is in flight.

        Raises:
            JunkieError: The latest doubt, when several rounds in a row have brought no key.
        """
        await asyncio.sleep(self._last_doubt_at + self._delay - asyncio.get_running_loop().time())
        # All suspects, not the open intents alone: a late duplicate of a call that was closed in
        # an earlier round is surplus.
        found = await self._find_marked(self._journal.suspects)
        logged = await self._journal.logged_keys({intent.number for intent, _ in found})
        unlogged = ((intent, key) for intent, key in found if key.key_value not in logged)
        adopted, surplus = _assign_keys(unlogged, self._journal.open_intents)
        if surplus:
            # First, so that after a crash the next run repeats the round. Once the last keys are
            # logged no run reconciles again, and the surplus would stay.
            await self._delete(surplus)
        for number, keys in adopted.items():
            self._journal.log_result(self._journal.open_intents[number], keys, final=True)
        batches = [keys for keys in adopted.values() if keys]
        self._end_round(found_keys=bool(batches))
        return batches

    async def _find_marked(self, suspects: Mapping[str, Intent]) -> list[tuple[Intent, Key]]:
        found: list[tuple[Intent, Key]] = []
        async with aclosing(self._find()) as pages:
            async for page in pages:
                found += [
                    (intent, key)
                    for key in page.keys
                    if (intent := suspects.get(read_marker(key.key_name)))
                ]
        return found

    def _end_round(self, *, found_keys: bool) -> None:
        self.doubts_in_a_row = 0
        self._rounds_without_keys = 0 if found_keys else self._rounds_without_keys + 1
        if self._rounds_without_keys >= _MAX_ROUNDS_WITHOUT_KEYS and self._last_doubt is not None:
            raise self._last_doubt  # the journal is consistent: a later run resumes from here


def _assign_keys(
    unlogged: Iterable[tuple[Intent, Key]], open_intents: Mapping[int, Intent]
) -> tuple[dict[int, list[str]], list[int | str]]:
    """Give each open intent the keys that it is short of; the IDs of all others are surplus."""
    adopted: dict[int, list[str]] = {number: [] for number in open_intents}
    surplus: list[int | str] = []
    for intent, key in unlogged:
        keys = adopted.get(intent.number)
        if keys is not None and len(keys) < intent.outstanding:
            keys.append(key.key_value)
        else:
            surplus.append(key.id)
    return adopted, surplus
