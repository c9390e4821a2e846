"""A lock on a file, held by one job among all those of this process and of others."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

# By these a forked child closes its copies. It would keep the lock after its parent has ended.
_locked_files: Final[set[io.FileIO]] = set()


@contextlib.contextmanager
def hold_lock(path: Path, byte: int | None = None, *, others: bool = False) -> Generator[None]:
    """Lock an existing file, until the context or the process ends.

    With a ``byte``, which need not exist, only that one, or with ``others`` all but that one.
    Without locks of that kind, as on macOS, it is the whole file, and nothing for ``others``.
    The lock belongs to one opening of the file. Closing another descriptor of the same file drops
    all POSIX locks of a process, but not this one: a refused second try and a copy that somebody
    makes of the file do no harm. Not for Windows.

    Raises:
        BlockingIOError: Another job holds the lock, in this process or in another one.
    """
    with path.open("r+b", buffering=0) as file:
        _lock_file(file, byte, others)
        if not os.path.samestat(os.fstat(file.fileno()), path.lstat()):  # deleted before that
            raise BlockingIOError(errno.EWOULDBLOCK, "the lock was replaced", str(path))
        _locked_files.add(file)
        try:
            yield
        finally:
            _locked_files.discard(file)


if sys.platform != "win32":
    import fcntl

    def _lock_file(file: io.FileIO, byte: int | None, others: bool) -> None:
        # On Linux `flock` and POSIX locks don't see each other, and version 0.1 takes one of those.
        if sys.platform == "linux":
            try:
                for start, length in _list_ranges(byte, others):
                    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
                    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
            except OSError as error:
                if error.errno != errno.EINVAL:  # else the kernel has no such locks
                    raise
            else:
                return
        if not others:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _list_ranges(byte: int | None, others: bool) -> list[tuple[int, int]]:
        """Return starts and lengths, of which 0 is up to the end."""
        if byte is None:
            return [(0, 0)]
        return [(0, byte), (byte + 1, 0)] if others else [(byte, 1)]

    def _close_copies() -> None:
        for file in _locked_files:
            file.close()
        _locked_files.clear()

    os.register_at_fork(after_in_child=_close_copies)
