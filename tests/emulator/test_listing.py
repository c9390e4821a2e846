"""Listings: pages, totals and counters, compared with a plain computation over all rows."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from junkie_async.emulator import listing
from junkie_async.emulator.column_values import render_time
from junkie_async.emulator.schema import EXACT_FILTERS
from junkie_async.emulator.store import Store

from .conftest import NOON, Clock

BY_SELECTIVITY = ("provider_id", "service_id", "folder_id", "discord_id")
EXACT: tuple[dict[str, Any], ...] = (
    {},
    {"provider_id": 1},
    {"service_id": 2},
    {"folder_id": 1},
    {"discord_id": "1" * 17},
    {"provider_id": 1, "service_id": 1},
    {"provider_id": 7},
)
PARTIAL: tuple[dict[str, Any], ...] = (
    {"status": "active"},
    {"status": "used"},
    {"status": "expired"},
    {"status": "invalidated"},
    {"status": "active", "provider_id": 2},
    {"status": "expired", "service_id": 1},
    {"hwid": "H1"},
    {"key": "A"},
    {"expires_before": render_time(NOON + timedelta(minutes=45))},
    {"expires_after": render_time(NOON + timedelta(minutes=30)), "provider_id": 1},
)


@pytest.fixture
def clock() -> Clock:
    """Noon, until moved."""
    return Clock()


@pytest.fixture(params=[True, False], ids=["newest-first", "oldest-first"])
def store(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Store]:
    """An empty store in either order."""
    opened = Store(newest_first=request.param, clock=clock)
    yield opened
    opened.close()


def _status(key: Mapping[str, Any], now: str) -> str:
    if key["is_invalidated"]:
        return "invalidated"
    if key["expires_at"] and key["expires_at"] <= now:
        return "expired"
    return "used" if key["used_at"] else "active"


def _lets_through(filters: Mapping[str, Any], key: Mapping[str, Any], now: str) -> bool:
    expires_at = key["expires_at"]
    other: dict[str, Callable[[Any], bool]] = {
        "status": lambda wanted: _status(key, now) == wanted,
        "key": lambda part: part in key["key_value"],
        "hwid": lambda part: any(part in one["hwid"] for one in json.loads(key["hwids"])),
        "expires_before": lambda limit: expires_at is not None and expires_at < limit,
        "expires_after": lambda limit: expires_at is not None and expires_at > limit,
    }
    return all(
        key[name] == value if name in EXACT_FILTERS else other[name](value)
        for name, value in filters.items()
    )


def _expected(store: Store, filters: Mapping[str, Any], now: str) -> list[int]:
    cursor = store._db.execute("SELECT * FROM keys ORDER BY id")
    names = [column[0] for column in cursor.description]
    keys = [dict(zip(names, row, strict=True)) for row in cursor]
    ids = [key["id"] for key in keys if _lets_through(filters, key, now)]
    return ids[::-1] if store._listings._newest_first else ids


def _page(store: Store, filters: Mapping[str, Any], page: int, limit: int) -> list[int]:
    return [json.loads(key)["id"] for key in store.page(filters, page, limit)[0]]


def _check(store: Store, clock: Clock, filters: Mapping[str, Any], page: int, limit: int) -> None:
    expected = _expected(store, filters, render_time(clock()))
    keys, total = store.page(filters, page, limit)
    assert total == len(expected), filters
    ids = [json.loads(key)["id"] for key in keys]
    assert ids == expected[(page - 1) * limit : page * limit], (filters, page, limit)


def _check_counters(store: Store) -> None:
    for name in EXACT_FILTERS:
        column = (value for (value,) in store._db.execute(f"SELECT {name} FROM keys"))
        real = {value: n for value, n in Counter(column).items() if value is not None}
        kept = store._db.execute("SELECT value, n FROM counts WHERE field = ? AND n", (name,))
        assert dict(kept) == real
    assert [store.count()] == [n for (n,) in store._db.execute("SELECT count(*) FROM keys")]


class _RandomWrites:
    """Random writes to a store, from a seed."""

    def __init__(self, store: Store, clock: Clock, seed: int) -> None:
        self.store, self.clock, self.dice = store, clock, random.Random(seed)

    def fields(self) -> dict[str, Any]:
        dice = self.dice
        return {
            "provider_id": dice.randint(1, 2),
            "service_id": dice.choice([None, 1, 2]),
            "folder_id": dice.choice([None, 1, 2]),
            "discord_id": dice.choice([None, "1" * 17, "2" * 17]),
            "validity_minutes": dice.choice([None, 0, 5, 30, 60]),
            "expiry_on_first_use": dice.random() < 0.3,
            "hwid": dice.choice([None, "H1", "H2"]),
        }

    def some_ids(self) -> list[int]:
        [(last,)] = self.store._db.execute("SELECT ifnull(max(id), 1) FROM keys")
        return [self.dice.randint(1, last) for _ in range(self.dice.randint(1, 8))]

    def change(self) -> dict[str, Any]:
        changes = {
            "folder_id": self.dice.choice([None, 1, 2]),
            "discord_id": self.dice.choice([None, "1" * 17]),
            "is_invalidated": self.dice.random() < 0.5,
            "validity_minutes": self.dice.choice([0, 10, 50]),
            "hwids": self.dice.choice([[], ["H1"]]),
        }
        names = self.dice.sample(sorted(changes), 2)
        return {name: changes[name] for name in names}

    def step(self) -> None:
        store, one = self.store, self.some_ids()[0]
        actions: list[Callable[[], object]] = [
            lambda: store.create(self.fields()),
            lambda: store.create_batch(self.fields(), self.dice.randint(1, 9)),
            lambda: store.seed(self.dice.randint(0, 4), {"service_id": 1}),
            lambda: store.bulk_delete(self.some_ids()),
            lambda: store.bulk_delete([one]),
            lambda: store.update(one, self.change()),
            lambda: store.mark_used(one),
            lambda: self.clock.advance(seconds=self.dice.randint(1, 200)),
        ]
        self.dice.choice(actions)()


@pytest.mark.parametrize("large", [1, 40, listing._LARGE])
@pytest.mark.parametrize("seed", range(2))
def test_pages_stay_right_through_random_writes(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int, large: int
) -> None:
    """Large, small and evicted listings match a plain computation over all rows."""
    monkeypatch.setattr(listing, "_LARGE", large)
    monkeypatch.setattr(listing, "_MAX_UPDATED", 40)
    monkeypatch.setattr(listing, "_MAX_ANCHORS", 6)
    chance = _RandomWrites(store, clock, seed)
    store.seed(60, {"service_id": lambda index: index % 3, "discord_id": "1" * 17})
    for _ in range(70):
        chance.step()
        for filters in chance.dice.sample([*EXACT, *PARTIAL], 5):
            _check(store, clock, filters, chance.dice.randint(1, 14), chance.dice.randint(1, 9))
    _check_counters(store)


@pytest.mark.parametrize("rows", [250, 6_000])
def test_a_walk_sees_every_key_once(store: Store, rows: int) -> None:
    """Pages come in order, and past the last page there is nothing."""
    ids = list(store.seed(rows, {"service_id": lambda index: index % 2}))
    walked = [one for page in range(1, rows // 50 + 2) for one in _page(store, {}, page, 50)]
    assert walked == (ids[::-1] if store._listings._newest_first else ids)
    assert _page(store, {}, rows, 50) == []
    assert store.page({}, 2**62, 100) == ([], rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_during_writes_equals_a_plain_offset(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Rows are added and deleted on both sides of a large listing's anchors."""
    monkeypatch.setattr(listing, "_LARGE", 300)
    store.seed(600, {"service_id": 1})
    dice = random.Random(seed)
    pages = [page + dice.choice([0, 0, 0, -1, 1]) for page in range(2, 40)]
    for page in [*pages, 58, 3, 40]:
        _check(store, clock, {"service_id": 1}, page, 10)
        store.create_batch({"provider_id": 1, "service_id": 1}, 3)
        store.bulk_delete([dice.randint(1, 600) for _ in range(6)])
    kept = store._listings.get({"service_id": 1}, render_time(clock()))
    assert len(kept._anchors) > 25  # they were moved, not forgotten


