"""The steps of `junkie demo`: what bots and web apps do with keys, by one line of code each."""

import asyncio
import csv
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from .. import JunkieClient, KeyStatus, OnProgress
from ..export import export_keys, unmark
from ._steps import Step

PROVIDER: Final = 8969
SERVICE: Final = 20542
FOLDER: Final = 7
DEVICE: Final = "DEMO-PC"
PAGE: Final = 100
"""Keys in a page, and in a batch, at most."""
BULK: Final = 1000
"""Keys in a bulk delete at most."""
LEAST: Final = 10


@attrs.frozen
class Plan:
    """How many keys are made, and how many of them the steps are about.

    Attributes:
        keys: All of them, `LEAST` or more.
    """

    keys: int

    @property
    def premium(self) -> int:
        """Keys that are filed in a folder and bound to a device: every fifth."""
        return self.keys // 5

    @property
    def standard(self) -> int:
        """All other keys."""
        return self.keys - self.premium

    @property
    def expired(self) -> int:
        """Standard keys whose expiry is moved into the past."""
        return min(100, self.standard // 2)

    @property
    def few(self) -> int:
        """Keys that are looked up, revoked or unbound one by one."""
        return min(10, self.premium)

    @property
    def rest(self) -> int:
        """What the purge leaves."""
        return self.keys - self.expired


class Demo:
    """The steps, over the public client alone. They count what came back, not what was sent.

    Args:
        junkie: A client of a service without any keys.
        plan: How many keys.
        path: Where the CSV file goes.

    Attributes:
        example: How a key that was found shows itself in a log.
        purged: Keys that the purge deleted.
        deleted: Keys that the last deletion deleted.
        left: Keys that are there at the end.
    """

    def __init__(self, junkie: JunkieClient, plan: Plan, path: Path) -> None:
        self._keys = junkie.keys
        self._plan = plan
        self._path = path
        self._standard: tuple[str, ...] = ()
        self._premium: tuple[str, ...] = ()
        self.example = ""
        self.purged = self.deleted = self.left = 0

    def steps(self) -> list[Step]:
        """Give the steps, with what each should come to."""
        return [*self._filling(), *self._reading(), *self._changing(), *self._emptying()]

    def _filling(self) -> list[Step]:
        plan = self._plan
        return [
            Step(
                name="create_many",
                run=self._create_standard,
                expected=plan.standard,
                calls={"createKeyBatch": _calls(plan.standard)},
                held=plan.standard,
            ),
            Step(
                name="create_many, premium",
                run=self._create_premium,
                expected=plan.premium,
                calls={"createKeyBatch": _calls(plan.premium)},
                held=plan.keys,
            ),
        ]

    def _reading(self) -> list[Step]:
        plan = self._plan
        return [
            Step(
                name="list, all",
                run=self._walk,
                expected=plan.keys,
                calls={"listKeys": _calls(plan.keys)},
                held=plan.keys,
            ),
            Step(
                name="list, one folder",
                run=self._list_folder,
                expected=plan.premium,
                calls={"listKeys": _calls(plan.premium)},
                held=plan.keys,
            ),
            Step(
                name="find",
                run=self._find,
                expected=plan.few,
                calls={"listKeys": plan.few},
                held=plan.keys,
            ),
        ]

    def _changing(self) -> list[Step]:
        plan = self._plan
        return [
            Step(
                name="update, expires_at",
                run=self._expire,
                expected=plan.expired,
                calls={"updateKey": plan.expired},
                held=plan.keys,
            ),
            Step(
                name="invalidate",
                run=self._invalidate,
                expected=plan.few,
                calls={"updateKey": plan.few},
                held=plan.keys,
            ),
            Step(
                name="reset_hwid",
                run=self._reset,
                expected=plan.few,
                calls={"resetKeyHwid": plan.few, "listKeys": 1},
                held=plan.keys,
            ),
            Step(
                name="count, by status",
                run=self._count_by_status,
                expected=plan.keys,
                calls={"listKeys": len(KeyStatus)},
                held=plan.keys,
                rated=False,
            ),
        ]

    def _emptying(self) -> list[Step]:
        plan = self._plan
        return [
            Step(
                name="all keys to CSV",
                run=self._export,
                expected=plan.keys,
                calls={"listKeys": _calls(plan.keys)},
                held=plan.keys,
            ),
            Step(
                name="purge, expired",
                run=self._purge,
                expected=plan.expired,
                calls={"listKeys": _calls(plan.expired), "bulkDeleteKeys": 1},
                held=plan.rest,
            ),
            Step(
                name="delete_many, the rest",
                run=self._delete_rest,
                expected=plan.rest,
                calls={"bulkDeleteKeys": _calls(plan.rest, BULK)},
                held=0,
            ),
            Step(
                name="count, at the end",
                run=self._count_left,
                expected=0,
                calls={"listKeys": 1},
                held=0,
            ),
        ]

    @property
    def created(self) -> int:
        """Keys that the batches created."""
        return len(self._standard) + len(self._premium)

    async def _create_standard(self, progress: OnProgress) -> int:
        report = await self._keys.create_many(
            self._plan.standard,
            provider_id=PROVIDER,
            service_id=SERVICE,
            validity_minutes=timedelta(days=30),
            on_progress=progress,
        )
        self._standard = report.keys
        return len(set(report.keys))

    async def _create_premium(self, progress: OnProgress) -> int:
        report = await self._keys.create_many(
            self._plan.premium,
            provider_id=PROVIDER,
            service_id=SERVICE,
            folder_id=FOLDER,
            is_premium=True,
            hwid=DEVICE,
            hwid_limit=3,
            on_progress=progress,
        )
        self._premium = report.keys
        return len(set(report.keys))

    async def _walk(self, progress: OnProgress) -> int:
        seen = []
        async for key in self._keys.list():
            seen.append(key.key_value)
            if len(seen) % PAGE == 0:
                progress(len(seen), self._plan.keys)
        return _matching(seen, {*self._standard, *self._premium})

    async def _list_folder(self, _: OnProgress) -> int:
        keys = await self._keys.list(folder_id=FOLDER).collect()
        return _matching((key.key_value for key in keys), set(self._premium))

    async def _find(self, progress: OnProgress) -> int:
        found = []

        async def find(value: str) -> None:
            key = await self._keys.find(value)
            if key is not None and key.key_value == value:
                found.append(key)

        await _each(self._premium[: self._plan.few], find, progress)
        self.example = repr(found[0]) if found else ""
        return len(found)

    async def _expire(self, progress: OnProgress) -> int:
        past = datetime.now(UTC) - timedelta(days=1)

        async def expire(value: str) -> bool:
            return (await self._keys.update(value, expires_at=past)).success

        return await _each(self._standard[: self._plan.expired], expire, progress)

    async def _invalidate(self, progress: OnProgress) -> int:
        async def invalidate(value: str) -> bool:
            return (await self._keys.invalidate(value)).success

        return await _each(self._standard[-self._plan.few :], invalidate, progress)

    async def _reset(self, progress: OnProgress) -> int:
        await _each(self._premium[: self._plan.few], self._keys.reset_hwid, progress)
        return self._plan.premium - await self._keys.list(hwid=DEVICE).count()

    async def _count_by_status(self, _: OnProgress) -> int:
        plan = self._plan
        expected = {
            KeyStatus.ACTIVE: plan.rest - plan.few,
            KeyStatus.USED: 0,
            KeyStatus.EXPIRED: plan.expired,
            KeyStatus.INVALIDATED: plan.few,
        }
        counts = await asyncio.gather(*(self._keys.list(status=each).count() for each in expected))
        right = sum(map(min, counts, expected.values()))
        return right - (sum(counts) - right)

    async def _export(self, progress: OnProgress) -> int:
        keys = self._keys.list()
        await export_keys(keys, self._path, format="csv", on_progress=progress)
        return _matching(_values(self._path), {*self._standard, *self._premium})

    async def _purge(self, progress: OnProgress) -> int:
        report = await self._keys.purge(status=KeyStatus.EXPIRED, on_progress=progress)
        self.purged = report.deleted
        return report.deleted

    async def _delete_rest(self, progress: OnProgress) -> int:
        rest = (*self._standard[self._plan.expired :], *self._premium)
        report = await self._keys.delete_many(rest, on_progress=progress)
        self.deleted = report.deleted
        return report.deleted

    async def _count_left(self, _: OnProgress) -> int:
        self.left = await self._keys.list().count()
        return self.left


def _values(path: Path) -> list[str]:
    """Read the key values back from a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [unmark(cells["key_value"]) for cells in csv.DictReader(file)]


def _calls(keys: int, most: int = PAGE) -> int:
    """Tell how many calls so many keys take."""
    return -(-keys // most)


def _matching(seen: Iterable[str], wanted: Collection[str]) -> int:
    """Count the wanted keys that were seen; each one too many, or twice, takes one off."""
    values = list(seen)
    right = len(set(values).intersection(wanted))
    return right - (len(values) - right)


async def _each(
    keys: Collection[str], act: Callable[[str], Awaitable[object]], progress: OnProgress
) -> int:
    """Do the same to many keys at once, and count those that it worked for."""
    worked = done = 0

    async def one(key: str) -> None:
        nonlocal worked, done
        result = await act(key)  # not within the sum, which would be read before it
        worked += bool(result)
        done += 1
        progress(done, len(keys))

    try:
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(one(key))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return worked
