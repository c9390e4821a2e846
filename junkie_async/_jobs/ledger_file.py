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
from collections.abc import Generator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import attrs

from .._errors import ConfigurationError, InvalidRequestError
from .._protocol.fields import MAX_BATCH
from .._validation import safe_repr
from .file_lock import hold_lock
from .file_owners import (
    check_one_name,
    check_own_files,
    check_regular,
    create_private,
    identify_files,
    make_private,
)
from .record import DEFAULT_JOB, DamagedError, JobCounts, read_arguments

_APPLICATION_ID: Final = 0x6A6E6B31  # "jnk1": by it `file`, SQLite's tools and we know a ledger

# A change of this form needs another version, and code that reads the ones before.
_VERSION: Final = 2
_SCHEMA: Final = (
    """CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, marker TEXT NOT NULL,
                  arguments TEXT NOT NULL, begun REAL NOT NULL, result BLOB)""",
    """CREATE TABLE attempt (job INTEGER NOT NULL, number INTEGER NOT NULL,
                      amount INTEGER NOT NULL, open INTEGER NOT NULL, doubted REAL,
                      PRIMARY KEY (job, number)) WITHOUT ROWID""",
    "CREATE TABLE key (job INTEGER NOT NULL, attempt INTEGER NOT NULL, value TEXT NOT NULL)",
    "CREATE INDEX key_attempt ON key (job, attempt)",
)
_SCHEMA_1: Final = (
    "CREATE TABLE job (id TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL)",
    """CREATE TABLE attempt (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
                      open INTEGER NOT NULL, suspect INTEGER NOT NULL)""",
    "CREATE TABLE key (value TEXT NOT NULL, attempt INTEGER NOT NULL)",
    "CREATE INDEX key_attempt ON key (attempt)",
)
_MOVE_AWAY: Final = (
    "DROP INDEX key_attempt",
    *(f"ALTER TABLE {name} RENAME TO {name}_1" for name in ("job", "attempt", "key")),
)
# When earlier doubts began is not recorded: they count from now on.
_MOVE_BACK: Final = (
    f"INSERT INTO job SELECT 1, '{DEFAULT_JOB}', id, arguments, begun, NULL FROM job_1",  # noqa: S608
    """INSERT INTO attempt SELECT 1, number, amount, open,
      CASE WHEN suspect THEN (julianday('now') - 2440587.5) * 86400.0 END FROM attempt_1""",
    "INSERT INTO key SELECT 1, attempt, value FROM key_1 ORDER BY rowid",
    *(f"DROP TABLE {name}_1" for name in ("job", "attempt", "key")),
)
# Version 1 as version 2, for reading. Names of temporary views come before those of tables.
_VIEWS_OF_1: Final = f"""
CREATE TEMP VIEW job AS SELECT 1 AS id, '{DEFAULT_JOB}' AS name, id AS marker, arguments, begun,
  NULL AS result FROM main.job;
CREATE TEMP VIEW attempt AS SELECT 1 AS job, number, amount, open,
  CASE WHEN suspect THEN 0.0 END AS doubted FROM main.attempt;
CREATE TEMP VIEW key AS SELECT 1 AS job, attempt, value FROM main.key;"""  # noqa: S608 - constants
_SCHEMAS: Final = {1: {*_SCHEMA_1}, _VERSION: {*_SCHEMA}}

# Seconds that others may write before a writer gives up. Each commit of theirs takes some ms.
_BUSY_TIMEOUT: Final = 30.0
_MAX_SCHEMA_STEPS: Final = 1_000_000  # of SQLite's; reading the schema takes some hundred
_LOOKS_LIKE_DSN: Final = re.compile(r"\s*postgres\w*(\+\w+)?:", re.IGNORECASE)
_JOB_ID: Final = re.compile("[0-9a-z]{1,32}")
_LATEST: Final = 253402300799  # the end of the year 9999, in Unix time

