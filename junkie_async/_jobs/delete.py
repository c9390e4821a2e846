"""`DeleteJob`: delete any number of keys, in calls of 1000."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Iterable
from typing import Any

from .._hooks import Hooks, InFlightCallback
from .._models import BulkDeleteResult, DeleteReport, KeyRef
from .._protocol.fields import MAX_BULK_DELETE
from .._validation import MAX_INTEGER, check_iterable, check_reference
from .job import Job, OnProgress


class DeleteJob(Job[list[int | str], BulkDeleteResult, DeleteReport]):
    """Deletes keys in calls of 1000. Yields each `BulkDeleteResult` as it arrives."""

    name = "delete_many"

    def __init__(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        delete: Callable[[list[int | str], InFlightCallback], Awaitable[BulkDeleteResult]],
        *,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Collection[Hooks] = (),
    ) -> None:
        _check_keys(keys)
        self._keys = keys
        self._total = len(keys) if isinstance(keys, Collection) else None
        self._delete = delete
        self._read = self._repeated = self._done = self._deleted = 0
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)

    @property
    def report(self) -> DeleteReport:
        """What the job has deleted so far; final after the job has ended."""
        requested = self._read - self._repeated
        return DeleteReport(
            requested=requested,
            deleted=self._deleted,
            missing=self._done - self._deleted,
            failed=requested - self._done,
        )

    async def _make_chunks(self) -> AsyncGenerator[list[int | str], None]:
        """Collect references, each once in a chunk; 5 and "5" are two keys, as in a set."""
        chunk: dict[int | str, None] = {}
        keys = self._keys
        async for key in keys if isinstance(keys, AsyncIterable) else _iterate_async(keys):
            checked = _check_key(self._read, key)
            self._read += 1
            if checked in chunk:
                self._repeated += 1
                continue
            chunk[checked] = None
            if len(chunk) == MAX_BULK_DELETE:
                yield list(chunk)
                chunk.clear()
        if chunk:
            yield list(chunk)

    async def _process_chunk(
        self, chunk: list[int | str], on_in_flight: InFlightCallback
    ) -> BulkDeleteResult:
        result = await self._delete(chunk, on_in_flight)
        # A service that counts more than it was asked for must not make `failed` negative.
        self._deleted += min(result.deleted, len(chunk))
        self._done += len(chunk)
        return result

    def _count_done(self) -> tuple[int, int | None]:
        return self._done, None if self._total is None else self._total - self._repeated


def _check_keys(keys: Iterable[KeyRef] | AsyncIterable[KeyRef]) -> None:
    """Check a whole collection before a key is deleted; an iterator is checked while it is read."""
    if not isinstance(keys, AsyncIterable):
        check_iterable("keys", keys, "an iterable or async iterable of IDs, key values or Keys")
    if isinstance(keys, Collection) and not _are_valid_ids(keys):
        for index, key in enumerate(keys):
            _check_key(index, key)


def _are_valid_ids(keys: Collection[Any]) -> bool:
    # The largest jobs are lists of IDs. Three loops in C check a million in 0.03 s.
    return set(map(type, keys)) == {int} and min(keys) > 0 and max(keys) <= MAX_INTEGER


def _check_key(index: int, key: object) -> int | str:
    # Of a million references most are IDs: no name is formatted, and no function called for them.
    if type(key) is int and 0 < key <= MAX_INTEGER:
        return key
    return check_reference(f"keys[{index}]", key)


async def _iterate_async(keys: Iterable[KeyRef]) -> AsyncGenerator[KeyRef, None]:
    for key in keys:
        yield key
