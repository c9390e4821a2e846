"""What `verify` remembers of keys: in bounded memory, without their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from .._models import Key, KeyRef
from .._protocol.codec import encode_key

if TYPE_CHECKING:
    from cachetools import TLRUCache

_MAX_SIZE: Final = 64 * 2**20
"""Bytes of all keys, some 30,000. Those that nobody asked for the longest time go first."""

# Measured with CPython 3.11 and cachetools 8: this and up to twice the bytes of the key's JSON.
_ENTRY_SIZE: Final = 600
"""Bytes of an entry beside the key's own."""

_MAX_CHANGES: Final = 10_000


class KnownKey(msgspec.Struct, frozen=True):
    """A key as a look-up found it. Its value is left out: who asks for it has it."""

    key: Key
    looked_up_at: float
    """When the look-up began: what happened to the key since then may be unknown."""
    forgotten_at: float
    size: int


class KnownKeys:
    """The keys that were found lately, by the keyed hashes of their values.

    A value that no key has is not remembered. Anybody can type any number of those, and they must
    not push out the customers' keys. Nor may a customer be told that the key that they have just
    bought does not exist. A key that the next use spends is not remembered either.

    Args:
        clock: Returns the time in seconds, by a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._secret = os.urandom(32)
        self._keep = 0.0
        self.changes = 0
        """The number of changes so far: see `forget`."""
        self.clear()

    def clear(self) -> None:
        """Forget all keys."""
        self._known = _make_cache(self._clock)
        self._hashes: dict[int, bytes] = {}  # by the keys' IDs
        self._changed: dict[int | bytes, int] = {}
        self.changes = self._oldest_change = self.changes + 1

    def hash_value(self, value: str) -> bytes:
        """Return what a key is remembered by, which is of no use outside of this process."""
        return blake2b(value.encode(), key=self._secret, digest_size=16).digest()

    def keep_for(self, seconds: float) -> None:
        """Remember what is found from now on for so long at least."""
        self._keep = max(self._keep, seconds)

    def find(self, value: str, younger_than: float) -> KnownKey | None:
        """Return what is known of the key with this value, if it is not too old."""
        if not younger_than or not len(self._known):
            return None
        known = self._known.get(self.hash_value(value))
        # From 0: the clock of another event loop may be behind.
        if known is None or not 0 <= self._clock() - known.looked_up_at < younger_than:
            return None
        return known

    def remember(self, value: str, key: Key | None, looked_up_at: float, changes: int) -> None:
        """Remember what a look-up has found, or forget the key if it found none.

        ``changes`` is their number when the look-up began. It may have read what was there before.
        """
        if not self._keep:  # nor was anything kept before
            return
        hashed = self.hash_value(value)
        self._known.pop(hashed, None)
        if key is None or self._is_changed((key.id, hashed), changes):
            return
        self._known.pop(self._hashes.pop(key.id, hashed), None)
        if key.one_time_use and key.used_at is None:
            return
        stripped = attrs.evolve(key, key_value="…")
        size = _ENTRY_SIZE + 2 * len(encode_key(stripped))
        if size <= _MAX_SIZE:
            forgotten_at = looked_up_at + self._keep
            self._known[hashed] = KnownKey(stripped, looked_up_at, forgotten_at, size)
            self._hashes[key.id] = hashed
            self._drop_hashes()

    def forget(self, keys: Iterable[KeyRef]) -> None:
        """Forget keys because they are changed, and what look-ups under way will find of them."""
        self.changes += 1
        if not self._keep:
            return
        for key in keys:
            # An ID of any integer type.
            name = self.hash_value(key) if isinstance(key, str) else int(_id_of(key))
            hashed = name if isinstance(name, bytes) else self._hashes.pop(name, b"")
            self._known.pop(hashed, None)
            self._changed[name] = self.changes
        if len(self._changed) > _MAX_CHANGES:
            self._changed, self._oldest_change = {}, self.changes

    def _is_changed(self, names: Iterable[int | bytes], since: int) -> bool:
        return max(self._changed.get(name, self._oldest_change) for name in names) > since

    def _drop_hashes(self) -> None:
        """Drop the hashes of keys that are forgotten, now and then."""
        if len(self._hashes) > 2 * len(self._known) + 100:
            self._hashes = {known.key.id: hashed for hashed, known in self._known.items()}


def _id_of(key: int | Key) -> int:
    return key.id if isinstance(key, Key) else key


def _make_cache(clock: Callable[[], float]) -> TLRUCache[bytes, KnownKey, float]:
    # Imported when a client is made: `import junkie_async` stays light, and no call imports it.
    from cachetools import TLRUCache

    def ttu(_hashed: bytes, known: KnownKey, _now: float) -> float:
        return known.forgotten_at

    return TLRUCache(_MAX_SIZE, ttu, timer=clock, getsizeof=lambda known: known.size)
