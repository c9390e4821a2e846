"""`DeleteJob` over callables in memory."""

from __future__ import annotations

import enum
import random
import tracemalloc
from array import array
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    APIError,
    BatchError,
    BulkDeleteResult,
    DeleteJob,
    InvalidRequestError,
    Key,
    Outcome,
    ServerError,
)
from junkie_async._hooks import StatusCallback

from .job_service import Service
from .odd_values import Index


@given(st.integers(0, 4500), st.integers(1, 5), st.sampled_from(["list", "iterator", "async"]))
async def test_exactly_the_keys_of_any_iterable(amount: int, concurrency: int, kind: str) -> None:
    """A job is split into calls of 1000; deleted and missing keys add up to the requested ones."""
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


class _Small(enum.IntEnum):
    FIVE = 5


class _Integer(int):
    pass


@pytest.mark.parametrize("source", [list, iter])
@pytest.mark.parametrize("last", [7, Index(7)], ids=["int", "Index"])
async def test_other_integers_are_sent_as_plain_ones(
    service: Service, source: Callable[[list[Any]], Iterable[Any]], last: Any
) -> None:
    """The check in C takes subclasses of int for IDs; for an `Index` each key is checked."""
    given = [_Small.FIVE, _Integer(6), 2**53 - 1, last]
    await DeleteJob(source(given), service.delete, concurrency=1)
    assert service.deleted == [[5, 6, 2**53 - 1, 7]]
    assert {type(key) for key in service.deleted[0]} == {int}


