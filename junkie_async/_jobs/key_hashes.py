"""Sets of key values, by which a value that comes again is noticed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

_BUCKETS: Final = 4096


class SeenValues(Protocol):
    """The key values that a job has logged."""

    def __contains__(self, value: str) -> bool: ...

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

    def __contains__(self, value: str) -> bool:
        return value in self._values

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
    """The hashes of key values that are not kept in memory themselves.

    They lie in 4096 strings of bytes, which are searched in C: a million values of 8 bytes take 9
    MB and about 1.5 us each to look up, where a set takes 100 MB.

    Args:
        size: Bytes of a hash. Of a million values, two have the same hash of 8 bytes with a
            probability of 3e-8, of 16 bytes never.
    """

    def __init__(self, size: int = 8) -> None:
        self._size = size
        self._buckets = defaultdict[int, bytearray](bytearray)

    def add_all(self, values: Collection[str]) -> bool:
        """Add values. False, and none is added, unless all are new and differ."""
        located = {found: bucket for bucket, found in map(self._locate, values)}
        if len(located) < len(values):
            return False
        if any(self._is_in(bucket, found) for found, bucket in located.items()):
            return False
        for found, bucket in located.items():
            bucket += found
        return True

    def add_new(self, values: Iterable[str]) -> list[str]:
        """Add values, and return those that were not added before, in order and each once."""
        return [value for value in values if self._add(value)]

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        return [value for value in dict.fromkeys(values) if value not in self]

    def _add(self, value: str) -> bool:
        bucket, found = self._locate(value)
        if self._is_in(bucket, found):
            return False
        bucket += found
        return True

    def __contains__(self, value: str) -> bool:
        return self._is_in(*self._locate(value))

    def _is_in(self, bucket: bytearray, found: bytes) -> bool:
        at = bucket.find(found)
        while at > 0 and at % self._size:  # the end of one hash and the beginning of the next
            at = bucket.find(found, at + 1)
        return at >= 0

    def _locate(self, value: str) -> tuple[bytearray, bytes]:
        # Surrogates: a key value of a list is whatever JSON can hold.
        found = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=self._size).digest()
        return self._buckets[int.from_bytes(found[:2]) % _BUCKETS], found
