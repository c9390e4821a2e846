"""Whose a ledger and the files beside it are, and who may read them."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from junkie_async import ConfigurationError, CreateJob, InvalidRequestError, JunkieClient
from junkie_async._jobs import ledger_file
from junkie_async._jobs.file_owners import (
    check_regular,
    create_private,
    is_kept_by_folder,
    resolve_links,
)
from junkie_async.provisioning import status
from tests.other_user import give_away, posix, share_folder

from .server import PROVIDER, Service

pytestmark = posix


@pytest.fixture
async def make_job(service: Service) -> AsyncIterator[Callable[[Path], CreateJob]]:
    """Return a function that makes a job of 200 keys with a ledger."""
    async with JunkieClient("jk_test", base_url=service.url) as client:

        def make(path: Path) -> CreateJob:
            return client.keys.create_many(200, provider_id=PROVIDER, ledger=path, concurrency=1)

        yield make


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.iterdir()}


def _publish(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o644)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Keep a ledger open, so that SQLite does not remove its -wal and -shm files."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT * FROM job").fetchone()
        yield


def _lock_elsewhere(path: Path) -> bytes:
    """Try to lock a ledger in another process, and return that one's stderr."""
    lock = f"ledger_file.lock_job(pathlib.Path({str(path)!r}), 'job').__enter__()"
    imports = "import pathlib; from junkie_async._jobs import ledger_file"
    command = [sys.executable, "-c", f"{imports}; {lock}"]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).stderr


async def _stop_after_a_batch(job: CreateJob) -> None:
    async with aclosing(aiter(job)) as batches:
        await anext(batches)


