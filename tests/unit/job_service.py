"""A service in memory, for tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from junkie_async import BulkDeleteResult, CreateJob, KeyBatch
from junkie_async._hooks import RequestStatus, StatusCallback
from junkie_async._jobs.job import OnProgress


def ignore_status(_: RequestStatus) -> None:
    """Ignore that a call is in flight."""


class Service:
    """Creates and deletes keys in memory, and counts concurrent calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.deleted: list[list[int | str]] = []
        self.concurrent = self.most_concurrent = 0
        self.made = 0
        self.before: Callable[[int], None] = lambda call: None
        self.gate: asyncio.Event | None = None

    async def create(
        self, amount: int, _: str | None = None, on_status: StatusCallback = ignore_status
    ) -> KeyBatch:
        """Create keys."""
        on_status(RequestStatus.IN_FLIGHT)
        self.calls.append(amount)
        number = len(self.calls)
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            self.before(number)
            self.made += amount
            keys = tuple(f"K{self.made - at}" for at in range(amount))
            return KeyBatch(keys=keys, count=amount)
        finally:
            self.concurrent -= 1

    async def delete(
        self, keys: list[int | str], on_status: StatusCallback = ignore_status
    ) -> BulkDeleteResult:
        """Delete keys; IDs above 1,000,000 don't exist."""
        on_status(RequestStatus.IN_FLIGHT)
        self.deleted.append(keys)
        number = len(self.deleted)
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            await asyncio.sleep(0)
            self.before(number)
            deleted = sum(1 for key in keys if isinstance(key, str) or key < 10**6)
            return BulkDeleteResult(deleted=deleted, requested=len(keys))
        finally:
            self.concurrent -= 1

    def create_job(
        self, amount: int, concurrency: int = 4, *, on_progress: OnProgress | None = None
    ) -> CreateJob:
        """Make a job that creates keys here."""
        return CreateJob(amount, self.create, concurrency=concurrency, on_progress=on_progress)
