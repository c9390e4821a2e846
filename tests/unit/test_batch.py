"""Large jobs over callables in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    BatchError,
    BulkDeleteResult,
    CreateJob,
    DeleteJob,
    InvalidRequestError,
    InvalidResponseError,
    Key,
    KeyBatch,
    Outcome,
    OutcomeUnknownError,
    ServerError,
)
from junkie_async._hooks import InFlightCallback
from junkie_async._jobs import worker_pool


def nobody(_: bool) -> None:
    """Hear that a call is in flight, and do nothing."""


class Service:
    """Creates and deletes in memory, counting what is under way."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.deleted: list[list[int | str]] = []
        self.under_way = self.most = 0
        self.made = 0
        self.before: Callable[[int], None] = lambda call: None
        self.gate: asyncio.Event | None = None

    async def create(
        self, amount: int, _: str | None = None, on_in_flight: InFlightCallback = nobody
    ) -> KeyBatch:
        """Make so many keys."""
        on_in_flight(True)
        self.calls.append(amount)
        number = len(self.calls)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            self.before(number)
            self.made += amount
            keys = tuple(f"K{self.made - at}" for at in range(amount))
            return KeyBatch(keys=keys, count=amount)
        finally:
            self.under_way -= 1

    async def delete(
        self, keys: list[int | str], on_in_flight: InFlightCallback = nobody
    ) -> BulkDeleteResult:
        """Delete those that are not negative."""
        on_in_flight(True)
        self.deleted.append(keys)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            self.before(len(self.deleted))
            gone = sum(1 for key in keys if isinstance(key, str) or key < 10**6)
            return BulkDeleteResult(deleted=gone, requested=len(keys))
        finally:
            self.under_way -= 1

    def create_job(self, amount: int, concurrency: int = 4) -> CreateJob:
        """Set a job up."""
        return CreateJob(amount, self.create, concurrency=concurrency)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service; no task is left running after the test."""
    yield Service()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(st.integers(1, 2500), st.integers(1, 9))
async def test_exactly_as_many_keys_as_asked_for(amount: int, concurrency: int) -> None:
    """A job is split into calls of 100 and a rest, with bounded concurrency."""
    service = Service()
    report = await service.create_job(amount, concurrency)
    assert (report.requested, report.created, report.failed, report.unknown) == (
        amount,
        amount,
        0,
        0,
    )
    assert len(set(report.keys)) == amount
    assert service.calls.count(100) == amount // 100
    assert sum(service.calls) == amount
    assert service.most <= concurrency


async def test_results_stream_and_progress_is_told(service: Service) -> None:
    """``async for`` gives each batch as it is created; on_progress counts up to the amount."""
    told: list[tuple[int, int | None]] = []
    job = CreateJob(1050, service.create, concurrency=3, on_progress=lambda *now: told.append(now))
    got = [key async for batch in job for key in batch.keys]
    assert sorted(got) == sorted(job.report.keys)
    assert [total for _, total in told] == [1050] * 11
    assert told[-1][0] == 1050


async def test_a_slow_reader_holds_the_job_back(service: Service) -> None:
    """A reader who does not read does not cause all keys to be made."""
    job = service.create_job(100_000, 4)
    async for _ in job:
        for _ in range(200):
            await asyncio.sleep(0)
        break
    assert len(service.calls) <= 13
    await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_failure_stops_new_calls_and_keeps_the_report(service: Service) -> None:
    """Calls in flight finish; BatchError carries what was created, what failed, what is open."""

    def fail(call: int) -> None:
        if call == 5:
            raise ServerError("down", status=503, outcome=Outcome.NOT_EXECUTED)

    service.before = fail
    with pytest.raises(BatchError) as caught:
        await service.create_job(10_000, 4)
    report = caught.value.report
    assert isinstance(caught.value.__cause__, ServerError)
    assert report.created == service.made == len(set(report.keys))
    assert len(service.calls) < 12
    assert (report.unknown, report.created + report.failed) == (0, 10_000)


async def test_an_open_outcome_is_reported_as_such(service: Service) -> None:
    """The amount of a call whose outcome is not known counts as unknown, not as failed."""

    def lose(call: int) -> None:
        if call == 2:
            raise OutcomeUnknownError("lost")

    service.before = lose
    with pytest.raises(BatchError) as caught:
        await service.create_job(250, 1)
    report = caught.value.report
    assert (report.created, report.unknown, report.failed) == (100, 100, 50)


async def test_what_an_unreadable_answer_tells_is_kept(service: Service) -> None:
    """The good key values of an answer with a bad one are in the report; the bad one is unknown."""

    async def garbled(amount: int, _: str | None, __: InFlightCallback) -> KeyBatch:
        rows = tuple(f"K{at}" for at in range(amount - 1))
        cause = InvalidResponseError("keys[99] must be a key value", rows=rows)
        raise OutcomeUnknownError("sent") from cause

    with pytest.raises(BatchError) as caught:
        await CreateJob(300, garbled, concurrency=1)
    report = caught.value.report
    assert report.keys == tuple(f"K{at}" for at in range(99))
    assert (report.unknown, report.failed) == (1, 200)


async def test_fewer_keys_than_asked_for_end_the_job(service: Service) -> None:
    """A service that grants fewer keys is an error; those that it made are kept and given."""

    async def stingy(amount: int, _: str | None, __: InFlightCallback) -> KeyBatch:
        return KeyBatch(keys=tuple((await service.create(amount - 1)).keys), count=amount)

    got: list[str] = []
    with pytest.raises(BatchError) as caught:
        async for batch in CreateJob(300, stingy, concurrency=1):
            got += batch.keys
    assert isinstance(caught.value.__cause__, InvalidResponseError)
    assert tuple(got) == caught.value.report.keys
    assert (len(got), caught.value.report.failed) == (99, 201)


async def test_cancelling_lets_calls_in_flight_finish(service: Service) -> None:
    """After a cancellation no new call starts, and what was in flight is in the report."""
    service.gate = asyncio.Event()
    job = service.create_job(10_000, 4)
    task = asyncio.ensure_future(job._run_to_end())
    while service.under_way < 4:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    service.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.calls == [100] * 4
    assert (job.report.created, job.report.failed, job.report.unknown) == (400, 9600, 0)


@pytest.mark.parametrize("impatient", [True, False])
async def test_cancelling_takes_bounded_time(
    service: Service, impatient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that don't finish in the grace, or before a second cancellation, are unknown."""
    monkeypatch.setattr(worker_pool, "GRACE_PERIOD", 60.0 if impatient else 0.0)
    service.gate = asyncio.Event()
    job = service.create_job(10_000, 4)
    task = asyncio.ensure_future(job._run_to_end())
    while service.under_way < 4:
        await asyncio.sleep(0)
    task.cancel()
    if impatient:
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (job.report.created, job.report.failed, job.report.unknown) == (0, 9600, 400)


