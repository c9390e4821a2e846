"""The operations on keys: each names its call, and reads like the API's index."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import lru_cache
from os import PathLike
from typing import Any, TypeAlias, Unpack

from ._errors import InvalidRequestError, NotFoundError
from ._hooks import InFlightCallback
from ._http.dispatcher import Dispatcher
from ._http.throttle import Priority
from ._jobs.create import CreateJob
from ._jobs.delete import DeleteJob
from ._jobs.job import OnProgress, check_progress
from ._jobs.journal import Journal
from ._jobs.markers import DEFAULT_PREFIX, add_marker, check_prefix, check_room
from ._jobs.reconcile import RECONCILE_AFTER, Reconciler
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
from ._pagination.list_pass import PendingPage
from ._pagination.pager import KeyPager, collect_ids, iterate_ids_after_walk
from ._protocol import requests as wire
from ._protocol.fields import (
    BatchFields,
    Claims,
    CreateBatchBody,
    CreateFields,
    CreateKeyBody,
    Filters,
    UpdateFields,
    check_key_list,
    validate_fields,
)
from ._validation import (
    check_boolean,
    check_integer,
    check_reference,
    check_seconds,
    check_text,
    key_value_or_none,
)
from ._verification import Verdict, evaluate

# In the class below, `list` is the method.
KeyFolders: TypeAlias = list[KeyFolder]
_References: TypeAlias = list[int | str]


class Keys:
    """What can be done with keys, as ``client.keys``.

    A key is referred to by its ID (a number), its value (a string, even one of digits only) or the
    `Key` itself. Every method may raise `InvalidRequestError` before anything is sent, and any
    other `JunkieError` after; what the methods list under "Raises" is what callers usually handle.
    """

    def __init__(self, sender: Dispatcher) -> None:
        self._dispatcher = sender
        self._send = sender.send

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
        query = wire.filter_query(validate_fields(Filters, "list", given))

        def fetch(page: int, limit: int) -> Coroutine[Any, Any, PendingPage]:
            return self._dispatcher.fetch(
                wire.list_keys(query, page, limit), priority=Priority.WALK
            )

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
        value = check_text("key_value", key_value)
        async with aclosing(self.list(key=value).pages()) as pages:
            async for page in pages:
                if found := _exactly(value, page.keys):
                    return found
        return None

    async def verify(
        self,
        key_value: str,
        *,
        hwid: str | None = None,
        discord_id: int | str | None = None,
        service_id: int | None = None,
        premium: bool | None = None,
    ) -> Verdict:
        """Tell whether a key may be used, by whom and for what.

        Only an answer of the service is a verdict: where it can't be reached, or fails, this
        raises. It takes one request; two where there is no such key, since a gateway says 404 too.

        Args:
            key_value: The whole value, as somebody has typed it in. Any string will do.
            hwid: The device that it is used on, up to 255 characters. One that is not bound yet is
                good while the key has room for it.
            discord_id: Who uses it, 17 to 19 digits, as int or str.
            service_id: What it is used for.
            premium: Whether it has to be premium.
        """
        given: Claims = {
            "hwid": hwid,
            "discord_id": discord_id,
            "service_id": service_id,
            "premium": premium,
        }
        claims = validate_fields(Claims, "verify", given)
        value = key_value_or_none("key_value", key_value)
        return evaluate(await self._look_up(value) if value else None, claims)

    async def create(self, *, provider_id: int, **fields: Unpack[CreateFields]) -> Key:
        """Create one key.

        Args:
            provider_id: The provider that hands the key out, 1 or more.
            **fields: What else the key is given: see `CreateFields`.

        Raises:
            OutcomeUnknownError: It may have been created: look before you call again.
        """
        given = {"provider_id": provider_id, **fields}
        return await self._send(wire.create_key(validate_fields(CreateKeyBody, "create", given)))

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
        validated = validate_fields(CreateBatchBody, "create_batch", given)
        return await self._send(wire.create_batch(validated))

    def create_many(
        self,
        amount: int,
        *,
        provider_id: int,
        concurrency: int = 8,
        ledger: str | PathLike[str] | None = None,
        reconcile_after: float = RECONCILE_AFTER,
        marker: str | None = DEFAULT_PREFIX,
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
            reconcile_after: Seconds between an unknown outcome and the search for what came of it.
                Longer than the service may still act on a request. Counts with a ledger alone.
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
        request = validate_fields(CreateBatchBody, "create_many", given)
        whole = check_integer("amount", amount, 1)
        journal: Journal | None = None
        reconciler: Reconciler | None = None
        if ledger is not None:
            # Here, so that a Python that was built without sqlite3 can do everything else.
            from ._jobs.ledger import Ledger

            url = self._dispatcher.base_url
            arguments = {**request, "amount": whole, "base_url": url}
            journal = Ledger(ledger, arguments, check_prefix(marker))
            delay = check_seconds("reconcile_after", reconcile_after, zero=True)
            if marker is not None:
                check_room(request.get("key_name"), marker)
                walk = self.list(provider_id=provider_id, strict=True)
                reconciler = Reconciler(journal, delay, find=walk.pages, delete=self.delete_many)

        @lru_cache(maxsize=2)  # without markers all requests but the last one are alike
        def make_request(count: int, mark: str | None) -> wire.Request[KeyBatch]:
            return wire.create_batch(add_marker({**request, "amount": count}, mark))

        async def create(count: int, mark: str | None, on_in_flight: InFlightCallback) -> KeyBatch:
            return await self._send(
                make_request(count, mark), priority=Priority.JOB, on_in_flight=on_in_flight
            )

        return CreateJob(
            whole,
            create,
            concurrency=concurrency,
            on_progress=on_progress,
            hooks=self._dispatcher.hooks,
            journal=journal,
            reconciler=reconciler,
        )

    async def update(self, key: KeyRef, **changes: Unpack[UpdateFields]) -> UpdateResult:
        """Change a key. None sends null (``folder_id=None`` takes it out of its folder).

        Args:
            key: Its ID (int), its value (str), or the `Key`.
            **changes: What is to change: see `UpdateFields`. What is left out stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        validated = validate_fields(UpdateFields, "update", changes)
        if not validated:
            raise InvalidRequestError("changes", "none", "at least one field of the key")
        return await self._send(wire.update_key(await self._segment(key, "PUT"), validated))

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
        return await self._send(wire.bulk_delete(check_key_list("keys", keys)))

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

        async def delete(chunk: _References, on_in_flight: InFlightCallback) -> BulkDeleteResult:
            return await self._send(
                wire.bulk_delete(chunk), priority=Priority.JOB, on_in_flight=on_in_flight
            )

        return DeleteJob(
            iterate_ids_after_walk(keys) if isinstance(keys, KeyPager) else keys,
            delete,
            concurrency=concurrency,
            on_progress=on_progress,
            hooks=self._dispatcher.hooks,
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
        query = wire.filter_query(validate_fields(Filters, "purge", filters))
        if bool(query) == check_boolean("everything", everything):
            limit = "given (at least one), or else everything=True"
            raise InvalidRequestError("filters", "both" if query else "neither", limit)
        ids = await collect_ids(self.list(strict=True, **filters))
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

    async def _look_up(self, value: str) -> Key | None:
        """Find a key in one request or two, however many others have its value in theirs."""
        if wire.is_ambiguous(value):
            return await self.find(value)
        with suppress(NotFoundError):
            return _exactly(value, [await self._send(wire.get_key(wire.segment(value)))])
        # Where there is a list, that was the service's word, and no gateway's.
        return _exactly(value, (await self.list(key=value)).keys)

    async def _segment(self, key: KeyRef, method: str) -> str:
        """Write a reference as part of a path, where the service takes any number for an ID."""
        checked: Any = check_reference("key", key)
        if isinstance(checked, str) and wire.is_ambiguous(checked):
            found = await self.find(checked)
            if found is None:
                error = NotFoundError("no key has this value (an ID is an int)", status=404)
                error.method, error.path = method, "/keys/{keyId}"
                raise error
            checked = found.id
        return wire.segment(checked)


def _exactly(value: str, keys: Iterable[Key]) -> Key | None:
    return next((key for key in keys if key.key_value == value), None)
