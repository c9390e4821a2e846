"""The store: reading, writing, and persistence."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from junkie_async.emulator import listing
from junkie_async.emulator.column_values import make_key_values, render_time
from junkie_async.emulator.store import Store

from .conftest import NOON, Clock


@pytest.fixture
def clock() -> Clock:
    """Noon, until moved."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[Store]:
    """An empty store."""
    opened = Store(clock=clock)
    yield opened
    opened.close()


def _create(store: Store, **fields: Any) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(store.create({"provider_id": 1, **fields}))
    return key


def _get(store: Store, ref: int | str) -> dict[str, Any]:
    text = store.get(ref)
    assert text is not None
    key: dict[str, Any] = json.loads(text)
    return key


def _ids(store: Store, **filters: Any) -> list[int]:
    keys, total = store.page(filters, 1, 100)
    ids = [json.loads(key)["id"] for key in keys]
    assert total == len(ids)
    return ids


def test_a_new_key_has_every_field(store: Store) -> None:
    """Booleans are booleans, names derive from IDs, and the folder is created."""
    key = _create(
        store,
        service_id=7,
        folder_id=7,
        key_name='a "name"',
        validity_minutes=60,
        hwid="A",
        hwids=["B", "A", "B"],
        discord_id="1" * 18,
        is_premium=True,
        hwid_limit=2,
    )
    binding = {"executor_user_id": None, "bound_at": render_time(NOON), "bound_by": "api"}
    assert key == {
        "id": 1,
        "key_value": key["key_value"],
        "user_id": 1,
        "service_id": 7,
        "provider_id": 1,
        "folder_id": 7,
        "expires_at": "2026-01-31T13:00:00.000Z",
        "used_at": None,
        "is_premium": True,
        "is_invalidated": False,
        "one_time_use": False,
        "expiry_on_first_use": False,
        "validity_minutes": 60,
        "no_hwid": False,
        "key_name": 'a "name"',
        "hwid_limit": 2,
        "discord_id": "1" * 18,
        "created_at": "2026-01-31T12:00:00.000Z",
        "service_name": "Service 7",
        "provider_name": "Provider 1",
        "folder_name": "Folder 7",
        "hwids": [{"hwid": "A", **binding}, {"hwid": "B", **binding}],
        "keys_hwid": ["A", "B"],
    }
    assert [key["is_premium"], key["no_hwid"]] == [True, False]
    assert type(key["is_premium"]) is bool


def test_names_of_absent_ids_are_null(store: Store) -> None:
    """Without a service and a folder."""
    key = _create(store)
    assert (key["service_name"], key["folder_name"], key["provider_name"]) == (
        None,
        None,
        "Provider 1",
    )


def test_key_values_are_unique_and_of_one_form() -> None:
    """Four groups of four capitals and digits."""
    values = make_key_values(1000)
    assert len(set(values)) == 1000
    for value in values:
        head, *groups = value.split("-")
        assert head == "JNK"
        assert [len(group) for group in groups] == [4, 4, 4, 4]
        assert all(group.isalnum() and group == group.upper() for group in groups)


@pytest.mark.parametrize("validity", [None, 0])
def test_no_validity_means_no_expiry(store: Store, validity: int | None) -> None:
    """Null and 0 never expire."""
    assert _create(store, validity_minutes=validity)["expires_at"] is None


def test_expiry_on_first_use_starts_at_the_first_use(store: Store, clock: Clock) -> None:
    """A second use does not move it."""
    key = _create(store, validity_minutes=60, expiry_on_first_use=True)
    assert key["expires_at"] is None
    assert store.mark_used(key["id"])
    clock.advance(minutes=5)
    assert store.mark_used(key["key_value"])
    used = _get(store, key["id"])
    assert used["used_at"] == "2026-01-31T12:00:00.000Z"
    assert used["expires_at"] == "2026-01-31T13:00:00.000Z"
    assert not store.mark_used(99)


def test_a_use_at_a_given_moment(store: Store) -> None:
    """It starts the validity there; a plain expiry stays."""
    at = NOON - timedelta(days=1)
    waiting = _create(store, validity_minutes=60, expiry_on_first_use=True)
    plain = _create(store, validity_minutes=60)
    for key in (waiting, plain):
        store.mark_used(key["id"], at)
    assert _get(store, waiting["id"])["expires_at"] == "2026-01-30T13:00:00.000Z"
    assert _get(store, plain["id"])["expires_at"] == plain["expires_at"]


