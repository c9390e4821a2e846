"""The base of large jobs: results as they arrive, progress, a report, and one error at the end."""

from __future__ import annotations

import abc
import inspect
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import aclosing
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from .._errors import APIError, BatchError, InvalidRequestError, JunkieError
from .._hooks import Hooks, JobEvent, StatusCallback, notify_hooks
from .._http.coroutines import LazyCoroutine, running_loop
from .._masking import error_boundary
from .._models import CreateReport, DeleteReport
from .._validation import check_integer, safe_repr
from .outcomes import UpdateReport
from .worker_pool import ChunkT, ResultT, WorkerPool

_Report: TypeAlias = CreateReport | DeleteReport | UpdateReport
ReportT = TypeVar("ReportT", bound=_Report)

OnProgress: TypeAlias = Callable[[int, int | None], object]
"""Called with the keys done so far and the total, or None while the total is unknown.

What a coroutine function returns is awaited.
"""


def check_progress(callback: OnProgress | None) -> OnProgress | None:
    """Check a progress callback before anything is sent."""
    if callback is not None and not callable(callback):
        raise InvalidRequestError("on_progress", safe_repr(callback), "a callable or None")
    return callback


async def report_progress(callback: OnProgress, done: int, total: int | None) -> None:
    """Call a progress callback, and wait for it if it is a coroutine function."""
    result = callback(done, total)
    if inspect.isawaitable(result):
        await result


