"""Large jobs: split into calls, run with bounded concurrency, told of as they go.

Knows neither HTTP nor the service: any async callable will do.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
)
from contextlib import aclosing
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from .._errors import (
    APIError,
    BatchError,
    InvalidRequestError,
    JunkieError,
)
from .._hooks import Hooks, InFlightCallback, JobEvent
from .._models import BulkDeleteResult, DeleteReport, KeyRef
from .._protocol.fields import MAX_BULK_DELETE
from .._validation import MAX_INTEGER, check_integer, check_iterable, check_reference, safe_repr

ChunkT = TypeVar("ChunkT")
ResultT = TypeVar("ResultT")
ReportT = TypeVar("ReportT")

OnProgress: TypeAlias = Callable[[int, int | None], object]
"""Called with the keys done so far, and how many there are in all, or None if that is not known."""

GRACE = 10.0
"""Seconds that calls in flight may still take once a job is cancelled."""


def check_progress(callback: OnProgress | None) -> OnProgress | None:
    """Check a callback before there is anything done that it could be told of."""
    if callback is not None and not callable(callback):
        raise InvalidRequestError("on_progress", safe_repr(callback), "a callable, or None")
    return callback


class Runner(Generic[ChunkT, ResultT]):
    """Makes a call for each chunk of a source, at most ``concurrency`` at once.

    After the first failure no new call starts, those in flight finish, and those that still wait
    for their turn, or to be sent again, are dropped. The source is pulled lazily, by one worker at
    a time; results wait for the reader, who so holds the workers back.
    """

    def __init__(
        self,
        source: AsyncIterator[ChunkT],
        call: Callable[[ChunkT, InFlightCallback], Awaitable[ResultT | None]],
        concurrency: int,
    ) -> None:
        self.failure: Exception | None = None
        self._source = source
        self._call = call
        self._stopped = self._drained = False
        self._turn = asyncio.Lock()
        self._room = asyncio.Semaphore(2 * concurrency)
        self._done: asyncio.Queue[ResultT | None] = asyncio.Queue()
        self._idle: set[asyncio.Task[None]] = set()
        self._workers = {asyncio.create_task(self._work()) for _ in range(concurrency)}
        for worker in self._workers:
            self._idle.add(worker)
            worker.add_done_callback(self._ended)

    async def results(self) -> AsyncGenerator[ResultT, None]:
        """Give the results as they come, until the source is drained or a call has failed."""
        try:
            while (result := await self._done.get()) is not None:
                self._room.release()
                yield result
        finally:
            self.stop()
            await self._wind_down()

    def stop(self, failure: Exception | None = None) -> None:
        """Start no new call, because of a failure or because the reader has left."""
        self.failure = self.failure or failure
        self._stopped = True
        for worker in self._idle:
            worker.cancel()

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None

        def on_in_flight(begun: bool) -> None:
            (self._idle.discard if begun else self._idle.add)(me)
            if self._stopped and not begun:
                me.cancel()

        while not (self._stopped or self._drained):
            await self._room.acquire()
            async with self._turn:
                chunk = await self._pull()
            if chunk is None:
                return
            try:
                if (result := await self._call(chunk, on_in_flight)) is not None:
                    self._done.put_nowait(result)
                else:
                    self._room.release()
            except Exception as error:
                self.stop(error)
                return
            self._idle.add(me)

    async def _pull(self) -> ChunkT | None:
        if self._stopped or self._drained:
            return None
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            self._drained = True  # what is under way goes on, and may be sent again
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise
            # Nobody cancelled us: the iterable awaits something that was cancelled.
            self.failure = self.failure or RuntimeError("the iterable of keys was cancelled")
            self._stopped = True
        except Exception as error:  # the caller's own iterable may raise anything
            self.failure = self.failure or error
            self._stopped = True
        return None

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._idle.discard(worker)
        if not self._workers:
            self._done.put_nowait(None)

    async def _wind_down(self) -> None:
        """Let the calls in flight finish, but not for ever, and not past a second cancellation."""
        try:
            if self._workers:
                await asyncio.wait(self._workers, timeout=GRACE)
        finally:
            for worker in (left := list(self._workers)):
                worker.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()


class Job(abc.ABC, Generic[ChunkT, ResultT, ReportT]):
    """A large job, done in calls as large as the service allows.

    ``await`` it for its report, or ``async for`` over its results as they come; nothing is sent
    before. At most ``concurrency`` calls are in flight, and a reader that falls behind holds the
    job back. They wait for their turns as long as it takes. When a call fails for good, no new one
    starts, those in flight finish, and `BatchError` carries the report. Cancelling the reader does
    the same: the calls in flight have 10 seconds to finish. So does leaving its loop, as long as
    the client stays open; to wait for them there, loop within
    ``async with contextlib.aclosing(aiter(job))``. `report` says at any time how far the job has
    come.
    """

    name: ClassVar[str]
    """What hooks are told that it is."""

    def __init__(
        self, *, concurrency: int, on_progress: OnProgress | None, hooks: Hooks | None
    ) -> None:
        self._concurrency = check_integer("concurrency", concurrency, 1, 1000)
        self._on_progress = check_progress(on_progress)
        self._hooks = hooks
        self._told = 0
        self._runner: Runner[ChunkT, ResultT] | None = None
        self._begun = False

    @property
    @abc.abstractmethod
    def report(self) -> ReportT:
        """What the job has done so far; final once it has ended."""

    @abc.abstractmethod
    def _chunks(self) -> AsyncGenerator[ChunkT, None]:
        """Give what each call is to do, lazily."""

    @abc.abstractmethod
    async def _call(self, chunk: ChunkT, on_in_flight: InFlightCallback) -> ResultT | None:
        """Make a call, tell when it is in flight, and count what came of it, if anything did."""

    @abc.abstractmethod
    def _progress(self) -> tuple[int, int | None]:
        """Count the keys done, and all there are."""

    async def _begin(self) -> None:
        """Make ready for the first call."""

    async def _release(self) -> None:
        """Wait until a result may be given to the reader."""

    async def _end(self) -> None:
        """Tidy up after the last call."""

    def __await__(self) -> Generator[None, None, ReportT]:
        return self._run().__await__()

    async def _run(self) -> ReportT:
        async with aclosing(self.__aiter__()) as results:
            async for _ in results:
                pass
        return self.report

    async def __aiter__(self) -> AsyncGenerator[ResultT, None]:
        if self._begun:
            raise RuntimeError("a job runs once; make another one")
        self._begun = True
        await self._begin()
        self._runner = runner = Runner(self._chunks(), self._call, self._concurrency)
        try:
            async with aclosing(runner.results()) as results:
                async for result in results:
                    try:
                        await self._release()
                    except JunkieError as error:
                        runner.stop(error)
                        break
                    self._tell()
                    yield result
        finally:
            try:
                await self._end()
            except JunkieError as error:  # most often the very failure that has ended the job
                runner.failure = runner.failure or error
        if runner.failure is not None:
            raise _ended_early(runner.failure, self.report) from runner.failure

    def _tell(self) -> None:
        done, total = self._progress()
        if self._hooks is not None:
            event = JobEvent(job=self.name, keys=done - self._told, done=done, total=total)
            self._told = done
            self._hooks.on_job(event)
        if self._on_progress is not None:
            self._on_progress(done, total)


def _ended_early(failure: Exception, report: object) -> BatchError:
    if not isinstance(failure, JunkieError):
        # Its own words may quote a key value; they are in the cause.
        return BatchError(f"the job ended early: {type(failure).__name__} was raised", report)
    status = f" [{failure.status}]" if isinstance(failure, APIError) else ""
    error = BatchError(f"the job ended early: {failure.message}{status}", report)
    error.method, error.path, error.attempts = failure.method, failure.path, failure.attempts
    return error


class DeleteJob(Job[list[int | str], BulkDeleteResult, DeleteReport]):
    """Deletes keys, 1000 a call. Gives each `BulkDeleteResult` as it comes."""

    name = "delete_many"

    def __init__(
        self,
        keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
        delete: Callable[[list[int | str], InFlightCallback], Awaitable[BulkDeleteResult]],
        *,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)
        self._keys = _iterable_of_keys(keys)
        self._total = len(keys) if isinstance(keys, Collection) else None
        self._delete = delete
        self._requested = self._repeated = self._deleted = self._missing = 0

    @property
    def report(self) -> DeleteReport:
        """What the job has deleted so far; final once it has ended."""
        done = self._deleted + self._missing
        return DeleteReport(
            requested=self._requested,
            deleted=self._deleted,
            missing=self._missing,
            failed=self._requested - done,
        )

    async def _chunks(self) -> AsyncGenerator[list[int | str], None]:
        """Gather references, each once in a chunk; 5 and "5" are two keys, as they are to a set."""
        chunk: dict[int | str, None] = {}
        index = 0
        keys = self._keys
        async for key in keys if isinstance(keys, AsyncIterable) else _pull(keys):
            checked = _reference(index, key)
            index += 1
            if checked in chunk:
                self._repeated += 1
                continue
            chunk[checked] = None
            self._requested += 1
            if len(chunk) == MAX_BULK_DELETE:
                yield list(chunk)
                chunk.clear()
        if chunk:
            yield list(chunk)

    async def _call(
        self, chunk: list[int | str], on_in_flight: InFlightCallback
    ) -> BulkDeleteResult:
        result = await self._delete(chunk, on_in_flight)
        deleted = min(result.deleted, len(chunk))
        self._deleted += deleted
        self._missing += len(chunk) - deleted
        return result

    def _progress(self) -> tuple[int, int | None]:
        done = self._deleted + self._missing
        return done, None if self._total is None else self._total - self._repeated


def _iterable_of_keys(
    keys: Iterable[KeyRef] | AsyncIterable[KeyRef],
) -> Iterable[KeyRef] | AsyncIterable[KeyRef]:
    """Check a whole collection now, before a key is deleted; an iterator is checked as it goes."""
    if not isinstance(keys, AsyncIterable):
        check_iterable("keys", keys, "an iterable, or async iterable, of IDs, key values or Keys")
    if isinstance(keys, Collection) and not _are_ids(keys):
        for index, key in enumerate(keys):
            _reference(index, key)
    return keys


def _are_ids(keys: Collection[Any]) -> bool:
    """Tell quickly whether these are IDs alone, as they are in the largest jobs."""
    return set(map(type, keys)) == {int} and min(keys) > 0 and max(keys) <= MAX_INTEGER


def _reference(index: int, key: object) -> int | str:
    """Check one of many: quick with an ID, as there may be a million."""
    if type(key) is int and 0 < key <= MAX_INTEGER:
        return key
    return check_reference(f"keys[{index}]", key)


async def _pull(keys: Iterable[KeyRef]) -> AsyncGenerator[KeyRef, None]:
    for key in keys:
        yield key
