"""The program that is killed: a job with a ledger, in forked processes.

Each child writes ``yielded``, a line for each key as the job yields it. If it is not killed, it
also writes ``output`` and its number, all keys of its run, and ``hits``, how often it passed each
kill point. If the job ends with an error, it writes ``report``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from junkie_async import (
    APIError,
    BatchError,
    ConfigurationError,
    CreateJob,
    JunkieClient,
    OutcomeUnknownError,
    RetryPolicy,
    TransportError,
    provisioning,
)
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response, Transport
from junkie_async._jobs.postgres_record import PostgresRecord
from junkie_async._protocol.requests import Request
from junkie_async.postgres import PostgresLedger

from .acts import FILE_ACTS, GUARDS, MAIN_ENDS, PROCESS_ACTS, BrokenError, wait_amid

DONE: Final = 0
GAVE_UP: Final = 3
"""Exit status of a child whose job has ended with a `BatchError`."""
REFUSED: Final = 4
"""Exit status of a child whose ledger another job has open."""
ENDED: Final = 5
"""Exit status of a child whose main coroutine has ended before the job."""
MISREPORTED: Final = 7
"""Exit status of a child whose report has other keys than it was given."""
HUNG: Final = 6
"""Given for a child that did not end, in place of its exit status."""

LEASE: Final = 1.0  # seconds; the shortest one that is allowed
TRANSACTIONS: Final = ("_take_lease", "_read_keys", "_read_calls", "_write")

_HANGS_AFTER: Final = 30.0  # seconds; a child takes less than one, and a grace period of 10

_ROOT: Final = Path(__file__).parents[2]

STATEMENTS: Final = (
    "BEGIN EXCLUSIVE",  # to read the job
    "PRAGMA journal_mode",
    "CREATE TABLE",
    "INSERT INTO job",
    "PRAGMA user_version = ",
    "UPDATE attempt SET doubted",
    "BEGIN IMMEDIATE",
    "INSERT INTO attempt",
    "INSERT INTO key",
    "UPDATE attempt SET open",
    "COMMIT",
)
CALLS: Final = ("GET /keys", "POST /keys/batch", "POST /keys/bulk-delete")
POINTS: Final = (
    *(f"{when} {what}" for what in (*STATEMENTS, *CALLS) for when in ("before", "after")),
    "yielded",
)
"""Kill points: before and after everything the job writes or sends, and after it yields keys."""

ONCE: Final = tuple(point for point in POINTS if any(one in point for one in STATEMENTS[2:5]))
"""Kill points that a ledger passes once: when its schema is created."""

EARLY: Final = tuple(
    point
    for point in POINTS
    if any(one in point for one in (*STATEMENTS[:2], "doubted", "IMMEDIATE", "before COMMIT"))
)
"""Kill points that every run passes while the job is incomplete."""


AMID_COMMIT: Final = tuple(
    f"{when} {what}" for what in STATEMENTS[6:] for when in ("before", "after")
)
"""Kill points in the ledger's thread, while the job runs."""


@attrs.frozen(kw_only=True)
class ChildOptions:
    """What a child does, and when it is killed.

    Attributes:
        url: Where the service is.
        folder: The folder of the ledger and of the child's output.
        amount: How many keys.
        concurrency: Calls in flight at once.
        reconcile_after: Seconds.
        act_at: A kill point and which pass of it acts, from 0; or None.
        act: What happens then: one of `PROCESS_ACTS`, `MAIN_ENDS` or `FILE_ACTS`.
        kill_after: Seconds until the parent kills the child; or None.
        without: A guard that is removed: one of `GUARDS`.
        number: The child's number, if there are several at once.
        is_patient: Whether it waits while another job has the ledger open.
        tries_twice: Whether it tries a second job when it gets keys, and reads the files.
        waits_for: The name of a file that it waits for: before the job, or after the second try.
        intrudes: Whether it makes the file "intruded" at its end.
        dsn: The database of the ledger, instead of a file.
        orders: Instead of a job: the orders that it fills, 8 at once. Some come again.
    """

    url: str
    folder: str
    amount: int
    concurrency: int = 4
    reconcile_after: float
    act_at: tuple[str, int] | None = None
    act: str = "kill"
    kill_after: float | None = None
    without: str | None = None
    number: int = 0
    is_patient: bool = False
    tries_twice: bool = False
    waits_for: str | None = None
    intrudes: bool = False
    dsn: str | None = None
    orders: tuple[str, ...] = ()

    @property
    def ledger(self) -> Path:
        """The path of the ledger."""
        return Path(self.folder) / "ledger" / "ledger.db"


