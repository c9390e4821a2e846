"""Reconciling a journal with the service: find the keys of calls in doubt, by their markers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from .._models import Key, KeyPage
from .journal import Intent, Journal
from .markers import read_marker

# Cloudflare gives an origin 100 s to respond before it answers 524. A request that has not been
# carried out by then has run into the service's own time-outs, too.
RECONCILE_AFTER: Final = 120.0
"""Default seconds between an unknown outcome and the walk that reconciles it."""


class Reconciler:
    """Reconciles a journal with the service: adopts keys of intents in doubt, deletes surplus ones.

    ``find`` walks all keys that may have a marker. ``delay`` is the seconds between the last doubt
    and that walk: longer than the service may still act on a request.
    """

    def __init__(
        self,
        journal: Journal,
        delay: float,
        *,
        find: Callable[[], AsyncGenerator[KeyPage, None]],
        delete: Callable[[list[int | str]], Awaitable[object]],
    ) -> None:
        self._journal = journal
        self._delay = delay
        self._find = find
        self._delete = delete
        self._last_doubt_at = 0.0  # on the event loop's clock

    def restart_delay(self) -> None:
        """Count the delay from now on."""
        self._last_doubt_at = asyncio.get_running_loop().time()

    async def reconcile(self) -> list[list[str]]:
        """Close all open intents, and return the key values adopted. No call may be in flight."""
        await asyncio.sleep(self._last_doubt_at + self._delay - asyncio.get_running_loop().time())
        # All suspects: a late duplicate of a call that an earlier round has closed is surplus.
        found = await self._find_marked(self._journal.suspects)
        logged = await self._journal.logged_keys({intent.number for intent, _ in found})
        unlogged = ((intent, key) for intent, key in found if key.key_value not in logged)
        adopted, surplus = _assign_keys(unlogged, self._journal.open_intents)
        if surplus:
            # First: once the last keys are logged no run reconciles, and the surplus would stay.
            await self._delete(surplus)
        for number, keys in adopted.items():
            self._journal.log_result(self._journal.open_intents[number], keys, final=True)
        return [keys for keys in adopted.values() if keys]

    async def _find_marked(self, suspects: Mapping[str, Intent]) -> list[tuple[Intent, Key]]:
        async with aclosing(self._find()) as pages:
            return [
                (intent, key)
                async for page in pages
                for key in page.keys
                if (intent := suspects.get(read_marker(key.key_name)))
            ]


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
