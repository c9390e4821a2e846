"""What other processes and other users leave in the folder of an export."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from junkie_async.export import export_keys
from junkie_async.export.atomic_file import AtomicFile
from tests.other_user import OTHER_USER, give_away, share_folder

from .exports import FULL, files_in, pager

fcntl = pytest.importorskip("fcntl", reason="POSIX only")

NAME = "keys.csv"

_EXPORT = """
import os, sys
from pathlib import Path
from junkie_async.export.atomic_file import AtomicFile
file = AtomicFile(Path(sys.argv[1]))
file.open()
file.write(b"JNK-1")
print("open", flush=True)
if not sys.stdin.readline():
    os._exit(9)  # as if it was killed
file.finish()
file.commit()
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that have a temporary file open."""
    command = [sys.executable, "-c", _EXPORT, str(tmp_path / "theirs.csv")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(2)]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
        yield started
    finally:
        for process in started:
            process.communicate("")


@pytest.mark.slow
async def test_what_a_killed_export_left_is_removed(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    """The next export removes the file of the killed one, and leaves that of the running one."""
    killed, running = processes
    before = files_in(tmp_path)
    assert len(before) == 2
    killed.communicate("")
    assert files_in(tmp_path) == before
    await export_keys(pager([FULL]), tmp_path / NAME)
    (left,) = {*files_in(tmp_path)} - {NAME}
    running.communicate("\n")
    assert running.returncode == 0
    assert files_in(tmp_path) == [NAME, "theirs.csv"]
    assert left in before


async def test_exports_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    """An export that begins while another runs does not remove that one's file."""
    first = AtomicFile(tmp_path / "first.csv")
    first.open()
    await export_keys(pager([FULL]), tmp_path / NAME)
    assert len(files_in(tmp_path)) == 2
    first.abort()
    assert files_in(tmp_path) == [NAME]


async def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """What only looks similar stays, and a named pipe does not hold up the export."""
    names = [
        ".junkie-settings",
        ".junkie-abcdefgh.tmp",
        ".junkie-abcdefgh-12345678",
        "junkie-a.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / ".junkie-abcdefgh-12345678.tmp")
    async with asyncio.timeout(5):
        await export_keys(pager([FULL]), tmp_path / NAME)
    assert {*names, NAME} <= {*files_in(tmp_path)}


async def test_a_file_that_was_taken_for_a_leftover_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove the temporary file in the moment before it is locked."""
    taken: list[str] = []
    lock = fcntl.flock

    def take_first(file: Any, operation: int) -> None:
        if not taken:
            taken.append(file.name)
            Path(file.name).unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", take_first)
    await export_keys(pager([FULL]), tmp_path / NAME)
    assert taken
    assert files_in(tmp_path) == [NAME]


async def test_the_folder_is_synced_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the new file, then, with the new file in place, the folder."""
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def note(file: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(file).st_mode), (tmp_path / NAME).exists()))
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    await export_keys(pager([FULL]), tmp_path / NAME)
    assert synced == [(False, False), (True, True)]


async def test_a_folder_that_can_not_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is in place, so the export has not failed."""
    sync = os.fsync

    def fail_for_folders(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError("not supported")
        sync(file)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    assert await export_keys(pager([FULL]), tmp_path / NAME) == 1
    assert files_in(tmp_path) == [NAME]


# --- other users ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["link.csv", "folder/precious"])
async def test_links_of_another_user_are_not_followed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared folder such a link could lead to any of the user's files, which would be lost."""
    shared, precious = tmp_path / "shared", tmp_path / "home" / "precious"
    precious.parent.mkdir()
    precious.write_text("old")
    shared.mkdir()
    share_folder(shared)
    for link, target in (("link.csv", precious), ("folder", precious.parent)):
        (shared / link).symlink_to(target)
        give_away(shared / link, monkeypatch)
    with pytest.raises(PermissionError):
        await export_keys(pager([FULL]), shared / name, format="csv")
    assert precious.read_text() == "old"
    assert files_in(precious.parent) == ["precious"]


async def test_a_file_that_its_folder_keeps_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can replace another user's file in a shared folder: said before the walk."""
    share_folder(tmp_path)
    path = tmp_path / NAME
    path.write_text("old")
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    with pytest.raises(PermissionError) as caught:
        await export_keys(pager([FULL]), path)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
