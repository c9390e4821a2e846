"""Where an export's bytes go: an open file, or a path whose file is whole or not there at all."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, Self

P = ParamSpec("P")


class Stream:
    """An open text file of the caller's."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def open(self) -> None:
        """Do nothing: it is open."""

    def write(self, data: bytes) -> None:
        """Append what was encoded."""
        self._file.write(data.decode())

    def finish(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def commit(self) -> None:
        """Do nothing: it is where it belongs."""


class File:
    """A file that takes its place at the end."""

    def __init__(self, path: Path) -> None:
        self._given = path
        self._path = path
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None

    def open(self) -> None:
        """Begin a file beside the path, or say why there can't be one."""
        # A link stays one, and what it points to is replaced.
        self._path = Path(os.path.realpath(self._given))
        self._check()
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".junkie-")  # mode 0600
        except OSError as error:  # it names the temporary file, which nobody has heard of
            raise OSError(error.errno, error.strerror, str(self._given)) from None
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")

    def _check(self) -> None:
        """Refuse what could not be replaced, rather than find it out after a long walk."""
        if self._path.is_dir():
            raise self._error(errno.EISDIR)
        if self._path.exists():
            if not self._path.is_file():  # a replaced /dev/null would not be one any more
                raise OSError(errno.EINVAL, "not a regular file", str(self._given))
            if not os.access(self._path, os.W_OK):
                raise self._error(errno.EACCES)

    def _error(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), str(self._given))

    def write(self, data: bytes) -> None:
        """Append what was encoded."""
        assert self._file is not None
        self._file.write(data)

    def finish(self) -> None:
        """See that everything is on the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def commit(self) -> None:
        """Put the file into its place."""
        assert self._temporary is not None
        self._temporary.replace(self._path)
        self._temporary = None

    def abort(self) -> None:
        """Leave nothing but what was there before."""
        if self._file is not None:
            with suppress(OSError):  # a full disk once more, on what the buffer still has
                self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


class Worker:
    """A thread that does one thing after another to a target, and commits or aborts it in the end.

    One at a time even when the task is cancelled: the abort comes after the write in progress.
    """

    def __init__(self, target: File | Stream) -> None:
        self._target = target
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="junkie-export")

    async def run(self, do: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do it in the thread, and wait for it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, functools.partial(do, *args, **kwargs))

    async def __aenter__(self) -> Self:
        try:
            await self.run(self._target.open)
        except BaseException:
            await self._abort()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            await self._abort()
            return
        try:
            await self.run(self._target.finish)
            await self.run(self._target.commit)  # by itself: a cancelled task may stop before it
        except BaseException:
            await self._abort()
            raise
        self._thread.shutdown(wait=False)

    async def _abort(self) -> None:
        if isinstance(self._target, File):  # a stream's reader may hold up a write for ever
            aborted = asyncio.wrap_future(self._thread.submit(self._target.abort))
            self._thread.shutdown(wait=False)
            await asyncio.shield(aborted)  # which another cancellation must not prevent
        self._thread.shutdown(wait=False)