class _KillPoints:
    """Counts the kill points that are passed, and acts at one of them."""

    def __init__(self, options: ChildOptions) -> None:
        self.hits: Counter[str] = Counter()
        self.end_main: Callable[[str], None] = lambda how: None
        self._options = options

    def pass_point(self, point: str) -> None:
        """Count a point, and act if it is the one."""
        self.hits[point] += 1
        if self._options.act_at != (point, self.hits[point] - 1):
            return
        act = self._options.act
        if act in FILE_ACTS:
            FILE_ACTS[act](self._options.ledger)
        elif act in PROCESS_ACTS:
            (Path(self._options.folder) / f"acted{self._options.number}").touch()
            PROCESS_ACTS[act]()
        else:
            self.end_main(act)
        wait_amid(act)

    def watch_writes(self) -> None:
        """Pass points before and after each statement that writes."""
        points = self

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
                return points.around(sql, lambda: super(Watched, self).execute(sql, values))

            def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
                return points.around(sql, lambda: super(Watched, self).executemany(sql, rows))

            def executescript(self, sql: str, /) -> sqlite3.Cursor:
                return points.around(sql, lambda: super(Watched, self).executescript(sql))

        setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Watched))  # noqa: B010

    def around(self, sql: str, act: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """Execute a statement, between two points if it is one that writes."""
        words = " ".join(sql.split())
        known = [one for one in STATEMENTS if words.startswith(one)]
        for name in known:
            self.pass_point(f"before {name}")
        result = act()
        for name in known:
            self.pass_point(f"after {name}")
        return result

    def watch_calls(self) -> None:
        """Pass points before each request and after its response."""
        attempt = Transport.attempt

        async def watched(
            transport: Transport, request: Request[object], state: SendState, left: float
        ) -> Response:
            self.pass_point(f"before {request.method} {request.path}")
            response = await attempt(transport, request, state, left)
            self.pass_point(f"after {request.method} {request.path}")
            return response

        Transport.attempt = watched  # type: ignore[method-assign, assignment]

    def watch_transactions(self) -> None:
        """Pass points before and after each statement of a worker, amid its transaction."""
        for name in TRANSACTIONS:
            setattr(PostgresRecord, name, self._watch_act(name, getattr(PostgresRecord, name)))

    def _watch_act(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*arguments: Any) -> Any:
            self.pass_point(f"before {name}")
            result = await act(*arguments)
            self.pass_point(f"after {name}")
            return result

        return watched


def _make_ledger(options: ChildOptions) -> Path | PostgresLedger:
    return PostgresLedger(options.dsn, lease=LEASE) if options.dsn else options.ledger


def _make_job(client: JunkieClient, options: ChildOptions) -> CreateJob:
    return client.keys.create_many(
        options.amount,
        provider_id=7,
        key_name="launch",
        concurrency=options.concurrency,
        ledger=_make_ledger(options),
        reconcile_after=options.reconcile_after,
    )


def _make_client(options: ChildOptions) -> JunkieClient:
    retry = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.05, wait_jitter=0.01, outage=0.0)
    return JunkieClient("jk_test", base_url=options.url, retry=retry)


async def _run_job(options: ChildOptions, points: _KillPoints) -> int:
    folder = Path(options.folder)
    keys: list[str] = []
    async with _make_client(options) as client:
        try:
            with (folder / "yielded").open("ab", buffering=0) as file:
                job = _make_job(client, options)
                async for batch in job:
                    file.write("".join(f"{value}\n" for value in batch.keys).encode())
                    keys += batch.keys
                    points.pass_point("yielded")
                    if options.tries_twice and len(keys) == len(batch.keys):
                        await _try_twice(client, options)
        except BatchError as error:
            report = attrs.asdict(error.report) | {"cause": type(error.__cause__).__name__}
            (folder / "report").write_text(json.dumps(report))
            return GAVE_UP
        if options.dsn and keys != [*job.report.keys]:
            return MISREPORTED
    new = folder / f"new{options.number}"
    new.write_text(json.dumps(keys))
    new.rename(folder / f"output{options.number}")
    (folder / "hits").write_text(json.dumps(points.hits))
    return DONE


async def _fill_orders(options: ChildOptions) -> int:
    """Fill orders as webhooks do: an order that fails comes again."""
    limit, ledger = asyncio.Semaphore(8), _make_ledger(options)
    answers = Path(options.folder) / f"answers{options.number}"
    async with _make_client(options) as client, asyncio.TaskGroup() as group:

        async def fill(order: str) -> None:
            async with limit:
                while True:
                    with contextlib.suppress(OutcomeUnknownError, APIError, TransportError):
                        key = await client.keys.create(
                            provider_id=7,
                            key_name="launch",
                            idempotency_key=order,
                            ledger=ledger,
                            reconcile_after=options.reconcile_after,
                        )
                        break
            _append(answers, f"{order} {key.key_value}\n")

        for order in options.orders:
            group.create_task(fill(order))
    return DONE