def test_concurrent_pages_may_arrive_in_any_order(store: Store, clock: Clock) -> None:
    """Prefetched pages are not always handled in the order sent."""
    store.seed(400, {})
    for first in range(1, 37, 4):
        for page in (first + 2, first, first + 3, first + 1):
            _check(store, clock, {}, page, 10)


def test_a_walk_never_skips_far(store: Store) -> None:
    """In order or with four pages in flight, OFFSET stays below the prefetch."""
    statements: list[str] = []
    store.seed(1_000, {})
    store._db.set_trace_callback(statements.append)
    for first in range(1, 97, 4):
        for page in (first + 3, first, first + 1, first + 2):
            store.page({}, page, 10)
    offsets = _offsets(statements)
    assert len(offsets) == 96
    assert max(offsets) == 30
    statements.clear()
    for page in (96, 97, 98, 99, 99, 10, 10, 11):
        store.page({}, page, 10)
    assert [offset > 0 for offset in _offsets(statements)] == [False] * 5 + [True] + [False] * 2


def _offsets(statements: list[str]) -> list[int]:
    return [int(sql.rsplit(" ", 1)[1]) for sql in statements if "OFFSET" in sql]


def test_caches_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest listings and anchors are evicted."""
    monkeypatch.setattr(listing, "_MAX_ANCHORS", 5)
    store.seed(100, {})
    for page in range(1, 21):
        store.page({}, page, 5)
    [kept] = store._listings._cached.values()
    assert sorted(kept._anchors) == [80, 85, 90, 95, 100]
    for service_id in range(100):
        store.page({"service_id": service_id}, 1, 5)
    assert len(store._listings._cached) == listing._MAX_LISTINGS


def _plan(store: Store, filters: Mapping[str, Any], *, anchored: bool = False) -> str:
    now = render_time(NOON)
    found = store._listings.get(filters, now)
    values = {**filters, "now": now, "limit": 100, "skip": 0, "anchor": 5_000}
    sql = f"EXPLAIN QUERY PLAN {found.page_sql(anchored=anchored)}"
    return " | ".join(row[3] for row in store._db.execute(sql, values))


def test_pages_of_many_keys_use_indexes_and_never_sort(store: Store) -> None:
    """The most selective index is used, and rows come in the order of IDs."""
    store.seed(
        20_000,
        {
            "service_id": lambda index: index % 4,
            "folder_id": lambda index: index % 20,
            "discord_id": lambda index: str(10**17 + index % 500),
        },
    )
    several: list[dict[str, Any]] = [
        *({name: 1} for name in EXACT_FILTERS),
        {"provider_id": 1, "service_id": 1},
        {"provider_id": 1, "service_id": 1, "folder_id": 1},
        {"provider_id": 1, "folder_id": 1, "discord_id": str(10**17)},
        {"status": "active", "discord_id": str(10**17)},
        {"provider_id": 1, "expires_before": render_time(NOON)},
        {"provider_id": 1, "expires_before": render_time(NOON), "expires_after": render_time(NOON)},
    ]
    for filters in several:
        best = [name for name in BY_SELECTIVITY if name in filters][-1]
        for anchored in (False, True):
            plan = _plan(store, filters, anchored=anchored)
            assert f"SEARCH keys USING INDEX keys_{best} (" in plan
            assert "B-TREE" not in plan
    between = {"expires_before": render_time(NOON), "expires_after": render_time(NOON)}
    for filters in [between, {"status": "expired"}, {"key": "J"}, {}]:
        assert "B-TREE" not in _plan(store, filters)
        assert "SEARCH keys USING INTEGER PRIMARY KEY" in _plan(store, filters, anchored=True)
    assert "keys_bound" in _plan(store, {"hwid": "H"})
    assert "keys_value" in _plan(store, {"key": "JNK-AAAA-AAAA-AAAA-AAAA"})
