"""The key IDs that a walk has given: 1.6 bytes each in order, and one to ten otherwise."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import sub
from typing import Final

from .byte_sets import Buckets, contains

_MOST_ROOM: Final = 16
"""Bytes for each ID, at most: a set takes 74."""

_LEAST_ROOM: Final = 16 << 20
"""Bytes that any walk out of order may take."""


class SeenIDs:
    """A set of IDs that is small while the IDs only rise or only fall from page to page.

    In order, an ID takes 1.6 bytes, where a set takes 74. The first page whose new IDs break the
    order puts an end to that, for good: looking for an ID among the steps of a page takes time for
    each of them. They are marked then (`_MarkedIDs`).

    A watermark alone (the highest ID so far) would be smaller still, but it is wrong when the order
    starts over. A service may list premium keys first and all others after them, each in order: a
    watermark would drop the others as repeats. So each page is kept as its first ID and the steps
    from one ID to the next.
    """

    def __init__(self) -> None:
        self._direction = 0  # 1: IDs rise, -1: they fall, 0: not known yet
        # Both are multiplied by the direction: starts then always rise, and bisection finds a page.
        self._starts = array("q")
        self._latest = 0
        self._steps: list[Sequence[int]] = []
        self._plain: _MarkedIDs | None = None  # all IDs, once they are out of order

    def add_page(self, ids: list[int]) -> list[int] | None:
        """Add a page's IDs, in its order, and return the indexes of the new ones.

        None means that all are new: the usual case, which needs no look-up of each ID.
        """
        if self._plain is None:
            if self._append_in_order(ids):
                return None
            # Keys created at the front push others back. The new ones are in order even so.
            indexes = self._find_new(ids)
            if self._append_in_order([ids[index] for index in indexes]):
                return indexes
            self._plain = self._move_to_marks()
        return self._plain.add_page(ids)

    def add_run(self, first: int, last: int) -> bool:
        """Add all IDs from the first one to the last, if they continue the order and are new.

        Else return False and change nothing.
        """
        direction = 1 if first < last else -1
        if self._plain is not None or self._direction == -direction:
            return False
        steps = b"\1" * abs(last - first)
        return self._append_steps(first * direction, last * direction, steps, direction)

    def _find_new(self, ids: list[int]) -> list[int]:
        """Return the indexes of the IDs that are not among those kept in order, each once."""
        direction = self._direction or 1
        known = set[int]()
        unpacked = {-1}  # no page: the ID is before all that are kept
        indexes: list[int] = []
        for index, key_id in enumerate(ids):
            signed = key_id * direction
            page = bisect_right(self._starts, signed) - 1
            if page not in unpacked:
                unpacked.add(page)
                known.update(self._unpack_page(page))
            if signed not in known:
                known.add(signed)
                indexes.append(index)
        return indexes

    def _unpack_page(self, page: int) -> Iterator[int]:
        """Give the IDs of a page, multiplied by the direction."""
        return accumulate(self._steps[page], initial=self._starts[page])

    def _move_to_marks(self) -> _MarkedIDs:
        """Return all IDs, marked, and keep none of them."""
        marked, direction = _MarkedIDs(), self._direction or 1
        for page in range(len(self._starts))[::direction]:  # the lowest first: the marks grow
            marked.add_page([signed * direction for signed in self._unpack_page(page)])
        self._starts, self._steps = array("q"), []
        return marked

    def _append_in_order(self, ids: list[int]) -> bool:
        """Append IDs that continue the order. Else return False and change nothing."""
        if not ids:
            return True
        direction = self._direction or _find_direction(ids)
        try:
            steps = _pack_steps(ids[1:], ids) if direction > 0 else _pack_steps(ids, ids[1:])
        except OverflowError:  # an ID has more than 64 bits
            return False
        if direction == 0 or 0 in steps:
            return False
        return self._append_steps(ids[0] * direction, ids[-1] * direction, steps, direction)

    def _append_steps(self, start: int, end: int, steps: Sequence[int], direction: int) -> bool:
        """Append IDs by the steps between them. ``start`` and ``end`` always rise."""
        if self._starts and start <= self._latest:
            return False
        try:
            self._starts.append(start)
        except OverflowError:  # the ID has more than 64 bits
            return False
        if self._steps and self._steps[-1] == steps:
            steps = self._steps[-1]  # pages of IDs without gaps have the same steps: keep one copy
        self._direction, self._latest = direction, end
        self._steps.append(steps)
        return True


class _MarkedIDs:
    """IDs in any order: a byte for each one up to the largest, as long as that is little.

    IDs are numbered from 1 on nearly every service. Those that are far apart take 10 bytes each,
    and ten times as long.
    """

    def __init__(self) -> None:
        self._marks = bytearray()
        self._marked = 0
        self._far: _FarIDs | None = None  # beyond the marks, which are not extended any more

    def add_page(self, ids: list[int]) -> list[int] | None:
        """Add IDs as `SeenIDs.add_page` does."""
        if not ids:
            return None
        if self._far is None and not self._make_room(min(ids), max(ids)):
            self._far = _FarIDs()
        if self._far is None:
            return self._mark(ids)
        indexes = self._add_each(ids, self._far)
        return None if len(indexes) == len(ids) else indexes

    def _make_room(self, lowest: int, highest: int) -> bool:
        """Extend the marks up to an ID. False if they would take too much memory."""
        if lowest < 0 or highest > _LEAST_ROOM + _MOST_ROOM * self._marked:
            return False
        if highest >= len(self._marks):
            self._marks += bytes(highest + highest // 8 + 1 - len(self._marks))
        return True

    def _mark(self, ids: list[int]) -> list[int] | None:
        marks = self._marks
        if not any(map(marks.__getitem__, ids)) and len(set(ids)) == len(ids):
            for key_id in ids:
                marks[key_id] = 1
            self._marked += len(ids)
            return None
        indexes: list[int] = []
        for index, key_id in enumerate(ids):
            if not marks[key_id]:
                marks[key_id] = 1
                indexes.append(index)
        self._marked += len(indexes)
        return indexes

    def _add_each(self, ids: list[int], far: _FarIDs) -> list[int]:
        indexes: list[int] = []
        extent = len(self._marks)
        for index, key_id in enumerate(ids):
            if 0 <= key_id < extent:
                is_new = not self._marks[key_id]
                self._marks[key_id] = 1
            else:
                is_new = far.add(key_id)
            if is_new:
                indexes.append(index)
        return indexes


# Any odd number: to multiply by it, modulo a power of 2, is one to one.
_MIX: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1
_SHIFT: Final = 64 - 15  # 15 bits are the number of a bucket


class _FarIDs:
    """IDs as strings of 8 bytes."""

    def __init__(self) -> None:
        self._buckets = Buckets(bytes)
        self._others = set[int]()  # of more bits, or negative

    def add(self, key_id: int) -> bool:
        """Add an ID, and return whether it is new."""
        if not 0 <= key_id <= _MASK:
            is_new = key_id not in self._others
            self._others.add(key_id)
            return is_new
        mixed = key_id * _MIX & _MASK
        number, string = mixed >> _SHIFT, mixed.to_bytes(8)
        bucket = self._buckets[number]
        if string in bucket and contains(bucket, string):
            return False
        self._buckets[number] = bucket + string
        return True


def _find_direction(ids: list[int]) -> int:
    return 0 if len(ids) < 2 else 1 if ids[0] < ids[1] else -1


def _pack_steps(ids: list[int], before: list[int]) -> Sequence[int]:
    """Pack the steps between IDs into 1 to 8 bytes each, as they fit; 0 stands for a step back.

    `bytes` checks the range of every step in C, so the usual page is packed without a Python loop.
    """
    try:
        return bytes(map(sub, ids, before))
    except ValueError:  # a step is negative or above 255
        steps = [max(0, step) for step in map(sub, ids, before)]
        most = max(steps)
        return array("H" if most < 2**16 else "I" if most < 2**32 else "Q", steps)