# SQLite takes values of any type in any column. (`integrity_check` looks for NULL.) Numbers without
# gaps: a row of `attempt` that is missing would be a call whose keys nobody looks for.
_IS_SOUND: Final = f"""
SELECT NOT EXISTS (
  SELECT 1 FROM attempt WHERE job = :job AND (
    typeof(number) <> 'integer' OR typeof(amount) <> 'integer'
    OR amount NOT BETWEEN 1 AND {MAX_BATCH} OR open NOT IN (0, 1)
    OR typeof(doubted) NOT IN ('real', 'null') OR doubted NOT BETWEEN 0 AND {_LATEST})
) AND NOT EXISTS (
  SELECT 1 FROM key WHERE job = :job AND (typeof(value) <> 'text' OR typeof(attempt) <> 'integer')
) AND (
  SELECT ifnull(max(number), -1) = count(*) - 1 AND ifnull(min(number), 0) = 0
  FROM attempt WHERE job = :job
) AND (
  SELECT ifnull(min(attempt), 0) >= 0
  AND ifnull(max(attempt), -1) < (SELECT count(*) FROM attempt WHERE job = :job)
  FROM key WHERE job = :job)"""  # noqa: S608 - constants

_COUNT: Final = """
SELECT (SELECT count(*) FROM key WHERE job = :job), count(*), total(amount) FILTER (WHERE open),
  total((SELECT count(*) FROM key WHERE key.job = :job AND key.attempt = number))
    FILTER (WHERE open),
  total(open AND doubted IS NOT NULL), total(open AND doubted IS NULL)
FROM attempt WHERE job = :job"""

_MARK_DONE: Final = """
CREATE TEMP TABLE done AS SELECT id FROM job WHERE begun < :latest
  AND NOT EXISTS (SELECT 1 FROM attempt WHERE job = id AND open)
  AND (SELECT count(*) FROM key WHERE job = id) >= json_extract(arguments, '$.amount')"""

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
    """What a ledger says about a job."""

    id: int
    name: str
    marker: str
    arguments: dict[str, Any]
    begun: float  # in Unix time
    result: bytes | None


class MovedError(Exception):
    """A path no longer leads to the file that is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was moved, replaced or deleted")


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check the path of a ledger."""
    checked = Path()
    with contextlib.suppress(TypeError, UnicodeEncodeError):  # not a path, or one of bytes
        checked = Path(os.fsdecode(os.fsencode(Path(path))))
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
    version = _read_version(db, path)  # else the file is another program's: its mode is not ours
    make_private(_list_files(path))
    # WAL: a commit is one append and one sync, and readers never block it. FULL: NORMAL syncs a
    # WAL at checkpoints only, so a power cut could lose the markers of sent calls.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # Another user may have made the -wal file just before SQLite would.
    check_own_files(_list_files(path), path.parent)
    if version == 1:
        # While no job writes, also one of version 0.1, which locks the whole file.
        with _lock(path, None if job is None else _find_byte(job), others=True):
            _update_tables(db, path)
    elif version == 0:
        _update_tables(db, path)
    files.add_new_files()
    return db, files