def _append(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())


async def _try_twice(client: JunkieClient, options: ChildOptions) -> None:
    """Try to start a second job in this process, and close descriptors of the ledger's files."""

    async def start(client: JunkieClient) -> None:
        with contextlib.suppress(ConfigurationError):
            await _make_job(client, options)
            raise AssertionError("a second job has started")

    async def start_elsewhere() -> None:
        async with _make_client(options) as client:
            await start(client)

    await start(client)
    await asyncio.to_thread(asyncio.run, start_elsewhere())
    for path in options.ledger.parent.iterdir():
        path.read_bytes()
    provisioning.status(options.ledger)
    (Path(options.folder) / "tried").touch()
    (Path(options.folder) / f"begun{options.number}").touch()
    if options.waits_for is not None:
        await _wait_for_file(options)


async def _wait_for_file(options: ChildOptions) -> None:
    assert options.waits_for is not None
    deadline = time.monotonic() + _HANGS_AFTER / 2
    while not (Path(options.folder) / options.waits_for).exists():
        assert time.monotonic() < deadline, options.waits_for
        await asyncio.sleep(0.002)


async def _run_patiently(options: ChildOptions, points: _KillPoints) -> int:
    if options.waits_for is not None and not options.tries_twice:
        await _wait_for_file(options)
        (Path(options.folder) / f"begun{options.number}").touch()
    if options.orders:
        return await _fill_orders(options)
    while True:
        try:
            return await _run_job(options, points)
        except ConfigurationError:
            if options.dsn is not None:
                raise  # a worker stands by; it is never refused
            if not options.is_patient:
                return REFUSED
            await asyncio.sleep(0.005)


async def _run_main(options: ChildOptions, points: _KillPoints) -> int:
    """Run the job in a task, until that or this coroutine ends."""
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[str] = loop.create_future()

    def end_main(how: str) -> None:
        loop.call_soon_threadsafe(ending.set_result, how)

    points.end_main = end_main
    job = asyncio.create_task(_run_patiently(options, points))
    either: list[asyncio.Future[Any]] = [job, ending]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        return job.result()
    how = ending.result()
    if how == "cancel":
        job.cancel()
    elif how == "raise":
        raise BrokenError
    elif how == "exit":
        sys.exit(ENDED)
    return ENDED


def _run_child(options: ChildOptions) -> int:
    points = _KillPoints(options)
    points.watch_writes()
    points.watch_calls()
    points.watch_transactions()
    (Path(options.folder) / f"pid{options.number}").write_text(str(os.getpid()))
    if options.without is not None:
        GUARDS[options.without]()
    try:
        code = asyncio.run(_run_main(options, points))
    except (KeyboardInterrupt, SystemExit, BrokenError):
        if options.act not in MAIN_ENDS:
            raise
        code = ENDED
    if options.intrudes:
        (Path(options.folder) / "intruded").touch()
    return code


def _fork_child(options: ChildOptions) -> int:
    """Start a child, and return its process ID."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.dup2(2, 1)
        code = _run_child(options)
    except BaseException:  # whatever it is, only this child ends
        traceback.print_exc()
    sys.stderr.flush()
    if code == ENDED:
        sys.exit(code)  # this interpreter waits for threads, as that of any program does
    os._exit(code)


def _wait_for_child(child: int, deadline: float, *, may_be_killed: bool) -> int:
    """Wait until a child exits or is killed; return its exit status, or -signal."""
    is_killed = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            hung = is_killed and not may_be_killed
            return HUNG if hung else os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline and not is_killed:
            os.kill(child, signal.SIGKILL)
            is_killed = True
        time.sleep(0.002)


def _run_children(children: list[ChildOptions]) -> list[int]:
    begun = time.monotonic()
    started = [(_fork_child(options), options.kill_after) for options in children]
    return [
        _wait_for_child(
            child,
            begun + (_HANGS_AFTER if seconds is None else seconds),
            may_be_killed=seconds is not None,
        )
        for child, seconds in started
    ]


class ForkServer:
    """A process that forks the children: starting Python with all imports takes 0.3 s each."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.job"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()

    async def run(self, *children: ChildOptions) -> list[int]:
        """Run children at once; return the exit status, or -signal, of each."""
        line = json.dumps([attrs.asdict(options) for options in children])
        return await asyncio.to_thread(self._send_line, line)

    def _send_line(self, line: str) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return [*map(int, json.loads(self._process.stdout.readline()))]


def _serve_stdin() -> None:
    for line in sys.stdin:
        children = json.loads(line)
        for options in children:
            options["act_at"] = options["act_at"] and tuple(options["act_at"])
        print(json.dumps(_run_children([ChildOptions(**one) for one in children])), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    _serve_stdin()
