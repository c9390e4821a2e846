"""Creating any number of keys, exactly: the algorithm, over whatever record it is given.

Knows neither HTTP nor SQLite: any async callables, and any `Record`, will do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from .._errors import InvalidResponseError, JunkieError, Outcome, OutcomeUnknownError
from .._hooks import Hooks, InFlightCallback
from .._models import CreateReport, Key, KeyBatch
from .._protocol.fields import MAX_BATCH
from .._validation import check_integer
from .job import Job, OnProgress

SETTLE: Final = 120.0
"""Seconds by default until a doubt is settled: CDNs give a service up to 100 s for an answer
(Cloudflare's error 524), and what is late by then has failed for its own time-outs, too."""

MARKER: Final = "jk"

_ROUNDS: Final = 5
"""Rounds of settling in a row that bring no key, after which a job gives up for now."""


@attrs.define(eq=False)
class Attempt:
    """One call that creates keys.

    Attributes:
        number: Counts the attempts of a job, from 0.
        owes: How many of the keys that it asks for are not on record, 0 to 100.
        marker: What its keys can be found by, or None.
        doubtful: Whether it may have been sent, and it is not known what came of it.
    """

    number: int
    owes: int
    marker: str | None = None
    doubtful: bool = False


class Record:
    """What is known of a job while it runs: its keys, and the attempts that owe some.

    An attempt is open from before it is sent until all is known that came of it.

    Attributes:
        created: Keys on record.
        open: The open attempts, by number.
        suspects: Attempts that were ever in doubt, by their markers.
    """

    def __init__(self) -> None:
        self.created = 0
        self.open: dict[int, Attempt] = {}
        self.suspects: dict[str, Attempt] = {}
        self._attempts = 0
        self._keys: list[str] = []

    @property
    def longest_marker(self) -> str | None:
        """As long as the markers of its attempts can get."""
        return None

    @property
    def promised(self) -> int:
        """Keys that the open attempts owe."""
        return sum(attempt.owes for attempt in self.open.values())

    def keys(self) -> tuple[str, ...]:
        """Give all key values on record, in the order in which they came."""
        return tuple(self._keys)

    async def begin(self) -> None:
        """Take the job up where it was left."""

    async def close(self) -> None:
        """Let go of it, with all that was put down on record."""

    async def earlier(self) -> AsyncGenerator[Sequence[str], None]:
        """Give the key values that were on record at `begin`, some at a time."""
        nothing: tuple[Sequence[str], ...] = ()
        for keys in nothing:
            yield keys

    async def intend(self, amounts: Sequence[int]) -> list[Attempt]:
        """Open attempts for so many keys each: they may be sent once this has returned."""
        attempts = [self._attempt(amount) for amount in amounts]
        self.open |= {attempt.number: attempt for attempt in attempts}
        return attempts

    def put(self, attempt: Attempt, keys: Collection[str], *, closes: bool) -> None:
        """Put down keys that came of an attempt, and whether that is all there is to know of it."""
        self._keys += keys
        self._count(attempt, len(keys), closes=closes)

    async def sync(self) -> None:
        """Wait until all that was put down can't get lost any more."""

    async def known(self, numbers: Collection[int]) -> set[str]:
        """Give the key values on record that came of these attempts."""
        raise NotImplementedError

    def _attempt(self, amount: int) -> Attempt:
        self._attempts += 1
        return Attempt(self._attempts - 1, amount)

    def _count(self, attempt: Attempt, keys: int, *, closes: bool) -> None:
        self.created += keys
        attempt.owes -= keys
        if closes:
            del self.open[attempt.number]
        elif attempt.marker is not None:
            self.suspects[attempt.marker] = attempt


Create: TypeAlias = Callable[[int, str | None, InFlightCallback], Awaitable[KeyBatch]]
"""Creates so many keys, under a marker if there is one."""


@attrs.frozen
class Settling:
    """How doubts are settled, where attempts are marked.

    Attributes:
        seconds: What passes first: longer than the service may still act on a request.
        find: Finds all keys that bear one of these markers.
        delete: Deletes keys by their IDs.
    """

    seconds: float
    find: Callable[[Mapping[str, Attempt]], Awaitable[list[tuple[Attempt, Key]]]]
    delete: Callable[[list[int | str]], Awaitable[object]]


class CreateJob(Job[Attempt | KeyBatch, KeyBatch, CreateReport]):
    """Creates keys, 100 a call. Gives each `KeyBatch` as it is created.

    With a ledger the job can be run again after whatever has ended it, and gives all its keys,
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
        hooks: Hooks | None = None,
        record: Record | None = None,
        settling: Settling | None = None,
    ) -> None:
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)
        self._amount = check_integer("amount", amount, 1)
        self._create = create
        self._record = record or Record()
        self._settling = settling
        self._ahead: deque[Attempt] = deque()
        self._news = asyncio.Event()
        self._under_way = 0
        self._doubts = 0  # since a key came last
        self._doubted = 0.0  # when the latest one arose, on the event loop's clock
        self._doubt: JunkieError | None = None
        self._fruitless = 0

    @property
    def report(self) -> CreateReport:
        """What the job has created so far; final once it has ended."""
        keys = self._record.keys()
        unknown = sum(attempt.owes for attempt in self._record.open.values() if attempt.doubtful)
        unknown += self._record.created - len(keys)  # not on the disk, and so not given either
        return CreateReport(
            requested=self._amount,
            keys=keys,
            failed=max(0, self._amount - len(keys) - unknown),
            unknown=unknown,
        )

    async def _begin(self) -> None:
        await self._record.begin()
        self._doubted = asyncio.get_running_loop().time()  # all that an earlier run left open

    async def _end(self) -> None:
        for attempt in [one for one in self._record.open.values() if not one.doubtful]:
            self._record.put(attempt, (), closes=True)  # never sent
        await self._record.close()

    async def _chunks(self) -> AsyncGenerator[Attempt | KeyBatch, None]:
        async for keys in self._record.earlier():
            yield _batch(keys)
        while True:
            left = self._amount - self._record.created - self._record.promised
            if self._ahead or (left > 0 and self._doubts < self._most_doubts):
                if not self._ahead:
                    self._ahead += await self._record.intend(_split(left, 2 * self._concurrency))
                self._under_way += 1
                yield self._ahead.popleft()
            elif self._under_way:
                self._news.clear()
                await self._news.wait()
            elif self._record.open and self._settling is not None:
                for batch in await self._settle(self._settling):
                    yield batch
            elif self._record.open:
                raise self._doubt or OutcomeUnknownError("what became of some calls is not known")
            else:
                return

    async def _call(
        self, chunk: Attempt | KeyBatch, on_in_flight: InFlightCallback
    ) -> KeyBatch | None:
        if isinstance(chunk, KeyBatch):
            return chunk

        def note(begun: bool) -> None:
            chunk.doubtful = begun
            on_in_flight(begun)

        try:
            batch = await self._create(chunk.owes, chunk.marker, note)
        except OutcomeUnknownError as error:
            readable = getattr(error.__cause__, "rows", ())  # of an answer with a bad row in it
            return self._doubted_of(chunk, readable, error)
        except JunkieError as error:
            chunk.doubtful = error.outcome is not Outcome.NOT_EXECUTED
            raise
        finally:
            self._under_way -= 1
            self._news.set()
        return self._created(chunk, batch)

    def _created(self, attempt: Attempt, batch: KeyBatch) -> KeyBatch | None:
        asked, got = attempt.owes, len(batch.keys)
        if got < asked and self._settling is not None:
            return self._doubted_of(attempt, batch.keys, _miscounted(asked, got))
        attempt.doubtful = False
        self._record.put(attempt, batch.keys, closes=True)
        self._doubts = self._fruitless = 0
        if got != asked and self._runner is not None:
            # The batch is kept and given to the reader; only the job does not go on.
            self._runner.stop(_miscounted(asked, got))
        return batch

    def _doubted_of(
        self, attempt: Attempt, keys: tuple[str, ...], error: JunkieError
    ) -> KeyBatch | None:
        """Take note that it is not known, or only in part, what came of an attempt."""
        attempt.doubtful = True
        self._record.put(attempt, keys, closes=False)
        if self._settling is None:
            raise error
        self._doubt = error
        self._doubts += 1
        self._doubted = asyncio.get_running_loop().time()
        return _batch(keys) if keys else None

    async def _settle(self, settling: Settling) -> list[KeyBatch]:
        """Find out what came of all attempts in doubt; nothing is under way meanwhile."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._doubted + settling.seconds - loop.time())
        found = await settling.find(self._record.suspects)
        known = await self._record.known({attempt.number for attempt, _ in found})
        fresh = [(attempt, key) for attempt, key in found if key.key_value not in known]
        adopted: dict[int, list[str]] = {number: [] for number in self._record.open}
        surplus: list[int | str] = []
        for attempt, key in fresh:
            mine = adopted.get(attempt.number)
            if mine is not None and len(mine) < attempt.owes:
                mine.append(key.key_value)
            else:
                surplus.append(key.id)
        if surplus:  # before anything is put down: a crash in between only repeats this
            await settling.delete(surplus)
        for number, keys in adopted.items():
            self._record.put(self._record.open[number], keys, closes=True)
        return self._settled([_batch(keys) for keys in adopted.values() if keys])

    def _settled(self, batches: list[KeyBatch]) -> list[KeyBatch]:
        self._doubts = 0
        self._fruitless = 0 if batches else self._fruitless + 1
        if self._fruitless >= _ROUNDS and self._doubt is not None:
            raise self._doubt  # run again later, the job goes on from here
        return batches

    @property
    def _most_doubts(self) -> int:
        """So many in a row are an outage: it is no use to ask for more."""
        return 2 * self._concurrency

    async def _release(self) -> None:
        await self._record.sync()

    def _progress(self) -> tuple[int, int | None]:
        return self._record.created, self._amount


def _split(amount: int, most: int) -> list[int]:
    """Split an amount into calls, at most so many of them."""
    whole = min(amount // MAX_BATCH, most)
    rest = amount % MAX_BATCH if whole < most else 0
    return [MAX_BATCH] * whole + ([rest] if rest else [])


def _batch(keys: Sequence[str]) -> KeyBatch:
    return KeyBatch(keys=tuple(keys), count=len(keys))


def _miscounted(asked: int, got: int) -> InvalidResponseError:
    return InvalidResponseError(
        f"{asked} keys were asked for, and {got} came", outcome=Outcome.EXECUTED, field="keys"
    )


def marked(fields: Mapping[str, Any], amount: int, marker: str | None) -> dict[str, Any]:
    """Return a batch's fields with this amount, and a marker at the end of ``key_name``."""
    if marker is None:
        return {**fields, "amount": amount}
    name = fields.get("key_name") or ""
    return {**fields, "amount": amount, "key_name": f"{name} {marker}".lstrip()}
