"""Bulk insertion into the store."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from junkie_async.emulator.store import Store

from .conftest import NOON, Clock


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store at noon."""
    opened = Store(clock=Clock())
    yield opened
    opened.close()


def test_columns_are_values_or_callables_of_the_index(store: Store) -> None:
    """IDs ascend in the order of the rows."""
    store.create({"provider_id": 9})
    ids = store.seed(
        3,
        {
            "provider_id": 5,
            "service_id": lambda index: index or None,
            "is_premium": lambda index: index == 1,
            "expires_at": lambda index: NOON if index else None,
            "created_at": lambda index: NOON.replace(year=2000 + index),
            "hwids": lambda index: ["H"] * index,
            "folder_id": lambda index: 3 if index else None,
        },
    )
    assert ids == range(2, 5)
    keys: list[dict[str, Any]] = [json.loads(store.get(one) or "") for one in ids]
    assert [key["provider_id"] for key in keys] == [5, 5, 5]
    assert [key["service_id"] for key in keys] == [None, 1, 2]
    assert [key["is_premium"] for key in keys] == [False, True, False]
    assert [key["expires_at"] for key in keys] == [None, *["2026-01-31T12:00:00.000Z"] * 2]
    assert [key["created_at"][:4] for key in keys] == ["2000", "2001", "2002"]
    assert [key["keys_hwid"] for key in keys] == [[], ["H"], ["H"]]
    assert [key["folder_name"] for key in keys] == [None, "Folder 3", "Folder 3"]
    assert store.count() == 4


def test_hwids_are_strings_or_hwid_objects(store: Store) -> None:
    """Missing fields get defaults; of two with the same HWID the first counts."""
    hwids = [
        "A",
        {"hwid": "B", "bound_at": NOON.replace(year=2020), "bound_by": "user"},
        {"hwid": "C", "executor_user_id": "7", "bound_at": None},
        {"hwid": "A", "bound_by": "user"},
    ]
    [one] = store.seed(1, {"hwids": hwids})
    key = json.loads(store.get(one) or "")
    assert key["keys_hwid"] == ["A", "B", "C"]
    assert [tuple(binding.values()) for binding in key["hwids"]] == [
        ("A", None, "2026-01-31T12:00:00.000Z", "api"),
        ("B", None, "2020-01-31T12:00:00.000Z", "user"),
        ("C", "7", None, "api"),
    ]


def test_folders_have_the_given_id_and_time(store: Store) -> None:
    """Both have defaults; an ID can be used once."""
    given = NOON.replace(year=2020)
    assert [store.add_folder("Old", 7, given), store.add_folder("New")] == [7, 8]
    folders = [(folder["id"], folder["name"], folder["created_at"]) for folder in store.folders()]
    assert folders == [
        (7, "Old", "2020-01-31T12:00:00.000Z"),
        (8, "New", "2026-01-31T12:00:00.000Z"),
    ]
    with pytest.raises(sqlite3.IntegrityError):
        store.add_folder("Another", 7)
    with pytest.raises(ValueError):
        store.add_folder("Nowhere", 9, datetime(2026, 1, 1))  # noqa: DTZ001 - the defect


def test_defaults_of_a_seed(store: Store) -> None:
    """Key values are generated, the provider is 1, the creation time is now."""
    [one] = store.seed(1, {"validity_minutes": 60})
    key = json.loads(store.get(one) or "")
    assert key["key_value"].startswith("JNK-")
    assert (key["provider_id"], key["created_at"]) == (1, "2026-01-31T12:00:00.000Z")
    assert key["expires_at"] is None
    assert key["is_premium"] is False


def test_seeded_key_values_are_unique(store: Store) -> None:
    """Across the chunks of the generator."""
    ids = [*store.seed(10_001, {}), *store.seed(5, {}), *store.seed(0, {})]
    assert ids == list(range(1, 10_007))
    [(values,)] = store._db.execute("SELECT count(DISTINCT key_value) FROM keys")
    assert values == 10_006


@pytest.mark.parametrize(
    ("amount", "columns", "error"),
    [
        (1, {"nonsense": 1}, TypeError),
        (1, {"id": 1}, TypeError),
        (-1, {}, ValueError),
        (1, {"expires_at": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001 - the defect
    ],
)
def test_invalid_seeds_insert_nothing(
    store: Store, amount: int, columns: dict[str, Any], error: type[Exception]
) -> None:
    """Unknown columns, negative amounts and naive moments are refused."""
    with pytest.raises(error):
        store.seed(amount, columns)
    assert store.count() == 0