def test_a_redemption_needs_a_user_and_a_use(store: Store) -> None:
    """It is null without either."""
    key = _create(store, discord_id="1" * 17)
    unlinked = _create(store)
    store.mark_used(unlinked["id"])
    assert _get(store, unlinked["id"])["discord_redemption"] is None
    assert _get(store, key["id"])["discord_redemption"] is None
    store.mark_used(key["id"])
    assert _get(store, key["id"])["discord_redemption"] == {
        "discord_user_id": "1" * 17,
        "redemption_status": "redeemed",
        "redeemed_at": "2026-01-31T12:00:00.000Z",
    }


def test_numbers_are_ids_and_strings_are_key_values(store: Store) -> None:
    """Even a string of digits is a key value."""
    ids = store.seed(2, {"key_value": lambda index: str(2 - index)})
    assert _get(store, ids[0])["key_value"] == "2"
    assert _get(store, "2")["id"] == ids[0]
    assert store.bulk_delete(["2"]) == 1
    assert _ids(store) == [ids[1]]


def test_a_bulk_delete_counts_distinct_keys(store: Store) -> None:
    """A key given by ID and by key value counts once, an unknown one not at all."""
    keys = [_create(store) for _ in range(3)]
    refs = [keys[0]["id"], keys[0]["key_value"], keys[0]["id"], keys[2]["key_value"], 99, "none"]
    assert store.bulk_delete(refs) == 2
    assert _ids(store) == [keys[1]["id"]]
    assert store.bulk_delete(refs) == 0


def test_ids_are_never_reused(store: Store) -> None:
    """Not even the highest."""
    key = _create(store)
    assert store.bulk_delete([key["id"]]) == 1
    assert store.bulk_delete([key["id"]]) == 0
    assert _create(store)["id"] == key["id"] + 1


def test_an_update_changes_only_what_is_given(store: Store) -> None:
    """Other fields stay, and null clears."""
    key = _create(store, key_name="a", folder_id=3, discord_id="1" * 17, hwid="H", hwid_limit=3)
    before = _get(store, key["id"])
    assert store.update(key["id"], {"folder_id": None, "is_invalidated": True}) == ["H"]
    expected = {"folder_id": None, "folder_name": None, "is_invalidated": True}
    assert _get(store, key["id"]) == {**before, **expected}
    assert store.update(key["id"], {}) == ["H"]
    assert _get(store, key["id"]) == {**before, **expected}
    assert store.update(99, {"key_name": "x"}) is None


def test_an_update_creates_an_unknown_folder(store: Store) -> None:
    """As a create does; a known folder keeps its name."""
    vip = store.add_folder("VIP")
    key = _create(store)
    for folder_id, name in ((vip, "VIP"), (9, "Folder 9")):
        store.update(key["id"], {"folder_id": folder_id})
        assert _get(store, key["id"])["folder_name"] == name
    assert [folder["name"] for folder in store.folders()] == ["VIP", "Folder 9"]


def test_an_update_replaces_bindings_and_keeps_known_ones(store: Store, clock: Clock) -> None:
    """A HWID that was bound before keeps its time."""
    key = _create(store, hwids=["A", "B"])
    clock.advance(hours=1)
    assert store.update(key["id"], {"hwids": ["C", "B", "C"]}) == ["C", "B"]
    bound = {one["hwid"]: one["bound_at"][11:16] for one in _get(store, key["id"])["hwids"]}
    assert bound == {"C": "13:00", "B": "12:00"}
    assert store.update(key["id"], {"hwids": []}) == []
    assert _get(store, key["id"])["keys_hwid"] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"validity_minutes": 60}, "2026-01-31T13:00:00.000Z"),
        ({"validity_minutes": 0}, None),
        ({"validity_minutes": None}, None),
        ({"validity_minutes": 30}, "2026-02-01T00:00:00.000Z"),
        ({"validity_minutes": 60, "expires_at": None}, None),
        ({"expires_at": "2027-01-01T02:00:00.1239+02:00"}, "2027-01-01T00:00:00.123Z"),
        ({"expires_at": "2027-01-01T00:00:00Z", "validity_minutes": 5}, "2027-01-01T00:00:00.000Z"),
        ({"validity_minutes": 60, "expiry_on_first_use": True}, "2026-02-01T00:00:00.000Z"),
    ],
)
def test_the_expiry_after_an_update(
    store: Store, clock: Clock, fields: dict[str, Any], expected: str | None
) -> None:
    """A changed validity counts from the creation; a given expiry wins."""
    key = _create(store, validity_minutes=30)
    store.update(key["id"], {"expires_at": "2026-02-01T00:00:00Z"})
    clock.advance(hours=5)
    store.update(key["id"], fields)
    assert _get(store, key["id"])["expires_at"] == expected


