"""`WorkerPool`: back-pressure, failures and cancellation, in jobs over callables in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    BulkDeleteResult,
    ConfigurationError,
    CreateJob,
    DeleteJob,
    KeyBatch,
    Outcome,
    ServerError,
)
from junkie_async._hooks import RequestStatus, StatusCallback
from junkie_async._jobs import worker_pool

from .job_service import Service


async def test_a_slow_consumer_applies_back_pressure(service: Service) -> None:
    """While one result is not done with, a job makes as many further calls as it has workers."""
    async with contextlib.aclosing(aiter(service.create_job(2_000, 4))) as results:
        await anext(results)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(service.calls) == 1 + 4
        assert len([result async for result in results]) == 19


async def test_a_refused_await_changes_nothing_for_a_loop(service: Service) -> None:
    """A loop has as much room as before when somebody awaits its job in vain."""
    job = service.create_job(2_000, 4)
    outside: Any = job
    with pytest.raises(ConfigurationError, match="no asyncio event loop"):
        await asyncio.to_thread(outside.send, None)
    async with contextlib.aclosing(aiter(job)) as results:
        first = asyncio.create_task(anext(results))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="a job runs only once"):
            await job
        await first
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(service.calls) == 1 + 4
        assert len([result async for result in results]) == 19


async def test_an_awaited_job_goes_on_while_its_progress_is_reported(service: Service) -> None:
    """Its workers have twice as much room, and so don't wait for each result to be read."""
    calls: list[int] = []

    async def slow_progress(done: int, total: int | None) -> None:
        for _ in range(200):
            await asyncio.sleep(0)
        calls.append(len(service.calls))

    await service.create_job(2_000, 4, on_progress=slow_progress)
    assert calls[0] == 1 + 2 * 4
    assert len(service.calls) == len(calls) == 20


async def test_a_failure_stops_new_calls_and_keeps_the_report(service: Service) -> None:
    """Calls in flight finish; BatchError carries what was created, failed and is unknown."""

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


async def test_a_failure_does_not_wait_for_a_slow_source(service: Service) -> None:
    """After a failed call a source that never ends is abandoned; the keys it yielded count."""

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
    """The iterable's error is the cause; the report has the keys deleted before it."""

    def source() -> Iterator[int]:
        yield from range(1, 1501)
        raise KeyError("mine")

    with pytest.raises(BatchError) as caught:
        await DeleteJob(source(), service.delete, concurrency=2)
    assert isinstance(caught.value.__cause__, KeyError)
    report = caught.value.report
    assert (report.requested, report.deleted, report.failed) == (1500, 1000, 500)


async def test_a_source_that_awaits_a_cancelled_task_ends_the_job(service: Service) -> None:
    """Such an iterable has not yielded all its keys, so the job must not look complete."""

    async def source() -> AsyncIterator[int]:
        for key_id in range(1, 1501):
            yield key_id
        raise asyncio.CancelledError

    with pytest.raises(BatchError) as caught:
        await DeleteJob(source(), service.delete, concurrency=2)
    report = caught.value.report
    assert (report.requested, report.deleted, report.failed) == (1500, 1000, 500)


async def test_cancelling_lets_calls_in_flight_finish(service: Service) -> None:
    """After a cancellation no new call starts, and what was in flight is in the report."""
    service.gate = asyncio.Event()
    job = service.create_job(10_000, 4)
    task = asyncio.ensure_future(job._run_to_end())
    while service.concurrent < 4:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    service.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.calls == [100] * 4
    assert (job.report.created, job.report.failed, job.report.unknown) == (400, 9600, 0)


@pytest.mark.parametrize("twice", [True, False])
async def test_cancelling_takes_bounded_time(
    service: Service, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that outlast the grace period, or a second cancellation, are unknown."""
    monkeypatch.setattr(worker_pool, "GRACE_PERIOD", 60.0 if twice else 0.0)
    service.gate = asyncio.Event()
    job = service.create_job(10_000, 4)
    task = asyncio.ensure_future(job._run_to_end())
    while service.concurrent < 4:
        await asyncio.sleep(0)
    task.cancel()
    if twice:
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.concurrent == 0  # nothing is left running
    assert (job.report.created, job.report.failed, job.report.unknown) == (0, 9600, 400)


async def test_a_failed_job_leaves_no_reference_cycle(service: Service) -> None:
    """Its keys and its errors don't wait for the garbage collector."""

    def fail(call: int) -> None:
        raise ServerError("down", status=500)

    service.before = fail
    job = service.create_job(300, 2)
    gone = weakref.ref(job)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(BatchError):
            await job
        del job
        assert gone() is None
    finally:
        gc.enable()


async def test_a_job_that_is_cancelled_after_a_failure_is_in_no_reference_cycle(
    service: Service,
) -> None:
    """Its source has failed, and nobody is told of that any more."""
    has_failed, is_cancelled = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[int]:
        for key in range(1, 1001):
            yield key
        has_failed.set()
        raise OSError("the source")

    async def delete(keys: Sequence[int | str], on_status: StatusCallback) -> BulkDeleteResult:
        on_status(RequestStatus.IN_FLIGHT)
        await is_cancelled.wait()
        return BulkDeleteResult(deleted=len(keys), requested=len(keys))

    job = DeleteJob(source(), delete, concurrency=2)
    gone = weakref.ref(job)
    gc.collect()
    gc.disable()
    try:
        running = asyncio.ensure_future(job)
        del job
        await has_failed.wait()
        await asyncio.sleep(0)
        running.cancel()
        is_cancelled.set()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        del running
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


async def test_calls_that_wait_for_a_slot_are_dropped_with_the_job(service: Service) -> None:
    """A cancelled job finishes the calls in flight; waiting ones are neither sent nor unknown."""
    slots, finished = asyncio.Semaphore(2), asyncio.Event()

    async def create(amount: int, _: str | None, on_status: StatusCallback) -> KeyBatch:
        async with slots:
            on_status(RequestStatus.IN_FLIGHT)
            await finished.wait()
            return await service.create(amount)

    job = CreateJob(1000, create, concurrency=5)
    task = asyncio.ensure_future(job)
    while not slots.locked():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    finished.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.calls == [100, 100]
    assert (job.report.created, job.report.unknown, job.report.failed) == (200, 0, 800)


async def test_a_retry_is_dropped_with_the_job(service: Service) -> None:
    """A rate-limited call that waits for its retry is dropped when another call fails."""
    fails = asyncio.Event()

    async def create(amount: int, _: str | None, on_status: StatusCallback) -> KeyBatch:
        on_status(RequestStatus.IN_FLIGHT)
        if amount < 100:
            await fails.wait()
            raise ServerError("broken", outcome=Outcome.NOT_EXECUTED)
        await asyncio.sleep(0)
        on_status(RequestStatus.NOT_EXECUTED)  # a 429: not executed
        fails.set()
        await asyncio.sleep(60)
        return await service.create(amount)

    with pytest.raises(BatchError) as caught:
        await CreateJob(150, create, concurrency=2)
    report = caught.value.report
    assert (report.created, report.unknown, report.failed) == (0, 0, 150)
    assert not service.calls
