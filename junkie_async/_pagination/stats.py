"""Counts of the keys of a list, made in one walk over it."""

# Not `from __future__ import annotations`: callers' codecs resolve the annotations of a class where
# it appears, which is `junkie_async.…`.

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar, TypeAlias

import attrs

from .._models import Key, KeyStatus, Model
from .pager import Drift

DayCounts: TypeAlias = dict[date, int]
StatusCounts: TypeAlias = dict[KeyStatus, int]


@attrs.frozen(kw_only=True)
class KeyGroup(Model):
    """The keys of one service, provider or folder.

    Attributes:
        id: Its ID; None stands for the keys without one, such as keys in no folder.
        name: Its name, if the service states it.
        keys: How many keys it has.
    """

    id: int | None
    name: str | None = None
    keys: int = 0


@attrs.frozen(kw_only=True)
class KeyStats(Model):
    """Counts of the keys of a list, as they were during one walk over it.

    The counts agree with each other: ``total`` is the sum of ``by_status``, and of each of the
    three groupings. It is also the sum of the revoked keys, of ``expired``, of ``expiring``, and of
    the three counts of keys that expire later, not yet or never. A revoked key counts in its group,
    and by its expiry nowhere else.

    Attributes:
        as_of: The moment that the counts refer to, in UTC, by the service's clock.
        total: All keys.
        by_status: The number of keys of each of the four statuses.
        by_service: The number of keys of each service, largest first.
        by_provider: The number of keys of each provider, largest first.
        by_folder: The number of keys in each folder, largest first. Empty folders are not listed.
        expiring: The number of keys that expire on each of the next dates (UTC), in their order and
            with zeros. The first date is today's, with the keys that have yet to expire.
        expiring_later: Keys that expire after these dates.
        not_started: Keys that have no expiry before their first use.
        never_expiring: Keys without an expiry.
        drift: How the list changed during the walk; falsy when no change was seen. A list that
            changes may have keys that no count has: see `KeyPager`.
    """

    _computed: ClassVar = ("expired",)

    as_of: datetime
    total: int = 0
    by_status: StatusCounts = attrs.field(factory=StatusCounts, hash=False)
    by_service: tuple[KeyGroup, ...] = ()
    by_provider: tuple[KeyGroup, ...] = ()
    by_folder: tuple[KeyGroup, ...] = ()
    expiring: DayCounts = attrs.field(factory=DayCounts, hash=False)
    expiring_later: int = 0
    not_started: int = 0
    never_expiring: int = 0
    drift: Drift = attrs.field(factory=Drift)

    @property
    def expired(self) -> int:
        """Keys whose expiry has passed, without revoked ones."""
        return self.by_status.get(KeyStatus.EXPIRED, 0)


class KeyTally:
    """Counts keys, a page at a time, in the memory of the counts.

    ``days`` is the number of dates whose expiries are counted, and ``now`` an aware datetime.
    """

    def __init__(self, now: datetime, days: int) -> None:
        self._now = now.astimezone(UTC)
        today = self._now.date()
        self._statuses: Counter[KeyStatus] = Counter()
        self._services = _Groups()
        self._providers = _Groups()
        self._folders = _Groups()
        self._expiring = {today + timedelta(number): 0 for number in range(days)}
        self._later = self._not_started = self._never = 0

    @property
    def total(self) -> int:
        """The number of keys counted so far."""
        return self._statuses.total()

    def add_keys(self, keys: Iterable[Key]) -> None:
        """Count keys."""
        for key in keys:
            status = key.status_at(self._now)
            self._statuses[status] += 1
            self._services.add(key.service_id, key.service_name)
            self._providers.add(key.provider_id, key.provider_name)
            self._folders.add(key.folder_id, key.folder_name)
            if status in (KeyStatus.ACTIVE, KeyStatus.USED):
                self._add_expiry(key)

    def _add_expiry(self, key: Key) -> None:
        if key.expires_at is None:
            # Of a used key the validity has started: without an expiry it has none.
            starts = key.expiry_on_first_use and key.used_at is None and key.validity_minutes
            self._not_started += bool(starts)
            self._never += not starts
            return
        day = key.expires_at.astimezone(UTC).date()
        if day in self._expiring:
            self._expiring[day] += 1
        else:
            self._later += 1

    def make_stats(self, drift: Drift) -> KeyStats:
        """Return the counts."""
        return KeyStats(
            as_of=self._now,
            total=self.total,
            by_status={status: self._statuses[status] for status in KeyStatus},
            by_service=self._services.sort(),
            by_provider=self._providers.sort(),
            by_folder=self._folders.sort(),
            expiring=self._expiring,
            expiring_later=self._later,
            not_started=self._not_started,
            never_expiring=self._never,
            drift=drift,
        )


class _Groups:
    """Counts by ID, and the name that was seen last for each."""

    def __init__(self) -> None:
        self._counts: Counter[int | None] = Counter()
        self._names: dict[int | None, str] = {}

    def add(self, number: int | None, name: str | None) -> None:
        """Count one."""
        self._counts[number] += 1
        if name and number is not None:
            self._names[number] = name

    def sort(self) -> tuple[KeyGroup, ...]:
        """Return the groups, largest first, and those of equal size by their IDs."""
        ordered = sorted(self._counts.items(), key=_by_size)
        return tuple(KeyGroup(id=id_, name=self._names.get(id_), keys=n) for id_, n in ordered)


def _by_size(group: tuple[int | None, int]) -> tuple[int, bool, int]:
    number, count = group
    return -count, number is None, number or 0
