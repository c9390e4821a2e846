"""`Reconciler` over a journal in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from junkie_async import (
    BatchError,
    CreateJob,
    Hooks,
    InvalidResponseError,
    JobEvent,
    Key,
    KeyBatch,
    KeyPage,
    OutcomeUnknownError,
    Pagination,
)
from junkie_async._hooks import StatusCallback
from junkie_async._jobs.journal import Intent, Journal
from junkie_async._jobs.reconcile import Reconciler
from junkie_async._pagination.list_pass import PendingPage

from .clock import run
from .scripted import now


class _MarkedJournal(Journal):
    """Marks its intents."""

    def _marker_of(self, number: int) -> str:
        return f"m{number}"

    def find_intent(self, marker: str) -> int | None:
        """Find any intent, as a ledger does."""
        numbers = range(self._next_number)
        return next((number for number in numbers if self._marker_of(number) == marker), None)


class _Service:
    """Lists and deletes keys, and records whether a deletion came before the logging."""

    def __init__(self, *names: str) -> None:
        self.journal = _MarkedJournal()
        self.keys = [
            Key(id=number, key_value=f"K{number}", key_name=name)
            for number, name in enumerate(names, 1)
        ]
        self.pages: list[int] = []
        self.deleted: list[int | str] = []
        self.adopted: list[Collection[str]] = []
        self.created_at_deletion = -1

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Fetch a page of the list, in no order that tells where the newest are."""
        self.pages.append(page)

        async def decode() -> KeyPage:
            keys = tuple(self.keys[(page - 1) * limit : page * limit])
            return KeyPage(keys=keys, pagination=Pagination())

        return decode

    async def delete(self, ids: list[int | str]) -> int:
        """Record a deletion."""
        self.deleted += ids
        self.created_at_deletion = self.journal.created
        return len(ids)

    def reconciler(self) -> Reconciler:
        """Make a reconciler without a delay."""
        return Reconciler(
            self.journal, 0.0, fetch=self.fetch, delete=self.delete, remember=self.adopted.append
        )

    async def lose(self, *amounts: int) -> list[Intent]:
        """Open intents whose calls have unknown outcomes."""
        intents = await self.journal.log_intents(amounts)
        for intent in intents:
            intent.in_doubt = True
            self.journal.log_result(intent, (), final=False)
        return intents


async def reconcile(service: _Service) -> list[list[str]]:
    """Reconcile a service's journal, and return the key values adopted."""
    adopted = await service.reconciler().reconcile(lambda seconds: None)
    return [[key.key_value for key in keys] for keys in adopted]


async def test_marked_keys_are_adopted() -> None:
    """Each open intent gets its keys and is closed; what it did not create is missing again."""
    service = _Service("launch m0", "m1", "launch", "m0", "m7", "m1 launch")
    await service.lose(2, 3)
    assert await reconcile(service) == [["K1", "K4"], ["K2"]]
    assert service.journal.snapshot_keys()[1]() == ("K1", "K4", "K2")
    assert service.adopted == [["K1", "K4"], ["K2"]]
    assert not service.journal.open_intents
    assert not service.deleted


async def test_a_deletion_that_fails_is_not_repeated() -> None:
    """Only a list may lag behind keys that were just created; a deletion's response may not."""
    service = _Service("m0", "m0")
    await service.lose(1)

    async def delete(ids: list[int | str]) -> int:
        service.deleted += ids
        raise InvalidResponseError("unreadable")

    reconciler = Reconciler(
        service.journal, 0.0, fetch=service.fetch, delete=delete, remember=service.adopted.append
    )
    reconciler.record_keys()
    with pytest.raises(InvalidResponseError, match="unreadable"):
        await reconciler.reconcile(lambda seconds: None)
    assert service.deleted == [2]
    assert await reconcile(service) == [["K1"]]


