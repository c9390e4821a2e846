"""The tables of a ledger in a file, in each version of their form, and what is read from them.

The content is not trusted: see `ledger_file`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import attrs

from .._errors import ConfigurationError
from .._protocol.fields import MAX_BATCH
from .record import (
    DEFAULT_JOB,
    LATEST,
    DamagedError,
    JobCounts,
    check_begin,
    check_result,
    read_arguments,
)

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
# Made by the first claim: a ledger without one is as before.
_CLAIMS: Final = "CREATE TABLE claim (name TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID"
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

_MAX_SCHEMA_STEPS: Final = 1_000_000  # of SQLite's; reading the schema takes some hundred

# SQLite takes values of any type in any column. (`integrity_check` looks for NULL.) Numbers without
# gaps: a row of `attempt` that is missing would be a call whose keys nobody looks for. Only without
# a marker may a call have more keys than it was to create.
_IS_SOUND: Final = f"""
SELECT NOT EXISTS (
  SELECT 1 FROM attempt WHERE job = :job AND (
    typeof(number) <> 'integer' OR typeof(amount) <> 'integer'
    OR amount NOT BETWEEN 1 AND {MAX_BATCH} OR open NOT IN (0, 1)
    OR typeof(doubted) NOT IN ('real', 'null') OR doubted NOT BETWEEN 0 AND {LATEST})
) AND NOT EXISTS (
  SELECT 1 FROM key WHERE job = :job AND (typeof(value) <> 'text' OR typeof(attempt) <> 'integer')
) AND (
  SELECT ifnull(max(number), -1) = count(*) - 1 AND ifnull(min(number), 0) = 0
  FROM attempt WHERE job = :job
) AND (
  SELECT ifnull(min(attempt), 0) >= 0
  AND ifnull(max(attempt), -1) < (SELECT count(*) FROM attempt WHERE job = :job)
  FROM key WHERE job = :job
) AND NOT EXISTS (
  SELECT 1 FROM attempt WHERE job = :job AND :has_marker
    AND amount < (SELECT count(*) FROM key WHERE key.job = :job AND key.attempt = number))"""  # noqa: S608 - constants

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


@attrs.frozen
class JobRow:
    """What a ledger says about a job."""

    id: int
    name: str
    marker: str
    arguments: dict[str, Any]
    begun: float  # in Unix time
    result: bytes | None


def distrust(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Prepare a connection for a file of unknown content."""
    connection.text_factory = bytes.decode  # sqlite3's own error would quote the text
    # A damaged schema can be so that reading it never ends.
    connection.set_progress_handler(lambda: True, _MAX_SCHEMA_STEPS)
    return connection


def not_a_ledger(path: Path) -> ConfigurationError:
    """Return the error for a file of another program."""
    return ConfigurationError(f"{path} is not a ledger: choose another path")


def update_tables(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or those of the version before into today's."""
    db.execute("BEGIN EXCLUSIVE")
    version = read_version(db, path)  # another process may have been faster
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


def read_version(db: sqlite3.Connection, path: Path) -> int:
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
        raise ConfigurationError(
            f"{path} was written by a newer version of junkie_async: upgrade this one"
        )
    # ANALYZE, which some tools run unasked, makes the tables sqlite_stat1 and sqlite_stat4.
    rows = db.execute(
        "SELECT sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'"
        " OR type <> 'table' AND name NOT GLOB 'sqlite_autoindex_*'"
    ).fetchmany(len(_SCHEMA) + 2)
    db.set_progress_handler(None, 0)
    if not rows and application in (0, _APPLICATION_ID):
        return 0
    if application != _APPLICATION_ID:
        raise not_a_ledger(path)
    # A view can make a query endless, and a trigger can change what is written.
    if {sql for (sql,) in rows} - {_CLAIMS} != _SCHEMAS.get(version):
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


def show_as_current(db: sqlite3.Connection) -> None:
    """Let the tables of version 1 read as those of today, by this connection."""
    _check_one_job(db)
    db.executescript(_VIEWS_OF_1)


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
    check_begin(marker, begun)
    if not isinstance(arguments, str):
        raise DamagedError
    given = read_arguments(arguments)
    has_marker = given.get("marker") is not None
    if not db.execute(_IS_SOUND, {"job": job_id, "has_marker": has_marker}).fetchone()[0]:
        raise DamagedError
    return JobRow(job_id, name, marker, given, begun, check_result(result))


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


def delete_done_jobs(db: sqlite3.Connection, seconds: float) -> int:
    """Delete the jobs that have nothing outstanding and were begun so long ago; count them."""
    db.execute(_MARK_DONE, {"latest": time.time() - seconds})
    for table in ("key", "attempt"):
        db.execute(f"DELETE FROM {table} WHERE job IN done")  # noqa: S608 - constants
    pruned = db.execute("DELETE FROM job WHERE id IN done").rowcount
    db.execute("DROP TABLE done")
    if _has_claims(db):
        db.execute("DELETE FROM claim WHERE until <= ?", (time.time(),))
    return pruned


def take_claim(db: sqlite3.Connection, name: str, seconds: float) -> float:
    """Claim a name, or return the seconds for which it is claimed already."""
    if not _has_claims(db):
        db.execute(_CLAIMS)
    now = time.time()
    given = {"name": name, "now": now, "until": now + seconds}
    # One that ends later is from before the clock was set back, or from a longer setting.
    db.execute("UPDATE claim SET until = :until WHERE name = :name AND until > :until", given)
    taken = db.execute(
        "INSERT INTO claim VALUES (:name, :until)"
        " ON CONFLICT (name) DO UPDATE SET until = :until WHERE until <= :now",
        given,
    )
    if taken.rowcount:
        return 0.0
    (left,) = db.execute("SELECT until - :now FROM claim WHERE name = :name", given).fetchone()
    return min(float(left), seconds)  # the sum was rounded


def end_claim(db: sqlite3.Connection, name: str) -> None:
    """Let others claim a name."""
    if _has_claims(db):
        db.execute("DELETE FROM claim WHERE name = ?", (name,))


def _has_claims(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'claim'").fetchone() is not None
