"""Where an export is written: a file that is replaced atomically, or the caller's open stream."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, Self, TypeAlias

from .._errors import InvalidRequestError
from .._validation import safe_repr

P = ParamSpec("P")


class StreamTarget:
    """A text file that the caller has opened, such as stdout."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def open(self) -> None:
        """Do nothing: the caller has opened it."""

    def write(self, data: bytes) -> None:
        """Write encoded keys."""
        self._file.write(data.decode())

    def finish(self) -> None:
        """Flush, so that a full disk or a closed pipe is found here."""
        self._file.flush()

    def commit(self) -> None:
        """Do nothing: what was written is in its place."""


class AtomicFile:
    """A file that appears whole or not at all: written under a temporary name, then renamed."""

    def __init__(self, path: Path) -> None:
        self._given_path = path
        self._path = path
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None

    def open(self) -> None:
        """Create the temporary file, or raise the OSError that a later rename would meet."""
        # A rename would replace a symbolic link itself. This replaces what it points to.
        self._path = Path(os.path.realpath(self._given_path))
        self._check_replaceable()
        try:
            # In the same directory, since a rename is atomic only within a file system. `mkstemp`
            # creates it with mode 0600: key values are secrets.
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".junkie-")
        except OSError as error:  # it names the temporary file, which would confuse the caller
            raise OSError(error.errno, error.strerror, str(self._given_path)) from None
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")

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
        assert self._temporary is not None
        self._temporary.replace(self._path)
        self._temporary = None

    def abort(self) -> None:
        """Remove the temporary file; the old file stays as it was."""
        if self._file is not None:
            with suppress(OSError):  # closing flushes, and meets a full disk again
                self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


Target: TypeAlias = StreamTarget | AtomicFile


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


def make_target(to: Any) -> Target:
    """Return where to write, from a checked argument."""
    return StreamTarget(to) if is_stream(to) else AtomicFile(Path(to))


class WriterThread:
    """A thread that writes to a target, and commits or aborts it at the end.

    It does one step at a time, even when the task is cancelled. So an abort comes after the step
    in progress, which may be the one that creates the temporary file.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="junkie-export")

    async def run(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step in the thread, and wait for it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, functools.partial(step, *args, **kwargs))

    async def __aenter__(self) -> Self:
        try:
            await self.run(self._target.open)
        except BaseException:
            await self._abort_target()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            await self._abort_target()
            return
        try:
            await self.run(self._target.finish)
            # A step of its own, so that a task that is cancelled during the sync never commits.
            await self.run(self._target.commit)
        except BaseException:
            await self._abort_target()
            raise
        self._thread.shutdown(wait=False)

    async def _abort_target(self) -> None:
        # A stream has nothing to undo, and its write may hang for as long as a pipe's reader does.
        if isinstance(self._target, AtomicFile):
            aborted = asyncio.wrap_future(self._thread.submit(self._target.abort))
            self._thread.shutdown(wait=False)
            await asyncio.shield(aborted)  # a second cancellation must not stop the clean-up
        self._thread.shutdown(wait=False)
