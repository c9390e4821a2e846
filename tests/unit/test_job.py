"""`Job`: what creating and deleting have in common."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from junkie_async import (
    BatchError,
    BulkDeleteResult,
    ConfigurationError,
    CreateJob,
    DeleteJob,
    Outcome,
    ServerError,
)
from junkie_async._hooks import RequestStatus, StatusCallback
from junkie_async._jobs.journal import Journal

from .job_service import Service


async def test_results_and_progress_arrive_call_by_call(service: Service) -> None:
    """``async for`` yields each batch as it is created; on_progress counts up to the amount."""
    shown: list[tuple[int, int | None]] = []
    job = CreateJob(1050, service.create, concurrency=3, on_progress=lambda *now: shown.append(now))
    keys = [key async for batch in job for key in batch.keys]
    assert sorted(keys) == sorted(job.report.keys)
    assert [total for _, total in shown] == [1050] * 11
    assert shown[-1][0] == 1050


async def test_a_failing_on_progress_ends_the_job_with_its_report(service: Service) -> None:
    """The callback's error is the cause, and the report has all that was created."""

    def progress(done: int, total: int | None) -> None:
        raise KeyError(done)

    job = CreateJob(10_000, service.create, concurrency=2, on_progress=progress)
    with pytest.raises(BatchError) as caught:
        await job
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.report.created == service.made > 0
    assert len(service.calls) <= 4


async def test_the_error_of_a_job_has_what_its_failure_says(service: Service) -> None:
    """The advice, and the request."""
    failure = ServerError("down", status=503, outcome=Outcome.NOT_EXECUTED)
    failure.advice, failure.method, failure.path, failure.attempts = "wait", "POST", "/keys", 3

    def fail(_: int) -> None:
        raise failure

    service.before = fail
    with pytest.raises(BatchError) as caught:
        await service.create_job(100)
    error = caught.value
    assert error.__cause__ is failure
    assert (error.advice, error.method, error.path) == ("wait", "POST", "/keys")
    assert error.attempts == 3


@pytest.mark.parametrize(
    ("outcomes", "did_nothing"),
    [
        ([Outcome.NOT_EXECUTED, Outcome.NOT_EXECUTED], True),
        ([Outcome.NOT_EXECUTED, Outcome.UNKNOWN], False),
        ([Outcome.UNKNOWN, Outcome.NOT_EXECUTED], False),
        ([Outcome.NOT_EXECUTED, None], False),
    ],
)
async def test_a_job_did_nothing_if_each_call_was_refused(
    service: Service, outcomes: list[Outcome | None], did_nothing: bool
) -> None:
    """Calls in flight with the first one that fails count, too."""

    def answer(call: int) -> None:
        if (outcome := outcomes[call - 1]) is not None:
            raise ServerError("down", status=503, outcome=outcome)

    service.before = answer
    for job in (
        service.create_job(200, 2),
        DeleteJob(range(1, 2001), service.delete, concurrency=2),
    ):
        with pytest.raises(BatchError) as caught:
            await job
        assert caught.value.did_nothing == did_nothing
        assert pickle.loads(pickle.dumps(caught.value)).did_nothing == did_nothing


@pytest.mark.parametrize("failure", [OSError("no such file"), ServerError("down", status=503)])
@pytest.mark.parametrize(("given", "did_nothing"), [(0, True), (5, True), (1000, False)])
async def test_a_job_whose_iterable_fails(
    service: Service, failure: Exception, given: int, did_nothing: bool
) -> None:
    """It did nothing if that came before the first call, as in a walk whose service is down."""

    async def keys() -> AsyncIterator[int]:
        for key in range(1, given + 1):
            yield key
        raise failure

    with pytest.raises(BatchError) as caught:
        await DeleteJob(keys(), service.delete, concurrency=1)
    assert caught.value.__cause__ is failure
    assert caught.value.did_nothing == did_nothing


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_a_dropped_retry_may_have_done_something(is_waiting: bool) -> None:
    """It waits when another call is refused, or its own request has just been refused."""
    refused = asyncio.Event()

    async def delete(keys: list[int | str], on_status: StatusCallback) -> BulkDeleteResult:
        on_status(RequestStatus.IN_FLIGHT)
        if 1 in keys:
            if not is_waiting:
                await refused.wait()
            on_status(RequestStatus.UNCONFIRMED)  # the response of the first request was lost
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        refused.set()
        raise ServerError("down", status=503, outcome=Outcome.NOT_EXECUTED)

    with pytest.raises(BatchError) as caught:
        await DeleteJob(range(1, 2001), delete, concurrency=2)
    assert not caught.value.did_nothing


class _BrokenJournal(Journal):
    """It can't be closed, as a ledger on a full disk."""

    async def close(self) -> None:
        """Fail."""
        raise ConfigurationError("full")


async def test_a_journal_that_cannot_be_closed_ends_the_job(service: Service) -> None:
    """It does not look complete. A failure of before comes first."""
    job = CreateJob(100, service.create, concurrency=1, journal=_BrokenJournal())
    with pytest.raises(BatchError) as caught:
        await job
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert caught.value.report.created == 100

    def fail(_: int) -> None:
        raise ServerError("down", status=500)

    service.before = fail
    with pytest.raises(BatchError) as failed:
        await CreateJob(100, service.create, concurrency=1, journal=_BrokenJournal())
    assert isinstance(failed.value.__cause__, ServerError)


async def test_on_progress_may_be_a_coroutine_function(service: Service) -> None:
    """It is awaited, and its errors count as those of a plain function."""
    shown: list[int] = []

    async def progress(done: int, total: int | None) -> None:
        await asyncio.sleep(0)
        shown.append(done)
        if done > 200:
            raise KeyError(done)

    await CreateJob(200, service.create, concurrency=1, on_progress=progress)
    assert shown == [100, 200]
    with pytest.raises(BatchError):
        await CreateJob(300, service.create, concurrency=1, on_progress=progress)


async def _read_keys(job: CreateJob, amount: int) -> None:
    read = 0
    async with aclosing(aiter(job)) as batches:
        async for batch in batches:
            read += len(batch.keys)
            if read >= amount:
                break


async def test_leaving_the_loop_tells_of_keys_that_were_not_read(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """No more are made than may be in flight, and all are in the report."""
    job = service.create_job(5000, 8)
    with pytest.warns(ResourceWarning) as caught:
        await _read_keys(job, 200)
    assert job.report.created == service.made <= 200 + 800
    unread = f" {service.made - 200} created keys "
    assert unread in str(caught[0].message)
    assert caught[0].source is job  # by it `tracemalloc` says where the job was made
    assert unread in caplog.text


async def test_a_job_runs_only_once(service: Service) -> None:
    """A second run would create the keys again."""
    job = service.create_job(10)
    await job
    with pytest.raises(RuntimeError):
        await job
    assert service.made == 10