async def test_files_that_others_may_read_are_made_private(
    make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """A ledger of mode 0644, such as a restored one, and what is beside it get mode 0600."""
    path = tmp_path / "ledger.db"
    await _stop_after_a_batch(make_job(path))
    with _reading(path):
        _publish(tmp_path)
        async with aclosing(aiter(make_job(path))) as batches:
            await anext(batches)
            modes = _modes(tmp_path)
    assert set(modes.values()) == {0o600}
    assert set(modes) >= {"ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.lock"}


async def test_reading_the_state_makes_the_files_private(
    make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """SQLite makes two files beside a ledger that is read, with the ledger's mode."""
    path = tmp_path / "job.db"
    await _stop_after_a_batch(make_job(path))
    with _reading(path):
        _publish(tmp_path)
        status(path)
        assert set(_modes(tmp_path).values()) == {0o600}
    other = tmp_path / "other.db"
    other.write_bytes(b"another program's" * 100)
    other.chmod(0o644)
    with pytest.raises(ConfigurationError):
        status(other)
    assert _modes(tmp_path)["other.db"] == 0o644


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock", ".lock-journal"])
async def test_files_of_another_user_are_refused(
    suffix: str,
    service: Service,
    make_job: Callable[[Path], CreateJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a shared folder somebody else may have made the ledger or a file beside it."""
    share_folder(tmp_path)
    path = tmp_path / f"ledger.db{suffix}"
    path.touch()
    path.chmod(0o666)
    give_away(path, monkeypatch)
    with pytest.raises(ConfigurationError) as caught:
        await make_job(tmp_path / "ledger.db")
    assert path.name in str(caught.value)
    assert not service.requests
    assert _modes(tmp_path) == {path.name: 0o666}


async def test_a_file_that_another_user_makes_meanwhile_is_refused(
    service: Service,
    make_job: Callable[[Path], CreateJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The -wal file may come between the check of the files and their opening."""
    path = tmp_path / "ledger.db"
    await _stop_after_a_batch(make_job(path))
    sent = service.requests.copy()

    def make_private(_: object) -> None:
        give_away(tmp_path / "ledger.db-wal", monkeypatch)

    with _reading(path):
        monkeypatch.setattr(ledger_file, "make_private", make_private)
        with pytest.raises(ConfigurationError):
            await make_job(path)
    assert service.requests == sent


@pytest.mark.parametrize("names", ["link", "folder/ledger.db", "mine/ledger.db"])
async def test_links_of_another_user_are_refused(
    names: str,
    service: Service,
    make_job: Callable[[Path], CreateJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such a link could lead to any file: as the ledger, as a folder, or behind an own link."""
    shared, home = tmp_path / "shared", tmp_path / "home"
    shared.mkdir()
    home.mkdir()
    share_folder(shared)
    (shared / "link").symlink_to(home / "ledger.db")
    (shared / "folder").symlink_to(home)
    (shared / "mine").symlink_to("folder")
    for link in ("link", "folder"):
        give_away(shared / link, monkeypatch)
    with pytest.raises(ConfigurationError):
        await make_job(shared / names)
    assert not service.requests
    assert not _modes(home)


async def test_one_ledger_has_one_lock_whatever_its_name(
    make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """An own link is followed, and a job that has the ledger open by its name shuts out others."""
    path, link = tmp_path / "ledger.db", tmp_path / "link"
    link.symlink_to("ledger.db")
    async with aclosing(aiter(make_job(path))) as batches:
        await anext(batches)
        with pytest.raises(ConfigurationError):
            await make_job(link)
    assert (await make_job(link)).created == 200


async def test_a_refused_job_leaves_the_lock_to_the_first(
    make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """After a second job in this process was refused, another process still can't get the lock.

    Closing any descriptor of a file releases all POSIX locks that the process has on it.
    """
    path = tmp_path / "ledger.db"
    async with aclosing(aiter(make_job(path))) as batches:
        await anext(batches)
        with pytest.raises(ConfigurationError):
            await make_job(path)
        assert b"BlockingIOError" in await asyncio.to_thread(_lock_elsewhere, path)


async def test_a_copy_of_the_files_leaves_the_lock(
    make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """A program may back its ledger up while its own job runs."""
    path = tmp_path / "ledger.db"
    async with aclosing(aiter(make_job(path))) as batches:
        await anext(batches)
        for name in _modes(tmp_path):
            (tmp_path / name).read_bytes()
        assert b"BlockingIOError" in await asyncio.to_thread(_lock_elsewhere, path)


async def test_a_ledger_with_two_names_is_refused(
    service: Service, make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """Each name would have a lock of its own."""
    path, link = tmp_path / "ledger.db", tmp_path / "link.db"
    await _stop_after_a_batch(make_job(path))
    link.hardlink_to(path)
    sent = service.requests.copy()
    for name in (path, link):
        with pytest.raises(ConfigurationError):
            await make_job(name)
    assert service.requests == sent
    link.unlink()
    assert (await make_job(path)).created == 200


_FORK: Final = """
import asyncio, os, sys
from junkie_async import ConfigurationError, JunkieClient

url, path = sys.argv[1:]

def make_job():
    client = JunkieClient("jk_test", base_url=url)
    return client.keys.create_many(20_000, provider_id=7, ledger=path, reconcile_after=0)

async def run():
    await make_job()

async def main():
    async for _ in make_job():
        if os.fork() == 0:
            try:
                asyncio.run(run())
            except ConfigurationError:
                print("refused", flush=True)
            os.read(0, 1)  # until the parent is gone, and the test is over
            os._exit(0)
        os.wait()

asyncio.run(main())
"""


def _start_forking(url: str, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", _FORK, url, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_a_forked_child_neither_has_nor_keeps_the_lock(
    service: Service, make_job: Callable[[Path], CreateJob], tmp_path: Path
) -> None:
    """A second job in it is refused, and it outlives its killed parent without the lock."""
    path = tmp_path / "ledger.db"
    with _start_forking(service.url, path) as parent:
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == b"refused\n"
        parent.kill()
        parent.wait()  # the child still runs
        with pytest.raises(InvalidRequestError):  # of another amount, so the ledger was opened
            await make_job(path)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("plain/new.db", "plain/new.db"),
        ("link/new.db", "plain/new.db"),
        ("link/../new.db", "new.db"),
        ("chain", "plain/end"),
        ("plain/./x/../y", "plain/y"),
    ],
)
def test_paths_without_links(
    given: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is that of `os.path.realpath`, relative and absolute."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "plain").mkdir()
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "chain").symlink_to(tmp_path / "link" / "next")
    (tmp_path / "plain" / "next").symlink_to("../plain/end")
    monkeypatch.chdir(tmp_path)
    assert resolve_links(Path(given)) == resolve_links(tmp_path / given) == tmp_path / found
    assert os.path.realpath(given) == str(tmp_path / found)


def test_links_in_a_circle(tmp_path: Path) -> None:
    """They are an error, not an endless loop."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as caught:
        resolve_links(tmp_path / "a")
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename in (str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_long_chain_of_links(tmp_path: Path) -> None:
    """Forty are followed, as Linux does."""
    for number in range(41):
        (tmp_path / str(number)).symlink_to(str(number + 1))
    assert resolve_links(tmp_path / "1") == tmp_path.resolve() / "41"
    with pytest.raises(OSError):
        resolve_links(tmp_path / "0")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    """A named pipe, for one, might never be opened."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError) as caught:
            check_regular(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(path))


def test_a_new_file_is_private_from_its_first_moment(tmp_path: Path) -> None:
    """Whatever the process lets others do; and nothing is made where a link leads."""
    before = os.umask(0)
    try:
        create_private(tmp_path / "new")
    finally:
        os.umask(before)
    (tmp_path / "link").symlink_to("elsewhere")
    create_private(tmp_path / "link")
    assert _modes(tmp_path)["new"] == 0o600
    assert {*_modes(tmp_path)} == {"new", "link"}


@pytest.mark.parametrize("is_sticky", [True, False])
def test_a_file_of_another_user_is_kept_by_a_folder_like_tmp(
    is_sticky: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else but the owner of the folder may replace it there."""
    path, owner = tmp_path / "file", os.geteuid()
    path.touch()
    tmp_path.chmod(0o1777 if is_sticky else 0o777)
    assert not is_kept_by_folder(path)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert is_kept_by_folder(path) is is_sticky


async def test_what_does_not_fit_in_memory_lies_beside_the_ledger(
    client: JunkieClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file without a name: the folder for temporary files may be small, or in memory."""
    folders: list[object] = []
    make_file = tempfile.TemporaryFile

    def note_folder(**options: Any) -> Any:
        folders.append((options["dir"], options.get("buffering")))
        return make_file(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", note_folder)
    path = tmp_path / "ledger.db"
    report = await client.keys.create_many(14_000, provider_id=PROVIDER, ledger=path)
    assert (tmp_path, 0) in folders
    assert len({*report.keys}) == 14_000
    assert {*_modes(tmp_path)} == {"ledger.db", "ledger.db.lock"}
