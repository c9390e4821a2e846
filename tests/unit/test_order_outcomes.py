"""An order says that it was not carried out only if nobody can have filled it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import pytest

from junkie_async import (
    BatchError,
    ConfigurationError,
    CreateJob,
    JunkieError,
    Key,
    KeyBatch,
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
)
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.order import fill_order
from junkie_async._jobs.reconcile import Reconciler
from junkie_async._jobs.record import LeaseLostError, LoadedJob

from .job_service import Service


@attrs.define(eq=False)
class _Record:
    """The record of a new job, which another worker may take over; its methods can fail."""

    has_lease: ClassVar[bool] = True
    fails: Mapping[str, type[ConfigurationError]]
    closed: int = attrs.field(default=0, init=False)

    async def open(self, arguments: object, add_keys: object) -> LoadedJob:
        self._fail("open")
        return LoadedJob(id="abcdefghijkl", begun=1.0)

    def log_intents(self, intents: Sequence[tuple[int, int]]) -> None:
        self._fail("log_intents")

    def log_keys(self, *_: object, **__: object) -> None:
        self._fail("log_keys")

    async def sync(self) -> None:
        self._fail("sync")

    def check_writer(self) -> None:
        """Do nothing."""

    async def wait_until_writer(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        self.closed += 1
        self._fail("close")

    def _fail(self, name: str) -> None:
        if error := self.fails.get(name):
            raise error("the ledger can't be used")


@attrs.define(eq=False)
class _LostRecord(_Record):
    """A record that another worker takes over after two calls.

    It can't be opened again, or has another job of that name then.
    """

    failure: Exception | None
    checks: int = attrs.field(default=0, init=False)

    async def open(self, arguments: object, add_keys: object) -> LoadedJob:
        if self.checks and self.failure is not None:
            raise self.failure
        return LoadedJob(id="lkjihgfedcba" if self.checks else "abcdefghijkl", begun=1.0)

    async def wait_until_writer(self) -> None:
        self.checks += 1
        if self.checks == 3:
            raise LeaseLostError("another worker has it")


async def order(record: _Record, failure: type[JunkieError] | None = None) -> Key:
    """Fill an order whose call fails, or creates a key."""
    ledger = Ledger(record, {}, "jk")

    async def create(marker: str, before_send: Callable[[], None]) -> Key:
        before_send()
        if failure is not None:
            raise failure("the call failed")
        return Key(id=1, key_value="K", key_name=marker)

    never: Any = None  # nothing is in doubt before the call
    reconciler = Reconciler(ledger, 0.0, fetch=never, delete=never, remember=never)
    return await fill_order(ledger, reconciler, create, lock=asyncio.Lock(), max_seconds=None)


@pytest.mark.parametrize(
    ("fails", "failure", "raised", "outcome"),
    [
        ((), RateLimitError, RateLimitError, Outcome.NOT_EXECUTED),
        (("open",), None, ConfigurationError, Outcome.UNKNOWN),
        (("sync",), None, ConfigurationError, Outcome.UNKNOWN),  # another may have filled it
        (("sync", "log_keys"), None, ConfigurationError, Outcome.UNKNOWN),
        (("close",), RateLimitError, RateLimitError, Outcome.UNKNOWN),  # the same
        (("log_keys",), RateLimitError, RateLimitError, Outcome.NOT_EXECUTED),
        (("log_keys",), OutcomeUnknownError, OutcomeUnknownError, Outcome.UNKNOWN),
        (("log_keys",), None, OutcomeUnknownError, Outcome.UNKNOWN),  # its key is there
        (("close",), None, OutcomeUnknownError, Outcome.UNKNOWN),
        (("log_keys", "close"), None, OutcomeUnknownError, Outcome.UNKNOWN),
    ],
)
async def test_what_an_order_says(
    fails: Sequence[str],
    failure: type[JunkieError] | None,
    raised: type[JunkieError],
    outcome: Outcome,
) -> None:
    """The failure of its call counts, before that of its record."""
    record = _Record(dict.fromkeys(fails, ConfigurationError))
    with pytest.raises(raised) as caught:
        await order(record, failure)
    assert type(caught.value) is raised
    assert caught.value.outcome is outcome
    assert record.closed == 1


async def test_a_lease_lost_at_the_end_of_a_refused_order() -> None:
    """While this worker stood still another one may have filled it."""
    with pytest.raises(RateLimitError) as caught:
        await order(_Record({"close": LeaseLostError}), RateLimitError)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_job_that_can_not_log_its_first_calls() -> None:
    """Another worker may have begun it, and created all its keys."""
    never: Any = None
    ledger = Ledger(_Record({"sync": ConfigurationError}), {}, "jk")
    with pytest.raises(BatchError) as caught:
        await CreateJob(5, never, concurrency=1, journal=ledger)
    assert not caught.value.did_nothing


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ConfigurationError("the ledger can't be used"), "the ledger can't be used"),
        (RuntimeError("a fault of ours"), "RuntimeError was raised"),
        (None, "no longer in its ledger"),
    ],
)
async def test_a_job_that_can_not_go_on_after_another_worker_had_it(
    failure: Exception | None, text: str
) -> None:
    """Its error has a report, with the keys that it created before."""
    service = Service()
    ledger = Ledger(_LostRecord({}, failure), {}, "jk")
    with pytest.raises(BatchError, match=text) as caught:
        await CreateJob(500, service.create, concurrency=1, journal=ledger)
    assert failure in (None, caught.value.__cause__)
    report = caught.value.report
    assert (report.created, report.failed, report.unknown) == (200, 300, 0)
    assert len(report.keys) == 200
    assert not caught.value.did_nothing


async def test_a_job_that_was_refused_after_another_worker_had_it() -> None:
    """It did nothing, but the other worker may have."""
    refusals = [LeaseLostError("another worker has it"), RateLimitError("no", status=429)]

    async def create(*_: object) -> KeyBatch:
        raise refusals.pop(0)

    ledger = Ledger(_Record({}), {}, "jk")
    with pytest.raises(BatchError) as caught:
        await CreateJob(500, create, concurrency=1, journal=ledger)
    assert isinstance(caught.value.__cause__, RateLimitError)
    assert not caught.value.did_nothing


class _Search(Reconciler):
    """Finds no key of any call."""

    async def reconcile(self, report_wait: object) -> list[list[Key]]:
        for intent in [*self._journal.open_intents.values()]:
            self._journal.log_result(intent, (), final=True)
        return []


async def test_a_job_that_was_refused_after_it_looked_for_its_keys() -> None:
    """It may have deleted surplus keys."""
    never: Any = None
    failures = [OutcomeUnknownError("lost"), RateLimitError("no", status=429)]

    async def create(*_: object) -> KeyBatch:
        raise failures.pop(0)

    ledger = Ledger(_Record({}), {}, "jk")
    search = _Search(ledger, 0.0, fetch=never, delete=never, remember=never)
    with pytest.raises(BatchError) as caught:
        await CreateJob(100, create, concurrency=1, journal=ledger, reconciler=search)
    assert isinstance(caught.value.__cause__, RateLimitError)
    assert caught.value.report.failed == 100
    assert not caught.value.did_nothing
