"""`CreateJob` over callables in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    BatchError,
    CreateJob,
    InvalidRequestError,
    InvalidResponseError,
    KeyBatch,
    Outcome,
    OutcomeUnknownError,
    ServerError,
)
from junkie_async._hooks import StatusCallback
from junkie_async._jobs.journal import Journal
from junkie_async._jobs.record import LeaseLostError

from .clock import run
from .job_service import Service
from .scripted import now


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "1"])
def test_bad_amounts(service: Service, amount: int) -> None:
    """They are refused when the job is made."""
    with pytest.raises(InvalidRequestError) as caught:
        service.create_job(amount)
    assert caught.value.field == "amount"


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
    assert service.most_concurrent <= concurrency


async def test_an_unknown_outcome_is_reported_as_unknown(service: Service) -> None:
    """The keys of a call with an unknown outcome count as unknown, not as failed."""

    def lose(call: int) -> None:
        if call == 2:
            raise OutcomeUnknownError("lost")

    service.before = lose
    with pytest.raises(BatchError) as caught:
        await service.create_job(250, 1)
    report = caught.value.report
    assert (report.created, report.unknown, report.failed) == (100, 100, 50)


async def test_readable_keys_of_an_unreadable_response_are_reported() -> None:
    """The good key values of a response with a bad one are created; the bad one is unknown."""

    async def create_garbled(amount: int, _: str | None, __: StatusCallback) -> KeyBatch:
        rows = tuple(f"K{at}" for at in range(amount - 1))
        cause = InvalidResponseError("keys[99] must be a key value", rows=rows)
        raise OutcomeUnknownError("sent") from cause

    with pytest.raises(BatchError) as caught:
        await CreateJob(300, create_garbled, concurrency=1)
    report = caught.value.report
    assert report.keys == tuple(f"K{at}" for at in range(99))
    assert (report.unknown, report.failed) == (1, 200)


async def test_fewer_keys_than_requested_end_the_job(service: Service) -> None:
    """A response with fewer keys is an error; its keys are reported, the others may exist."""

    async def create_fewer(amount: int, _: str | None, __: StatusCallback) -> KeyBatch:
        return KeyBatch(keys=tuple((await service.create(amount - 1)).keys), count=amount)

    keys: list[str] = []
    with pytest.raises(BatchError) as caught:
        async for batch in CreateJob(300, create_fewer, concurrency=1):
            keys += batch.keys
    cause = caught.value.__cause__
    assert isinstance(cause, InvalidResponseError)
    assert (cause.field, cause.outcome) == ("keys", Outcome.EXECUTED)
    assert tuple(keys) == caught.value.report.keys
    report = caught.value.report
    assert (len(keys), report.unknown, report.failed) == (99, 1, 200)


@pytest.mark.parametrize("call", [2, 3])
async def test_a_key_value_that_comes_again_is_unknown(service: Service, call: int) -> None:
    """A gateway repeats the response of the first call: its keys count once, the others don't."""
    batches: list[KeyBatch] = []

    async def create(amount: int, _: str | None, __: StatusCallback) -> KeyBatch:
        batches.append(await service.create(amount))
        return batches[0] if len(batches) == call else batches[-1]

    with pytest.raises(BatchError) as caught:
        await CreateJob(300, create, concurrency=1)
    assert isinstance(caught.value.__cause__, OutcomeUnknownError)
    report = caught.value.report
    assert len(set(report.keys)) == report.created == 100 * (call - 1)
    assert (report.unknown, report.failed) == (100, 300 - 100 * call)


async def test_a_key_value_that_comes_twice_in_a_response_is_unknown(service: Service) -> None:
    """Only one of the two exists."""

    async def create(amount: int, _: str | None, __: StatusCallback) -> KeyBatch:
        keys = (await service.create(amount)).keys
        return KeyBatch(keys=(*keys[:-1], keys[0]), count=amount)

    with pytest.raises(BatchError) as caught:
        await CreateJob(100, create, concurrency=1)
    assert (caught.value.report.created, caught.value.report.unknown) == (99, 1)


@pytest.mark.parametrize(
    ("outcome", "unknown"), [(Outcome.UNKNOWN, 100), (Outcome.NOT_EXECUTED, 0)]
)
async def test_a_failure_is_unknown_unless_it_was_refused(
    service: Service, outcome: Outcome, unknown: int
) -> None:
    """The keys of a call that was not executed for sure are failed ones."""

    def fail(call: int) -> None:
        if call == 2:
            raise ServerError("down", status=500, outcome=outcome)

    service.before = fail
    with pytest.raises(BatchError) as caught:
        await service.create_job(250, 1)
    report = caught.value.report
    assert (report.created, report.unknown, report.failed) == (100, unknown, 150 - unknown)


class _SharedJournal(Journal):
    """Another worker takes the job over, creates keys, and leaves it again."""

    can_lose_writer = True

    def __init__(self, losses: list[int]) -> None:
        super().__init__()
        self.losses = losses  # by calls
        self.calls = self.runs = 0

    async def open(self) -> None:
        """Find what the other worker has logged."""
        self.runs += 1
        self.open_intents.clear()
        if self.runs > 1:
            theirs = [f"theirs {self.runs} {at}" for at in range(30)]
            intents = await self.log_intents([30])
            self.log_result(intents[0], theirs, final=True)

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield all keys in other portions than they came, with the earliest first."""
        keys = self.snapshot_keys()[1]()
        for at in range(0, len(keys) if self.runs > 1 else 0, 70):
            yield keys[at : at + 70]

    async def wait_until_writer(self) -> None:
        """Lose the job before some calls."""
        self.calls += 1
        if self.calls in self.losses:
            raise LeaseLostError("another worker has it")


@pytest.mark.parametrize("losses", [[1], [3], [3, 6], [3, 4]])
def test_a_job_that_another_worker_had_gives_each_key_once(losses: list[int]) -> None:
    """Those that came before are not given again, and those of the other worker are."""
    service, journal = Service(), _SharedJournal(losses)
    job = CreateJob(1000, service.create, concurrency=1, journal=journal)

    async def read() -> tuple[list[str], float]:
        batches = [batch.keys async for batch in job]
        assert all(batches)  # none is empty
        return [key for keys in batches for key in keys], now()

    given, ended = run(read())
    assert sorted(given) == sorted(job.report.keys)
    assert (len(given), len({*given}), journal.runs) == (1000, 1000, 1 + len(losses))
    assert sum("theirs" in key for key in given) == 30 * len(losses)
    assert round(ended - 1000, 3) == 0  # no pause
