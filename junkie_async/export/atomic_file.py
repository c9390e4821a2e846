"""Where an export is written: a file that is replaced atomically, or the caller's open stream."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from .._errors import InvalidRequestError
from .._http.coroutines import running_loop
from .._jobs.file_owners import is_kept_by_folder, resolve_links
from .._validation import safe_repr

if sys.platform != "win32":
    import fcntl

# It is in the names of all temporary files of this process, which are not leftovers.
_RUN: Final = secrets.token_hex(4)

# Runs a function with its arguments in the thread that writes.
_Run: TypeAlias = Callable[..., Awaitable[object]]
_Write: TypeAlias = Callable[[bytes], object]


class AtomicFile:
    """A file that appears whole or not at all: written under a temporary name, then renamed.

    A process that is killed leaves the temporary file. The next export into the folder removes it.
    """

    def __init__(self, path: Path) -> None:
        self._given_path = path
        self._path = path
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        """Create the temporary file, or raise the OSError that a later rename would meet."""
        # A rename would replace a symbolic link itself. This replaces what it points to.
        self._path = resolve_links(self._given_path)
        self._check_replaceable()
        try:
            _remove_leftovers(self._path.parent)
            self._file = _create_temporary(self._path.parent)
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
            if is_kept_by_folder(self._path):
                raise self._os_error(errno.EPERM)

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

    def commit(self) -> None:
        """Rename the temporary file to its path. From here on the new file is in place."""
        assert self._file is not None
        if sys.platform == "win32":  # an open file can't be renamed there
            self._file.close()
        Path(self._file.name).replace(self._path)
        self._file.close()  # which unlocks it, and so comes last
        _sync_folder(self._path.parent)

    def abort(self) -> None:
        """Remove the temporary file; the old file stays as it was."""
        if self._file is not None:
            with suppress(OSError):  # closing flushes, and meets a full disk again
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)


def _create_temporary(folder: Path) -> IO[bytes]:
    """Create a temporary file, and lock it for as long as it is open."""
    while True:
        # In the same directory, since a rename is atomic only within a file system. `tempfile`
        # creates it with mode 0600: key values are secrets.
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - open until the export ends
            dir=folder, prefix=f".junkie-{_RUN}-", suffix=".tmp", delete=False
        )
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: nothing is removed there
                fcntl.flock(file, fcntl.LOCK_EX)
        if Path(file.name).exists():
            return file
        file.close()  # another process took it for a leftover, before it was locked


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of exports that were killed: nobody has a lock on these."""
    if sys.platform == "win32":  # it has no locks that end with their process
        return
    for path in folder.glob(".junkie-????????-????????.tmp"):
        if path.name.startswith(f".junkie-{_RUN}-"):  # on NFS, a process is not held up by itself
            continue
        with suppress(OSError):  # it is locked, of another user, or gone meanwhile
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def _sync_folder(folder: Path) -> None:
    """Sync a rename to the disk: else a power cut could bring the old file back."""
    with suppress(OSError):  # not every system can; the new file is in place all the same
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


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
    loop = running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="junkie-export")
    run = partial(loop.run_in_executor, thread)
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