@pytest.mark.parametrize("are_gone", [True, False])
def test_surplus_keys_of_which_fewer_are_deleted_are_looked_for(are_gone: bool) -> None:
    """They are gone if a response was lost. A list that lags has caught up after the delay."""
    service, waits = _Service("m0", "m0", "m0"), list[float]()

    async def delete(ids: list[int | str]) -> int:
        service.deleted += ids
        asyncio.get_running_loop().call_later(119, service.keys.__delitem__, slice(2, None))
        if are_gone:
            asyncio.get_running_loop().call_later(119, service.keys.__delitem__, slice(1, None))
        return 1

    async def main() -> None:
        await service.lose(1)
        reconciler = Reconciler(
            service.journal, 120.0, fetch=service.fetch, delete=delete, remember=len
        )
        if are_gone:
            assert await reconciler.reconcile(waits.append) == [service.keys]
        else:
            with pytest.raises(InvalidResponseError, match=r"1 surplus keys: .* deleted 1 of 2"):
                await reconciler.reconcile(waits.append)
        assert bool(service.journal.open_intents) != are_gone

    run(main())
    assert (service.deleted, waits) == ([2, 3], [120.0])


async def test_surplus_keys_are_deleted_before_anything_is_logged() -> None:
    """Surplus are keys above an intent's amount, and late ones of an intent that is closed."""
    service = _Service("m0", "m1", "m0", "m0")
    closed, _ = await service.lose(2, 1)
    service.journal.log_result(closed, ["K1"], final=True)
    assert await reconcile(service) == [["K2"]]
    assert service.deleted == [3, 4]
    assert service.created_at_deletion == 1


async def test_a_surplus_key_of_a_call_that_was_never_in_doubt_is_deleted() -> None:
    """The service has carried it out twice, and all keys that are logged are in the list."""
    service = _Service("m0", "m1", "m0")
    (done,) = await service.journal.log_intents([1])
    service.journal.log_result(done, ["K1"], final=True)
    await service.lose(1)
    assert await reconcile(service) == [["K2"]]
    assert service.deleted == [3]


async def test_logged_keys_are_neither_adopted_nor_deleted() -> None:
    """A response with some of its keys: only the others are adopted."""
    service = _Service("m0", "m0", "m0")
    (intent,) = await service.lose(3)
    service.journal.log_result(intent, ["K2"], final=False)
    assert await reconcile(service) == [["K1", "K3"]]
    assert not service.deleted


@pytest.mark.parametrize("given", [99, 100])
async def test_five_rounds_without_a_key_end_the_job(given: int) -> None:
    """The error is the latest doubt; keys in between start the count again, also without one."""
    service, doubts = _Service(), list[OutcomeUnknownError]()
    walks: list[int] = []  # how many calls were made before each
    calls = 0

    async def fetch(page: int, limit: int) -> PendingPage:
        if page == 1 and calls not in walks:
            walks.append(calls)
        return await service.fetch(page, limit)

    async def create(amount: int, marker: str | None, _: StatusCallback) -> KeyBatch:
        nonlocal calls
        calls += 1
        if calls == 9:
            values = tuple(f"K{number}" for number in range(given))
            service.keys += [
                Key(id=number, key_value=value, key_name=marker)
                for number, value in enumerate(values, 1)
            ]
            return KeyBatch(keys=values, count=amount)
        doubts.append(OutcomeUnknownError("lost"))
        raise doubts[-1]

    journal = service.journal
    reconciler = Reconciler(journal, 0.0, fetch=fetch, delete=service.delete, remember=len)
    with pytest.raises(BatchError) as caught:
        await CreateJob(300, create, concurrency=1, journal=journal, reconciler=reconciler)
    # Two doubts in a row are an outage for a job that makes one call at a time.
    assert walks == [2, 4, 6, 8, 11, 13, 15, 17, 19]
    assert caught.value.__cause__ is doubts[-1]
    report = caught.value.report
    assert (report.created, report.failed, report.unknown) == (given, 300 - given, 0)
    assert not journal.open_intents