class Job(LazyCoroutine[ReportT], Generic[ChunkT, ResultT, ReportT]):
    """A large job, split into calls as large as the service allows.

    ``await`` the job for its report, or ``async for`` over its results as they arrive. Nothing is
    sent before that. At most ``concurrency`` calls are in flight; they wait for request slots as
    long as necessary. A slow consumer applies back-pressure.

    A job is a coroutine, so `asyncio.create_task` takes it. It warns if it was never used.

    When a call fails for good, or ``on_progress`` raises, no new call starts, the calls in flight
    finish, and `BatchError` carries the report. Cancelling the consumer does the same, and gives
    the calls in flight 10 seconds to finish. So does leaving its loop, as long as the client stays
    open. To wait for those calls there, loop within ``async with
    contextlib.aclosing(aiter(job))``. At most ``concurrency`` results are then unread or in flight;
    their keys are in the report, and a `ResourceWarning` and the log say how many.
    """

    name: ClassVar[str]
    """The job's name in `JobEvent`."""

    def __init__(
        self, *, concurrency: int, on_progress: OnProgress | None, hooks: Collection[Hooks]
    ) -> None:
        self._concurrency = check_integer("concurrency", concurrency, 1, 1000)
        self._on_progress = check_progress(on_progress)
        self._hooks = hooks
        self._reported = 0
        self._pool: WorkerPool[ChunkT, ResultT] | None = None
        self._failure: Exception | None = None
        self._is_in_doubt = False
        self._started = False
        self._is_progress_broken = False
        super().__init__(f"keys.{self.name}")

    @property
    @abc.abstractmethod
    def report(self) -> ReportT:
        """What the job has done so far; final after the job has ended."""

    @abc.abstractmethod
    def _make_chunks(self) -> AsyncGenerator[ChunkT, None]:
        """Yield the work of each call, lazily."""

    @abc.abstractmethod
    async def _process_chunk(self, chunk: ChunkT, on_status: StatusCallback) -> ResultT | None:
        """Make the call for a chunk, and count its result. None if there is none to yield."""

    @abc.abstractmethod
    def _count_done(self) -> tuple[int, int | None]:
        """Return the keys done so far and the total, None while unknown."""

    async def _before_start(self) -> None:
        """Prepare for the first call."""

    async def _before_yield(self, result: ResultT) -> None:
        """Wait until a result may be given to the consumer."""

    def _after_break(self) -> None:
        """Warn of results that a consumer who has left its loop has not read."""

    async def _after_end(self) -> None:
        """Clean up after the last call."""

    def _restarts_after(self, failure: Exception) -> bool:  # noqa: ARG002 - a job's has one
        """Whether the job starts anew after what has ended it."""
        return False

    def _find_failure(self) -> JunkieError | None:
        """Return the failure of a job that has come to the end of its keys, if all calls failed."""
        return None

    def __await__(self) -> Generator[Any, Any, ReportT]:
        self._mark_used()
        return self._run_to_end().__await__()

    async def _run_to_end(self) -> ReportT:
        # Its consumer is here, and loses none. So a worker goes on before its result is read.
        async with aclosing(self._run(2 * self._concurrency)) as results:
            async for _ in results:
                pass
        return self.report

    def __aiter__(self) -> AsyncGenerator[ResultT, None]:  # noqa: PYI058 - `aclosing` needs it
        # As many as workers: a consumer who leaves its loop loses no more than may be in flight.
        return self._run(self._concurrency)

    @error_boundary
    async def _run(self, most_unread: int) -> AsyncGenerator[ResultT, None]:
        self._mark_used()
        running_loop()
        if self._started:
            raise RuntimeError("a job runs only once: make a new job to run it again")
        self._started = True
        await self._before_start()
        while True:
            async with aclosing(self._run_once(most_unread)) as results:
                async for result in results:
                    yield result
            failure, self._failure = self._failure, None  # a reference cycle, otherwise
            if failure is None:
                return
            if self._restarts_after(failure):
                failure = await self._restart()
                self._is_in_doubt = True  # what the other worker does meanwhile
            if failure is not None:
                source = "on_progress" if self._is_progress_broken else ""
                raise _batch_error(failure, self.report, source, self._is_in_doubt) from failure

    async def _run_once(self, most_unread: int) -> AsyncGenerator[ResultT, None]:
        self._pool = pool = WorkerPool(
            self._make_chunks(), self._process_chunk, self._concurrency, most_unread
        )
        is_left, is_cut_short = False, True
        try:
            async with aclosing(pool.results()) as results:
                async for result in results:
                    try:
                        await self._before_yield(result)
                        if self._hooks or self._on_progress is not None:
                            await self._report_progress()
                    except Exception as error:  # ours, or that of the caller's callback
                        pool.stop(error)
                        break
                    yield result
            is_cut_short = False
        except GeneratorExit:
            is_left = True
            raise
        finally:
            self._pool = None  # it refers to this job: in a cycle, the failure would live on
            try:
                await self._after_end()
            except JunkieError as error:  # most often the very failure that has ended the job
                pool.failure = pool.failure or error
            if is_left:
                self._after_break()
            if is_cut_short:
                pool.failure = None  # nobody will be told, and its frames refer to the pool
        self._is_in_doubt |= pool.is_in_doubt
        # Another call's error may still have the pool.
        self._failure, pool.failure = pool.failure or self._find_failure(), None

    async def _restart(self) -> Exception | None:
        try:
            await self._before_start()
        except Exception as error:  # whatever it is, the caller gets the report with it
            return error
        return None

    async def _report_progress(self) -> None:
        done, total = self._count_done()
        self._notify_hooks(done, total)
        if self._on_progress is not None:
            try:
                await report_progress(self._on_progress, done, total)
            except Exception:
                self._is_progress_broken = True
                raise

    def _report_wait(self, seconds: float) -> None:
        self._notify_hooks(*self._count_done(), waiting=seconds)

    def _notify_hooks(self, done: int, total: int | None, waiting: float = 0.0) -> None:
        if not self._hooks:
            return
        keys, self._reported = done - self._reported, done
        event = JobEvent(job=self.name, keys=keys, done=done, total=total, waiting=waiting)
        notify_hooks(self._hooks, event)


def _batch_error(failure: Exception, report: _Report, source: str, in_doubt: bool) -> BatchError:
    if isinstance(failure, JunkieError):
        status = f" [{failure.status}]" if isinstance(failure, APIError) else ""
        happened = f"{failure.message}{status}"
    else:
        # The text of somebody else's exception may quote a key value; the cause keeps it.
        name = type(failure).__name__
        happened = f"{source} raised {name}" if source else f"{name} was raised"
    error = BatchError(f"the job ended early: {happened}", report)
    not_found = report.not_found if isinstance(report, UpdateReport) else 0
    error.did_nothing = not in_doubt and report.failed + not_found == report.requested
    if isinstance(failure, JunkieError):
        error.advice = failure.advice
        error.method, error.path, error.attempts = failure.method, failure.path, failure.attempts
    return error
