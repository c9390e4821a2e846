"""Exports that fail, at the start or midway: the old file stays, and no other is left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from junkie_async import InvalidRequestError, Key, KeyPager, ServerError
from junkie_async.export import Format, export_keys
from junkie_async.export.atomic_file import AtomicFile

from .exports import FULL, files_in, given_keys, pager, posix, unprivileged
from .pages import as_pending

NAME = "keys.csv"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that exists before the export."""
    path = tmp_path / NAME
    path.write_text("old")
    return path


def is_untouched(path: Path) -> bool:
    """Whether the old file has its old content, and is alone in its directory."""
    return path.read_text() == "old" and [*path.parent.iterdir()] == [path]


async def failing(error: BaseException, keys: int = 600) -> AsyncIterator[Key]:
    """Yield some keys, more than a chunk, then raise."""
    for number in range(keys):
        yield Key(id=number, key_value="k")
    raise error


def unused_pager() -> KeyPager:
    """Make a pager that must not be walked."""

    async def fetch(page: int, limit: int) -> Any:
        raise AssertionError("a request was sent")

    return KeyPager(as_pending(fetch))


# --- refused before anything is sent --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"to": "keys.txt"}, "format"),
        ({"to": "keys"}, "format"),
        ({"to": io.StringIO()}, "format"),
        ({"to": NAME, "format": "xml"}, "format"),
        ({"to": NAME, "format": 1}, "format"),
        ({"to": io.BytesIO(), "format": "csv"}, "to"),
        ({"to": 3, "format": "csv"}, "to"),
        ({"to": NAME, "bom": 1}, "bom"),
        ({"to": NAME, "text_cells": 1}, "text_cells"),
        ({"to": NAME, "on_progress": 1}, "on_progress"),
        ({"to": NAME, "keys": [FULL]}, "keys"),
    ],
)
async def test_bad_arguments_are_named(
    arguments: dict[str, Any], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad argument is refused by its name, before a request and before a file is created."""
    monkeypatch.chdir(tmp_path)
    keys = arguments.get("keys") or unused_pager()
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(**arguments | {"keys": keys})
    assert caught.value.field == field
    assert files_in(tmp_path) == []


async def assert_refused(path: Path, kind: type[OSError]) -> None:
    """Assert that a path is refused by its name, before a request."""
    with pytest.raises(kind) as caught:
        await export_keys(unused_pager(), path, format="csv")
    assert caught.value.filename == str(path)


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory, and a path in a missing directory, are refused."""
    await assert_refused(tmp_path, IsADirectoryError)
    await assert_refused(tmp_path / "nowhere" / NAME, FileNotFoundError)
    assert files_in(tmp_path) == []


@posix
async def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """A named pipe is not replaced by a regular file."""
    path = tmp_path / NAME
    os.mkfifo(path)
    await assert_refused(path, OSError)
    assert path.is_fifo()


@posix
@unprivileged
def test_unwritable_paths_are_refused(old: Path) -> None:
    """A read-only file or directory is refused before the walk."""
    old.chmod(0o400)
    asyncio.run(assert_refused(old, PermissionError))
    old.chmod(0o600)
    old.parent.chmod(0o500)
    try:
        asyncio.run(assert_refused(old, PermissionError))
    finally:
        old.parent.chmod(0o700)
    assert is_untouched(old)


@posix
async def test_a_read_only_file_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ``os.access`` calls read-only is not replaced, not even by root."""
    monkeypatch.setattr("os.access", lambda path, mode: path != old.resolve())
    await assert_refused(old, PermissionError)
    assert is_untouched(old)


# --- failures in the middle -----------------------------------------------------------------------


async def test_a_source_that_raises_leaves_the_old_file(old: Path) -> None:
    """The source's exception is raised unchanged, and the old file stays."""
    with pytest.raises(LookupError, match="gone"):
        await export_keys(failing(LookupError("gone")), old)
    assert is_untouched(old)


async def test_a_page_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """The service's error is raised with its page number, and no file is created."""
    pages = pager([FULL], [FULL])
    fetch = pages._fetch
    pages.close()

    async def flaky(page: int, limit: int) -> Any:
        if page > 1:
            raise ServerError("out of order", status=503)
        return await fetch(page, limit)

    with pytest.raises(ServerError) as caught:
        await export_keys(KeyPager(flaky), tmp_path / NAME)
    assert caught.value.page == 2
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("format", Format)
async def test_a_lone_surrogate_is_refused(old: Path, format: Format) -> None:  # noqa: A002 - its name
    """Invalid Unicode is refused, and the error does not show the text."""
    key = Key(id=1, key_value="secret\ud800")
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(given_keys([key]), old, format=format)
    assert caught.value.field == "keys"
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__context__ is None  # it would hold the text
    assert is_untouched(old)


async def test_other_objects_than_keys_are_refused(old: Path) -> None:
    """An item that is not a `Key` ends the export."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(given_keys([FULL, "JNK"]), old)  # type: ignore[list-item]
    assert caught.value.field == "keys"
    assert is_untouched(old)


@pytest.mark.parametrize("step", ["write", "finish", "commit"])
async def test_a_full_disk_leaves_the_old_file(
    step: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's error is raised in whichever step it happens, and the old file stays."""

    def full(self: object, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AtomicFile, step, full)
    with pytest.raises(OSError, match="No space left"):
        await export_keys(pager([FULL]), old)
    assert is_untouched(old)


async def test_an_on_progress_that_raises_leaves_the_old_file(old: Path) -> None:
    """An exception of the callback ends the export like any other."""

    def fail(done: int, total: int | None) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await export_keys(pager([FULL]), old, on_progress=fail)
    assert is_untouched(old)


# --- cancellation ---------------------------------------------------------------------------------


async def test_cancelling_between_keys_leaves_the_old_file(old: Path) -> None:
    """Cancelling after a chunk was written removes the temporary file."""
    closed = False

    async def keys() -> AsyncIterator[Key]:
        nonlocal closed
        try:
            for number in range(600):
                yield Key(id=number, key_value="k")
            await asyncio.Event().wait()
        finally:
            closed = True

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await export_keys(keys(), old)
    assert closed
    assert is_untouched(old)


@pytest.mark.parametrize("step", ["open", "write", "finish"])
@pytest.mark.parametrize("times", [1, 2])
async def test_cancelling_a_step_leaves_the_old_file(
    step: str, times: int, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation while the thread works, even a second one, removes the file afterwards."""
    started, go_on = threading.Event(), threading.Event()
    original = getattr(AtomicFile, step)

    def slow(self: AtomicFile, *args: Any) -> None:
        started.set()
        assert go_on.wait(5)
        original(self, *args)

    monkeypatch.setattr(AtomicFile, step, slow)
    task = asyncio.create_task(export_keys(pager([FULL]), old))
    assert await asyncio.to_thread(started.wait, 5)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    go_on.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    # After a second cancellation, the export does not wait for its thread to clean up.
    for thread in threading.enumerate():
        if thread.name.startswith("junkie-export"):
            await asyncio.to_thread(thread.join, 5)
    assert is_untouched(old)


async def test_a_blocked_stream_does_not_delay_a_cancellation() -> None:
    """A cancellation does not wait for a write to a pipe whose reader is asleep."""
    go_on = threading.Event()

    class BlockedFile(io.StringIO):
        def write(self, text: str) -> int:
            go_on.wait(5)
            return 0

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await export_keys(pager([FULL]), BlockedFile(), format="csv")
    go_on.set()


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", Format)
async def test_memory_stays_flat(format: Format, tmp_path: Path) -> None:  # noqa: A002 - its name
    """Ten times as many keys take no more memory."""

    async def peak(keys: int) -> int:
        source = given_keys(Key(id=i, key_value=f"JNK-{i:032}") for i in range(keys))
        tracemalloc.start()
        try:
            await export_keys(source, tmp_path / "keys", format=format)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(1000)  # caches are filled before the measurement
    few, many = await peak(1000), await peak(10_000)
    assert many < few * 1.2 + 25_000
