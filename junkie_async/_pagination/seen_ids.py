"""A memory of the key IDs that a walk has delivered, small while they come in order."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from operator import sub


class SeenIDs:
    """Remembers IDs in about one byte each while they rise or fall, else in a set.

    A walk that is in ID order could do with a watermark alone, if it knew that the order lasts. It
    does not: premium keys may come first and all others after them, each in order, and a bare
    watermark would take the others for repetitions. So each page is kept as its first ID and the
    steps to the next ones.
    """

    def __init__(self) -> None:
        self._sign = 0  # 1: rising, -1: falling, 0: not known yet
        self._last = 0  # the newest ID in order, times the sign
        self._firsts = array("q")
        self._steps: list[Sequence[int]] = []
        self._loose: set[int] = set()

    def fresh(self, ids: list[int]) -> list[int] | None:
        """Remember a page's IDs.

        Args:
            ids: The IDs in the order of the page.

        Returns:
            None when all of them are new, which is quick to tell while they are in order; else the
            indexes of the new ones.
        """
        if not self._loose and self._extend(ids):
            return None
        known = set[int]()
        indexes = []
        for index, key_id in enumerate(ids):
            if key_id not in known and key_id not in self:
                indexes.append(index)
            known.add(key_id)
        new = [ids[index] for index in indexes]
        if not self._extend(new):
            self._loose.update(new)
        return indexes

    def __contains__(self, key_id: int) -> bool:
        if key_id in self._loose:
            return True
        signed = key_id * self._sign
        if not self._firsts or signed > self._last:
            return False
        page = bisect_right(self._firsts, signed) - 1
        if page < 0:
            return False
        step = signed - self._firsts[page]
        return step == 0 or step in accumulate(self._steps[page])

    def _extend(self, ids: list[int]) -> bool:
        """Append IDs that go on in order; False, with nothing done, when they don't."""
        if not ids:
            return True
        sign = self._sign or _direction(ids)
        first = ids[0] * sign
        if sign == 0 or (self._firsts and first <= self._last):
            return False
        steps = _pack(ids[1:], ids) if sign > 0 else _pack(ids, ids[1:])
        if 0 in steps:
            return False
        if self._steps and self._steps[-1] == steps:
            steps = self._steps[-1]  # IDs without gaps make the same page over and over
        try:
            self._firsts.append(first)
        except OverflowError:  # no 64 bits hold it
            return False
        self._sign, self._last = sign, ids[-1] * sign
        self._steps.append(steps)
        return True


def _direction(ids: list[int]) -> int:
    return 0 if len(ids) < 2 else 1 if ids[0] < ids[1] else -1


def _pack(ids: list[int], before: list[int]) -> Sequence[int]:
    """Pack the steps between IDs into as few bytes as they fit in; 0 stands for a step back."""
    try:
        return bytes(map(sub, ids, before))
    except ValueError:  # one is negative, or does not fit
        every = [max(0, step) for step in map(sub, ids, before)]
        return array("H", every) if max(every) < 2**16 else every