class _Lossy:
    """Creates keys that the list shows, and loses the responses of some calls."""

    def __init__(self, lost: Collection[int], short: Collection[int] = ()) -> None:
        self.service = _Service()
        self.lost, self.short = lost, short
        self.calls = 0
        self.calls_before_walks: list[int] = []

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Note how many calls came before."""
        if self.calls not in self.calls_before_walks:
            self.calls_before_walks.append(self.calls)
        return await self.service.fetch(page, limit)

    async def create(self, amount: int, marker: str | None, _: StatusCallback) -> KeyBatch:
        """Create keys, and give all of them, one less, or none."""
        self.calls += 1
        call, first = self.calls, len(self.service.keys) + 1
        keys = [
            Key(id=number, key_value=f"K{number}", key_name=marker)
            for number in range(first, first + amount)
        ]
        self.service.keys += keys
        await asyncio.sleep(0)
        if call in self.lost:
            raise OutcomeUnknownError("lost")
        given = keys[1:] if call in self.short else keys
        return KeyBatch(keys=tuple(key.key_value for key in given), count=amount)

    async def run(self, amount: int, concurrency: int) -> list[str]:
        """Run a job, and return the keys that it gives."""
        journal = self.service.journal
        reconciler = Reconciler(
            journal, 0.0, fetch=self.fetch, delete=self.service.delete, remember=len
        )
        job = CreateJob(
            amount, self.create, concurrency=concurrency, journal=journal, reconciler=reconciler
        )
        given = [key async for batch in job for key in batch.keys]
        assert sorted(given) == sorted(job.report.keys)
        return given


async def test_a_response_that_lacks_a_key_is_settled_by_the_list() -> None:
    """Its keys are given at once, and the one that it lacks is adopted."""
    service = _Lossy(lost=(), short=[2])
    assert sorted(await service.run(300, 1)) == sorted(f"K{at}" for at in range(1, 301))
    assert service.calls == 3


async def test_rounds_that_find_keys_end_no_job() -> None:
    """Only those without any count, however many there are."""
    service = _Lossy(lost=range(100))
    assert len({*await service.run(1600, 1)}) == 1600
    assert service.calls_before_walks == [*range(2, 17, 2)]


async def test_hooks_are_told_of_a_wait() -> None:
    """With the keys so far, and the seconds that the job waits."""
    service, events = _Lossy(lost=[2]), list[JobEvent]()

    class Recorder(Hooks):
        def on_job(self, event: JobEvent) -> None:
            events.append(event)

    journal = service.service.journal
    reconciler = Reconciler(
        journal, 0.01, fetch=service.fetch, delete=service.service.delete, remember=len
    )
    await CreateJob(
        200,
        service.create,
        concurrency=1,
        hooks=[Recorder()],
        journal=journal,
        reconciler=reconciler,
    )
    assert [(event.keys, event.done, event.total) for event in events] == [
        (100, 100, 200),
        (0, 100, 200),
        (100, 200, 200),
    ]
    assert [0 < event.waiting <= 0.01 for event in events] == [False, True, False]


async def test_calls_that_are_lost_at_once_are_no_outage() -> None:
    """A restart of the service loses all calls in flight: the list is looked at in the end."""
    service = _Lossy(lost=range(2, 9))
    assert len({*await service.run(2400, 4)}) == 2400
    assert service.calls_before_walks == [24]


async def test_keys_that_another_call_has_logged_are_not_adopted() -> None:
    """Call 1 was answered with the keys of call 0, so its own keys are surplus."""
    service = _Service("m0", "m0", "m1", "m1")
    first, second = await service.lose(2, 2)
    service.journal.log_result(second, ["K1", "K2"], final=True)
    assert await reconcile(service) == []
    assert service.deleted == [3, 4]
    assert first.number not in service.journal.open_intents  # its keys are missing again


async def test_a_call_answered_with_keys_of_another_job_ends_the_job() -> None:
    """The call's own keys are not deleted as surplus: nobody can tell which ones are wrong."""
    service = _Service("m0", "m1")
    closed, _ = await service.journal.log_intents([1, 1])
    service.journal.log_result(closed, ["theirs"], final=True)
    service.journal.find_intent = lambda marker: int(marker[1:])  # type: ignore[method-assign]
    service.journal.log_result(service.journal.open_intents[1], ["K2"], final=True)
    with pytest.raises(InvalidResponseError):
        await service.reconciler().reconcile(lambda seconds: None)
    assert not service.deleted


