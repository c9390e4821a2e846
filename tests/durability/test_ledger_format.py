"""The file formats of ledgers, so that later versions resume the jobs of earlier ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from junkie_async import ConfigurationError, JunkieClient, RequestTimeoutError, provisioning
from junkie_async._jobs.file_lock import hold_lock
from tests.other_user import posix

from .server import PROVIDER, RECONCILE_AFTER, Row, Service

_SCHEMA_1: Final = """
CREATE TABLE job (id TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL);
CREATE TABLE attempt (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL,
                      open INTEGER NOT NULL, suspect INTEGER NOT NULL);
CREATE TABLE key (value TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE INDEX key_attempt ON key (attempt);
"""

# Written by version 0.1 before its modules were moved: a job of 5 keys that was cancelled after a
# response with 3 of them. Only the port of the base URL is filled in.
LEDGER_1: Final = (
    _SCHEMA_1
    + """
INSERT INTO attempt VALUES (0, 5, 1, 1);
INSERT INTO job VALUES ('r755ie6k', '{"provider_id":7,"amount":5,"key_name":"launch",
"validity_minutes":60,"hwid_limit":2,"base_url":"URL","marker":"jk"}', 1795748651.59469);
INSERT INTO key VALUES ('JNK-42480a5d2f34-2', 0);
INSERT INTO key VALUES ('JNK-67a97c65c1e5-5', 0);
INSERT INTO key VALUES ('JNK-7a02f7c1bd87-7', 0);
PRAGMA application_id = 1785621297;
PRAGMA user_version = 1;
"""
)
_SCHEMA: Final = """
CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, marker TEXT NOT NULL,
                  arguments TEXT NOT NULL, begun REAL NOT NULL, result BLOB);
CREATE TABLE attempt (job INTEGER NOT NULL, number INTEGER NOT NULL,
                      amount INTEGER NOT NULL, open INTEGER NOT NULL, doubted REAL,
                      PRIMARY KEY (job, number)) WITHOUT ROWID;
CREATE TABLE key (job INTEGER NOT NULL, attempt INTEGER NOT NULL, value TEXT NOT NULL);
CREATE INDEX key_attempt ON key (job, attempt);
"""
# The same job, as this version writes it.
LEDGER: Final = (
    _SCHEMA
    + """
INSERT INTO attempt VALUES (1, 0, 5, 1, 1795748651.8);
INSERT INTO job VALUES (1, 'job', 'r755ie6k', '{"provider_id":7,"amount":5,"key_name":"launch",
"validity_minutes":60,"hwid_limit":2,"base_url":"URL","marker":"jk"}', 1795748651.59469, NULL);
INSERT INTO key VALUES (1, 0, 'JNK-42480a5d2f34-2');
INSERT INTO key VALUES (1, 0, 'JNK-67a97c65c1e5-5');
INSERT INTO key VALUES (1, 0, 'JNK-7a02f7c1bd87-7');
PRAGMA application_id = 1785621297;
PRAGMA user_version = 2;
"""
)
LEDGERS: Final = {1: LEDGER_1, 2: LEDGER}
_LOGGED: Final = ("JNK-42480a5d2f34-2", "JNK-67a97c65c1e5-5", "JNK-7a02f7c1bd87-7")


@pytest.mark.parametrize("version", LEDGERS)
async def test_a_ledger_of_each_version_is_resumed(version: int, tmp_path: Path) -> None:
    """Its keys come first, a key of its open call is adopted, and the last one is created."""
    path = tmp_path / "launch.db"
    async with Service(seed=1) as service, JunkieClient("jk_test", base_url=service.url) as client:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(LEDGERS[version].replace("URL", service.url))
        for key_id, value in enumerate(_LOGGED, 1000):
            service.rows[key_id] = Row(
                key_id, value, "launch jk-r755ie6k.0", foreign=False, created=0.0
            )
        late = service.make(1, "launch jk-r755ie6k.0")
        status = provisioning.status(path)
        report = await client.keys.create_many(
            5,
            provider_id=PROVIDER,
            key_name="launch",
            validity_minutes=timedelta(hours=1),
            hwid_limit=2,
            ledger=path,
            reconcile_after=RECONCILE_AFTER,
        )
        assert sorted(report.keys) == sorted(service.values())
    assert (status.name, status.job) == ("job", "r755ie6k")
    assert (status.requested, status.created, status.open) == (5, 3, 2)
    assert status.begun_at == datetime.fromtimestamp(1795748651.59469, UTC)
    assert report.keys[:4] == (*_LOGGED, *late)
    assert [row.name for row in service.rows.values() if row.value == report.keys[4]] == [
        "launch jk-r755ie6k.1"
    ]


async def test_the_format_of_a_new_ledger(tmp_path: Path) -> None:
    """The schema, the application ID and the version are those that later versions read."""
    path = tmp_path / "launch.db"
    async with Service() as service, JunkieClient("jk_test", base_url=service.url) as client:
        await client.keys.create_many(1, provider_id=PROVIDER, ledger=path)
    with closing(sqlite3.connect(path)) as db:
        written = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema") if sql]
        pragmas = [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode")
        ]
    assert "".join(f"{sql};" for sql in written) == _SCHEMA.strip().replace(";\n", ";")
    assert pragmas == [1785621297, 2, "wal"]


@posix
async def test_no_order_changes_the_tables_under_a_job_of_version_1(tmp_path: Path) -> None:
    """Version 0.1 locks the whole file while its job runs."""
    path, lock = tmp_path / "launch.db", tmp_path / "launch.db.lock"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(LEDGER_1)
    lock.touch(0o600)

    async def order() -> int:
        with suppress(ConfigurationError, RequestTimeoutError):
            await client.keys.create(provider_id=PROVIDER, idempotency_key="a", ledger=path)
        with closing(sqlite3.connect(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        return int(version)

    async with Service() as service, JunkieClient("jk_test", base_url=service.url) as client:
        client.keys.deadline = 2.0  # an order that has changed the tables would wait for the job
        with hold_lock(lock):
            assert (await order(), len(service.values())) == (1, 0)
        client.keys.deadline = None
        assert (await order(), len(service.values())) == (2, 1)
