"""Counts of a list: every key counts once, in each of the groupings."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    Drift,
    InvalidRequestError,
    JunkieClient,
    Key,
    KeyGroup,
    KeyStats,
    KeyStatus,
)
from junkie_async._pagination.stats import KeyTally
from junkie_async.emulator import Emulator

NOW = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)


def tally(*keys: dict[str, Any], days: int = 3) -> Any:
    """Count keys with these fields."""
    counted = KeyTally(NOW, days)
    counted.add_keys(Key(id=i, key_value=f"v{i}", **fields) for i, fields in enumerate(keys))
    return counted.make_stats(Drift())


@pytest.mark.parametrize(
    ("after", "day"),
    [
        (timedelta(seconds=1), date(2026, 1, 31)),
        (timedelta(hours=1, minutes=59, seconds=59), date(2026, 1, 31)),
        (timedelta(hours=2), date(2026, 2, 1)),
        (timedelta(hours=49), date(2026, 2, 2)),
    ],
)
@pytest.mark.usefixtures("in_tokyo")
def test_dates_of_the_window(after: timedelta, day: date) -> None:
    """A key counts for the date (UTC) of its expiry."""
    expires_at = (NOW + after).astimezone()  # the machine's zone does not matter
    stats = tally({"expires_at": expires_at})
    assert [*stats.expiring] == [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]
    assert {day: n for day, n in stats.expiring.items() if n} == {day: 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW, "used_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(hours=50)}, "expiring_later"),
        ({}, "never_expiring"),
        ({"expiry_on_first_use": True, "validity_minutes": 5}, "not_started"),
        ({"expiry_on_first_use": True, "validity_minutes": 0}, "never_expiring"),
        (
            {"expiry_on_first_use": True, "validity_minutes": 5, "used_at": NOW},
            "never_expiring",
        ),
    ],
)
def test_keys_outside_of_the_window(fields: dict[str, Any], expected: str) -> None:
    """Each key counts in one place."""
    stats = tally(fields)
    places = ("expired", "expiring_later", "not_started", "never_expiring")
    assert {place: getattr(stats, place) for place in places} == dict.fromkeys(places, 0) | {
        expected: 1
    }
    assert not any(stats.expiring.values())


def test_every_count() -> None:
    """Keys add up, groups have their names, and the moment is in UTC."""
    group = {
        "service_id": 1,
        "service_name": "S",
        "provider_id": 2,
        "provider_name": "P",
        "folder_id": 3,
        "folder_name": "F",
    }
    kinds: list[dict[str, Any]] = [
        {"expires_at": NOW + timedelta(hours=1)},
        {"expires_at": NOW + timedelta(9)},
        {},
        {"expiry_on_first_use": True, "validity_minutes": 5},
        {"is_invalidated": True, "expires_at": NOW + timedelta(hours=1)},
    ]
    stats = tally(*[group | kind for kind in kinds * 2], days=1)
    assert stats == KeyStats(
        as_of=NOW,
        total=10,
        by_status=dict.fromkeys(KeyStatus, 0) | {KeyStatus.ACTIVE: 8, KeyStatus.INVALIDATED: 2},
        by_service=(KeyGroup(id=1, name="S", keys=10),),
        by_provider=(KeyGroup(id=2, name="P", keys=10),),
        by_folder=(KeyGroup(id=3, name="F", keys=10),),
        expiring={date(2026, 1, 31): 2},
        expiring_later=2,
        not_started=2,
        never_expiring=2,
    )
    at = KeyTally(NOW.astimezone(timezone(timedelta(hours=9))), 1).make_stats(Drift()).as_of
    assert at == NOW
    assert at.tzinfo is UTC


KEYS = st.fixed_dictionaries(
    {},
    optional={
        "service_id": st.none() | st.integers(1, 3),
        "provider_id": st.none() | st.integers(1, 3),
        "folder_id": st.none() | st.integers(1, 3),
        "expires_at": st.none() | st.timedeltas(-timedelta(9), timedelta(9)).map(NOW.__add__),
        "used_at": st.none() | st.just(NOW),
        "is_invalidated": st.booleans(),
        "expiry_on_first_use": st.booleans(),
        "validity_minutes": st.none() | st.integers(0, 9),
    },
)


@given(st.lists(KEYS, max_size=30), st.integers(1, 20))
def test_the_counts_agree(keys: list[dict[str, Any]], days: int) -> None:
    """The total is the sum of each grouping, and of the revoked keys and the places of others."""
    stats = tally(*keys, days=days)
    assert stats.total == len(keys) == sum(stats.by_status.values())
    for groups in (stats.by_service, stats.by_provider, stats.by_folder):
        assert sum(group.keys for group in groups) == len(keys)
        assert [g.keys for g in groups] == sorted((g.keys for g in groups), reverse=True)
    assert len(keys) == sum(
        [
            stats.by_status[KeyStatus.INVALIDATED],
            stats.expired,
            *stats.expiring.values(),
            stats.expiring_later,
            stats.not_started,
            stats.never_expiring,
        ]
    )
    assert len(stats.expiring) == days


def test_groups_have_names_where_one_key_has_it() -> None:
    """Groups of equal size come in the order of their IDs, and keys without one last."""
    stats = tally(
        *({"folder_id": 2}, {"folder_id": 2, "folder_name": "VIP"}, {"folder_id": 2}),
        *({"folder_id": 9}, {}, {"folder_name": "of none"}),
    )
    groups = [(group.id, group.name, group.keys) for group in stats.by_folder]
    assert groups == [(2, "VIP", 3), (None, None, 2), (9, None, 1)]


async def test_one_walk_counts_what_the_filters_leave() -> None:
    """The requests are those of a walk, and progress is reported after each page."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        folder = await emulator.add_folder("VIP")
        await emulator.seed(250, provider_id=7, folder_id=folder)
        await emulator.seed(30, provider_id=8)
        seen: list[tuple[int, int | None]] = []
        stats = await junkie.keys.stats(
            provider_id=7, days=2, on_progress=lambda done, total: seen.append((done, total))
        )
        assert emulator.calls == {"listKeys": 3}
        empty = await junkie.keys.stats(status="used")
    assert seen == [(100, 250), (200, 250), (250, 250)]
    assert (stats.total, stats.by_folder[0].name, len(stats.expiring)) == (250, "VIP", 2)
    assert not stats.drift
    assert (empty.total, empty.by_service, len(empty.expiring)) == (0, (), 30)


async def test_a_list_that_changes_is_told() -> None:
    """`drift` is that of the walk."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await emulator.seed(300)

        async def create(done: int, _: int | None) -> None:
            if done == 100:
                await junkie.keys.create_batch(provider_id=1, amount=5)

        stats = await junkie.keys.stats(on_progress=create)
        strict = await junkie.keys.stats(strict=True)
    assert stats.drift.changes
    assert stats.total >= 300
    assert (strict.total, bool(strict.drift)) == (305, False)


@pytest.mark.parametrize(
    "bad", [{"days": 0}, {"days": 367}, {"on_progress": 1}, {"service_id": 0.5}]
)
async def test_bad_arguments_send_nothing(bad: dict[str, Any]) -> None:
    """Arguments are checked first."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        with pytest.raises(InvalidRequestError):
            await junkie.keys.stats(**bad)
        assert emulator.requests == 0
