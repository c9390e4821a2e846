"""The steps of `junkie demo`: what bots and web apps do with keys, and what each must come to."""

import asyncio
import csv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, Unpack

import attrs

from .. import ActionResult, Filters, JunkieClient, Key, KeyStatus, OnProgress
from ..export import export_keys, unmark

LIVE_PAGES: Final = 5  # with the other steps: 12 requests, if none is retried
_DEVICE: Final = "DEMO-PC"

RunStep: TypeAlias = Callable[[OnProgress], Awaitable[int]]


@attrs.frozen
class Step:
    """A step and its expected counts, which are None where other clients may change them.

    Attributes:
        name: Its label in the table.
        run: Runs it and returns how many keys came back right.
        keys: How many keys that must be.
        calls: How many requests of each operation it must make.
        held: How many keys the service must hold afterwards.
    """

    name: str
    run: RunStep
    keys: int | None = None
    calls: Mapping[str, int] | None = None
    held: int | None = None


class LiveDemo:
    """The steps against a real service: a bounded number of reads, and no changes."""

    def __init__(self, junkie: JunkieClient) -> None:
        self._keys = junkie.keys
        self.example: Key | None = None

    def steps(self) -> list[Step]:
        """Return the steps in order."""
        return [
            Step("count, all", self._count_keys()),
            Step(f"list, {LIVE_PAGES} pages", self._walk_pages),
            Step("get", self._get_example),
            *(Step(f"count, {status}", self._count_keys(status=status)) for status in KeyStatus),
            Step("folders", self._list_folders),
        ]

    def _count_keys(self, **filters: Unpack[Filters]) -> RunStep:
        return lambda _: self._keys.list(**filters).count()

    async def _walk_pages(self, _: OnProgress) -> int:
        # The default prefetch would request pages beyond the last one.
        keys = await self._keys.list(prefetch=1).collect(limit=LIVE_PAGES * 100)
        self.example = next(iter(keys), None)
        return len(keys)

    async def _get_example(self, _: OnProgress) -> int:
        if self.example is None:
            return 0
        self.example = await self._keys.get(self.example.id)
        return 1

    async def _list_folders(self, _: OnProgress) -> int:
        return len(await self._keys.folders())


class Demo(LiveDemo):
    """The steps against an empty service. They count what came back, not what was sent.

    Args:
        junkie: A client of the service.
        amount: How many keys to create, 10 or more.
        path: The CSV file to write.
    """

    def __init__(self, junkie: JunkieClient, amount: int, path: Path) -> None:
        super().__init__(junkie)
        self._amount = amount
        self._path = path
        self._expired = min(100, amount // 2)
        self._few = min(10, amount // 5)
        self._values: tuple[str, ...] = ()

    def steps(self) -> list[Step]:
        """Return the steps in order: a page or a batch has 100 keys, a bulk delete 1,000."""
        amount, expired, few = self._amount, self._expired, self._few
        hundreds, rest, one = -(-amount // 100), amount - expired, {"listKeys": 1}
        past = datetime.now(UTC) - timedelta(days=1)
        expire = self._act_on(slice(expired), partial(self._keys.update, expires_at=past))
        invalidate = self._act_on(slice(-few, None), self._keys.invalidate)
        reset = self._act_on(slice(few), self._keys.reset_hwid)
        purge = {**one, "bulkDeleteKeys": 1}
        # Expired keys are the first ones and invalidated keys the last: no key is both.
        by_status = (rest - few, 0, expired, few)
        return [
            Step("create_many", self._create_keys, amount, {"createKeyBatch": hundreds}, amount),
            Step("list", self._walk_all, amount, {"listKeys": hundreds}, amount),
            Step("find", self._find_few, few, {"listKeys": few}, amount),
            Step("update, expires_at", expire, expired, {"updateKey": expired}, amount),
            Step("invalidate", invalidate, few, {"updateKey": few}, amount),
            Step("reset_hwid", reset, few, {"resetKeyHwid": few}, amount),
            Step("count, bound", self._count_keys(hwid=_DEVICE), amount - few, one, amount),
            *(
                Step(f"count, {status}", self._count_keys(status=status), keys, one, amount)
                for status, keys in zip(KeyStatus, by_status, strict=True)
            ),
            Step("export to CSV", self._export_csv, amount, {"listKeys": hundreds}, amount),
            Step("purge, expired", self._purge_expired, expired, purge, rest),
            Step("delete_many", self._delete_rest, rest, {"bulkDeleteKeys": -(-rest // 1000)}, 0),
            Step("count, at the end", self._count_keys(), 0, one, 0),
        ]

    def _act_on(self, which: slice, act: Callable[[str], Awaitable[ActionResult]]) -> RunStep:
        async def run(_: OnProgress) -> int:
            results = await asyncio.gather(*map(act, self._values[which]))
            return sum(result.success for result in results)

        return run

    async def _create_keys(self, on_progress: OnProgress) -> int:
        report = await self._keys.create_many(
            self._amount, provider_id=8969, hwid=_DEVICE, on_progress=on_progress
        )
        self._values = report.keys
        # Two keys of the same value would be one key.
        return len(set(report.keys))

    async def _walk_all(self, on_progress: OnProgress) -> int:
        values: list[str] = []
        async for key in self._keys.list():
            values.append(key.key_value)
            # Once a page: a call for each key would take longer than the walk.
            if len(values) % 100 == 0:
                on_progress(len(values), self._amount)
        return _count_matches(values, self._values)

    async def _find_few(self, _: OnProgress) -> int:
        values = self._values[: self._few]
        found = [key for key in await asyncio.gather(*map(self._keys.find, values)) if key]
        self.example = next(iter(found), None)
        return _count_matches([key.key_value for key in found], values)

    async def _export_csv(self, on_progress: OnProgress) -> int:
        await export_keys(self._keys.list(), self._path, format="csv", on_progress=on_progress)
        with self._path.open(encoding="utf-8", newline="") as file:
            values = [unmark(row["key_value"]) for row in csv.DictReader(file)]
        return _count_matches(values, self._values)

    async def _purge_expired(self, on_progress: OnProgress) -> int:
        return (await self._keys.purge(status=KeyStatus.EXPIRED, on_progress=on_progress)).deleted

    async def _delete_rest(self, on_progress: OnProgress) -> int:
        values = self._values[self._expired :]
        return (await self._keys.delete_many(values, on_progress=on_progress)).deleted


def _count_matches(values: Sequence[str], expected: Sequence[str]) -> int:
    """Count the expected values; a stranger or a duplicate takes one off, so that it shows."""
    found = len(set(values).intersection(expected))
    return found - (len(values) - found)
