"""Where an export is written: a file that is replaced atomically, or the caller's open stream."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

from .._errors import InvalidRequestError
from .._validation import safe_repr

# Runs a function with its arguments in the thread that writes.
_Run: TypeAlias = Callable[..., Awaitable[object]]
_Write: TypeAlias = Callable[[bytes], object]


class AtomicFile:
    """A file that appears whole or not at all: written under a temporary name, then renamed."""

    def __init__(self, path: Path) -> None:
        self._given_path = path
        self._path = path
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        """Create the temporary file, or raise the OSError that a later rename would meet."""
        # A rename would replace a symbolic link itself. This replaces what it points to.
        self._path = Path(os.path.realpath(self._given_path))
        self._check_replaceable()
        try:
            # In the same directory, since a rename is atomic only within a file system. `tempfile`
            # creates it with mode 0600: key values are secrets.
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - open until the export ends
                dir=self._path.parent, prefix=".junkie-", delete=False
            )
        except OSError as error:  # it names the temporary file, which would confuse the caller
            raise OSError(error.errno, error.strerror, str(self._given_path)) from None

    def _check_replaceable(self) -> None:
        """Refuse a path that can't be replaced now, not after a long walk."""
        if self._path.is_dir():
            raise self._os_error(errno.EISDIR)
        if self._path.exists():
            if not self._path.is_file():  # a rename would turn /dev/null into a regular file
                raise OSError(errno.EINVAL, "not a regular file", str(self._given_path))
            # A rename needs write access to the directory only. The file's own mode says that its
            # owner wants it kept.
            if not os.access(self._path, os.W_OK):
                raise self._os_error(errno.EACCES)

    def _os_error(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), str(self._given_path))

    def write(self, data: bytes) -> None:
        """Write encoded keys to the temporary file."""
        assert self._file is not None
        self._file.write(data)

    def finish(self) -> None:
        """Sync the temporary file to disk, so that a crash after the rename loses nothing."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def commit(self) -> None:
        """Rename the temporary file to its path. From here on the new file is in place."""
        assert self._file is not None
        Path(self._file.name).replace(self._path)

    def abort(self) -> None:
        """Remove the temporary file; the old file stays as it was."""
        if self._file is not None:
            with suppress(OSError):  # closing flushes, and meets a full disk again
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)


def is_stream(to: Any) -> bool:
    """Whether the argument is an open file rather than a path."""
    return hasattr(to, "write")


def check_target(to: Any) -> None:
    """Refuse what is neither a path nor an open text file."""
    limit = "a path or an open text file"
    if isinstance(to, io.RawIOBase | io.BufferedIOBase):
        raise InvalidRequestError("to", "a binary file", limit)
    if not is_stream(to) and not isinstance(to, str | os.PathLike):
        raise InvalidRequestError("to", safe_repr(to), limit)


@asynccontextmanager
async def open_target(to: Any) -> AsyncGenerator[tuple[_Run, _Write], None]:
    """Open a checked target and a thread. A path's file is replaced at the end, if nothing failed.

    The thread does one step at a time, even when the task is cancelled. So an abort comes after the
    step in progress, which may be the one that creates the temporary file.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="junkie-export")
    run = partial(asyncio.get_running_loop().run_in_executor, thread)
    try:
        if is_stream(to):
            yield run, lambda data: to.write(data.decode())
            await run(to.flush)  # a full disk or a closed pipe is found here
            return
        file = AtomicFile(Path(to))
        try:
            await run(file.open)
            yield run, file.write
            await run(file.finish)
            # A step of its own, so that a task that is cancelled during the sync never commits.
            await run(file.commit)
        except BaseException:
            await asyncio.shield(run(file.abort))  # a second cancellation must not stop it
            raise
    finally:
        # Not waited for: a stream's write may hang for as long as a pipe's reader does.
        thread.shutdown(wait=False)
