"""Clients of the service, for tests in one process."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final

import asyncpg

from junkie_async import JunkieClient, RetryPolicy

from .server import Service

SOON: Final = 20.0  # seconds, for what takes milliseconds on a quiet machine


def make_client(service: Service) -> JunkieClient:
    """Make a client of the service that gives up at once."""
    retry = RetryPolicy(attempts=1, outage=0.0)
    return JunkieClient("jk_test", base_url=service.url, retry=retry)


async def execute_sql(ledger: str, for_file: str, for_database: str) -> None:
    """Change a ledger behind its back."""
    if ledger.startswith("postgresql"):
        db = await asyncpg.connect(ledger)
        try:
            await db.execute(for_database)
        finally:
            await db.close()
        return
    with contextlib.closing(sqlite3.connect(ledger)) as file, file:
        file.executescript(for_file)
