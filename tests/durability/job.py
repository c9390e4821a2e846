"""The program that is killed: a job with a ledger, in forked processes.

Each child writes ``yielded``, a line for each key as the job yields it. If it is not killed, it
also writes ``output``, all keys of its run, and ``hits``, how often it passed each kill point.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from junkie_async import BatchError, JunkieClient, RetryPolicy
from junkie_async._http.transport import Response, SendState, Transport
from junkie_async._jobs.journal import Intent, Journal
from junkie_async._jobs.ledger import Ledger
from junkie_async._protocol.requests import Request

_ROOT: Final = Path(__file__).parents[2]

STATEMENTS: Final = (
    "BEGIN EXCLUSIVE",  # on the lock
    "PRAGMA journal_mode",
    "BEGIN; CREATE",  # the schema
    "INSERT INTO job",
    "PRAGMA user_version = ",
    "UPDATE attempt SET suspect",
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
    if any(one in point for one in (*STATEMENTS[:2], "suspect", "IMMEDIATE", "before COMMIT"))
)
"""Kill points that every run passes while the job is incomplete."""


@attrs.frozen(kw_only=True)
class ChildOptions:
    """What a child does, and when it is killed.

    Attributes:
        url: Where the service is.
        folder: The folder of the ledger and of the child's output.
        amount: How many keys.
        concurrency: Calls in flight at once.
        reconcile_after: Seconds.
        kill_at: A kill point and which pass of it kills, from 0; or None.
        kill_after: Seconds until the parent kills the child; or None.
        without_intent: Whether intents are kept in memory only.
    """

    url: str
    folder: str
    amount: int
    concurrency: int = 4
    reconcile_after: float
    kill_at: tuple[str, int] | None = None
    kill_after: float | None = None
    without_intent: bool = False


class _KillPoints:
    """Counts the kill points that are passed, and dies at one of them."""

    def __init__(self, kill_at: tuple[str, int] | None) -> None:
        self.hits: Counter[str] = Counter()
        self._kill_at = kill_at

    def pass_point(self, point: str) -> None:
        """Count a point, and die if it is the one."""
        self.hits[point] += 1
        if self._kill_at is not None and self._kill_at == (point, self.hits[point] - 1):
            os.kill(os.getpid(), signal.SIGKILL)

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


async def _run_job(options: ChildOptions, points: _KillPoints) -> int:
    folder = Path(options.folder)
    retry = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.05, wait_jitter=0.01)
    keys: list[str] = []
    async with JunkieClient("jk_test", base_url=options.url, retry=retry) as client:
        job = client.keys.create_many(
            options.amount,
            provider_id=7,
            key_name="launch",
            concurrency=options.concurrency,
            ledger=folder / "ledger.db",
            reconcile_after=options.reconcile_after,
        )
        try:
            with (folder / "yielded").open("ab", buffering=0) as file:
                async for batch in job:
                    file.write("".join(f"{value}\n" for value in batch.keys).encode())
                    keys += batch.keys
                    points.pass_point("yielded")
        except BatchError:
            return 3
    (folder / "output.new").write_text(json.dumps(keys))
    (folder / "output.new").rename(folder / "output")
    (folder / "hits").write_text(json.dumps(points.hits))
    return 0


async def _log_in_memory(ledger: Ledger, amounts: Sequence[int]) -> list[Intent]:
    return await Journal.log_intents(ledger, amounts)


def _run_child(options: ChildOptions) -> int:
    points = _KillPoints(options.kill_at)
    points.watch_writes()
    points.watch_calls()
    if options.without_intent:
        Ledger.log_intents = _log_in_memory  # type: ignore[method-assign, assignment]
    return asyncio.run(_run_job(options, points))


def _fork_child(options: ChildOptions) -> int:
    """Run a child until it exits or is killed; return its exit status, or -signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(2, 1)
            code = _run_child(options)
        except BaseException as error:  # whatever it is, only this child ends
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + (60.0 if options.kill_after is None else options.kill_after)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline += 60.0
        time.sleep(0.002)


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

    async def run(self, options: ChildOptions) -> int:
        """Run a child; return its exit status, or -signal."""
        return await asyncio.to_thread(self._send_line, json.dumps(attrs.asdict(options)))

    def _send_line(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve_stdin() -> None:
    for line in sys.stdin:
        options = json.loads(line)
        if options["kill_at"] is not None:
            options["kill_at"] = tuple(options["kill_at"])
        print(_fork_child(ChildOptions(**options)), flush=True)


if __name__ == "__main__":
    _serve_stdin()