def test_a_changed_validity_counts_from_the_first_use(store: Store, clock: Clock) -> None:
    """For a key that expires relative to its first use."""
    key = _create(store, validity_minutes=30, expiry_on_first_use=True)
    clock.advance(hours=1)
    store.mark_used(key["id"])
    store.update(key["id"], {"validity_minutes": 60})
    assert _get(store, key["id"])["expires_at"] == "2026-01-31T14:00:00.000Z"


def test_statuses_exclude_each_other_by_precedence(store: Store) -> None:
    """Invalidated, expired, used, active; at its moment of expiry a key is expired."""
    past, future = NOON - timedelta(days=1), NOON + timedelta(days=1)
    store.seed(
        12,
        {
            "is_invalidated": lambda index: index // 6 == 1,
            "expires_at": lambda index: (None, past, future)[index // 2 % 3],
            "used_at": lambda index: past if index % 2 else None,
        },
    )
    store.seed(1, {"expires_at": NOON})
    assert _ids(store, status="invalidated") == [12, 11, 10, 9, 8, 7]
    assert _ids(store, status="expired") == [13, 4, 3]
    assert _ids(store, status="used") == [6, 2]
    assert _ids(store, status="active") == [5, 1]


@pytest.mark.parametrize("large", [0, 5_000])
def test_statuses_change_as_time_passes(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """Without a write, and after one that brings a cached listing an earlier expiry."""
    monkeypatch.setattr(listing, "_LARGE", large)
    late = _create(store, validity_minutes=60)["id"]
    assert _ids(store, status="active") == [late]
    soon = _create(store, validity_minutes=10)["id"]
    assert _ids(store, status="active") == [soon, late]
    clock.advance(minutes=10)
    assert _ids(store, status="active") == [late]
    assert _ids(store, status="expired") == [soon]
    clock.advance(minutes=50)
    assert _ids(store, status="active") == []
    clock.advance(minutes=-55)
    assert _ids(store, status="active") == [soon, late]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"expires_before": "2026-01-01T00:00:00.001Z"}, [1]),
        ({"expires_before": "2026-01-01T00:00:00.0011Z"}, [2, 1]),
        ({"expires_before": "2026-01-01T02:00:00.001+02:00"}, [1]),
        ({"expires_after": "2026-01-01T00:00:00.001Z"}, [3]),
        ({"expires_after": "2026-01-01T00:00:00.0009Z"}, [3, 2]),
        ({"expires_after": "2025-12-31T19:00:00-05:00"}, [3, 2]),
        (
            {
                "expires_after": "2026-01-01T00:00:00Z",
                "expires_before": "2026-01-01T00:00:00.002Z",
            },
            [2],
        ),
    ],
)
def test_expiry_filters_are_strict_and_apply_offsets(
    store: Store, filters: dict[str, str], expected: list[int]
) -> None:
    """They are finer than the stored millisecond."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    store.seed(3, {"expires_at": lambda index: start + timedelta(milliseconds=index)})
    store.seed(1, {})
    assert _ids(store, **filters) == expected


def test_partial_filters_are_literal_and_case_sensitive(store: Store) -> None:
    """Percent signs, underscores and quotes match themselves."""
    values = ["abc", "ABC", "a%c", "a_c", "x'y", "abcd"]
    store.seed(6, {"key_value": lambda index: values[index]})
    expected = {
        "ab": [6, 1],
        "abc": [6, 1],
        "abcd": [6],
        "abcde": [],
        "%": [3],
        "_": [4],
        "'": [5],
        "": [6, 5, 4, 3, 2, 1],
        "C": [2],
    }
    assert {text: _ids(store, key=text) for text in expected} == expected


def test_the_key_filter_matches_created_keys(store: Store) -> None:
    """By a part and as a whole; a string longer than any key matches none."""
    key = _create(store)
    value = key["key_value"]
    for text, expected in [("JNK-", [1]), (value[1:], [1]), (value, [1]), (f"{value}X", [])]:
        assert _ids(store, key=text) == expected


def test_the_hwid_filter_matches_each_binding(store: Store) -> None:
    """It matches a part of one HWID, not across two, and not the JSON around them."""
    store.seed(4, {"hwids": lambda index: [["AB", "CD"], [], ['q"\\z'], ["ab"]][index]})
    expected = {"A": [1], "BC": [], "hwid": [], '"': [3], "\\z": [3], "b": [4], "api": []}
    assert {text: _ids(store, hwid=text) for text in expected} == expected
    assert _ids(store, hwid="") == [4, 3, 1]


def test_a_key_must_match_all_filters(store: Store) -> None:
    """Each of nine keys fails one filter, the last one none."""
    good: dict[str, Any] = {
        "discord_id": "1" * 17,
        "service_id": 1,
        "provider_id": 1,
        "folder_id": 1,
        "key_value": "good-key",
        "hwids": ["HW"],
        "used_at": NOON,
        "expires_at": NOON + timedelta(hours=2),
    }
    bad: list[dict[str, Any]] = [
        {"discord_id": "2" * 17},
        {"service_id": None},
        {"provider_id": 2},
        {"folder_id": 2},
        {"key_value": "bad"},
        {"hwids": ["hw"]},
        {"used_at": None},
        {"expires_at": NOON + timedelta(hours=4)},
        {"expires_at": NOON + timedelta(hours=1)},
    ]
    for number, columns in enumerate([*bad, {}]):
        store.seed(1, {**good, "key_value": f"good{number}", **columns})
    filters = {
        "discord_id": "1" * 17,
        "service_id": 1,
        "provider_id": 1,
        "folder_id": 1,
        "key": "good",
        "hwid": "W",
        "status": "used",
        "expires_before": "2026-01-31T15:00:00Z",
        "expires_after": "2026-01-31T13:00:00Z",
    }
    assert _ids(store, **filters) == [10]
    for name in filters:
        rest = {other: value for other, value in filters.items() if other != name}
        assert len(_ids(store, **rest)) == 2, name


def test_a_file_survives_a_restart(tmp_path: Path) -> None:
    """Keys, folders, counters and used IDs are kept."""
    path = str(tmp_path / "keys.db")
    first = Store(path)
    first.add_folder("VIP")
    ids = first.seed(5, {"key_value": lambda index: f"K{index}", "discord_id": "1" * 17})
    first.bulk_delete([ids[-1]])
    first.close()
    again = Store(path)
    assert _ids(again, discord_id="1" * 17) == [4, 3, 2, 1]
    assert _ids(again, key="K1") == [2]
    assert again.count() == 4
    assert [folder["name"] for folder in again.folders()] == ["VIP"]
    assert _create(again)["id"] == 6
    again.close()
    again.close()


def test_only_one_store_can_open_a_file(tmp_path: Path) -> None:
    """A second one would not see the first one's writes in its totals."""
    first = Store(str(tmp_path / "keys.db"))
    with pytest.raises(sqlite3.OperationalError):
        Store(str(tmp_path / "keys.db"))
    first.close()