def _update_tables(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or those of the version before into today's."""
    db.execute("BEGIN EXCLUSIVE")
    version = _read_version(db, path)  # another process may have been faster
    if version == 0:
        _execute_all(db, *_SCHEMA, f"PRAGMA application_id = {_APPLICATION_ID}")
    elif version == 1:
        check_integrity(db)
        _check_one_job(db)
        _execute_all(db, *_MOVE_AWAY, *_SCHEMA, *_MOVE_BACK)
    _execute_all(db, f"PRAGMA user_version = {_VERSION}", "COMMIT")


def _execute_all(db: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        db.execute(statement)


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
    return _distrust(connection)


def _distrust(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Prepare a connection for a file of unknown content."""
    connection.text_factory = bytes.decode  # sqlite3's own error would quote the text
    # A damaged schema can be so that reading it never ends.
    connection.set_progress_handler(lambda: True, _MAX_SCHEMA_STEPS)
    return connection


def _read_version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of a ledger, or 0 of an empty file, which may become one."""
    if db.in_transaction:
        return _read_header(db, path)
    # All at one moment: another process may be about to make the tables.
    db.execute("BEGIN")
    try:
        return _read_header(db, path)
    finally:
        db.rollback()


def _read_header(db: sqlite3.Connection, path: Path) -> int:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application == _APPLICATION_ID and version > _VERSION:  # before its tables are read
        raise ConfigurationError(f"{path} is of a newer version of junkie_async: update this one")
    # ANALYZE, which some tools run unasked, makes the tables sqlite_stat1 and sqlite_stat4.
    rows = db.execute(
        "SELECT sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'"
        " OR type <> 'table' AND name NOT GLOB 'sqlite_autoindex_*'"
    ).fetchmany(len(_SCHEMA) + 1)
    db.set_progress_handler(None, 0)
    if not rows and application in (0, _APPLICATION_ID):
        return 0
    if application != _APPLICATION_ID:
        raise _not_a_ledger(path)
    # A view can make a query endless, and a trigger can change what is written.
    if {sql for (sql,) in rows} != _SCHEMAS.get(version):
        raise DamagedError
    return int(version)


def check_integrity(db: sqlite3.Connection) -> None:
    """Check the structure of the whole file.

    Raises:
        DamagedError: Pages that refer to each other, for instance, can make a query endless.
    """
    # Not the quick check: keys that only the index lacks would be taken for surplus, and deleted.
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise DamagedError


def _check_one_job(db: sqlite3.Connection) -> None:
    """Check that a ledger of version 1 has the one job that it was made for."""
    if db.execute("SELECT count(*) FROM job").fetchone() != (1,):
        raise DamagedError


@contextlib.contextmanager
def limit_time(db: sqlite3.Connection, seconds: float) -> Generator[None]:
    """End queries that take longer, instead of the check of the structure."""
    begin = time.monotonic()
    db.set_progress_handler(lambda: time.monotonic() > begin + seconds, _MAX_SCHEMA_STEPS)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def read_job(db: sqlite3.Connection, name: str) -> JobRow | None:
    """Return the row of a job, once all that is in the ledger of it has been checked."""
    row = db.execute(
        "SELECT id, name, marker, arguments, begun, result FROM job WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        return None
    job_id, _, marker, arguments, begun, result = row
    is_sound = isinstance(marker, str) and isinstance(arguments, str) and isinstance(begun, float)
    if not is_sound or not _JOB_ID.fullmatch(marker) or not 0 <= begun <= _LATEST:
        raise DamagedError
    if not isinstance(result, bytes | None):
        raise DamagedError
    if not db.execute(_IS_SOUND, {"job": job_id}).fetchone()[0]:
        raise DamagedError
    return JobRow(job_id, name, marker, read_arguments(arguments), begun, result)


def read_counts(db: sqlite3.Connection, name: str) -> JobCounts | None:
    """Count what the ledger has of a job."""
    row = read_job(db, name)
    if row is None:
        return None
    created, *counts = db.execute(_COUNT, {"job": row.id}).fetchone()
    calls, intended, logged, in_doubt, in_flight = map(int, counts)
    return JobCounts(
        name=row.name,
        marker=row.marker,
        arguments=row.arguments,
        begun=row.begun,
        created=created,
        calls=calls,
        intended=intended,
        logged=logged,
        in_doubt=in_doubt,
        in_flight=in_flight,
    )


def read_names(db: sqlite3.Connection) -> Generator[str]:
    """Give the names of a ledger's jobs, in the order in which they were begun."""
    for (name,) in db.execute("SELECT name FROM job ORDER BY begun, id"):
        if not isinstance(name, str):
            raise DamagedError
        yield name


def prune_jobs(path: Path, seconds: float) -> int:
    """Delete the jobs that have nothing outstanding and were begun so long ago; count them."""
    with explain_errors(path, "written"), contextlib.ExitStack() as connections:
        check_regular(path)
        db, files = open_for_writing(Path(os.path.realpath(path)), connections)
        db.execute("BEGIN IMMEDIATE")
        files.check()
        db.execute(_MARK_DONE, {"latest": time.time() - seconds})
        for table in ("key", "attempt"):
            db.execute(f"DELETE FROM {table} WHERE job IN done")  # noqa: S608 - constants
        pruned = db.execute("DELETE FROM job WHERE id IN done").rowcount
        _execute_all(db, "DROP TABLE done", "COMMIT")
        return pruned


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
            version = _read_version(_distrust(db), path)
            if not version:
                raise _not_a_ledger(path)
            check_integrity(db)
            if version == 1:
                _check_one_job(db)
                db.executescript(_VIEWS_OF_1)
            if sys.platform != "win32" and resolved.stat().st_uid == os.geteuid():
                make_private(_list_files(resolved))  # SQLite has just made two beside it
            yield db
