"""Reconciling a journal with the service: find the keys of calls in doubt, by their markers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from .._errors import InvalidResponseError, Outcome
from .._models import Key
from .._pagination.list_pass import FetchPage
from .journal import Intent, Journal
from .key_search import KeySearch
from .markers import read_marker

# Cloudflare gives an origin 100 s to respond before it answers 524. A request that has not been
# carried out by then has run into the service's own time-outs, too.
RECONCILE_AFTER: Final = 120.0
"""Default seconds between an unknown outcome and the search that reconciles it."""

# Clocks differ by minutes. A service that writes local times without an offset differs by 14 hours.
_CLOCK_MARGIN: Final = timedelta(days=1)


class Reconciler:
    """Reconciles a journal with the service: adopts keys of intents in doubt, deletes surplus ones.

    ``fetch`` reads a list of all keys that may have a marker. ``delay`` is the seconds
    between the last doubt and that search: longer than the service may still act on a request.
    ``delete`` returns how many keys it has deleted.
    ``remember`` is called with the values of keys that are adopted. ``log`` logs what an intent
    adopts, and closes it.
    """

    def __init__(
        self,
        journal: Journal,
        delay: float,
        *,
        fetch: FetchPage,
        delete: Callable[[list[int | str]], Awaitable[int]],
        remember: Callable[[Collection[str]], object],
        log: Callable[[Intent, Sequence[Key]], bool] | None = None,
    ) -> None:
        self._journal = journal
        self._log = log or self._log_values
        self._delay = delay
        self._fetch = fetch
        self._delete = delete
        self._remember = remember
        self._last_doubt_at = self._last_keys_at = -math.inf  # on the event loop's clock
        self.is_unconfirmed: bool = False
        """Whether calls were taken for not carried out by a list that showed no key of the job."""

    def restart_delay(self, passed: float = 0.0) -> None:
        """Count the delay from now on, or from so many seconds ago."""
        self._last_doubt_at = asyncio.get_running_loop().time() - passed

    def record_keys(self) -> None:
        """Note that a call has just created keys. The list may lag, and not show them yet."""
        self._last_keys_at = asyncio.get_running_loop().time()

    async def reconcile(self, report_wait: Callable[[float], None]) -> list[list[Key]]:
        """Close all open intents, and return the keys adopted. No call may be in flight.

        ``report_wait`` is called with the seconds that remain of the delay.
        """
        adopted, surplus = await self._find_keys(report_wait)
        if surplus:
            # First: once the last keys are logged no run reconciles, and the surplus would stay.
            adopted = await self._delete_surplus(adopted, surplus, report_wait)
        for number, keys in adopted.items():
            if not self._log(self._journal.open_intents[number], keys):
                raise _repeated_value()
            self._remember([key.key_value for key in keys])
        return [keys for keys in adopted.values() if keys]

    async def _find_keys(
        self, report_wait: Callable[[float], None]
    ) -> tuple[dict[int, list[Key]], list[int | str]]:
        """Find the keys that each open intent adopts, and the IDs of surplus ones."""
        await self._wait_out(self._last_doubt_at, report_wait)
        try:
            return await self._search()
        except InvalidResponseError:
            if self._last_keys_at <= self._last_doubt_at:
                raise
        await self._wait_out(self._last_keys_at, report_wait)
        return await self._search()

    async def _delete_surplus(
        self,
        adopted: dict[int, list[Key]],
        surplus: list[int | str],
        report_wait: Callable[[float], None],
    ) -> dict[int, list[Key]]:
        """Delete surplus keys, and return what is adopted of the others."""
        deleted = await self._delete(surplus)
        if deleted >= len(surplus):
            return adopted
        # The others are gone after a request whose response was lost, or they are still there.
        await self._wait_out(asyncio.get_running_loop().time(), report_wait)
        adopted, left = await self._search()
        if left:
            raise InvalidResponseError(
                f"the list still has {len(left)} surplus keys: the service has deleted {deleted} of"
                f" {len(surplus)}. Run this again, or delete them",
                outcome=Outcome.EXECUTED,
            )
        return adopted

    async def _wait_out(self, moment: float, report_wait: Callable[[float], None]) -> None:
        """Wait until the delay after a moment is over."""
        seconds = moment + self._delay - asyncio.get_running_loop().time()
        if seconds > 0:
            report_wait(seconds)
        await asyncio.sleep(seconds)

    async def _search(self) -> tuple[dict[int, list[Key]], list[int | str]]:
        journal = self._journal
        # All keys of the job, not only of open intents: a late duplicate of a call that has been
        # closed is surplus, and a response may have come to another call than its own.
        found = [(self._find_intent(key), key) for key in await self._make_search().find()]
        new = {*journal.seen.find_new(key.key_value for _, key in found)}
        unlogged = [(number, key) for number, key in found if key.key_value in new]
        if journal.created and len(found) == len(unlogged):
            raise InvalidResponseError(
                f"the list has none of the {journal.created} keys that the job has created and"
                " logged, by their markers in key_name: so it can't show what became of others",
                outcome=Outcome.EXECUTED,
            )
        # Such a list may lack all new keys. Once the job has logged keys, they show if it does.
        self.is_unconfirmed = not found
        adopted, surplus = _assign_keys(unlogged, journal.open_intents)
        if surplus:
            self._check_surplus(len(found) - len(unlogged), surplus)
        return adopted, [key.id for _, key in surplus]

    def _log_values(self, intent: Intent, keys: Sequence[Key]) -> bool:
        values = [key.key_value for key in keys]
        return self._journal.log_result(intent, values, final=True)

    @property
    def _since(self) -> datetime | None:
        begun = self._journal.begun
        return None if begun is None else datetime.fromtimestamp(begun, UTC) - _CLOCK_MARGIN

    def _make_search(self) -> KeySearch:
        return KeySearch(
            fetch=self._fetch,
            is_wanted=lambda key: self._find_intent(key) >= 0,
            since=self._since,
            is_plausible=self._is_plausible,
        )

    def _find_intent(self, key: Key) -> int:
        number = self._journal.find_intent(read_marker(key.key_name))
        return -1 if number is None else number

    def _is_plausible(self, found: Collection[Key]) -> bool:
        """Whether the keys found confirm the moment since when the job has created keys.

        If the clock was wrong when the job began, its keys may be older than that moment. Then the
        search would end too early, before it has come to them. So at least one key must be found,
        and all that are logged, and none of them may be older.
        """
        since = self._since
        created = self._journal.created
        if since is None or not found or len(found) < created:
            return False
        if any(key.created_at is not None and key.created_at < since for key in found):
            return False
        new = {*self._journal.seen.find_new(key.key_value for key in found)}
        return sum(key.key_value not in new for key in found) >= created

    def _check_surplus(self, logged: int, surplus: Collection[tuple[int, Key]]) -> None:
        """Refuse to delete what an undisturbed call has created, if logged keys are missing.

        That call was answered with keys of another job: its own would be lost.
        """
        suspects = {intent.number for intent in self._journal.suspects.values()}
        strays = Counter(number for number, _ in surplus if number not in suspects)
        if strays and logged < self._journal.created:
            raise InvalidResponseError(
                f"{self._journal.created - logged} keys of the job are not listed with its marker,"
                f" and {strays.total()} others are: the service has answered a call with keys of"
                " another one. Compare the keys of the report with those of the list",
                outcome=Outcome.EXECUTED,
            )


def _repeated_value() -> InvalidResponseError:
    return InvalidResponseError(
        "the list has a key value of the job twice: run the job again, or compare the keys of the"
        " report with those of the list",
        outcome=Outcome.EXECUTED,
    )


def _assign_keys(
    unlogged: Iterable[tuple[int, Key]], open_intents: Mapping[int, Intent]
) -> tuple[dict[int, list[Key]], list[tuple[int, Key]]]:
    """Give each open intent the keys that it is short of; all others are surplus."""
    adopted: dict[int, list[Key]] = {number: [] for number in open_intents}
    surplus: list[tuple[int, Key]] = []
    for number, key in unlogged:
        keys = adopted.get(number)
        if keys is not None and len(keys) < open_intents[number].outstanding:
            keys.append(key)
        else:
            surplus.append((number, key))
    return adopted, surplus
