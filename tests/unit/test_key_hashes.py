"""`KeySet` and `KeyHashes`: what came before is noticed, in a few bytes for each value."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from junkie_async._jobs.key_hashes import KeyHashes, KeySet, SeenValues


def make_set() -> tuple[SeenValues, list[str]]:
    """Return a set, and the list of the values in it."""
    kept: list[str] = []
    return KeySet(kept), kept


KINDS: dict[str, Callable[[], tuple[SeenValues, list[str]]]] = {
    "set": make_set,
    "hashes": lambda: (KeyHashes(), []),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeat", ["a", "c"])
def test_all_values_are_added_or_none(kind: str, repeat: str) -> None:
    """Neither a value that was added before nor one that comes twice is added with others."""
    seen, kept = KINDS[kind]()
    assert seen.add_all(["a", "b"])
    kept += ["a", "b"]
    assert not seen.add_all(["c", "d", repeat])
    assert [value in seen for value in "abcd"] == [True, True, False, False]
    assert seen.find_new(["d", "a", "c", "d"]) == ["d", "c"]
    assert seen.add_all(["c", "d"])
    assert "\ud800" not in seen


def test_a_hash_takes_nine_bytes() -> None:
    """A ledger of a million keys takes 9 MB of memory, where a set takes 100 MB."""
    hashes, amount = KeyHashes(), 50_000
    assert hashes.add_all([f"JNK-{at}" for at in range(amount)])
    empty = sys.getsizeof(bytearray()) * len(hashes._buckets)
    assert sum(map(sys.getsizeof, hashes._buckets)) - empty < 9.5 * amount