@pytest.mark.parametrize(
    "bad",
    [
        True,
        0,
        -1,
        2**53,
        2**70,
        5.0,
        Decimal(5),
        None,
        b"5",
        [5],
        "\ud800",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("place", [0, 999, 1000, 2500])
def test_what_is_no_id_is_refused_wherever_it_is(service: Service, bad: Any, place: int) -> None:
    """A list is checked in parts. The error names the place in the whole."""
    given: list[Any] = [*range(1, 3001)]
    given[place] = bad
    with pytest.raises(InvalidRequestError, match=rf"keys\[{place}\]"):
        DeleteJob(given, service.delete, concurrency=1)
    assert service.deleted == []


async def test_duplicates_are_dropped_but_ids_and_values_differ(service: Service) -> None:
    """5, "5" and a Key of ID 5 are two keys: one by ID, one by value."""
    keys: list[int | str | Key] = [5, "5", 5, Key(id=5, key_value="K"), "5", 6]
    shown: list[tuple[int, int | None]] = []
    report = await DeleteJob(
        keys, service.delete, concurrency=1, on_progress=lambda *now: shown.append(now)
    )
    assert service.deleted == [[5, "5", 6]]
    assert report.requested == 3
    assert shown == [(3, 3)]


async def test_an_iterator_is_read_lazily(service: Service) -> None:
    """An endless source is read no further than the calls in flight need."""
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    def fail(call: int) -> None:
        if call >= 3:
            raise ServerError("down", status=500)

    service.before = fail
    with pytest.raises(BatchError) as caught:
        await DeleteJob(endless(), service.delete, concurrency=2)
    report = caught.value.report
    assert read <= 6000
    assert report.requested == read == report.deleted + report.missing + report.failed
    assert report.failed >= 1000


@pytest.mark.parametrize("keys", [[1, True], [1, ".."], {0}, (1, 2.0)])
async def test_a_collection_is_checked_before_anything_is_sent(
    service: Service, keys: list[int]
) -> None:
    """A bad reference in a list is named by its index, and nothing has been deleted."""
    with pytest.raises(InvalidRequestError) as caught:
        DeleteJob(keys, service.delete, concurrency=1)
    assert caught.value.field in ("keys[0]", "keys[1]")
    assert not service.deleted


@pytest.mark.parametrize("keys", ["JNK-1", b"JNK-1", 5, None])
async def test_a_value_that_is_no_iterable_is_refused(service: Service, keys: list[int]) -> None:
    """A single key value is not read as a list of letters."""
    with pytest.raises(InvalidRequestError) as caught:
        DeleteJob(keys, service.delete, concurrency=1)
    assert caught.value.field == "keys"


@pytest.mark.parametrize("kind", [int, str])
async def test_a_key_that_comes_again_in_a_later_call_is_dropped(
    service: Service, kind: type[int | str]
) -> None:
    """It is not requested twice, whatever the order."""
    numbers = [*range(1, 2001), *range(900, 1600), 2500, 1, 2400]
    report = await DeleteJob([kind(at) for at in numbers], service.delete, concurrency=1)
    assert (report.requested, report.deleted, report.missing) == (2002, 2002, 0)
    deleted = [key for chunk in service.deleted for key in chunk]
    assert sorted(map(int, deleted)) == [*range(1, 2001), 2400, 2500]


async def test_a_call_that_is_too_large_is_halved(service: Service) -> None:
    """Later calls are not larger than the one that was taken; one key too large is an error."""

    async def delete(keys: list[int | str], _: StatusCallback) -> BulkDeleteResult:
        if len(keys) > most:
            raise APIError("too large", status=413, outcome=Outcome.NOT_EXECUTED)
        return await service.delete(keys)

    most = 260
    report = await DeleteJob(range(1, 3001), delete, concurrency=1)
    assert (report.requested, report.deleted, report.failed) == (3000, 3000, 0)
    assert [len(chunk) for chunk in service.deleted] == [250] * 12
    yielded = [result async for result in DeleteJob(range(1, 1001), delete, concurrency=1)]
    assert yielded == [BulkDeleteResult(deleted=1000, requested=1000)]  # of the call as it was
    most = 0
    with pytest.raises(BatchError) as caught:
        await DeleteJob([1, 2, 3], delete, concurrency=1)
    assert caught.value.report.failed == 3


async def test_keys_without_repeats_are_not_remembered() -> None:
    """The IDs of a walk take the 8 bytes each in which they are collected, in whatever order."""
    ids = array("q", range(1, 40_001))
    random.Random(1).shuffle(ids)
    job = DeleteJob(ids, delete_all, concurrency=1, unique=True)
    tracemalloc.start()
    try:
        report = await job
        assert tracemalloc.get_traced_memory()[1] < 4 * len(ids)
    finally:
        tracemalloc.stop()
    assert (report.requested, report.deleted) == (40_000, 40_000)


async def test_an_id_that_comes_again_among_key_values_is_dropped(service: Service) -> None:
    """Chunks of IDs alone and chunks of both remember the same IDs."""
    keys: list[int | str] = [*range(1, 1001), "a", 5, "5", 2000, "a", 1000]
    report = await DeleteJob(keys, service.delete, concurrency=1)
    assert service.deleted == [[*range(1, 1001)], ["a", "5", 2000]]
    assert (report.requested, report.deleted) == (1003, 1003)


@pytest.mark.parametrize("keys", [["a", "b", "a"], ["a", 5, "5", 5, "a"], [1, "1", 2**53 - 1]])
async def test_key_values_of_an_async_iterable(service: Service, keys: list[int | str]) -> None:
    """They are deleted as those of a list are."""

    async def stream() -> AsyncIterator[int | str]:
        for key in keys:
            yield key

    await DeleteJob(stream(), service.delete, concurrency=1)
    assert service.deleted == [[*dict.fromkeys(keys)]]


async def test_a_full_call_of_an_async_iterable_is_sent_at_once(service: Service) -> None:
    """No key is read that is not needed for it."""
    sent: list[int] = []

    async def stream() -> AsyncIterator[int]:
        for number in range(1, 2502):
            sent.append(len(service.deleted))
            yield number

    await DeleteJob(stream(), service.delete, concurrency=1)
    assert [len(chunk) for chunk in service.deleted] == [1000, 1000, 501]
    assert [sent.count(calls) for calls in range(4)] == [1000, 1000, 501, 0]


async def test_a_refused_call_is_sent_once(service: Service) -> None:
    """Only one that is too large is sent again, in parts."""

    def refuse(_: int) -> None:
        raise APIError("no", status=400, outcome=Outcome.NOT_EXECUTED)

    service.before = refuse
    with pytest.raises(BatchError):
        await DeleteJob(range(1, 101), service.delete, concurrency=1)
    assert len(service.deleted) == 1


async def test_calls_are_full_although_keys_repeat(service: Service) -> None:
    """Repeats cost no requests."""
    keys = [at for at in range(1, 2001) for _ in range(3)]
    report = await DeleteJob(iter(keys), service.delete, concurrency=1)
    assert [len(chunk) for chunk in service.deleted] == [1000, 1000]
    assert (report.requested, report.deleted) == (2000, 2000)
    service.deleted.clear()
    await DeleteJob(iter([*range(1, 501), *range(1, 2501)]), service.delete, concurrency=1)
    assert [len(chunk) for chunk in service.deleted] == [1000, 1000, 500]
    assert [key for chunk in service.deleted for key in chunk] == [*range(1, 2501)]


async def test_what_an_iterator_gave_before_it_failed_is_counted(service: Service) -> None:
    """Keys that were read and not sent are failed ones."""

    def fail_after(amount: int) -> Iterator[int]:
        yield from range(1, amount + 1)
        raise LookupError

    with pytest.raises(BatchError) as caught:
        await DeleteJob(fail_after(1500), service.delete, concurrency=1)
    report = caught.value.report
    assert (report.requested, report.deleted, report.failed) == (1500, 1000, 500)


async def delete_all(keys: list[int | str], _: StatusCallback) -> BulkDeleteResult:
    """Delete without a record."""
    return BulkDeleteResult(deleted=len(keys), requested=len(keys))
