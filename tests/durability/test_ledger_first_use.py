"""Ledgers that several workers use for the first time at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from junkie_async import ConfigurationError
from junkie_async._jobs import ledger_file, ledger_tables
from junkie_async._jobs.sqlite_record import SqliteFile
from junkie_async.postgres import PostgresLedger

from .clients import SOON


def test_a_file_that_becomes_a_ledger_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read is from before or after another process makes the tables, not half of each."""
    path = tmp_path / "orders.db"

    def make_tables() -> None:
        with contextlib.ExitStack() as connections:
            ledger_file.open_for_writing(path, connections)

    other = threading.Thread(target=make_tables)

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *arguments)
            if sql == "PRAGMA user_version" and not other.ident:
                other.start()
                other.join(0.2)  # it is done by then, or waits
            return cursor

    with contextlib.closing(sqlite3.connect(path, factory=Interrupted, timeout=10)) as db:
        db.isolation_level = None
        found = ledger_tables.read_version(db, path)
        other.join()
        assert (found, ledger_tables.read_version(db, path)) == (0, ledger_tables._VERSION)


def test_a_file_that_another_begins_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives up at once there, whatever its time-out: a new ledger waits all the same."""
    path = tmp_path / "orders.db"
    with contextlib.ExitStack() as connections:
        other = connections.enter_context(contextlib.closing(sqlite3.connect(path)))
        other.execute("BEGIN IMMEDIATE")
        waits: list[float] = []

        def end_other(seconds: float) -> None:
            waits.append(seconds)
            other.rollback()

        monkeypatch.setattr("time.sleep", end_other)
        db, _ = ledger_file.open_for_writing(path, connections)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert len(waits) == 1


async def test_a_file_that_its_client_has_closed(tmp_path: Path) -> None:
    """What comes later says why it can't be written."""
    file = SqliteFile(tmp_path / "orders.db", Path("orders.db"))
    await file.open()
    file.enqueue(("INSERT INTO key VALUES (?, ?, ?)", [(1, 0, "K1"), (1, 0, "K2")]))
    file.discard()
    with pytest.raises(ConfigurationError, match="the client was closed"):
        await file.run(lambda: None)
    async with asyncio.timeout(SOON):  # what came before is written, and the file is closed
        while (tmp_path / "orders.db-wal").exists():
            await asyncio.sleep(0.01)
    with contextlib.closing(sqlite3.connect(tmp_path / "orders.db")) as db:
        assert db.execute("SELECT value FROM key").fetchall() == [("K1",), ("K2",)]


@pytest.mark.parametrize("_", range(3))
async def test_workers_make_the_tables_of_a_database_once(postgres_database: str, _: int) -> None:
    """The others wait for the first one, and find them."""
    async with contextlib.AsyncExitStack() as stack:
        ledgers = [
            await stack.enter_async_context(PostgresLedger(postgres_database)) for _ in range(8)
        ]
        assert await asyncio.gather(*(ledger.prune(1) for ledger in ledgers)) == [0] * 8
