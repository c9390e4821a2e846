"""What came before is noticed, in a few bytes for each value."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from junkie_async._jobs import key_hashes
from junkie_async._jobs.key_hashes import KeyHashes, KeySet, LoggedValues, SeenValues
from junkie_async._jobs.key_log import KeyLog


def make_set() -> tuple[SeenValues, Callable[[Collection[str]], None]]:
    """Return a set, and what keeps the values that were added."""
    kept: list[str] = []
    return KeySet(kept), kept.extend


def make_logged() -> tuple[SeenValues, Callable[[Collection[str]], None]]:
    """Return hashes, and what logs the values that were added."""
    log = KeyLog(None)
    return LoggedValues(log.find), log.append


KINDS = {"set": make_set, "logged": make_logged}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeat", ["a", "c"])
def test_all_values_are_added_or_none(kind: str, repeat: str) -> None:
    """Neither a value that was added before nor one that comes twice is added with others."""
    seen, keep = KINDS[kind]()
    assert seen.add_all(["a", "b"])
    keep(["a", "b"])
    assert not seen.add_all(["c", "d", repeat])
    assert seen.find_new("abcd") == ["c", "d"]
    assert seen.find_new(["d", "a", "c", "d"]) == ["d", "c"]
    assert seen.add_all(["c", "d", "\ud800"])
    keep(["c", "d"])
    assert seen.find_new("abcde") == ["e"]


def test_equal_hashes_are_no_equal_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells two values with one hash apart, in a job and within one call."""
    monkeypatch.setattr(key_hashes, "_hash_quickly", lambda _: (0, b"same"))
    seen, keep = make_logged()
    assert seen.add_all(["a", "b"])
    keep(["a", "b"])
    assert seen.add_all(["c"])
    keep(["c"])
    assert not seen.add_all(["d", "a"])
    assert seen.find_new("abcd") == ["d"]


def test_a_hash_amid_two_others_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes lie side by side: the end of one and the beginning of the next are no hash."""
    hashes = {"a": b"0123", "b": b"4567", "c": b"2345", "d": b"4567"}
    monkeypatch.setattr(key_hashes, "_hash_quickly", lambda value: (0, hashes[value]))
    asked: list[str] = []

    def find_logged(values: Collection[str]) -> set[str]:
        asked.extend(values)
        return set()

    seen = LoggedValues(find_logged)
    assert seen.add_all(["a", "b"])
    assert seen.find_new("cd") == ["c", "d"]
    assert asked == ["d"]


def test_values_that_are_kept_nowhere_are_told_apart() -> None:
    """Each is new once."""
    hashes = KeyHashes()
    assert hashes.add_new(["a", "b", "a", "\ud800"]) == ["a", "b", "\ud800"]
    assert hashes.add_new(["c", "b"]) == ["c"]
    assert hashes.find_new(["d", "a", "d", "c", "e"]) == ["d", "e"]
    assert hashes.add_new(["e", "d"]) == ["e", "d"]


@pytest.mark.parametrize("amount", [100, 50_000])
def test_a_hash_takes_four_bytes(amount: int, tmp_path: Path) -> None:
    """In a hundred thousand buckets, of which a small job makes those that it needs."""
    log = KeyLog(tmp_path)
    seen, values = LoggedValues(log.find), [f"JNK-{at}" for at in range(amount)]
    for at in range(0, amount, 100):
        assert seen.add_all(values[at : at + 100])
        log.append(values[at : at + 100])
    buckets = seen._buckets.values() if isinstance(seen._buckets, dict) else seen._buckets
    assert sum(map(len, buckets)) == 4 * amount
    assert len(buckets) <= (amount if amount < 10_000 else 1 << 17)
    assert seen.find_new([*values[:50], "other", *values[-50:]]) == ["other"]


@pytest.mark.parametrize("amount", [1000, 12_000])
def test_the_log_is_not_asked_about_new_values(amount: int) -> None:
    """It may have to be read as a whole."""

    def find_logged(values: Collection[str]) -> Collection[str]:
        raise AssertionError(values)

    seen, values = LoggedValues(find_logged), [f"JNK-{at}" for at in range(amount)]
    for at in range(0, amount, 100):
        assert seen.add_all(values[at : at + 100])
    others = [f"OTHER-{at}" for at in range(1000)]
    assert seen.find_new(others) == others
