"""`DeleteJob`: delete any number of keys, in calls of 1000."""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from itertools import islice
from typing import Any, Final, cast

from .._errors import APIError
from .._hooks import Hooks, StatusCallback
from .._models import BulkDeleteResult, DeleteReport, KeyRef
from .._pagination.seen_ids import SeenIDs
from .._protocol.fields import MAX_BULK_DELETE
from .job import Job, OnProgress
from .key_hashes import KeyHashes
from .key_references import check_key, check_keys, read_ids

_TOO_LARGE: Final = 413  # for a gateway's limit on a request's body


class DeleteJob(Job[list[int | str], BulkDeleteResult, DeleteReport]):
    """Deletes keys in calls of 1000. Yields each `BulkDeleteResult` as it arrives."""

    name = "delete_many"

    def __init__(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        delete: Callable[[list[int | str], StatusCallback], Awaitable[BulkDeleteResult]],
        *,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Collection[Hooks] = (),
        unique: bool = False,
    ) -> None:
        check_keys(keys)
        self._keys = keys
        self._total = len(keys) if isinstance(keys, Collection) else None
        self._delete = delete
        self._most = MAX_BULK_DELETE  # keys in a call
        self._unique = unique  # known to have no repeats: then nothing is remembered
        self._are_ids = False  # whether the latest chunk is known to have nothing else
        # In a large job a value takes 18 bytes, and an ID 2 as long as the IDs only rise or fall.
        self._seen_ids, self._seen_values = SeenIDs(), KeyHashes()
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
        new: list[int | str] = []
        async with aclosing(self._read_chunks()) as chunks:
            async for chunk in chunks:
                fresh = self._drop_repeats(chunk)
                new = new + fresh if new else fresh
                while len(new) > self._most:
                    part, new = new[: self._most], new[self._most :]
                    yield part
                if len(new) == self._most:
                    yield new
                    new = []
        if new:
            yield new

    async def _read_chunks(self) -> AsyncGenerator[list[int | str], None]:
        """Read as many references as a call may have."""
        if not isinstance(self._keys, AsyncIterable):
            source = iter(self._keys)
            while found := self._read_chunk(source):
                yield found
            return
        chunk: list[int | str] = []
        async for key in self._keys:
            chunk.append(check_key(self._read, key))
            self._read += 1
            if len(chunk) >= self._most:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _read_chunk(self, source: Iterator[KeyRef]) -> list[int | str]:
        keys: list[Any] = []
        try:
            keys.extend(islice(source, self._most))
        finally:  # what an iterator gives before it raises counts as read
            chunk = self._check_chunk(keys)
        return chunk

    def _check_chunk(self, keys: list[Any]) -> list[int | str]:
        ids = read_ids(keys)
        self._are_ids = ids is not None
        if ids is not None:
            self._read += len(ids)
            return ids
        chunk: list[int | str] = []
        for key in keys:
            chunk.append(check_key(self._read, key))
            self._read += 1
        return chunk

    def _drop_repeats(self, chunk: list[int | str]) -> list[int | str]:
        """Drop what came before, in this chunk or in an earlier one, and remember the others."""
        if self._unique:
            return chunk
        if self._are_ids or set(map(type, chunk)) == {int}:
            ids = cast("list[int]", chunk)
            indexes = self._seen_ids.add_page(ids)
            new = chunk if indexes is None else [chunk[index] for index in indexes]
        else:
            new = self._drop_seen_values(dict.fromkeys(chunk))
        self._repeated += len(chunk) - len(new)
        return new

    def _drop_seen_values(self, chunk: Iterable[int | str]) -> list[int | str]:
        """Drop what earlier chunks have, where some references are key values."""
        ids = [key for key in chunk if isinstance(key, int)]
        indexes = self._seen_ids.add_page(ids)
        new: set[int | str] = {*ids} if indexes is None else {ids[index] for index in indexes}
        new.update(self._seen_values.add_new(key for key in chunk if isinstance(key, str)))
        return [key for key in chunk if key in new]

    async def _process_chunk(
        self, chunk: list[int | str], on_status: StatusCallback
    ) -> BulkDeleteResult:
        deleted = requested = 0
        parts = deque([chunk])  # what is left, in order
        while parts:
            part = parts.popleft()
            try:
                result = await self._delete(part, on_status)
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