def test_another_programs_database_is_not_modified(tmp_path: Path) -> None:
    """Not a byte of it changes."""
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE ledger (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ValueError):
        Store(str(path))
    assert path.read_bytes() == before


def test_a_failed_update_leaves_listings_unchanged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses the change after the key was subtracted."""
    monkeypatch.setattr(listing, "_LARGE", 0)
    store.seed(2, {})
    assert _ids(store, provider_id=1) == [2, 1]
    with pytest.raises(sqlite3.IntegrityError):
        store.update(1, {"is_premium": None})
    assert _ids(store, provider_id=1) == [2, 1]


def test_a_failed_seed_leaves_nothing_behind(store: Store) -> None:
    """No rows, no counts, and all indexes are there."""
    store.seed(2, {"key_value": lambda index: f"K{index}", "discord_id": "1" * 17})
    assert _ids(store) == [2, 1]
    for amount in (1, 5):  # with the indexes kept, and with the indexes made again
        with pytest.raises(sqlite3.IntegrityError):
            store.seed(amount, {"key_value": "K1", "discord_id": "1" * 17})
    assert _ids(store, discord_id="1" * 17) == [2, 1]
    [(indexes,)] = store._db.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'keys_%'")
    assert indexes == 7
    assert _create(store)["id"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
@pytest.mark.parametrize("exists", [False, True])
def test_only_the_owner_may_read_the_file(exists: bool, tmp_path: Path) -> None:
    """A new file, one from before and the -wal file have mode 0600; other files keep theirs."""
    path, other = tmp_path / "keys.db", tmp_path / "other.db"
    other.write_bytes(b"another program's" * 100)
    other.chmod(0o644)
    if exists:
        Store(str(path)).close()
        path.chmod(0o644)
    store = Store(str(path))
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("keys*")}
    store.close()
    with pytest.raises(sqlite3.DatabaseError):
        Store(str(other))
    assert modes == {"keys.db": 0o600, "keys.db-wal": 0o600}
    assert other.stat().st_mode & 0o777 == 0o644
