"""A set of key values that takes a few bytes for each."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

_BUCKETS: Final = 4096


class KeyHashes:
    """The hashes of key values, by which a value that comes again is noticed.

    They lie in 4096 strings of bytes, which are searched in C: a million values of 8 bytes take 9
    MB and about 1.5 us each to look up, where a set takes 100 MB.

    Args:
        size: Bytes of a hash. Of a million values, two have the same hash of 8 bytes with a
            probability of 3e-8, of 16 bytes never.
    """

    def __init__(self, size: int = 8) -> None:
        self._size = size
        self._buckets = [bytearray() for _ in range(_BUCKETS)]

    def find_new(self, values: Iterable[str]) -> list[str]:
        """Return the values that were not added yet, in order and each once."""
        return [value for value in dict.fromkeys(values) if value not in self]

    def add(self, values: Iterable[str]) -> None:
        """Add values that are new."""
        for value in values:
            bucket, found = self._locate(value)
            bucket += found

    def __contains__(self, value: str) -> bool:
        bucket, found = self._locate(value)
        at = bucket.find(found)
        while at > 0 and at % self._size:  # the end of one hash and the beginning of the next
            at = bucket.find(found, at + 1)
        return at >= 0

    def _locate(self, value: str) -> tuple[bytearray, bytes]:
        # Surrogates: a key value of a list is whatever JSON can hold.
        found = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=self._size).digest()
        return self._buckets[int.from_bytes(found[:2]) % _BUCKETS], found
