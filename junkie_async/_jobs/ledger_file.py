"""The file of a ledger: private to its user, and checked before it is believed.

Its content is not trusted. It may be damaged, or made so that whoever reads it hangs or prints
something.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Generator
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

from .._errors import ConfigurationError, InvalidRequestError
from .._validation import safe_repr
from .file_lock import hold_lock
from .file_owners import (
    check_one_name,
    check_own_files,
    check_regular,
    create_private,
    identify_files,
    make_private,
    resolve_links,
)
from .ledger_tables import (
    check_integrity,
    delete_done_jobs,
    distrust,
    limit_time,
    not_a_ledger,
    read_version,
    show_as_current,
    update_tables,
)
from .record import DamagedError, names_database

T = TypeVar("T")

# Seconds that others may write before a writer gives up. Each commit of theirs takes some ms.
_BUSY_TIMEOUT: Final = 30.0
_BUSY_POLL: Final = 0.002
_MAX_SECONDS: Final = 10.0  # for a claim
_LOOKS_LIKE_DSN: Final = re.compile(r"\s*(postgres\w*(\+\w+)?:|[a-z][\w+.-]+:/)", re.IGNORECASE)
# The codes of errors that do not come from the content. SQLite has a fixed text for each.
_CODES_FROM_OUTSIDE: Final = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
)


class MovedError(Exception):
    """A path no longer leads to the file that is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was moved, replaced or deleted")


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check the path of a ledger."""
    checked = Path()
    with contextlib.suppress(TypeError, UnicodeEncodeError):  # not a path, or one of bytes
        checked = Path(os.fsdecode(os.fsencode(Path(path))))
    if names_database(path):
        limit = "the path of a file: for PostgreSQL, use junkie_async.postgres.PostgresLedger"
        raise InvalidRequestError("ledger", "a DSN", limit)
    # A DSN of another spelling may have a password, which would be in the name of a file.
    if _LOOKS_LIKE_DSN.match(str(checked)):
        limit = "the path of a file, or a DSN that begins with postgresql://"
        raise InvalidRequestError("ledger", "another DSN", limit)
    if checked == Path() or "\0" in str(checked):
        raise InvalidRequestError("ledger", safe_repr(path), "the path of a file, as a str or Path")
    return checked


@contextlib.contextmanager
def explain_errors(path: Path, verb: str) -> Generator[None]:
    """Turn errors of SQLite, of the operating system and of the content into one of ours."""
    try:
        yield
    except (OSError, sqlite3.Error, UnicodeDecodeError, MovedError, DamagedError) as error:
        raise _describe_failure(error, path, verb) from None


def _describe_failure(error: Exception, path: Path, verb: str) -> ConfigurationError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the detail, in the upper bits
    if code == sqlite3.SQLITE_NOTADB:
        return not_a_ledger(path)
    if code == sqlite3.SQLITE_BUSY or isinstance(error, BlockingIOError):
        reason = "another job has it open: wait until that one has ended"
    elif isinstance(error, OSError | MovedError) or code in _CODES_FROM_OUTSIDE:
        reason = str(error)
    else:  # SQLite's text may quote the file
        reason = "it is damaged: restore a copy of it"
    return ConfigurationError(f"the ledger {path} can't be {verb}: {reason}")


def open_for_writing(
    path: Path, connections: contextlib.ExitStack, *, job: str | None = None
) -> tuple[sqlite3.Connection, OpenFiles]:
    """Open or create the file, beside other jobs that write it, and lock one job if it is named."""
    # Nothing of another user is opened: SQLite would believe it, or write keys to it.
    check_own_files(_list_files(path), path.parent)
    create_private(_lock_path(path))
    create_private(path)
    if job is not None:
        # Before SQLite opens the file: who closes it last deletes the log of changes. SQLite knows
        # by a lock who is last, and the writer may have lost that lock: see `hold_lock`.
        connections.enter_context(lock_job(path, job))
    check_one_name(path)
    files = OpenFiles(path)
    db = _connect_to(path, connections, timeout=_BUSY_TIMEOUT)
    version = read_version(db, path)  # else the file is another program's: its mode is not ours
    make_private(_list_files(path))
    _begin_wal(db)
    # NORMAL syncs a WAL at checkpoints only: a power cut could lose the markers of sent calls.
    db.execute("PRAGMA synchronous = FULL")
    # Another user may have made the -wal file just before SQLite would.
    check_own_files(_list_files(path), path.parent)
    if version == 1:
        # While no job writes, also one of version 0.1, which locks the whole file.
        with _lock(path, None if job is None else _find_byte(job), others=True):
            update_tables(db, path)
    elif version == 0:
        update_tables(db, path)
    files.add_new_files()
    return db, files


def _begin_wal(db: sqlite3.Connection) -> None:
    """Let a commit be one append and one sync, which readers never block."""
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite's own time-out does not hold for this: others may be about to begin, too.
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_BUSY_POLL)


def lock_job(path: Path, name: str) -> contextlib.AbstractContextManager[object]:
    """Keep other workers from a job until the context or the process ends.

    Raises:
        BlockingIOError: Another worker has the job.
    """
    return _lock(path, _find_byte(name))


def _find_byte(name: str) -> int:
    """Choose the byte of a job: two of a million jobs share one with a probability of 1e-5."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest())


