"""The operations on keys: each names its call, and reads like the API's index."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from functools import lru_cache
from itertools import islice
from os import PathLike
from typing import Any, TypeAlias, Unpack

import attrs

from . import _params as params
from . import _wire as wire
from ._batch import DeleteJob, OnFlight, OnProgress, check_progress
from ._create import MARKER, SETTLE, CreateJob, Record, Settling
from ._errors import InvalidRequestError, NotFoundError
from ._models import (
    UNSET,
    ActionResult,
    BulkDeleteResult,
    DeleteReport,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyRef,
    UpdateResult,
)
from ._pager import KeyPager, Unread
from ._params import BatchFields, CreateFields, Filters, UpdateFields
from ._sender import Sender

# In the class below, `list` is the method.
KeyFolders: TypeAlias = list[KeyFolder]
_References: TypeAlias = list[int | str]


class Keys:
    """What can be done with keys, as ``client.keys``.

    A key is referred to by its ID (a number), its value (a string, even one of digits only) or the
    `Key` itself. Every method may raise `InvalidRequestError` before anything is sent, and any
    other `JunkieError` after; what the methods list under "Raises" is what callers usually handle.
    """

    def __init__(self, sender: Sender, base_url: str) -> None:
        self._send = sender.send
        self._fetch = sender.fetch
        self._base_url = base_url

    def list(
        self,
        *,
        page: int = 1,
        limit: int = 100,
        prefetch: int = 4,
        strict: bool = False,
        **filters: Unpack[Filters],
    ) -> KeyPager:
        """List keys: ``async for`` walks them all, ``await`` gives the first page.

        Args:
            page: The page to begin with, from 1.
            limit: Keys in a page, 1 to 100.
            prefetch: Pages fetched at once while walking, 1 to 64.
            strict: Whether a walk goes over the list until two passes agree, so that none is missed
                of the keys that are there throughout: see `KeyPager`.
            **filters: What to narrow the list by: see `Filters`. All must hold; one that is None
                narrows nothing.

        Returns:
            The list, not fetched yet.
        """
        given = {name: UNSET if value is None else value for name, value in filters.items()}
        query = params.check(params.ListFilters, "list", given).query()

        def fetch(page: int, limit: int) -> Coroutine[Any, Any, Unread]:
            return self._fetch(wire.list_keys(query, page, limit), patient=True)

        return KeyPager(fetch, page=page, limit=limit, prefetch=prefetch, strict=strict)

    async def get(self, key: KeyRef) -> KeyDetailed:
        """Fetch one key with its redemption.

        Args:
            key: Its ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: There is no such key.
        """
        return await self._send(wire.get_key(await self._segment(key, "GET")))

    async def find(self, key_value: str) -> Key | None:
        """Find the key whose value is exactly this one.

        The service's own filter matches parts of a value; other keys that it turns up are passed
        over.

        Args:
            key_value: The whole value.

        Returns:
            The key, or None.
        """
        value = params.text("key_value", key_value)
        async with aclosing(self.list(key=value).pages()) as pages:
            async for page in pages:
                for key in page.keys:
                    if key.key_value == value:
                        return key
        return None

    async def create(self, *, provider_id: int, **fields: Unpack[CreateFields]) -> Key:
        """Create one key.

        Args:
            provider_id: The provider that hands the key out, 1 or more.
            **fields: What else the key is given: see `CreateFields`.

        Raises:
            OutcomeUnknownError: It may have been created: look before you call again.
        """
        request = params.check(params.CreateKey, "create", {"provider_id": provider_id, **fields})
        return await self._send(wire.create_key(request))

    async def create_batch(
        self, *, provider_id: int, amount: int, **fields: Unpack[BatchFields]
    ) -> KeyBatch:
        """Create alike keys in one call.

        Args:
            provider_id: The provider that hands the keys out, 1 or more.
            amount: How many, 1 to 100.
            **fields: What else the keys are given: see `BatchFields`.

        Raises:
            OutcomeUnknownError: They may have been created: look before you call again.
        """
        given = {"provider_id": provider_id, "amount": amount, **fields}
        request = params.check(params.CreateBatch, "create_batch", given)
        return await self._send(wire.create_batch(request))

    def create_many(
        self,
        amount: int,
        *,
        provider_id: int,
        concurrency: int = 8,
        ledger: str | PathLike[str] | None = None,
        settle: float = SETTLE,
        marker: str | None = MARKER,
        on_progress: OnProgress | None = None,
        **fields: Unpack[BatchFields],
    ) -> CreateJob:
        """Create any number of alike keys, in calls of 100.

        With a ledger the job can be run again, with the same arguments, after whatever has ended
        it, and ends with exactly ``amount`` keys: `junkie_async.provisioning` tells how, and on
        which conditions.

        Args:
            amount: How many, 1 or more.
            provider_id: The provider that hands the keys out, 1 or more.
            concurrency: Calls in flight at once, 1 to 1000.
            ledger: The file that keeps the job's record, or None.
            settle: Seconds between an unknown outcome and the search for what came of it. Longer
                than the service may still act on a request. Counts with a ledger alone.
            marker: A word of 1 to 32 characters that the marks in ``key_name`` begin with. None
                leaves ``key_name`` as it is: then an unknown outcome stays unknown, and the job
                ends with an error. Counts with a ledger alone.
            on_progress: Called with the keys created so far and ``amount`` after each call.
            **fields: What else the keys are given: see `BatchFields`.

        Returns:
            The job, not begun yet. ``await`` gives its `CreateReport`; ``async for`` gives each
            `KeyBatch` as it is created.

        Raises:
            BatchError: From the job: a call failed for good. The error's report has the keys
                created so far.
            ConfigurationError: From the job: the ledger can't be used.
        """
        given = {"provider_id": provider_id, "amount": 1, **fields}
        request = params.check(params.CreateBatch, "create_many", given)
        whole = params.integer("amount", amount, 1)
        record: Record | None = None
        settling: Settling | None = None
        if ledger is not None:
            from . import provisioning

            arguments = {**wire.plain(request), "amount": whole, "base_url": self._base_url}
            record = provisioning.record(ledger, arguments, marker)
            settling = provisioning.settling(self, provider_id, settle, marker)
            marked(request, 1, record.longest_marker)  # is there room for it?

        @lru_cache(maxsize=2)  # without markers all calls but the last one are alike
        def call(count: int, mark: str | None) -> wire.Call[KeyBatch]:
            return wire.create_batch(marked(request, count, mark))

        async def create(count: int, mark: str | None, on_flight: OnFlight) -> KeyBatch:
            return await self._send(call(count, mark), patient=True, on_flight=on_flight)

        return CreateJob(
            whole,
            create,
            concurrency=concurrency,
            on_progress=on_progress,
            record=record,
            settling=settling,
        )

    async def update(self, key: KeyRef, **changes: Unpack[UpdateFields]) -> UpdateResult:
        """Change a key. None sends null (``folder_id=None`` takes it out of its folder).

        Args:
            key: Its ID (int), its value (str), or the `Key`.
            **changes: What is to change: see `UpdateFields`. What is left out stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        request = params.check(params.UpdateKey, "update", changes)
        if all(value is UNSET for value in changes.values()):
            raise InvalidRequestError("changes", "none", "at least one field of the key")
        return await self._send(wire.update_key(await self._segment(key, "PUT"), request))

    async def invalidate(self, key: KeyRef) -> UpdateResult:
        """Revoke a key, so that it is refused until it is revalidated.

        Args:
            key: Its ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: There is no such key.
        """
        return await self.update(key, is_invalidated=True)

    async def revalidate(self, key: KeyRef) -> UpdateResult:
        """Undo `invalidate`.

        Args:
            key: Its ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: There is no such key.
        """
        return await self.update(key, is_invalidated=False)

    async def delete(self, key: KeyRef) -> None:
        """Delete a key.

        Args:
            key: Its ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: There is no such key.
        """
        await self._send(wire.delete_key(await self._segment(key, "DELETE")))

    async def bulk_delete(self, keys: Sequence[KeyRef]) -> BulkDeleteResult:
        """Delete up to 1000 keys in one call; those that don't exist are passed over.

        Args:
            keys: 1 to 1000 IDs (int), values (str) or `Key`s.
        """
        most = params.MAX_BULK_DELETE
        limit = f"a list of 1 to {most} IDs, key values or Keys"
        given = islice(params.elements("keys", keys, limit), most + 1)
        refs = [params.reference(f"keys[{index}]", key) for index, key in enumerate(given)]
        if not 1 <= len(refs) <= most:
            raise InvalidRequestError("keys", "a longer one" if refs else "an empty one", limit)
        return await self._send(wire.bulk_delete(refs))

    def delete_many(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        *,
        concurrency: int = 4,
        on_progress: OnProgress | None = None,
    ) -> DeleteJob:
        """Delete any number of keys, in calls of 1000.

        Args:
            keys: IDs (int), values (str) or `Key`s, in any iterable or async iterable. A
                collection is checked whole before anything is sent; an iterator is pulled, and
                checked, as the job goes; of a `KeyPager` the IDs are gathered first (8 bytes
                each), since deleting while paging would skip keys. A key that comes twice within
                a call is sent once.
            concurrency: Calls in flight at once, 1 to 1000.
            on_progress: Called with the keys done so far, and how many there are or None, after
                each call.

        Returns:
            The job, not begun yet. ``await`` gives its `DeleteReport`; ``async for`` gives each
            `BulkDeleteResult` as it comes.

        Raises:
            BatchError: From the job: a call failed for good, or the iterable did.
        """

        async def delete(chunk: _References, on_flight: OnFlight) -> BulkDeleteResult:
            return await self._send(wire.bulk_delete(chunk), patient=True, on_flight=on_flight)

        return DeleteJob(
            _gathered(keys) if isinstance(keys, KeyPager) else keys,
            delete,
            concurrency=concurrency,
            on_progress=on_progress,
        )

    async def purge(
        self,
        *,
        everything: bool = False,
        on_progress: OnProgress | None = None,
        **filters: Unpack[Filters],
    ) -> DeleteReport:
        """Delete all keys that the filters leave in the list.

        The IDs are gathered first (8 bytes each), since deleting while paging would skip keys.

        Args:
            everything: Delete all keys there are. Needed when no filter is given.
            on_progress: Called with the keys done so far, and how many there are.
            **filters: What to delete: see `Filters`. Unlike in `list`, None is refused here: it
                would delete more than was meant.

        Raises:
            BatchError: A bulk-delete failed for good; the report says how far it came.
        """
        check_progress(on_progress)
        query = params.check(params.ListFilters, "purge", filters).query()
        if bool(query) == params.boolean("everything", everything):
            limit = "given (at least one), or else everything=True"
            raise InvalidRequestError("filters", "both" if query else "neither", limit)
        ids = await _gather(self.list(strict=True, **filters))
        return await self.delete_many(ids, on_progress=on_progress)

    async def reset_hwid(self, key: KeyRef) -> ActionResult:
        """Unbind all devices of a key.

        Args:
            key: Its ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: There is no such key.
            OutcomeUnknownError: They may have been unbound.
        """
        return await self._send(wire.reset_hwid(await self._segment(key, "POST")))

    async def folders(self) -> KeyFolders:
        """List the folders that keys are filed in."""
        return await self._send(wire.list_folders())

    async def _segment(self, key: KeyRef, method: str) -> str:
        """Write a reference as part of a path, where the service takes any number for an ID."""
        checked: Any = params.reference("key", key)
        if isinstance(checked, str) and wire.is_ambiguous(checked):
            found = await self.find(checked)
            if found is None:
                error = NotFoundError("no key has this value (an ID is an int)", status=404)
                error.method, error.path = method, "/keys/{keyId}"
                raise error
            checked = found.id
        return wire.segment(checked)


def marked(request: params.CreateBatch, amount: int, marker: str | None) -> params.CreateBatch:
    """Ask for so many keys, with a marker at the end of their names."""
    if marker is None:
        return attrs.evolve(request, amount=amount)
    name = request.key_name or ""
    return attrs.evolve(request, amount=amount, key_name=f"{name} {marker}".lstrip())


async def _gather(pager: KeyPager) -> array[int]:
    ids = array("q")
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            # No larger ID could be sent: the service might round it to that of another key.
            ids.extend(params.integer("key.id", key.id) for key in page.keys)
    return ids


async def _gathered(pager: KeyPager) -> AsyncGenerator[int, None]:
    for key_id in await _gather(pager):
        yield key_id
