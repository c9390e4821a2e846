"""A bounded pool of workers that makes one call for each chunk of a source."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec

from .._errors import JunkieError, Outcome
from .._hooks import RequestStatus, StatusCallback
from .._masking import clear_frames

ChunkT = TypeVar("ChunkT")
ResultT = TypeVar("ResultT")

# Longer than a healthy call takes, so that a cancelled job seldom ends with unknown outcomes; and
# well below the 30 s that Kubernetes leaves a stopped process, so that it can still report them.
GRACE_PERIOD: Final = 10.0
"""Seconds that calls in flight may still take after a job is cancelled."""


class _Worker(msgspec.Struct, eq=False):
    """What is known of a worker."""

    status: RequestStatus = RequestStatus.NOT_EXECUTED
    """Of its call. To cancel it with a request in flight would lose the outcome."""


class WorkerPool(Generic[ChunkT, ResultT]):
    """Makes a call for each chunk of a source, at most ``concurrency`` of them concurrently.

    After the first failure no new call starts. Calls in flight finish, and so do those that wait
    for a retry since their request may have been carried out. Others that wait for a request slot
    or for a retry are dropped. The source is read lazily, by one worker at a time.
    A slow consumer applies back-pressure: at most ``most_unread`` results are unread or due.
    """

    def __init__(
        self,
        source: AsyncGenerator[ChunkT, None],
        call: Callable[[ChunkT, StatusCallback], Awaitable[ResultT | None]],
        concurrency: int,
        most_unread: int,
    ) -> None:
        self.failure: Exception | None = None
        self.is_in_doubt = False
        """Whether a call that failed or was cancelled may have been carried out."""
        self._source = source
        self._call = call
        self._stopped = self._drained = False
        self._is_reading = False  # an async generator refuses a second `anext`
        self._result_slots = most_unread
        self._results: deque[ResultT | None] = deque()
        # asyncio's locks and queues for these waits are a sixth of what a job adds to its calls.
        self._waiting: deque[asyncio.Future[None]] = deque()  # workers
        self._consumer: asyncio.Future[None] | None = None
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        for _ in range(concurrency):
            state = _Worker()
            worker = asyncio.create_task(self._run_worker(state))
            worker.add_done_callback(self._remove_worker)
            self._workers[worker] = state

    async def results(self) -> AsyncGenerator[ResultT, None]:
        """Yield results as they arrive, until the source is drained or a call has failed."""
        try:
            while True:
                # Before the wait: a worker goes on at once, without waiting to be woken. Whenever
                # the consumer has a result in hand, the slots are ``most_unread``.
                self._release_slot()
                while not self._results:
                    self._consumer = asyncio.get_running_loop().create_future()
                    await self._consumer
                if (result := self._results.popleft()) is None:
                    return
                yield result
        finally:
            self.stop()
            await self._finish_in_flight()

    def stop(self, failure: Exception | None = None) -> None:
        """Start no new call, after a failure or because the consumer has left."""
        self.failure = self.failure or failure
        self._stopped = True
        for worker, state in self._workers.items():
            if state.status is not RequestStatus.IN_FLIGHT:
                worker.cancel()

    async def _run_worker(self, state: _Worker) -> None:
        note_status = partial(self._note_status, state)
        while not (self._stopped or self._drained):
            if (chunk := await self._next_chunk()) is None:
                return
            try:
                result = await self._call(chunk, note_status)
            except asyncio.CancelledError:
                self.is_in_doubt |= state.status is not RequestStatus.NOT_EXECUTED
                raise
            except Exception as error:
                clear_frames(error)  # of many failures one is raised, and all would be in cycles
                self.is_in_doubt |= not is_refusal(error)
                # Without this frame, which has the pool, and so the error.
                self.stop(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
                return
            state.status = RequestStatus.NOT_EXECUTED
            if result is None:
                self._release_slot()
            else:
                self._add_result(result)

    def _note_status(self, state: _Worker, status: RequestStatus) -> None:
        state.status = status
        if self._stopped and status is not RequestStatus.IN_FLIGHT:
            # `stop` spared it, but it would only retry.
            _current_worker().cancel()

    def _add_result(self, result: ResultT | None) -> None:
        self._results.append(result)
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    def _release_slot(self) -> None:
        self._result_slots += 1
        self._wake_worker()

    def _wake_worker(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its worker was cancelled
                waiter.set_result(None)
                return

    async def _next_chunk(self) -> ChunkT | None:
        """Take a slot for a result, and read the source once no other worker does."""
        while self._is_reading or not self._result_slots:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._result_slots -= 1
        self._is_reading = True
        try:
            if not (self._stopped or self._drained):
                return await anext(self._source)
        except StopAsyncIteration:
            self._drained = True  # unlike `stop`: other calls go on, and may be retried
        except asyncio.CancelledError:
            if _current_worker().cancelling():
                raise
            # Raised further, this would end the worker, and the job would look complete.
            self._end_source(RuntimeError("the iterable of keys awaited a cancelled task"))
        except Exception as error:  # the caller's own iterable may raise anything
            self._end_source(error)
        finally:
            self._is_reading = False
            if self._result_slots or self._drained:
                self._wake_worker()
        return None

    def _end_source(self, failure: Exception) -> None:
        # Unlike `stop`, this cancels no worker: chunks that were read are still processed.
        self.failure = self.failure or failure
        self._stopped = True

    def _remove_worker(self, worker: asyncio.Task[None]) -> None:
        del self._workers[worker]
        if not self._workers:
            self._add_result(None)

    async def _finish_in_flight(self) -> None:
        """Wait for the calls in flight: up to the grace period or a second cancellation."""
        try:
            if self._workers:
                await asyncio.wait(self._workers, timeout=GRACE_PERIOD)
        finally:
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
            await self._source.aclose()


def is_refusal(error: Exception) -> bool:
    """Tell whether an error says that its call was certainly not carried out."""
    return isinstance(error, JunkieError) and error.outcome is Outcome.NOT_EXECUTED


def _current_worker() -> asyncio.Task[Any]:
    # No worker keeps its own task in a variable: the task's error has its frame, a reference cycle.
    worker = asyncio.current_task()
    assert worker is not None
    return worker
