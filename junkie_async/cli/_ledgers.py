"""Ledgers by their paths or DSNs, and the states of their jobs."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from .. import ConfigurationError
from ..provisioning import JobStatus, is_dsn, status, statuses
from ._exits import fail


def check_no_password(ledger: str) -> None:
    """Refuse a DSN with a password as an argument: other users of the machine see it."""
    credentials, query = _split_dsn(ledger)[0], ledger.partition("?")[2]
    has_password = is_dsn(ledger) and (":" in credentials or "password=" in query)
    if has_password and ledger != os.environ.get("JUNKIE_LEDGER"):
        fail("the DSN must not have a password here: use $JUNKIE_LEDGER, $PGPASSWORD or ~/.pgpass")


def name_ledger(ledger: str) -> str:
    """Name a ledger without the credentials and the options that it may have."""
    return f"postgresql://{_split_dsn(ledger)[1]}" if is_dsn(ledger) else ledger


def _split_dsn(dsn: str) -> tuple[str, str]:
    """Return what comes before the last @, and after it up to the options."""
    # Not by `urlsplit`: a password that is not escaped may have any character.
    credentials, _, rest = dsn.partition("://")[2].rpartition("@")
    return credentials, rest.partition("?")[0]


def read_statuses(ledger: str, job: str | None) -> Iterator[JobStatus]:
    """Read the states of all jobs of a ledger, or of one."""
    if is_dsn(ledger):
        yield from asyncio.run(_read_from_database(ledger, job))
    elif job is None:
        yield from statuses(ledger)
    else:
        yield status(ledger, job)


async def _read_from_database(dsn: str, job: str | None) -> list[JobStatus]:
    async with _load_postgres()(dsn) as ledger:
        if job is not None:
            return [await ledger.status(job)]
        return [one async for one in ledger.statuses()]


def _load_postgres() -> Any:
    try:
        from ..postgres import PostgresLedger
    except ModuleNotFoundError as error:
        raise ConfigurationError(str(error)) from None
    return PostgresLedger
