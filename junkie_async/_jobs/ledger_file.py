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
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol.fields import MAX_BATCH
from .._protocol.json_documents import decode_json, encode_json
from .._validation import MAX_INTEGER, safe_repr
from .file_lock import hold_lock
from .file_owners import (
    check_one_name,
    check_own_files,
    check_regular,
    create_private,
    identify_files,
    make_private,
)
from .markers import new_job_id

_APPLICATION_ID: Final = 0x6A6E6B31  # "jnk1": by it `file`, SQLite's tools and we know a ledger

# A change of this form needs another version, and code that reads both.
_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE job (id TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL)",
    """CREATE TABLE attempt (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
                      open INTEGER NOT NULL, suspect INTEGER NOT NULL)""",
    "CREATE TABLE key (value TEXT NOT NULL, attempt INTEGER NOT NULL)",
    "CREATE INDEX key_attempt ON key (attempt)",
)

_BUSY_TIMEOUT: Final = 5.0  # seconds that another program, not a job, may lock the ledger
_MAX_SCHEMA_STEPS: Final = 1_000_000  # of SQLite's; reading the schema takes some hundred
_JOB_ID: Final = re.compile("[0-9a-z]{1,32}")

# SQLite takes values of any type in any column. (`integrity_check` looks for NULL.) Numbers without
# gaps: a row of `attempt` that is missing would be a call whose keys nobody looks for.
_IS_SOUND: Final = f"""
SELECT (SELECT count(*) FROM job) = 1 AND NOT EXISTS (
  SELECT 1 FROM job WHERE typeof(id) <> 'text' OR typeof(arguments) <> 'text'
  OR typeof(begun) <> 'real' OR begun NOT BETWEEN 0 AND 253402300799
) AND NOT EXISTS (
  SELECT 1 FROM attempt WHERE typeof(amount) <> 'integer' OR amount NOT BETWEEN 1 AND {MAX_BATCH}
  OR open NOT IN (0, 1) OR suspect NOT IN (0, 1)
) AND NOT EXISTS (
  SELECT 1 FROM key WHERE typeof(value) <> 'text' OR typeof(attempt) <> 'integer'
) AND ifnull((SELECT max(number) FROM attempt), -1) = (SELECT count(*) FROM attempt) - 1
AND ifnull((SELECT min(number) FROM attempt), 0) = 0
AND ifnull((SELECT min(attempt) FROM key), 0) >= 0
AND ifnull((SELECT max(attempt) FROM key), -1) < (SELECT count(*) FROM attempt)"""  # noqa: S608 - a constant

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


@attrs.frozen
class JobRow:
    """What a ledger says about its job."""

    id: str
    arguments: dict[str, Any]
    begun: float  # in Unix time


class DamagedError(Exception):
    """The content is not what this package writes."""


class MovedError(Exception):
    """A path no longer leads to the file that is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was moved, replaced or deleted")


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check the path of a ledger."""
    checked = Path()
    with contextlib.suppress(TypeError):  # not a path at all, or one of bytes
        checked = Path(path)
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
        return _not_a_ledger(path)
    if code == sqlite3.SQLITE_BUSY or isinstance(error, BlockingIOError):
        reason = "another job has it open: wait until that one has ended"
    elif isinstance(error, OSError | MovedError) or code in _CODES_FROM_OUTSIDE:
        reason = str(error)
    else:  # SQLite's text may quote the file
        reason = "it is damaged: restore a copy of it"
    return ConfigurationError(f"the ledger {path} can't be {verb}: {reason}")


