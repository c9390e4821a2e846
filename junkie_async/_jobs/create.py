"""`CreateJob`: create any number of keys, exactly, in calls of 100."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Final

from .._errors import InvalidResponseError, JunkieError, Outcome, OutcomeUnknownError
from .._hooks import Hooks, RequestStatus, StatusCallback
from .._masking import error_boundary
from .._models import CreateReport, Key, KeyBatch
from .._models.results import report_on_demand
from .._protocol.fields import MAX_BATCH
from .._validation import check_integer
from .job import Job, OnProgress
from .journal import Intent, Journal
from .key_hashes import KeyHashes
from .key_log import KeyLog
from .reconcile import Reconciler
from .record import LeaseLostError

_log = logging.getLogger("junkie_async")

# Five rounds at the default delay are an outage of 10 minutes: better to end, and be run again.
_MAX_ROUNDS_WITHOUT_KEYS: Final = 5


class CreateJob(Job[Intent | KeyBatch, KeyBatch, CreateReport]):
    """Creates keys in calls of 100. Yields each `KeyBatch` as it is created.

    With a ledger the job can be run again after anything that has ended it. It yields all its keys,
    those of earlier runs first: see `junkie_async.provisioning`.
    """

    name = "create_many"

    def __init__(
        self,
        amount: int,
        create: Callable[[int, str | None, StatusCallback], Awaitable[KeyBatch]],
        *,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Collection[Hooks] = (),
        journal: Journal | None = None,
        reconciler: Reconciler | None = None,
    ) -> None:
        self._amount = check_integer("amount", amount, 1)
        self._create = create
        self._journal = journal or Journal()
        self._reconciler = reconciler
        self._ready: deque[Intent] = deque()  # logged, and not sent yet
        self._in_progress = 0
        self._call_ended = asyncio.Event()
        self._doubts_in_a_row = self._rounds_without_keys = 0
        self._last_doubt: JunkieError | None = None
        self._yielded = 0  # keys
        # Those, where another worker may take the job over, and their hashes once one has.
        self._given = KeyLog(None)
        self._given_before: KeyHashes | None = None
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)

    @property
    @error_boundary
    def report(self) -> CreateReport:
        """What the job has created so far; final after the job has ended."""
        intents = self._journal.open_intents.values()
        unknown = sum(intent.outstanding for intent in intents if intent.in_doubt)
        created, read_keys = self._journal.snapshot_keys()
        return report_on_demand(
            read_keys,
            created=created,
            requested=self._amount,
            failed=max(0, self._amount - created - unknown),
            unknown=unknown,
        )

    async def _before_start(self) -> None:
        self._ready.clear()
        await self._hash_given()
        while not await self._open_journal():
            pass
        if self._reconciler is not None:
            self._reconciler.restart_delay()  # an earlier run may just have sent calls

    async def _hash_given(self) -> None:
        """After another worker had the job, know the keys by which its record begins."""
        if not self._given.length:
            return
        before = self._given_before = self._given_before or KeyHashes()
        for number in range(self._given.end_block()):
            for keys in self._given.read(number):
                before.add_new(keys)
            await asyncio.sleep(0)
        self._given = KeyLog(None)

    async def _open_journal(self) -> bool:
        """Become the writer; false if another worker has taken over by the end of the reading."""
        try:
            await self._journal.open()
        except LeaseLostError:
            return False
        return True

    async def _before_yield(self, result: KeyBatch) -> None:
        # A key that the consumer has seen must not get lost: the next run would replace it.
        if self._journal.is_durable:
            await self._journal.sync()
        self._yielded += len(result.keys)
        if self._journal.can_lose_writer:
            self._given.append(result.keys)

    def _after_break(self) -> None:
        unread = self._journal.created - self._yielded
        if self._journal.is_durable or not unread:
            return  # a ledger gives them to the next run
        message = (
            f"the loop over keys.create_many() was left before its end: {unread} created keys"
            " were not read, and are in the job's report"
        )
        _log.warning(message)
        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    async def _after_end(self) -> None:
        await self._journal.end()

    def _restarts_after(self, failure: Exception) -> bool:
        # Another worker has the job. Stand by, and give what has come meanwhile.
        return isinstance(failure, LeaseLostError)

    async def _make_chunks(self) -> AsyncGenerator[Intent | KeyBatch, None]:
        async for keys in self._journal.replay():
            yield _make_batch(keys)
        while True:
            if not self._ready:
                await self._log_ahead()
            if self._ready:
                self._in_progress += 1
                yield self._ready.popleft()
            elif self._in_progress:
                self._call_ended.clear()
                await self._call_ended.wait()
            elif not self._journal.open_intents and not self._is_unconfirmed():
                return
            else:
                for adopted in await self._reconcile():
                    yield _make_batch([key.key_value for key in adopted])

    async def _log_ahead(self) -> None:
        """Log the next calls, as many as are missing."""
        missing = self._amount - self._journal.created - self._journal.outstanding
        # One restart of the service can fail all calls in flight; twice as many are an outage.
        is_outage = self._doubts_in_a_row >= 2 * self._concurrency
        if missing > 0 and not is_outage:
            # One sync covers two rounds of calls; more would leave more in doubt at a crash.
            ahead = min(missing, 2 * self._concurrency * MAX_BATCH)
            full, rest = divmod(ahead, MAX_BATCH)
            amounts = [MAX_BATCH] * full + [rest] * (rest > 0)
            try:
                self._ready += await self._journal.log_intents(amounts)
            except JunkieError:
                self._is_in_doubt = True  # another worker may have begun the job
                raise

    def _is_unconfirmed(self) -> bool:
        return self._reconciler is not None and self._reconciler.is_unconfirmed

    async def _reconcile(self) -> list[list[Key]]:
        if self._reconciler is None:
            raise OutcomeUnknownError(
                "outcome unknown: an earlier run sent calls without markers, so the job can't"
                " find their keys. Look for them before you start a new job"
            )
        self._is_in_doubt = True  # it may delete surplus keys
        adopted = await self._reconciler.reconcile(self._report_wait)
        self._doubts_in_a_row = 0
        self._rounds_without_keys = 0 if adopted else self._rounds_without_keys + 1
        if self._rounds_without_keys >= _MAX_ROUNDS_WITHOUT_KEYS and self._last_doubt is not None:
            raise self._last_doubt  # the journal is consistent: a later run resumes from here
        return adopted

    async def _process_chunk(
        self, chunk: Intent | KeyBatch, on_status: StatusCallback
    ) -> KeyBatch | None:
        if isinstance(chunk, KeyBatch):  # replayed or adopted: nothing to send
            before = self._given_before
            new = before.find_new(chunk.keys) if before is not None else chunk.keys
            return _make_batch(new) if new else None

        def track_doubt(status: RequestStatus) -> None:
            chunk.in_doubt = status is not RequestStatus.NOT_EXECUTED
            on_status(status)

        try:
            if self._journal.can_lose_writer:
                await self._journal.wait_until_writer()
            batch = await self._create(chunk.outstanding, chunk.marker, track_doubt)
        except OutcomeUnknownError as error:
            readable_keys: tuple[str, ...] = getattr(error.__cause__, "rows", ())
            return self._log_doubt(chunk, readable_keys, error)
        except JunkieError as error:
            chunk.in_doubt = error.outcome is not Outcome.NOT_EXECUTED
            raise
        finally:
            self._in_progress -= 1
            self._call_ended.set()
        return self._log_batch(chunk, batch)

    def _log_batch(self, intent: Intent, batch: KeyBatch) -> KeyBatch | None:
        requested, received = intent.outstanding, len(batch.keys)
        if received != requested and self._reconciler is not None:
            return self._log_doubt(intent, batch.keys, _wrong_count(requested, received))
        is_short = received < requested  # the other keys may exist: the response may lack them
        if not self._journal.log_result(intent, batch.keys, final=not is_short):
            repeats = received - len(self._journal.seen.find_new(batch.keys))
            return self._log_doubt(intent, batch.keys, _repeated_keys(repeats))
        intent.in_doubt = is_short
        if self._reconciler is not None:
            self._reconciler.record_keys()
        self._doubts_in_a_row = self._rounds_without_keys = 0
        if received != requested and self._pool is not None:
            self._pool.stop(_wrong_count(requested, received))
        return batch

    def _log_doubt(
        self, intent: Intent, keys: Sequence[str], error: JunkieError
    ) -> KeyBatch | None:
        """Log the keys that are known of a call whose outcome is otherwise unknown."""
        intent.in_doubt = True
        new = self._journal.seen.find_new(keys)[: intent.outstanding]
        self._journal.log_result(intent, new, final=False)
        if self._reconciler is None:
            raise error
        self._reconciler.restart_delay()
        self._last_doubt = error
        if not new:
            self._doubts_in_a_row += 1
            return None
        # It was no outage, even if the call's other keys are in doubt.
        self._doubts_in_a_row = self._rounds_without_keys = 0
        return _make_batch(new)

    def _count_done(self) -> tuple[int, int | None]:
        return self._journal.created, self._amount


def _make_batch(keys: Sequence[str]) -> KeyBatch:
    return KeyBatch(keys=tuple(keys), count=len(keys))


def _repeated_keys(repeats: int) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"outcome unknown: the response has {repeats} key values that came before, so it may be"
        " that of another call"
    )


def _wrong_count(requested: int, received: int) -> InvalidResponseError:
    return InvalidResponseError(
        f"requested {requested} keys, but the response has {received}",
        outcome=Outcome.EXECUTED,
        field="keys",
    )
