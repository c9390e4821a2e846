"""All key values of a job in order: at hand at once, and yet not in the process's memory."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Collection, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Final

from .._protocol.json_documents import decode_json, encode_json

_BLOCK: Final = 1 << 18  # bytes, some 6,000 keys: jobs of fewer write no file


class KeyLog:
    """Key values in blocks of 256 KiB, which go to a file without a name.

    The file is in the given folder, or in the one for temporary files. It is read in a tenth of the
    time that SQLite takes, and whatever became of the ledger.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last_block = bytearray()
        self._blocks: list[bytes | int] = []  # in memory, or the place in the file
        self._file: IO[bytes] | None = None
        self.length: int = 0
        """How many key values there are."""

    def append(self, keys: Collection[str]) -> None:
        """Add the key values of a call."""
        if keys:
            self._last_block += encode_json([*keys]) + b"\n"
            self.length += len(keys)
        if len(self._last_block) >= _BLOCK:
            self.end_block()

    def end_block(self) -> int:
        """Start a new block, and return how many there are before it."""
        if self._last_block:
            self._blocks.append(self._store(bytes(self._last_block)))
            self._last_block.clear()
        return len(self._blocks)

    def read(self, number: int) -> Iterator[list[str]]:
        """Yield the key values of each call in a block, by its number from 0."""
        blocks = self._blocks
        block = blocks[number] if number < len(blocks) else bytes(self._last_block)
        if isinstance(block, int):
            assert self._file is not None
            self._file.seek(block)
            block = self._file.read(int.from_bytes(self._file.read(4)))
        yield from map(decode_json, block.splitlines())

    def read_first(self, length: int) -> tuple[str, ...]:
        """Return so many key values, the earliest ones."""
        blocks = map(self.read, range(self.end_block()))
        return tuple(islice(chain.from_iterable(chain.from_iterable(blocks)), length))

    def find(self, values: Collection[str]) -> set[str]:
        """Return those of some values that are among the key values, from the latest ones on."""
        wanted, found = {*values}, set[str]()
        for number in range(len(self._blocks), -1, -1):
            for keys in self.read(number):
                found |= wanted.intersection(keys)
            if len(found) == len(wanted):
                break
        return found

    def _store(self, block: bytes) -> bytes | int:
        if len(block) < _BLOCK:
            return block
        try:
            if self._file is None:  # open as long as this object, since a report may be asked for
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            place = self._file.seek(0, 2)
            record = len(block).to_bytes(4) + block
            return place if self._file.write(record) == len(record) else block
        except OSError:  # such as a full disk
            return block
