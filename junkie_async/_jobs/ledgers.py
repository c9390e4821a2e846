"""The ledgers that a client has open, by what callers pass as ``ledger=``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from .._errors import InvalidRequestError
from .._validation import safe_repr
from .ledger import Ledger, unsettled
from .record import LedgerStore, check_job_name

LedgerRef: TypeAlias = str | os.PathLike[str] | LedgerStore
"""The path of a file, the DSN of a PostgreSQL database, or a `PostgresLedger`."""

OpenStore: TypeAlias = Callable[[str | os.PathLike[str]], LedgerStore]


class Ledgers:
    """Makes the ledgers of jobs and orders, and keeps one store for each path or DSN.

    ``open_store`` makes the store of a path or a DSN.
    """

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._stores: dict[str, LedgerStore] = {}
        self._locks = WeakValueDictionary[
            tuple[asyncio.AbstractEventLoop, str, str], asyncio.Lock
        ]()

    def make_ledger(
        self,
        ledger: LedgerRef,
        job: str | None,
        arguments: Mapping[str, Any],
        marker: str | None,
        *,
        waits: bool = False,
    ) -> Ledger:
        """Make the ledger of a job, which ``waits`` for another worker rather than to refuse."""
        store = ledger if isinstance(ledger, LedgerStore) else self._find_store(ledger)
        record = store.make_record(job, waits=waits)
        return Ledger(record, arguments, marker, folder=store.folder)

    def find_lock(self, ledger: LedgerRef, order: str) -> asyncio.Lock:
        """Return the lock of an order, by which the calls of this client take turns."""
        store = ledger if isinstance(ledger, LedgerStore) else self._find_store(ledger)
        loop = asyncio.get_running_loop()
        return self._locks.setdefault((loop, store.identity, order), asyncio.Lock())

    async def close(self) -> None:
        """Close the stores that were made here."""
        while self._stores:
            _, store = self._stores.popitem()
            await store.close()

    def _find_store(self, ledger: str | os.PathLike[str]) -> LedgerStore:
        with unsettled():
            store = self._open_store(ledger)
        return self._stores.setdefault(store.identity, store)


def check_order(idempotency_key: str | None, ledger: LedgerRef | None) -> str | None:
    """Check the name of an order, which needs a ledger; None if there is none."""
    if idempotency_key is None:
        return None
    if ledger is None:
        limit = "a path or a DSN: an idempotency_key needs a record of what was created"
        raise InvalidRequestError("ledger", "None", limit)
    return check_job_name("idempotency_key", idempotency_key)


def check_job(job: str | None, order: str | None, ledger: LedgerRef | None) -> str | None:
    """Check the name of a job, which needs a ledger, or return that of its order."""
    if job is None:
        return order
    if order is not None:
        raise InvalidRequestError("job", safe_repr(job), "None with an idempotency_key")
    if ledger is None:
        limit = "a path or a DSN: a job with a name is one of a ledger"
        raise InvalidRequestError("ledger", "None", limit)
    return check_job_name("job", job)
