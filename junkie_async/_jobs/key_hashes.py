"""Sets of key values, by which a value that comes again is noticed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from .._pagination.byte_sets import Buckets, contains


class SeenValues(Protocol):
    """The key values that a job has logged."""

    def add_all(self, values: Collection[str]) -> bool:
        """Add values. False, and none is added, unless all are new and differ."""
        ...

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        ...


class KeySet:
    """A set of the values in a list, which the caller extends: no Python runs for each value."""

    def __init__(self, kept: Sequence[str]) -> None:
        self._kept = kept
        self._values: set[str] = set()

    def add_all(self, values: Collection[str]) -> bool:
        """Add values. False, and none is added, unless all are new and differ."""
        expected = len(self._values) + len(values)
        self._values.update(values)  # a look-up of each before that takes as long again
        if len(self._values) == expected:
            return True
        self._values = {*self._kept}
        return False

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        return [value for value in dict.fromkeys(values) if value not in self._values]


class KeyHashes:
    """Hashes of key values that are kept nowhere else.

    They take 18 bytes each in a large job, and 60 in one of 40,000 keys, where a set takes 115.
    """

    def __init__(self) -> None:
        self._buckets = Buckets(bytes)

    def add_new(self, values: Iterable[str]) -> list[str]:
        """Add values, and return those that were not added before, in order and each once."""
        return [value for value in values if self._add(value)]

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        hashes = ((value, _hash_surely(value)) for value in dict.fromkeys(values))
        return [value for value, (at, found) in hashes if not contains(self._buckets[at], found)]

    def _add(self, value: str) -> bool:
        at, found = _hash_surely(value)
        if contains(self._buckets[at], found):
            return False
        self._buckets[at] += found
        return True


def _hash_surely(value: str) -> tuple[int, bytes]:
    """Return the number of a bucket, and a hash that no two values have in common."""
    # Surrogates: a key value of a list is whatever JSON can hold.
    found = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(found[:2]) % 16384, found


_BITS: Final = 17  # of the number of a bucket
_MOST_IN_DICT: Final = 10_000


class LoggedValues:
    """Short hashes of key values that lie in a log: ten million take 51 MB.

    Of ten million values, two have the same hash with a probability of 0.1. So the log is asked
    about the values whose hashes are known.

    Args:
        find_logged: Returns those of some values that the log has. It may have to read all of it.
    """

    def __init__(self, find_logged: Callable[[Collection[str]], Collection[str]]) -> None:
        self._find_logged = find_logged
        self._added = 0
        self._buckets: Buckets | list[bytes] = Buckets(bytes)

    def add_all(self, values: Collection[str]) -> bool:
        """Add values, before they are logged. False, and none is added, unless all are new."""
        if len({*values}) < len(values) or self._find_known(values):
            return False
        for at, found in map(_hash_quickly, values):
            self._buckets[at] += found
        self._added += len(values)
        if self._added > _MOST_IN_DICT and isinstance(self._buckets, dict):
            # A list is smaller and faster, but has all buckets: too much for an order's one key.
            self._buckets = [self._buckets.get(at, b"") for at in range(1 << _BITS)]
        return True

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        unique = dict.fromkeys(values)
        known = self._find_known(unique)
        return [value for value in unique if value not in known]

    def _find_known(self, values: Collection[str]) -> Collection[str]:
        hashes = zip(values, map(_hash_quickly, values), strict=True)
        buckets = self._buckets
        likely = [
            value
            for value, (at, found) in hashes
            if found in buckets[at] and contains(buckets[at], found)
        ]
        return self._find_logged(likely) if likely else ()


def _hash_quickly(value: str) -> tuple[int, bytes]:
    """Return the number of a bucket, and a hash of 4 bytes."""
    found = hash(value)
    return found & (1 << _BITS) - 1, (found >> _BITS & 0xFFFFFFFF).to_bytes(4)