def _lock(
    path: Path, byte: int | None = None, *, others: bool = False
) -> contextlib.AbstractContextManager[object]:
    # The lock is that of a second file: one on the ledger would end with each commit, and
    # `locking_mode = EXCLUSIVE` would shut out `status`. It ends with its process.
    lock_path = _lock_path(path)
    if sys.platform == "win32":  # its locks belong to one opening of a file, so SQLite's will do
        with contextlib.ExitStack() as locked:
            if not others:
                _connect_to(lock_path, locked, timeout=0).execute("BEGIN EXCLUSIVE")
            return locked.pop_all()
    else:
        return hold_lock(lock_path, byte, others=others)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


class OpenFiles:
    """The files of an open ledger, known by more than their names."""

    def __init__(self, path: Path) -> None:
        suffixes = ("", ".lock", "-wal", "-shm")
        self._paths = [path.with_name(path.name + suffix) for suffix in suffixes]
        self._found = identify_files(self._paths[:2])

    def add_new_files(self) -> None:
        """Note the files that SQLite has opened since."""
        self._found = identify_files(self._paths) | self._found

    def check(self) -> None:
        """Check that nobody has moved, replaced or deleted a file.

        Raises:
            MovedError: What is written would not be found again, or another job has a new lock.
        """
        now = identify_files(self._found)
        for path, found in self._found.items():
            if now.get(path) != found:
                raise MovedError(path)


def _list_files(path: Path) -> list[Path]:
    """Return the paths of the ledger, its lock, and all that SQLite makes beside these."""
    files = [path, _lock_path(path)]
    suffixes = ("", "-journal", "-wal", "-shm")
    return [file.with_name(file.name + suffix) for file in files for suffix in suffixes]


def _connect_to(
    path: Path, connections: contextlib.ExitStack, *, timeout: float
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connections.enter_context(contextlib.closing(connection))
    return distrust(connection)


def prune_jobs(path: Path, seconds: float) -> int:
    """Delete the jobs that have nothing outstanding and were begun so long ago; count them."""
    with explain_errors(path, "written"):
        check_regular(path)
        return _write_once(Path(os.path.realpath(path)), lambda db: delete_done_jobs(db, seconds))


def write_claim(path: Path, act: Callable[[sqlite3.Connection], T]) -> T:
    """Take or end a claim in a ledger, which is made if there is none."""

    def act_in_time(db: sqlite3.Connection) -> T:
        with limit_time(db, _MAX_SECONDS):  # no damage of the file makes it endless
            return act(db)

    with explain_errors(path, "written"):
        return _write_once(resolve_links(path), act_in_time)


def _write_once(path: Path, act: Callable[[sqlite3.Connection], T]) -> T:
    """Execute something in a transaction, by a connection of its own."""
    with contextlib.ExitStack() as connections:
        db, files = open_for_writing(path, connections)
        db.execute("BEGIN IMMEDIATE")
        files.check()
        result = act(db)
        db.execute("COMMIT")
        return result


@contextlib.contextmanager
def open_readonly(path: Path) -> Generator[sqlite3.Connection]:
    """Open a ledger for reading, even while a job writes it."""
    with explain_errors(path, "read"):
        resolved = Path(os.path.realpath(path))
        for file in _list_files(resolved):
            with contextlib.suppress(FileNotFoundError):
                check_regular(file)
        uri = f"{resolved.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            version = read_version(distrust(db), path)
            if not version:
                raise not_a_ledger(path)
            check_integrity(db)
            if version == 1:
                show_as_current(db)
            if sys.platform != "win32" and resolved.stat().st_uid == os.geteuid():
                make_private(_list_files(resolved))  # SQLite has just made two beside it
            yield db
