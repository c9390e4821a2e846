"""The key IDs that a walk has given: 1.6 bytes each in order, and a byte for each ID otherwise."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, count
from operator import sub
from typing import Final

_MOST_ROOM: Final = 32
"""Bytes for each ID, at most: a set takes 74."""

_LEAST_ROOM: Final = 16 << 20
"""Bytes that any walk out of order may take."""


class SeenIDs:
    """A set of IDs that is small while the IDs only rise or only fall from page to page.

    In order, an ID takes 1.6 bytes, where a set takes 74. The first page whose new IDs break the
    order puts an end to that, for good: looking for an ID among the steps of a page takes time for
    each of them. They are marked in a string of bytes then (`_MarkedIDs`).

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
            self._plain = _MarkedIDs()
            self._plain.add_page([*self._unpack_all()])
        return self._plain.add_page(ids)

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

    def _unpack_all(self) -> set[int]:
        """Return all IDs, and keep none of them."""
        pages = map(self._unpack_page, range(len(self._starts)))
        ids = {signed * self._direction for page in pages for signed in page}
        self._starts, self._steps = array("q"), []
        return ids

    def _append_in_order(self, ids: list[int]) -> bool:
        """Append IDs that continue the order. Else return False and change nothing."""
        if not ids:
            return True
        direction = self._direction or _find_direction(ids)
        start = ids[0] * direction
        if direction == 0 or (self._starts and start <= self._latest):
            return False
        steps = _pack_steps(ids[1:], ids) if direction > 0 else _pack_steps(ids, ids[1:])
        if 0 in steps:
            return False
        if self._steps and self._steps[-1] == steps:
            steps = self._steps[-1]  # pages of IDs without gaps have the same steps: keep one copy
        try:
            self._starts.append(start)
        except OverflowError:  # the ID has more than 64 bits
            return False
        self._direction, self._latest = direction, ids[-1] * direction
        self._steps.append(steps)
        return True


class _MarkedIDs:
    """IDs in any order: a byte for each one up to the largest, while that is less than a set takes.

    IDs are numbered from 1 on nearly every service. IDs that are far apart are kept in a set.
    """

    def __init__(self) -> None:
        self._marks = bytearray()
        self._marked = 0
        self._sparse: set[int] | None = None

    def add_page(self, ids: list[int]) -> list[int] | None:
        """Add IDs as `SeenIDs.add_page` does."""
        if not ids:
            return None
        if self._sparse is None and not self._make_room(min(ids), max(ids)):
            self._sparse = set(compress(count(), self._marks))
            self._marks.clear()
        if self._sparse is not None:
            return _add_to_set(ids, self._sparse)
        return self._mark(ids)

    def _make_room(self, lowest: int, highest: int) -> bool:
        """Extend the marks up to an ID. False if they would take more memory than a set."""
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


def _add_to_set(ids: list[int], seen: set[int]) -> list[int] | None:
    page = set(ids)
    if len(page) == len(ids) and seen.isdisjoint(page):  # no look-ups in Python
        seen |= page
        return None
    indexes: list[int] = []
    for index, key_id in enumerate(ids):
        if key_id not in seen:
            seen.add(key_id)
            indexes.append(index)
    return indexes


def _find_direction(ids: list[int]) -> int:
    return 0 if len(ids) < 2 else 1 if ids[0] < ids[1] else -1


def _pack_steps(ids: list[int], before: list[int]) -> Sequence[int]:
    """Pack the steps between IDs into 1 or 2 bytes each where they fit; 0 stands for a step back.

    `bytes` checks the range of every step in C, so the usual page is packed without a Python loop.
    """
    try:
        return bytes(map(sub, ids, before))
    except ValueError:  # a step is negative or above 255
        steps = [max(0, step) for step in map(sub, ids, before)]
        return array("H", steps) if max(steps) < 2**16 else steps
