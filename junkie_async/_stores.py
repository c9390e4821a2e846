"""The stores of ledgers, whose libraries are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

from ._errors import ConfigurationError
from ._jobs.record import LedgerStore, names_database


def open_store(ledger: str | PathLike[str]) -> LedgerStore:
    """Make the store of a ledger from its path or its DSN.

    Raises:
        ConfigurationError: What it needs can't be imported.
        InvalidRequestError: The ledger is neither a path nor a DSN.
    """
    if names_database(ledger):
        return _load_postgres()(ledger)
    return load_sqlite()(ledger)


def _load_postgres() -> Callable[[str], LedgerStore]:
    try:
        from .postgres import PostgresLedger
    except ModuleNotFoundError as error:
        reason = str(error)
    else:
        return PostgresLedger
    raise ConfigurationError(reason)


def load_sqlite() -> Callable[[str | PathLike[str]], LedgerStore]:
    """Import the ledger in a file: a Python without sqlite3 can do everything else.

    Raises:
        ConfigurationError: It can't be imported.
    """
    try:
        from ._jobs.sqlite_record import SqliteStore
    except (ImportError, OSError) as error:
        reason = type(error).__name__
    else:
        return SqliteStore
    raise ConfigurationError(f"ledger= needs Python's sqlite3, and importing it failed: {reason}")