def _not_a_ledger(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is not a ledger: choose another path")


def lock_and_connect(
    path: Path, connections: contextlib.ExitStack
) -> tuple[sqlite3.Connection, OpenFiles]:
    """Open or create the file for the one job that may write it."""
    # Nothing of another user is opened: SQLite would believe it, or write keys to it.
    check_own_files(_list_files(path), path.parent)
    lock_path = path.with_name(path.name + ".lock")
    create_private(lock_path)
    create_private(path)
    # The lock is that of a second file: one on the ledger would end with each commit, and
    # `locking_mode = EXCLUSIVE` would shut out `status`. It ends with its process.
    if sys.platform == "win32":  # its locks belong to one opening of a file, so SQLite's will do
        _connect_to(lock_path, connections, timeout=0).execute("BEGIN EXCLUSIVE")
    else:
        connections.enter_context(hold_lock(lock_path))
    check_one_name(path)
    files = OpenFiles(path)
    db = _connect_to(path, connections, timeout=_BUSY_TIMEOUT)
    _has_tables(db, path)  # else the file is another program's: its mode is not ours to change
    make_private(_list_files(path))
    # WAL: a commit is one append and one sync, and readers never block it. FULL: NORMAL syncs a
    # WAL at checkpoints only, so a power cut could lose the markers of sent calls.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # Another user may have made the -wal file just before SQLite would.
    check_own_files(_list_files(path), path.parent)
    return db, files


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
    files = [path, path.with_name(path.name + ".lock")]
    suffixes = ("", "-journal", "-wal", "-shm")
    return [file.with_name(file.name + suffix) for file in files for suffix in suffixes]


def _connect_to(
    path: Path, connections: contextlib.ExitStack, *, timeout: float
) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connections.enter_context(contextlib.closing(connection))
    return _distrust(connection)


def _distrust(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Prepare a connection for a file of unknown content."""
    connection.text_factory = bytes.decode  # sqlite3's own error would quote the text
    # A damaged schema can be so that reading it never ends.
    connection.set_progress_handler(lambda: True, _MAX_SCHEMA_STEPS)
    return connection


def _has_tables(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a ledger, or False if it is empty and may become one."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application == _APPLICATION_ID and version > _VERSION:  # before its tables are read
        raise ConfigurationError(f"{path} is of a newer version of junkie_async: update this one")
    # ANALYZE, which some tools run unasked, makes the tables sqlite_stat1 and sqlite_stat4.
    rows = db.execute(
        "SELECT sql FROM sqlite_schema WHERE type <> 'table' OR name NOT GLOB 'sqlite_stat?'"
    ).fetchmany(len(_SCHEMA) + 1)
    db.set_progress_handler(None, 0)
    if not rows and application in (0, _APPLICATION_ID):
        return False
    if application != _APPLICATION_ID:
        raise _not_a_ledger(path)
    # A view can make a query endless, and a trigger can change what is written.
    if version != _VERSION or {sql for (sql,) in rows} != {*_SCHEMA}:
        raise DamagedError
    return True


def create_tables(db: sqlite3.Connection, arguments: Mapping[str, Any]) -> None:
    """Make an empty database the ledger of a new job."""
    schema = ";\n".join(_SCHEMA)
    db.executescript(f"BEGIN; {schema}; PRAGMA application_id = {_APPLICATION_ID};")
    row = new_job_id(), encode_json(arguments).decode(), time.time()
    db.execute("INSERT INTO job VALUES (?, ?, ?)", row)
    db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("COMMIT")


def read_job(db: sqlite3.Connection) -> JobRow:
    """Return the row of the job, once all that is in the ledger has been checked."""
    # Without this check, pages that refer to each other can make a query endless. Not the quick
    # one: keys that only the index lacks would be taken for surplus, and deleted.
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok" or not db.execute(_IS_SOUND).fetchone()[0]:
        raise DamagedError
    job_id, arguments, begun = db.execute("SELECT id, arguments, begun FROM job").fetchone()
    if not _JOB_ID.fullmatch(job_id):
        raise DamagedError
    return JobRow(job_id, _read_arguments(arguments), begun)


def _read_arguments(recorded: str) -> dict[str, Any]:
    try:
        arguments: dict[str, Any] = {**decode_json(recorded.encode())}
        amount = arguments["amount"]
    except Exception:  # whatever it is, the text is not an object with an amount
        raise DamagedError from None
    is_amount = type(amount) is int and 0 < amount <= MAX_INTEGER
    if not is_amount or not all(map(str.isidentifier, arguments)):  # errors show the names
        raise DamagedError
    return arguments


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
            if not _has_tables(_distrust(db), path):
                raise _not_a_ledger(path)
            if sys.platform != "win32" and resolved.stat().st_uid == os.geteuid():
                make_private(_list_files(resolved))  # SQLite has just made two beside it
            yield db
