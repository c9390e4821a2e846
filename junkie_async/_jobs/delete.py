"""`DeleteJob`: delete any number of keys, in calls of 1000."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Collection, Iterable
from typing import Any, Final, cast

from .._errors import APIError
from .._hooks import Hooks, InFlightCallback
from .._models import BulkDeleteResult, DeleteReport, KeyRef
from .._pagination.seen_ids import SeenIDs
from .._protocol.fields import MAX_BULK_DELETE
from .._validation import MAX_INTEGER, check_iterable, check_reference
from .job import Job, OnProgress
from .key_hashes import KeyHashes

_TOO_LARGE: Final = 413  # for a gateway's limit on a request's body


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
        self._most = MAX_BULK_DELETE  # keys in a call
        # A value takes 18 bytes, and an ID 2 as long as the IDs only rise or only fall.
        self._seen_ids, self._seen_values = SeenIDs(), KeyHashes(16)
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
        """Collect references, each once in the job; 5 and "5" are two keys, as in a set."""
        chunk: dict[int | str, None] = {}
        keys = self._keys
        async for key in keys if isinstance(keys, AsyncIterable) else _iterate_async(keys):
            checked = _check_key(self._read, key)
            self._read += 1
            if checked in chunk:
                self._repeated += 1
                continue
            chunk[checked] = None
            if len(chunk) >= self._most:
                if new := self._drop_repeats(list(chunk)):
                    yield new
                chunk.clear()
        if new := self._drop_repeats(list(chunk)):
            yield new

    def _drop_repeats(self, chunk: list[int | str]) -> list[int | str]:
        """Drop what an earlier chunk has, and remember the others."""
        values = [key for key in chunk if isinstance(key, str)]
        ids = [key for key in chunk if isinstance(key, int)] if values else cast("list[int]", chunk)
        indexes = self._seen_ids.add_page(ids) if ids else None
        new: list[int | str] = [*(ids if indexes is None else [ids[index] for index in indexes])]
        if values:
            new_values = self._seen_values.find_new(values)
            self._seen_values.add(new_values)
            kept = {*new, *new_values}
            new = [key for key in chunk if key in kept]
        self._repeated += len(chunk) - len(new)
        return new

    async def _process_chunk(
        self, chunk: list[int | str], on_in_flight: InFlightCallback
    ) -> BulkDeleteResult:
        deleted = requested = 0
        parts = deque([chunk])  # what is left, in order
        while parts:
            part = parts.popleft()
            try:
                result = await self._delete(part, on_in_flight)
            except APIError as error:
                if error.status != _TOO_LARGE or len(part) == 1:
                    raise
                self._most = most = min(self._most, len(part) // 2)
                parts.extendleft([part[at : at + most] for at in range(0, len(part), most)][::-1])
                continue
            # A service that counts more than it was asked for must not make `failed` negative.
            self._deleted += min(result.deleted, len(part))
            self._done += len(part)
            deleted, requested = deleted + result.deleted, requested + result.requested
        return BulkDeleteResult(deleted=deleted, requested=requested)

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
