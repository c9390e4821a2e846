"""`CreateJob`: create any number of keys, exactly, in calls of 100.

Knows neither HTTP nor SQLite: takes async callables and any `Journal`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeAlias

from .._errors import InvalidResponseError, JunkieError, Outcome, OutcomeUnknownError
from .._hooks import Hooks, InFlightCallback
from .._models import CreateReport, KeyBatch
from .._protocol.fields import MAX_BATCH
from .._validation import check_integer
from .job import Job, OnProgress
from .journal import Intent, Journal
from .reconcile import Reconciler

Create: TypeAlias = Callable[[int, str | None, InFlightCallback], Awaitable[KeyBatch]]
"""Creates an amount of keys, with a marker in their names unless it is None."""


class CreateJob(Job[Intent | KeyBatch, KeyBatch, CreateReport]):
    """Creates keys in calls of 100. Yields each `KeyBatch` as it is created.

    With a ledger the job can be run again after anything that has ended it. It yields all its keys,
    those of earlier runs first: see `junkie_async.provisioning`.
    """

    name = "create_many"

    def __init__(
        self,
        amount: int,
        create: Create,
        *,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Sequence[Hooks] = (),
        journal: Journal | None = None,
        reconciler: Reconciler | None = None,
    ) -> None:
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)
        self._amount = check_integer("amount", amount, 1)
        self._create = create
        self._journal = journal or Journal()
        self._reconciler = reconciler
        self._ready: deque[Intent] = deque()  # logged, and not sent yet
        self._in_progress = 0
        self._call_ended = asyncio.Event()

    @property
    def report(self) -> CreateReport:
        """What the job has created so far; final after the job has ended."""
        keys = self._journal.keys()
        intents = self._journal.open_intents.values()
        unknown = sum(intent.outstanding for intent in intents if intent.in_doubt)
        unknown += self._journal.created - len(keys)  # of a disk that failed: never yielded
        return CreateReport(
            requested=self._amount,
            keys=keys,
            failed=max(0, self._amount - len(keys) - unknown),
            unknown=unknown,
        )

    async def _before_start(self) -> None:
        await self._journal.open()
        if self._reconciler is not None:
            # Calls of an earlier run may have been sent a moment ago.
            self._reconciler.restart_delay()

    async def _before_yield(self) -> None:
        # A key that the consumer has seen must not get lost: the next run would replace it.
        await self._journal.sync()

    async def _after_end(self) -> None:
        intents = self._journal.open_intents.values()
        for intent in [intent for intent in intents if not intent.in_doubt]:
            self._journal.log_result(intent, (), final=True)  # never sent
        await self._journal.close()

    async def _make_chunks(self) -> AsyncGenerator[Intent | KeyBatch, None]:
        async for keys in self._journal.replay():
            yield _make_batch(keys)
        while True:
            missing = self._amount - self._journal.created - self._journal.outstanding
            if not self._ready and missing > 0 and not self._is_outage():
                # One sync of the disk covers two rounds of calls. Logging more ahead would only
                # leave more intents to reconcile after a crash.
                amounts = _split_amount(missing, 2 * self._concurrency)
                self._ready += await self._journal.log_intents(amounts)
            if self._ready:
                self._in_progress += 1
                yield self._ready.popleft()
            elif self._in_progress:
                self._call_ended.clear()
                await self._call_ended.wait()
            elif not self._journal.open_intents:
                return
            elif self._reconciler is None:
                raise OutcomeUnknownError(
                    "outcome unknown: an earlier run sent calls without markers, so the job can't"
                    " find their keys. Look for them before you start a new job"
                )
            else:
                for adopted in await self._reconciler.reconcile():
                    yield _make_batch(adopted)

    async def _process_chunk(
        self, chunk: Intent | KeyBatch, on_in_flight: InFlightCallback
    ) -> KeyBatch | None:
        if isinstance(chunk, KeyBatch):  # replayed or adopted: nothing to send
            return chunk

        def track_doubt(in_flight: bool) -> None:
            chunk.in_doubt = in_flight
            on_in_flight(in_flight)

        try:
            batch = await self._create(chunk.outstanding, chunk.marker, track_doubt)
        except OutcomeUnknownError as error:
            # The readable key values of a response that has an unreadable one among them.
            readable: tuple[str, ...] = getattr(error.__cause__, "rows", ())
            return self._log_doubt(chunk, readable, error)
        except JunkieError as error:
            chunk.in_doubt = error.outcome is not Outcome.NOT_EXECUTED
            raise
        finally:
            self._in_progress -= 1
            self._call_ended.set()
        return self._log_batch(chunk, batch)

    def _log_batch(self, intent: Intent, batch: KeyBatch) -> KeyBatch | None:
        requested, received = intent.outstanding, len(batch.keys)
        if received < requested and self._reconciler is not None:
            return self._log_doubt(intent, batch.keys, _wrong_count(requested, received))
        intent.in_doubt = False
        self._journal.log_result(intent, batch.keys, final=True)
        if self._reconciler is not None:
            self._reconciler.count_success()
        if received != requested and self._pool is not None:
            # The batch is logged and yielded; the job stops after it.
            self._pool.stop(_wrong_count(requested, received))
        return batch

    def _log_doubt(
        self, intent: Intent, keys: tuple[str, ...], error: JunkieError
    ) -> KeyBatch | None:
        """Log the keys that are known of a call whose outcome is otherwise unknown."""
        intent.in_doubt = True
        self._journal.log_result(intent, keys, final=False)
        if self._reconciler is None:
            raise error
        self._reconciler.count_doubt(error)
        return _make_batch(keys) if keys else None

    def _is_outage(self) -> bool:
        # One restart of the service can fail all calls in flight; twice as many are an outage.
        return (
            self._reconciler is not None
            and self._reconciler.doubts_in_a_row >= 2 * self._concurrency
        )

    def _count_done(self) -> tuple[int, int | None]:
        return self._journal.created, self._amount


def _split_amount(amount: int, max_calls: int) -> list[int]:
    """Split an amount into calls of up to 100 keys, at most ``max_calls`` of them."""
    full = min(amount // MAX_BATCH, max_calls)
    rest = amount % MAX_BATCH if full < max_calls else 0
    return [MAX_BATCH] * full + ([rest] if rest else [])


def _make_batch(keys: Sequence[str]) -> KeyBatch:
    return KeyBatch(keys=tuple(keys), count=len(keys))


def _wrong_count(requested: int, received: int) -> InvalidResponseError:
    return InvalidResponseError(
        f"requested {requested} keys, but the response has {received}",
        outcome=Outcome.EXECUTED,
        field="keys",
    )
