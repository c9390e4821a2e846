"""The operations on keys, ``client.keys``: an index of the API, one short method for each."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias, TypeVar, Unpack

from .. import _validation as validation
from .._errors import InvalidRequestError
from .._http.coroutines import pending
from .._jobs.create import CreateJob
from .._jobs.delete import DeleteJob
from .._jobs.job import OnProgress, check_progress, report_progress
from .._jobs.journal import Journal
from .._jobs.ledgers import LedgerRef, check_job, check_order
from .._jobs.markers import DEFAULT_PREFIX, check_prefix, check_room
from .._jobs.reconcile import RECONCILE_AFTER, Reconciler
from .._jobs.update import KeyOrPair, ResetHWIDJob, UpdateJob
from .._masking import error_boundary
from .._models import (
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
from .._pagination.pager import KeyPager, collect_ids, complete_pages
from .._pagination.stats import KeyStats, KeyTally
from .._protocol import requests as wire
from .._protocol.fields import (
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
from .._protocol.filter_checks import check_rows
from .._protocol.suggestions import takes
from .._verification.look_ups import LookUp
from .._verification.verdict import Verdict, evaluate
from .jobs import KeyJobs, collect_first

T = TypeVar("T")
KeyT = TypeVar("KeyT")
UpdateJobT = TypeVar("UpdateJobT", bound=UpdateJob)

# Inside `Keys` the name `list` is its method, also in annotations: a type checker would read
# `list[KeyFolder]` there as a subscript of that method. So this type gets a name outside.
KeyFolders: TypeAlias = list[KeyFolder]


class Keys(KeyJobs):
    """The operations on keys, as ``client.keys``.

    Methods take a key as its ID (an int), its value (a str, even one of digits only) or the `Key`
    itself. They raise `InvalidRequestError` before anything is sent when an argument is invalid.
    After that they may raise any other `JunkieError`; "Raises" lists those that callers usually
    handle.
    """

    @takes(Filters)
    @error_boundary
    def list(
        self,
        *,
        page: int = 1,
        limit: int = 100,
        prefetch: int = 4,
        strict: bool = False,
        skip_bad_rows: bool = False,
        **filters: Unpack[Filters],
    ) -> KeyPager:
        """List keys: ``async for`` walks over all of them, ``await`` fetches the first page.

        Args:
            page: The page to begin with, from 1.
            limit: Keys in a page, 1 to 100.
            prefetch: Pages in flight while walking, 1 to 64.
            strict: Repeat the walk until it finds no more keys, so that none is missed while
                others are deleted. See `KeyPager`.
            skip_bad_rows: Skip rows that can't be read, instead of raising `InvalidResponseError`.
                `KeyPage.unreadable` lists them, `Drift.unreadable` counts them, and a warning is
                logged for each page.
            **filters: See `Filters`. A key must match all of them. None is ignored.

        Returns:
            The list, not fetched yet.
        """
        # None is dropped, so that callers can pass on their own optional arguments as filters.
        given = {name: UNSET if value is None else value for name, value in filters.items()}
        validated = validate_fields(Filters, "list", given)
        query = wire.filter_query(validated)

        def check(keys: Iterable[Key], certain: bool) -> None:
            check_rows(validated, keys, self._dispatcher.service_time(), certain=certain)

        skip = validation.check_boolean("skip_bad_rows", skip_bad_rows)
        bad_rows: wire.BadRows = "skip" if skip else "raise"
        return KeyPager(
            self._make_fetch(
                query, self.priority or "walk", last_timed_page=page, bad_rows=bad_rows
            ),
            page=page,
            limit=limit,
            prefetch=prefetch,
            strict=strict,
            fetch_single=self._make_fetch(query, self._urgency, bad_rows=bad_rows),
            check=check if validated else None,
        )

    @takes(Filters)
    @error_boundary
    async def stats(
        self,
        *,
        days: int = 30,
        strict: bool = False,
        on_progress: OnProgress | None = None,
        **filters: Unpack[Filters],
    ) -> KeyStats:
        """Count keys by status, service, provider and folder, and those that expire soon.

        This takes one walk over the keys, in flat memory: 1,000 requests for 100,000 keys. To count
        them all, or by one filter, ``list(...).count()`` takes one or two.

        Args:
            days: Dates (UTC) for which expiries are counted, from today on, 1 to 366.
            strict: Repeat the walk until it finds no more keys: see `KeyPager`.
            on_progress: Called after each page with the keys counted so far, and how many there
                are, or None where the service does not say.
            **filters: See `Filters`. A key must match all of them. None is ignored.

        Returns:
            The counts, with the walk's `Drift`: it says whether the list changed meanwhile.

        Raises:
            InvalidResponseError: The pages have fewer keys than the list states.
        """
        check_progress(on_progress)
        dates = validation.check_integer("days", days, 1, 366)
        pager, tally = self.list(strict=strict, **filters), None
        async with aclosing(complete_pages(pager)) as pages:
            async for page in pages:
                # After the first response, which states the time by the service's clock.
                tally = tally or KeyTally(self._dispatcher.service_time(), dates)
                tally.add_keys(page.keys)
                if on_progress is not None:
                    await report_progress(on_progress, tally.total, page.pagination.total)
        tally = tally or KeyTally(self._dispatcher.service_time(), dates)
        return tally.make_stats(pager.drift)

    @error_boundary
    async def get(self, key: KeyRef) -> KeyDetailed:
        """Fetch one key, with its redemption.

        Args:
            key: The key's ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: The key does not exist.
        """
        self = self._begin()
        return await self._send(wire.get_key(await self._path_segment(key, "GET")))

    @pending
    @error_boundary
    async def find(self, key_value: str) -> Key | None:
        """Find the key with this whole value.

        The service's ``key`` filter matches parts of values. Keys that match only in part are
        skipped, up to 500 of them.

        Args:
            key_value: The whole value, up to 1024 bytes in UTF-8. If no key has exactly it, it is
                looked for again without blanks, quotes and invisible characters around it, as
                pasted values have them. `get` and `delete` take a value as it is.

        Returns:
            The key, or None when no key has this value.

        Raises:
            TooManyMatchesError: It is not among the first 500 keys that match, and there are more.
        """
        values = validation.key_values_in("key_value", key_value, validation.check_key_value)
        if not values:
            validation.check_key_value("key_value", key_value)  # raises
        self = self._begin()
        for value in values:
            if found := await self._search(value, "GET", "/keys", "search list(key=...)"):
                return found
        return None

    @pending
    @error_boundary
    async def verify(
        self,
        key_value: str,
        *,
        hwid: str | None = None,
        discord_id: int | str | None = None,
        service_id: int | None = None,
        premium: bool | None = None,
        max_age: float = 0.0,
        stale_if_error: float = 0.0,
    ) -> Verdict:
        """Check whether a key may be used: with this device, by this user, for this service.

        This looks; it changes nothing. It neither binds the device nor spends a key that is for one
        use. To bind the device afterwards:

            verdict = await junkie.keys.verify(value, hwid=device)
            if verdict.valid and (key := verdict.key) and not key.no_hwid:
                bound = {*key.keys_hwid, *(one.hwid for one in key.hwids)}
                if device not in bound:
                    await junkie.keys.update(key, hwids=[*bound, device])

        These are two calls, with a race that the API leaves open: an update replaces the whole list
        of devices. If two devices do this at once, or the service's own client binds one meanwhile,
        the later update unbinds the other device. Nothing reports that, and reading the key again
        may come too early to show it. A lock for each key prevents it among your own processes
        only. Of a key for one device, the unbound one fails its next `verify`. Bind only after a
        look-up, without ``max_age`` and a stale answer: an old list of devices would be written
        back. The API has no call that spends a key for one use.

        An outage is never a verdict: this raises when the service can't be reached or fails, unless
        ``stale_if_error`` allows an earlier answer. The service's clock decides whether a key has
        expired, not the local one. The call takes one request. For a key that does not exist it
        takes two, because a gateway in front of the service may answer 404 as well. Equal calls
        that are under way at the same time share their requests.

        The client remembers the keys that were found, in up to 64 MiB, without their values, once a
        call asks for that. It forgets a key that it changes or deletes itself. It never remembers
        that a key does not exist, nor a key for one use that was not used yet.

        Args:
            key_value: The whole value, as a user typed or pasted it. Any string is allowed. If no
                key has it, it is looked for again without blanks, quotes and invisible characters
                around it; `Verdict.looked_for` says which one it was. What can't be a key value,
                such as a text of more than 1024 bytes, takes no request.
            hwid: The device's identifier, up to 255 characters. A device that is not bound yet is
                accepted while the key has room for one more. Devices that the service has banned
                are not known here.
            discord_id: The user's Discord ID, 17 to 19 digits, as int or str.
            service_id: The service that the key must be for.
            premium: Whether the key must be premium.
            max_age: Seconds for which what a look-up found may be used again, from 0, which is
                never. It is checked against all arguments and the time again. A key that others
                revoke or bind meanwhile is still taken for what it was.
            stale_if_error: Seconds for which it may be used while the service can't be reached,
                times out, fails, limits the rate or sends what can't be read, from 0, which is
                never. `Verdict.stale` says so. The service then has 3 s to answer. Once it is known
                to be down, one call in 5 s asks it, and the others don't wait. A wrong API key
                still raises.

        Raises:
            TooManyMatchesError: The value is a number or a word of the API's paths, and more than
                500 keys contain it.
        """
        given: Claims = {
            "hwid": hwid,
            "discord_id": discord_id,
            "service_id": service_id,
            "premium": premium,
        }
        claims = validate_fields(Claims, "verify", given)
        # A text that can't be a key value needs no request: it is a verdict, not an error, since
        # users type it.
        values = validation.key_values_in("key_value", key_value, validation.check_reference)
        age = validation.check_seconds("max_age", max_age, zero=True)
        stale = validation.check_seconds("stale_if_error", stale_if_error, zero=True)
        self = self._begin()
        look_up = LookUp(
            values,
            partial(self._look_up_until, secrets=(hwid,) if hwid else ()),
            scope=(self._dispatcher.options, self._urgency, hwid),
            ends_at=self._ends_at,
            max_age=age,
            stale_if_error=stale,
        )
        answer = await self._look_ups.answer(look_up)
        return evaluate(
            answer.key,
            claims,
            now=self._dispatcher.service_time(),
            looked_for=answer.value if values else key_value,
            stale=answer.stale,
            age=answer.age,
        )

    @takes(CreateFields)
    @error_boundary
    async def create(
        self,
        *,
        provider_id: int,
        idempotency_key: str | None = None,
        ledger: LedgerRef | None = None,
        reconcile_after: float = RECONCILE_AFTER,
        **fields: Unpack[CreateFields],
    ) -> Key:
        """Create one key.

        With an ``idempotency_key``, such as the number of an order, all calls return the same key,
        however often and in however many processes they are made. A call waits for one that is
        under way. See `junkie_async.provisioning` for the conditions.

        Args:
            provider_id: The provider to issue the key under, 1 or more.
            idempotency_key: The order's name, 1 to 255 characters. Needs a ledger.
            ledger: What records the orders: the path of a file, the DSN of a PostgreSQL database,
                or a `junkie_async.postgres.PostgresLedger`. It may hold millions.
            reconcile_after: Seconds after an unknown outcome until the next call looks for the key,
                and creates it if there is none. Must be longer than the service may still act on a
                request. Only with a ledger.
            **fields: The key's other fields: see `CreateFields`. With a ledger, a marker is added
                to ``key_name``, by which the key is found.

        Raises:
            OutcomeUnknownError: The key may have been created. Check before you call again. If the
                response has a refusal beside the key, its value is in ``error.__cause__.rows``.
                With an ``idempotency_key``, just call again: that settles it. Once the
                arguments are checked, other errors have the outcome `Outcome.UNKNOWN`, too, unless
                it is certain that there is no key.
            InvalidRequestError: The ``idempotency_key`` was used with other arguments.
            ConfigurationError: The ledger can't be used.
        """
        given = {"provider_id": provider_id, **fields}
        name = check_order(idempotency_key, ledger)
        if name is None or ledger is None:
            validated = validate_fields(CreateKeyBody, "create", given)
            return await self._send(wire.create_key(validated))
        check_room(fields.get("key_name"), DEFAULT_PREFIX)
        validated = validate_fields(CreateKeyBody, "create", given)
        delay = validation.check_seconds("reconcile_after", reconcile_after, zero=True)
        return await self._fill_order(validated, name, ledger, delay)

    @takes(BatchFields)
    @error_boundary
    async def create_batch(
        self, *, provider_id: int, amount: int, **fields: Unpack[BatchFields]
    ) -> KeyBatch:
        """Create up to 100 equal keys in one call.

        Args:
            provider_id: The provider to issue the keys under, 1 or more.
            amount: How many keys, 1 to 100.
            **fields: The keys' other fields: see `BatchFields`.

        Raises:
            OutcomeUnknownError: The keys may have been created. Check before you call again. If the
                response has fewer keys, or a refusal beside them, they are in
                ``error.__cause__.rows``. The same holds if it echoes another call's fields.
        """
        given = {"provider_id": provider_id, "amount": amount, **fields}
        validated = validate_fields(CreateBatchBody, "create_batch", given)
        return await self._send(wire.create_batch(validated, whole=True))

    @takes(BatchFields)
    @error_boundary
    def create_many(
        self,
        amount: int,
        *,
        provider_id: int,
        concurrency: int = 8,
        ledger: LedgerRef | None = None,
        job: str | None = None,
        idempotency_key: str | None = None,
        reconcile_after: float = RECONCILE_AFTER,
        marker: str | None = DEFAULT_PREFIX,
        on_progress: OnProgress | None = None,
        **fields: Unpack[BatchFields],
    ) -> CreateJob:
        """Create any number of equal keys, in calls of 100.

        With a ledger, a job that was interrupted can be run again with the same arguments. It then
        ends with exactly ``amount`` keys. See `junkie_async.provisioning` for the conditions.

        Args:
            amount: How many keys, 1 or more.
            provider_id: The provider to issue the keys under, 1 or more.
            concurrency: Calls in flight, 1 to 1000.
            ledger: What records the job: the path of a file, the DSN of a PostgreSQL database, a
                `junkie_async.postgres.PostgresLedger`, or None.
            job: The job's name in the ledger, 1 to 255 characters. A ledger may hold many jobs. In
                a file, a job that another process runs is refused; in PostgreSQL this call stands
                by, and takes the job over if that one ends.
            idempotency_key: The name of an order instead of a job: a call waits for one that is
                under way, and all of them report the same keys. Needs a ledger.
            reconcile_after: Seconds to wait after an unknown outcome before looking for the keys.
                Must be longer than the service may still act on a request. Only with a ledger.
            marker: A prefix of 1 to 32 characters for the markers in ``key_name``, by which the
                keys of a call are found. None leaves ``key_name`` as it is: then a call with an
                unknown outcome ends the job with an error. Only with a ledger.
            on_progress: Called after each call with the keys created so far and ``amount``.
            **fields: The keys' other fields: see `BatchFields`.

        Returns:
            The job, not started yet. ``await`` returns its `CreateReport`. ``async for`` gives
            each `KeyBatch` as it is created.

        Raises:
            BatchError: Raised by the job: a call failed for good. Its report has the keys created
                so far.
            ConfigurationError: Raised by the job: the ledger can't be used.
        """
        order = check_order(idempotency_key, ledger)
        name = check_job(job, order, ledger)
        prefix = None if ledger is None else check_prefix(marker)
        if prefix is not None:  # first, since 255 characters are too many here
            check_room(fields.get("key_name"), prefix)
        given = {"provider_id": provider_id, "amount": 1, **fields}
        validated = validate_fields(CreateBatchBody, "create_many", given)
        whole = validation.check_integer("amount", amount, 1)
        journal = Journal()
        reconciler: Reconciler | None = None
        if ledger is not None:
            arguments = {**validated, "amount": whole}
            journal = self._make_ledger(ledger, name, arguments, prefix, waits=order is not None)
            delay = validation.check_seconds("reconcile_after", reconcile_after, zero=True)
            if prefix is not None:
                reconciler = self._make_reconciler(journal, provider_id, delay)

        return self._make_create_job(
            validated,
            whole,
            concurrency=concurrency,
            on_progress=on_progress,
            journal=journal,
            reconciler=reconciler,
        )

    @takes(UpdateFields)
    @error_boundary
    async def update(self, key: KeyRef, **changes: Unpack[UpdateFields]) -> UpdateResult:
        """Change a key's fields. None sends null: ``folder_id=None`` removes it from its folder.

        Args:
            key: The key's ID (int), its value (str), or the `Key`.
            **changes: The fields to change: see `UpdateFields`. Others keep their values.

        Raises:
            NotFoundError: The key does not exist.
        """
        validated = validate_fields(UpdateFields, "update", changes)
        if not validated:
            raise InvalidRequestError("changes", "none", "at least one field of the key")
        self = self._begin()
        segment = await self._path_segment(key, "PUT")
        with self._look_ups.changing(key):
            return await self._send(wire.update_key(segment, validated))

    @takes(UpdateFields)
    @error_boundary
    def update_many(
        self,
        keys: Iterable[KeyOrPair] | AsyncIterable[KeyOrPair],
        *,
        concurrency: int = 8,
        on_progress: OnProgress | None = None,
        **fields: Unpack[UpdateFields],
    ) -> UpdateJob:
        """Change any number of keys, in one call for each.

        Args:
            keys: Keys that all get the same fields: IDs (int), values (str) or `Key`s, in any
                iterable or async iterable. Without ``**fields``, pairs of a key and its own
                fields: ``[(5, {"key_name": "a"}), (6, {"folder_id": None})]``. A collection is
                validated before anything is sent, an iterator as the job reads it. For a
                `KeyPager`, the IDs are collected first, in 4 or 8 bytes each. A key that is
                repeated is sent once. Pairs with the same key are all sent, one after the other in
                their order; an ID and a value count as different keys.
            concurrency: Calls in flight, 1 to 1000.
            on_progress: Called after each call with the number of keys that have an outcome, and
                how many there are, or None where that is unknown.
            **fields: The fields to change: see `UpdateFields`. Others keep their values.

        Returns:
            The job, not started yet. ``await`` returns its `UpdateReport`. ``async for`` gives a
            `KeyOutcome` for each key, in order of completion: done, not found or failed. A key
            that fails does not end the job.

        Raises:
            BatchError: Raised by the job: every other key would fail as well (see `UpdateJob`), or
                the iterable raised. Its report counts what was done.
        """
        shared = validate_fields(UpdateFields, "update_many", fields)
        return self._make_update_job(
            UpdateJob, wire.update_key, keys, shared or None, concurrency, on_progress
        )

    @error_boundary
    async def invalidate(self, key: KeyRef) -> UpdateResult:
        """Revoke a key until it is revalidated: short for ``update(key, is_invalidated=True)``."""
        return await self.update(key, is_invalidated=True)

    @error_boundary
    async def revalidate(self, key: KeyRef) -> UpdateResult:
        """Undo `invalidate`: short for ``update(key, is_invalidated=False)``."""
        return await self.update(key, is_invalidated=False)

    @error_boundary
    async def delete(self, key: KeyRef) -> None:
        """Delete a key.

        Args:
            key: The key's ID (int), its value (str), or the `Key`.

        Raises:
            NotFoundError: The key does not exist.
        """
        self = self._begin()
        segment = await self._path_segment(key, "DELETE")
        with self._look_ups.changing(key):
            await self._send(wire.delete_key(segment))

    @error_boundary
    async def bulk_delete(self, keys: Sequence[KeyRef]) -> BulkDeleteResult:
        """Delete up to 1000 keys in one call. Keys that don't exist are ignored.

        Args:
            keys: 1 to 1000 IDs (int), values (str) or `Key`s.
        """
        checked = check_key_list("keys", keys)
        with self._look_ups.changing(*checked):
            return await self._send(wire.bulk_delete(checked))

    @error_boundary
    def delete_many(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        *,
        concurrency: int = 4,
        on_progress: OnProgress | None = None,
    ) -> DeleteJob:
        """Delete any number of keys, in calls of 1000, or fewer where that is refused as too large.

        Args:
            keys: IDs (int), values (str) or `Key`s, in any iterable or async iterable. A collection
                is validated before anything is sent, an iterator as the job reads it. For a
                `KeyPager`, the IDs are collected first, in 4 or 8 bytes each. Nothing is deleted
                if the list contradicts itself. A key that is repeated is sent once.
            concurrency: Calls in flight, 1 to 1000.
            on_progress: Called after each call with the keys done so far, and how many there are,
                or None where that is unknown.

        Returns:
            The job, not started yet. ``await`` returns its `DeleteReport`. ``async for`` gives
            each `BulkDeleteResult` as it comes.

        Raises:
            BatchError: Raised by the job: a call failed for good, or the iterable raised.
        """
        unique = isinstance(keys, KeyPager)
        return self._make_delete_job(collect_first(keys), concurrency, on_progress, unique=unique)

    @takes(Filters)
    @error_boundary
    async def purge(
        self,
        *,
        everything: bool = False,
        on_progress: OnProgress | None = None,
        **filters: Unpack[Filters],
    ) -> DeleteReport:
        """Delete every key that matches the filters.

        The IDs are collected first, in 4 or 8 bytes each, by a strict walk: see `KeyPager`.

        Args:
            everything: Delete all keys. Required without filters, refused with them.
            on_progress: Called with the keys done so far and how many there are.
            **filters: See `Filters`. Unlike in `list`, None is refused: it would delete more than
                was meant.

        Raises:
            BatchError: A call failed for good. Its report counts what was deleted.
            InvalidResponseError: The list's pagination or its keys contradict each other or the
                filters. Nothing was deleted.
        """
        check_progress(on_progress)
        query = wire.filter_query(validate_fields(Filters, "purge", filters))
        if bool(query) == validation.check_boolean("everything", everything):
            limit = "at least one filter, or everything=True without filters"
            raise InvalidRequestError("filters", "both" if query else "neither", limit)
        # Strict, since others may delete keys meanwhile and so move some out of the walk's sight.
        ids = await collect_ids(self.list(strict=True, **filters))
        return await self._make_delete_job(ids, 4, on_progress, unique=True)

    @error_boundary
    async def reset_hwid(self, key: KeyRef) -> ActionResult:
        """Unbind all devices (HWIDs) from a key.

        Args:
            key: The key's ID (int), its value (str), or the `Key`.

        Returns:
            The service's confirmation, with its message.

        Raises:
            NotFoundError: The key does not exist.
            OutcomeUnknownError: The devices may have been unbound.
        """
        self = self._begin()
        segment = await self._path_segment(key, "POST")
        with self._look_ups.changing(key):
            return await self._send(wire.reset_hwid(segment))

    @error_boundary
    def reset_hwid_many(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        *,
        concurrency: int = 8,
        on_progress: OnProgress | None = None,
    ) -> ResetHWIDJob:
        """Unbind all devices (HWIDs) from any number of keys, in one call for each.

        A call whose response is lost is not repeated, since it could unbind a device that was bound
        in between: its outcome is unknown.

        Args:
            keys: IDs (int), values (str) or `Key`s, as for `update_many`.
            concurrency: Calls in flight, 1 to 1000.
            on_progress: Called after each call, as for `update_many`.

        Returns:
            The job, not started yet. ``await`` returns its `UpdateReport`. ``async for`` gives a
            `KeyOutcome` for each key, in order of completion: done, not found, failed or unknown.
            A key that fails does not end the job.

        Raises:
            BatchError: Raised by the job: every other key would fail as well (see `ResetHWIDJob`),
                or the iterable raised. Its report counts what was done.
        """
        return self._make_update_job(ResetHWIDJob, _reset_hwid, keys, {}, concurrency, on_progress)

    @error_boundary
    async def folders(self) -> KeyFolders:
        """List the folders that keys can be in."""
        return await self._send(wire.list_folders())


def _reset_hwid(key: str, _: Mapping[str, Any]) -> wire.Request[ActionResult]:
    return wire.reset_hwid(key)
