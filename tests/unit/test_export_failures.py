"""Exports that can't be, or that end early: the old file stays, and nothing else is left."""

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
from junkie_async.export import atomic_file as targets

from .pages import as_pending
from .test_export import FULL, given_keys, left_in, pager, posix, unprivileged

NAME = "keys.csv"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / NAME
    path.write_text("old")
    return path


def is_untouched(path: Path) -> bool:
    """Whether the old file is as it was, and nothing beside it."""
    return path.read_text() == "old" and [*path.parent.iterdir()] == [path]


async def failing(error: BaseException, keys: int = 600) -> AsyncIterator[Key]:
    """Give some keys, a written block among them, and fail."""
    for number in range(keys):
        yield Key(id=number, key_value="k")
    raise error


def never_asked() -> KeyPager:
    """Make a walk that must not begin."""

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
        ({"to": NAME, "on_progress": 1}, "on_progress"),
        ({"to": NAME, "keys": [FULL]}, "keys"),
    ],
)
async def test_bad_arguments_are_named(
    arguments: dict[str, Any], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be is refused with its name, before a request and before a file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(**{"keys": never_asked(), **arguments})
    assert caught.value.field == field
    assert left_in(tmp_path) == []


async def refused(path: Path, kind: type[OSError]) -> None:
    """See that a path is refused by its own name, before a request."""
    with pytest.raises(kind) as caught:
        await export_keys(never_asked(), path, format="csv")
    assert caught.value.filename == str(path)


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is no file, and its lack is one error."""
    await refused(tmp_path, IsADirectoryError)
    await refused(tmp_path / "nowhere" / NAME, FileNotFoundError)
    assert left_in(tmp_path) == []


@posix
async def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """What is not a regular file is not replaced by one."""
    path = tmp_path / NAME
    os.mkfifo(path)
    await refused(path, OSError)
    assert path.is_fifo()


@posix
@unprivileged
def test_what_may_not_be_written_is_refused(old: Path) -> None:
    """Neither a read-only file nor one in a read-only directory is walked for."""
    old.chmod(0o400)
    asyncio.run(refused(old, PermissionError))
    old.chmod(0o600)
    old.parent.chmod(0o500)
    try:
        asyncio.run(refused(old, PermissionError))
    finally:
        old.parent.chmod(0o700)
    assert is_untouched(old)


@posix
async def test_a_read_only_file_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system says may not be written is left alone, by root too."""
    monkeypatch.setattr("os.access", lambda path, mode: path != old.resolve())
    await refused(old, PermissionError)
    assert is_untouched(old)


# --- failures in the middle -----------------------------------------------------------------------


async def test_keys_that_stop_coming_leave_the_old_file(old: Path) -> None:
    """An error on the way is the caller's, and the old file stays."""
    with pytest.raises(LookupError, match="gone"):
        await export_keys(failing(LookupError("gone")), old)
    assert is_untouched(old)


async def test_a_page_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """The service's error comes through with its page; no file appears."""
    pages = pager([FULL], [FULL])
    fetch = pages._fetch

    async def flaky(page: int, limit: int) -> Any:
        if page > 1:
            raise ServerError("out of order", status=503)
        return await fetch(page, limit)

    with pytest.raises(ServerError) as caught:
        await export_keys(KeyPager(flaky), tmp_path / NAME)
    assert caught.value.page == 2
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("format", Format)
async def test_a_lone_surrogate_is_named(old: Path, format: Format) -> None:  # noqa: A002 - its name
    """A text that no file can hold is refused, and is not in the error."""
    key = Key(id=1, key_value="secret\ud800")
    with pytest.raises(InvalidRequestError, match="a lone surrogate") as caught:
        await export_keys(given_keys([key]), old, format=format)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert is_untouched(old)


async def test_what_is_no_key_is_refused(old: Path) -> None:
    """Something else among the keys ends the export."""
    with pytest.raises(InvalidRequestError, match="keys must be Keys"):
        await export_keys(given_keys([FULL, "JNK"]), old)  # type: ignore[list-item]
    assert is_untouched(old)


@pytest.mark.parametrize("step", ["write", "finish", "commit"])
async def test_a_full_disk_leaves_the_old_file(
    step: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the disk refuses, the error comes through and the old file stays."""

    def full(self: object, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(targets.File, step, full)
    with pytest.raises(OSError, match="No space left"):
        await export_keys(pager([FULL]), old)
    assert is_untouched(old)


async def test_a_progress_that_fails_leaves_the_old_file(old: Path) -> None:
    """A caller's own error ends the export like any other."""

    def fail(done: int, total: int | None) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await export_keys(pager([FULL]), old, on_progress=fail)
    assert is_untouched(old)


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_cancelled_wait_for_keys_leaves_the_old_file(old: Path) -> None:
    """Cancelled between two keys, with a block written, nothing is left."""
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
async def test_a_cancelled_step_leaves_the_old_file(
    step: str, times: int, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while the thread is at work, once or twice, the file is cleared away after it."""
    begun, go_on = threading.Event(), threading.Event()
    original = getattr(targets.File, step)

    def slow(self: targets.File, *args: Any) -> None:
        begun.set()
        assert go_on.wait(5)
        original(self, *args)

    monkeypatch.setattr(targets.File, step, slow)
    task = asyncio.create_task(export_keys(pager([FULL]), old))
    assert await asyncio.to_thread(begun.wait, 5)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    go_on.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    for _ in range(500):
        if is_untouched(old):
            break
        await asyncio.sleep(0.01)
    assert is_untouched(old)


async def test_a_stream_that_is_stuck_does_not_hold_up_a_cancellation() -> None:
    """A pipe whose reader sleeps is left alone."""
    go_on = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            go_on.wait(5)
            return 0

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await export_keys(pager([FULL]), Stuck(), format="csv")
    go_on.set()


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", Format)
async def test_memory_stays_flat(format: Format, tmp_path: Path) -> None:  # noqa: A002 - its name
    """Ten times the keys take no more memory."""

    async def peak(keys: int) -> int:
        source = given_keys(Key(id=i, key_value=f"JNK-{i:032}") for i in range(keys))
        tracemalloc.start()
        try:
            await export_keys(source, tmp_path / "keys", format=format)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(1000)  # what is made once, is made now
    few, many = await peak(2000), await peak(20_000)
    assert many < few * 1.2 + 50_000