async def test_the_delay_is_reported() -> None:
    """Once, when it begins, with the seconds that remain of it."""
    service, waits = _Service(), list[float]()
    reconciler = Reconciler(
        service.journal, 0.01, fetch=service.fetch, delete=service.delete, remember=len
    )
    reconciler.restart_delay()
    await reconciler.reconcile(waits.append)
    assert [0 < seconds <= 0.01 for seconds in waits] == [True]


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("lag", [0.0, 1.0, 100.0])
def test_a_list_that_lags_less_than_the_delay_ends_no_job(rounds: int, lag: float) -> None:
    """The first calls fail, and the list does not show the keys that follow at once."""
    service, listed_from, calls = _Service(), list[float](), 0

    async def fetch(page: int, limit: int) -> PendingPage:
        is_listed = listed_from and now() >= listed_from[0] + lag
        return await service.fetch(page if is_listed else 100, limit)

    async def create(amount: int, marker: str | None, _: StatusCallback) -> KeyBatch:
        nonlocal calls
        calls += 1
        if calls <= 3 * rounds:
            raise OutcomeUnknownError("lost")
        listed_from.append(now())
        begin = len(service.keys) + 1
        new = [
            Key(id=number, key_value=f"K{number}", key_name=marker)
            for number in range(begin, begin + amount)
        ]
        service.keys += new
        return KeyBatch(keys=tuple(key.key_value for key in new), count=amount)

    async def main() -> float:
        journal = service.journal
        reconciler = Reconciler(journal, 120.0, fetch=fetch, delete=service.delete, remember=len)
        report = await CreateJob(300, create, concurrency=8, journal=journal, reconciler=reconciler)
        assert (report.created, len(service.keys)) == (300, 300)
        return now() - 1000

    # The list is looked at a second time at once, and believed if it shows a key.
    assert run(main()) == pytest.approx(120 * (rounds + (lag > 0)), abs=1)


_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class _LongList(_Service):
    """Has 700 keys, the newest first, one for each hour; the job was begun 24 hours after 576."""

    def __init__(self, ours: Collection[int], logged: Collection[int] = ()) -> None:
        super().__init__()
        self.keys = [
            Key(
                id=number,
                key_value=f"K{number}",
                key_name="m0" if number in ours else "m1" if number in logged else "theirs",
                created_at=_BEGIN + timedelta(hours=number),
            )
            for number in range(700, 0, -1)
        ]
        self.journal.begun = (_BEGIN + timedelta(hours=600)).timestamp()

    async def fetch(self, page: int, limit: int) -> PendingPage:
        """Fetch a page, which states the total."""
        self.pages.append(page)

        async def decode() -> KeyPage:
            keys = tuple(self.keys[(page - 1) * limit : page * limit])
            return KeyPage(keys=keys, pagination=Pagination(page=page, limit=limit, total=700))

        return decode


@pytest.mark.parametrize(
    ("ours", "logged", "is_soon"),
    [
        ([650, 640], [], True),
        ([650, 576], [], True),  # as old as can be
        ([650, 575], [], False),  # older than the job: clocks are wrong
        ([300, 290], [], False),  # nothing of the job is where it should be
        ([650, 640], [655, 580], True),
        ([], [655, 580], True),  # the call that was lost has created nothing
        ([650, 640], [655, 300], False),  # a key that is logged is not where it should be
        ([650, 640], [300, 290, 280], False),
    ],
)
async def test_how_far_a_list_is_read(
    ours: Collection[int], logged: Collection[int], *, is_soon: bool
) -> None:
    """Until the moment at which the job was begun, if what was found is as it should be."""
    service = _LongList(ours, logged)
    await service.lose(2)
    if logged:
        (intent,) = await service.journal.log_intents([len(logged)])
        service.journal.log_result(intent, [f"K{number}" for number in logged], final=True)
    assert await reconcile(service) == ([[f"K{number}" for number in ours]] if ours else [])
    assert max(service.pages) == (2 if is_soon else 8)


async def test_a_list_without_dates_of_the_job_s_keys() -> None:
    """They contradict nothing."""
    service = _LongList([650, 640])
    service.keys = [
        attrs.evolve(key, created_at=None) if key.key_name == "m0" else key for key in service.keys
    ]
    await service.lose(2)
    assert await reconcile(service) == [["K650", "K640"]]
    assert max(service.pages) == 2


async def test_a_job_of_unknown_age_reads_the_whole_list() -> None:
    """Its keys may be anywhere."""
    service = _LongList([650, 640])
    service.journal.begun = None
    await service.lose(2)
    assert await reconcile(service) == [["K650", "K640"]]
    assert max(service.pages) == 8
