"""How the jobs on keys are put together: what each of them sends, and what records it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar, cast

from .._errors import BatchError, InvalidRequestError
from .._hooks import StatusCallback
from .._http.dispatcher import Dispatcher
from .._jobs.create import CreateJob
from .._jobs.delete import DeleteJob
from .._jobs.job import OnProgress
from .._jobs.journal import Intent, Journal
from .._jobs.ledger import Ledger
from .._jobs.ledgers import LedgerRef, Ledgers
from .._jobs.markers import DEFAULT_PREFIX, add_marker
from .._jobs.order import fill_order, log_key
from .._jobs.reconcile import Reconciler
from .._jobs.update import KeyOrPair, UpdateJob
from .._models import ActionResult, BulkDeleteResult, Key, KeyBatch, KeyPage, KeyRef
from .._pagination.pager import KeyPager, iterate_ids_after_walk
from .._protocol import requests as wire
from .._stores import open_store
from .._verification.look_ups import LookUps
from .calls import KeyCalls

KeyT = TypeVar("KeyT")
UpdateJobT = TypeVar("UpdateJobT", bound=UpdateJob)


class KeyJobs(KeyCalls):
    """The base of `Keys` that makes its jobs, from arguments that are checked."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        ledgers: Ledgers | None = None,
        look_ups: LookUps | None = None,
    ) -> None:
        super().__init__(dispatcher)
        self._ledgers = Ledgers(open_store) if ledgers is None else ledgers
        self._look_ups = LookUps() if look_ups is None else look_ups

    async def _fill_order(
        self, body: Mapping[str, Any], name: str, ledger: LedgerRef, delay: float
    ) -> Key:
        arguments = {**body, "call": "create", "amount": 1}
        order = self._make_ledger(ledger, name, arguments, DEFAULT_PREFIX, waits=True)

        async def create(marker: str, before_send: Callable[[], None]) -> Key:
            return await self._dispatcher.send(
                wire.create_key(add_marker(body, marker)),
                priority=self._urgency,
                max_seconds=self.deadline,
                before_send=before_send,
            )

        return await fill_order(
            order,
            self._make_reconciler(order, body["provider_id"], delay, partial(log_key, order)),
            create,
            lock=self._ledgers.find_lock(ledger, name),
            max_seconds=self.deadline,
        )

    def _make_create_job(
        self,
        body: Mapping[str, Any],
        amount: int,
        *,
        concurrency: int,
        on_progress: OnProgress | None,
        journal: Journal,
        reconciler: Reconciler | None,
    ) -> CreateJob:
        @lru_cache(maxsize=2)  # without markers all requests but the last one are alike
        def make_request(count: int, mark: str | None) -> wire.Request[KeyBatch]:
            return wire.create_batch(add_marker({**body, "amount": count}, mark), marker=mark)

        def create(
            count: int, mark: str | None, on_status: StatusCallback
        ) -> Coroutine[Any, Any, KeyBatch]:
            return self._dispatcher.send(
                make_request(count, mark),
                priority="job",
                on_status=on_status,
                before_send=journal.check_writer if journal.can_lose_writer else None,
            )

        return CreateJob(
            amount,
            create,
            concurrency=concurrency,
            on_progress=on_progress,
            hooks=self._dispatcher.hooks,
            journal=journal,
            reconciler=reconciler,
        )

    def _make_delete_job(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        concurrency: int,
        on_progress: OnProgress | None,
        *,
        unique: bool = False,
        before_send: Callable[[], None] | None = None,
    ) -> DeleteJob:
        async def delete(chunk: Sequence[int | str], on_status: StatusCallback) -> BulkDeleteResult:
            request = wire.bulk_delete(chunk)
            with self._look_ups.changing(*chunk):
                return await self._dispatcher.send(
                    request, priority="job", on_status=on_status, before_send=before_send
                )

        return DeleteJob(
            keys,
            delete,
            concurrency=concurrency,
            on_progress=on_progress,
            hooks=self._dispatcher.hooks,
            unique=unique,
        )

    def _make_update_job(
        self,
        kind: type[UpdateJobT],
        make_request: Callable[[str, Mapping[str, Any]], wire.Request[ActionResult]],
        keys: Iterable[KeyOrPair] | AsyncIterable[KeyOrPair],
        fields: Mapping[str, Any] | None,
        concurrency: int,
        on_progress: OnProgress | None,
    ) -> UpdateJobT:
        source, is_walk = collect_first(keys), isinstance(keys, KeyPager)
        if is_walk and fields is None:  # now, and not after the walk
            raise InvalidRequestError("changes", "none", "at least one field of the keys")
        # Not of `self`, which may have a deadline: a job's look-ups wait out an outage.
        patient = KeyJobs(self._dispatcher, self._ledgers, self._look_ups)
        patient.priority = "job"

        async def send(
            key: int | str, changes: Mapping[str, Any], on_status: StatusCallback
        ) -> ActionResult:
            request = make_request(await patient._path_segment(key, kind.method), changes)
            with self._look_ups.changing(key):
                return await self._dispatcher.send(request, priority="job", on_status=on_status)

        return kind(
            source,
            send,
            fields=fields,
            concurrency=concurrency,
            on_progress=on_progress,
            hooks=self._dispatcher.hooks,
            unique=is_walk,
        )

    def _make_ledger(
        self,
        ledger: LedgerRef,
        job: str | None,
        arguments: Mapping[str, Any],
        marker: str | None,
        *,
        waits: bool,
    ) -> Ledger:
        given = {**arguments, "base_url": self._dispatcher.base_url}
        return self._ledgers.make_ledger(ledger, job, given, marker, waits=waits)

    def _make_reconciler(
        self,
        journal: Journal,
        provider_id: int,
        delay: float,
        log: Callable[[Intent, Sequence[Key]], bool] | None = None,
    ) -> Reconciler:
        query = wire.filter_query({"provider_id": provider_id})
        # Without a deadline of `self`: a job's walk waits out an outage.
        fetch = self._make_fetch(query, "job", last_timed_page=0, bad_rows="reduce")
        check = journal.check_writer if journal.can_lose_writer else None

        async def delete(surplus: list[int | str]) -> int:
            failure: BaseException | None = None
            try:
                return (await self._make_delete_job(surplus, 4, None, before_send=check)).deleted
            except BatchError as error:  # its report counts surplus keys, not the caller's
                failure = error.__cause__ or error
            try:
                raise failure  # not above: each would refer to the other
            finally:
                failure = None  # a reference cycle, otherwise: a lost lease goes no further

        return Reconciler(
            journal,
            self._dispatcher.shorten_wait(delay),
            fetch=fetch,
            delete=delete,
            remember=self._dispatcher.created.remember,
            log=log,
        )


def collect_first(
    keys: Iterable[KeyT] | AsyncIterable[KeyT],
) -> Iterable[KeyT | int] | AsyncIterable[KeyT | int]:
    """Let a job that is given a `KeyPager` collect the IDs first: it changes what is listed."""
    if isinstance(keys, KeyPage):  # whose `__aiter__` only says that it is the wrong loop
        return cast("tuple[KeyT, ...]", keys.keys)
    if not isinstance(keys, KeyPager):
        return keys
    keys.close()  # if the job is never used, the warning about the job is enough
    return iterate_ids_after_walk(keys)