async def test_a_failing_on_progress_stops_the_job(service: Service) -> None:
    """The caller's own error reaches the caller, and the report still tells what was made."""

    def progress(done: int, total: int | None) -> None:
        raise KeyError(done)

    job = CreateJob(10_000, service.create, concurrency=2, on_progress=progress)
    with pytest.raises(KeyError):
        await job
    assert job.report.created == service.made
    assert len(service.calls) <= 4


async def test_a_job_runs_once(service: Service) -> None:
    """A second run would create the keys again."""
    job = service.create_job(10)
    await job
    with pytest.raises(RuntimeError, match="once"):
        await job
    assert service.made == 10


@given(st.integers(0, 4500), st.integers(1, 5), st.sampled_from(["list", "iterator", "async"]))
async def test_delete_splits_and_counts(amount: int, concurrency: int, kind: str) -> None:
    """Any iterable is split into calls of 1000; deleted and missing add up to what was asked."""
    service = Service()
    ids = [at + 1 if at % 3 else at + 1 + 10**6 for at in range(amount)]

    async def stream() -> AsyncIterator[int]:
        for key_id in ids:
            yield key_id

    kinds: dict[str, Iterable[int] | AsyncIterable[int]]
    kinds = {"list": ids, "iterator": iter(ids), "async": stream()}
    report = await DeleteJob(kinds[kind], service.delete, concurrency=concurrency)
    missing = -(-amount // 3)
    assert (report.requested, report.missing, report.deleted, report.failed) == (
        amount,
        missing,
        amount - missing,
        0,
    )
    assert {key for chunk in service.deleted for key in chunk} == set(ids)
    assert all(len(chunk) <= 1000 for chunk in service.deleted)
    assert len(service.deleted) == -(-amount // 1000)


async def test_delete_drops_duplicates_and_keeps_int_and_str_apart(service: Service) -> None:
    """5, "5" and a Key of ID 5 are two keys: one by ID, one by value."""
    keys: list[int | str | Key] = [5, "5", 5, Key(id=5, key_value="K"), "5", 6]
    told: list[tuple[int, int | None]] = []
    report = await DeleteJob(
        keys, service.delete, concurrency=1, on_progress=lambda *now: told.append(now)
    )
    assert service.deleted == [[5, "5", 6]]
    assert report.requested == 3
    assert told == [(3, 3)]


async def test_delete_pulls_lazily(service: Service) -> None:
    """An endless source is read no further than the calls in flight need."""
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    def fail(call: int) -> None:
        if call == 3:
            raise ServerError("down", status=500)

    service.before = fail
    with pytest.raises(BatchError) as caught:
        await DeleteJob(endless(), service.delete, concurrency=2)
    report = caught.value.report
    assert pulled <= 6000
    assert report.requested == pulled == report.deleted + report.missing + report.failed
    assert report.failed >= 1000


async def test_a_failure_does_not_wait_for_a_slow_source(service: Service) -> None:
    """A source that waits for ever is left alone once a call has failed; what it gave counts."""

    async def stalls() -> AsyncIterator[int]:
        for key_id in range(1, 1501):
            yield key_id
        await asyncio.Event().wait()

    def fail(call: int) -> None:
        raise ServerError("down", status=500)

    service.before = fail
    with pytest.raises(BatchError) as caught:
        async with asyncio.timeout(5):
            await DeleteJob(stalls(), service.delete, concurrency=2)
    assert (caught.value.report.requested, caught.value.report.failed) == (1500, 1500)


async def test_a_source_that_raises_ends_the_job_with_a_report(service: Service) -> None:
    """The caller's own error is the cause; what was deleted before it is not lost."""

    def source() -> Iterator[int]:
        yield from range(1, 1501)
        raise KeyError("mine")

    with pytest.raises(BatchError) as caught:
        await DeleteJob(source(), service.delete, concurrency=2)
    assert isinstance(caught.value.__cause__, KeyError)
    report = caught.value.report
    assert (report.requested, report.deleted, report.failed) == (1500, 1000, 500)


async def test_a_source_that_was_cancelled_is_no_success(service: Service) -> None:
    """An iterable that awaits a cancelled task has not given all its keys: the job says so."""

    async def source() -> AsyncIterator[int]:
        for key_id in range(1, 1501):
            yield key_id
        raise asyncio.CancelledError

    with pytest.raises(BatchError) as caught:
        await DeleteJob(source(), service.delete, concurrency=2)
    report = caught.value.report
    assert (report.requested, report.deleted, report.failed) == (1500, 1000, 500)


@pytest.mark.parametrize("keys", [[1, True], [1, ".."], {0}, (1, 2.0)])
async def test_a_collection_is_checked_before_anything_is_sent(
    service: Service, keys: list[int]
) -> None:
    """A bad reference in a list is named by its index, and nothing has been deleted."""
    with pytest.raises(InvalidRequestError, match=r"keys\[[01]\]"):
        DeleteJob(keys, service.delete, concurrency=1)
    assert not service.deleted


@pytest.mark.parametrize("keys", ["JNK-1", b"JNK-1", 5, None])
async def test_what_is_no_iterable_of_keys(service: Service, keys: list[int]) -> None:
    """A single key value is not taken for a list of letters."""
    with pytest.raises(InvalidRequestError, match="keys must be an iterable"):
        DeleteJob(keys, service.delete, concurrency=1)


async def test_calls_that_wait_for_their_turn_are_dropped_with_the_job(service: Service) -> None:
    """A cancelled job finishes what is in flight; what waits is neither sent nor unknown."""
    turns, finished = asyncio.Semaphore(2), asyncio.Event()

    async def create(amount: int, _: str | None, on_in_flight: InFlightCallback) -> KeyBatch:
        async with turns:
            on_in_flight(True)
            await finished.wait()
            return await service.create(amount)

    job = CreateJob(1000, create, concurrency=5)
    reader = asyncio.ensure_future(job)
    while not turns.locked():
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.sleep(0)
    finished.set()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert service.calls == [100, 100]
    assert (job.report.created, job.report.unknown, job.report.failed) == (200, 0, 800)


async def test_a_refused_call_is_not_sent_again_for_a_job_that_has_ended(service: Service) -> None:
    """A call that was refused, and waits to be sent again, is dropped when another one fails."""
    fails = asyncio.Event()

    async def create(amount: int, _: str | None, on_in_flight: InFlightCallback) -> KeyBatch:
        on_in_flight(True)
        if amount < 100:
            await fails.wait()
            raise ServerError("broken", outcome=Outcome.NOT_EXECUTED)
        await asyncio.sleep(0)
        on_in_flight(False)  # a 429: not carried out
        fails.set()
        await asyncio.sleep(60)
        return await service.create(amount)

    with pytest.raises(BatchError) as caught:
        await CreateJob(150, create, concurrency=2)
    report = caught.value.report
    assert (report.created, report.unknown, report.failed) == (0, 0, 150)
    assert not service.calls
