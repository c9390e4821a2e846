"""The program that is killed: a job with a ledger, run in processes that are forked for it.

Each child leaves behind what it was given (``given``, a line per key as it comes) and, when it
gets so far, what a whole run has given (``output``) and how often it came by each point (``hits``).
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
    "BEGIN; CREATE",  # the layout
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
    "given",
)
"""Where a job can be killed: around all that it writes or sends, and when it has given keys."""

ONCE: Final = tuple(point for point in POINTS if any(one in point for one in STATEMENTS[2:5]))
"""Those that are met once in a ledger's life: when it is laid out."""

EARLY: Final = tuple(
    point
    for point in POINTS
    if any(one in point for one in (*STATEMENTS[:2], "suspect", "IMMEDIATE", "before COMMIT"))
)
"""Those that every run of a job meets which has anything left to do."""


@attrs.frozen(kw_only=True)
class Order:
    """What a child is to do, and when it is killed.

    Attributes:
        url: Where the service is.
        folder: For the ledger, and for what the child leaves behind.
        amount: How many keys.
        concurrency: Calls in flight at once.
        reconcile_after: Seconds.
        kill_at: A point and which time it is met, from 0; none when None.
        kill_after: Seconds until a kill from outside; none when None.
        without_intent: Whether the record of what is about to be sent is left out.
    """

    url: str
    folder: str
    amount: int
    concurrency: int = 4
    reconcile_after: float = 0.6
    kill_at: tuple[str, int] | None = None
    kill_after: float | None = None
    without_intent: bool = False


class _Points:
    """Counts the points that are met, and dies at one of them."""

    def __init__(self, deadly: tuple[str, int] | None) -> None:
        self.hits: Counter[str] = Counter()
        self._deadly = deadly

    def meet(self, point: str) -> None:
        """Come by a point, and maybe no further."""
        self.hits[point] += 1
        if self._deadly is not None and self._deadly == (point, self.hits[point] - 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_writes(self) -> None:
        """Make points of all statements that write."""
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
        """Carry a statement out, between two points if it is one that writes."""
        words = " ".join(sql.split())
        known = [one for one in STATEMENTS if words.startswith(one)]
        for name in known:
            self.meet(f"before {name}")
        result = act()
        for name in known:
            self.meet(f"after {name}")
        return result

    def watch_calls(self) -> None:
        """Make points of all requests and their answers."""
        attempt = Transport.attempt

        async def watched(
            transport: Transport, call: Request[object], progress: SendState, left: float
        ) -> Response:
            self.meet(f"before {call.method} {call.path}")
            answer = await attempt(transport, call, progress, left)
            self.meet(f"after {call.method} {call.path}")
            return answer

        Transport.attempt = watched  # type: ignore[method-assign, assignment]


async def _work(order: Order, points: _Points) -> int:
    folder = Path(order.folder)
    retry = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.05, wait_jitter=0.01)
    run: list[str] = []
    async with JunkieClient("jk_test", base_url=order.url, retry=retry) as client:
        job = client.keys.create_many(
            order.amount,
            provider_id=7,
            key_name="launch",
            concurrency=order.concurrency,
            ledger=folder / "ledger.db",
            reconcile_after=order.reconcile_after,
        )
        try:
            with (folder / "given").open("ab", buffering=0) as given:
                async for batch in job:
                    given.write("".join(f"{value}\n" for value in batch.keys).encode())
                    run += batch.keys
                    points.meet("given")
        except BatchError:
            return 3
    (folder / "output.new").write_text(json.dumps(run))
    (folder / "output.new").rename(folder / "output")
    (folder / "hits").write_text(json.dumps(points.hits))
    return 0


async def _log_in_memory(ledger: Ledger, amounts: Sequence[int]) -> list[Intent]:
    return await Journal.log_intents(ledger, amounts)


def _run(order: Order) -> int:
    points = _Points(order.kill_at)
    points.watch_writes()
    points.watch_calls()
    if order.without_intent:
        Ledger.log_intents = _log_in_memory  # type: ignore[method-assign, assignment]
    return asyncio.run(_work(order, points))


def _fork(order: Order) -> int:
    """Run a child to its end, or to the moment of its death; give its exit status, or -signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(2, 1)
            code = _run(order)
        except BaseException as error:  # whatever it is, only this child ends
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + (60.0 if order.kill_after is None else order.kill_after)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline += 60.0
        time.sleep(0.002)


class Forks:
    """A process that forks the children, so that none has to start Python anew."""

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

    async def run(self, order: Order) -> int:
        """Run a child; give its exit status, or -signal."""
        return await asyncio.to_thread(self._ask, json.dumps(attrs.asdict(order)))

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _serve() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        if given["kill_at"] is not None:
            given["kill_at"] = tuple(given["kill_at"])
        print(_fork(Order(**given)), flush=True)


if __name__ == "__main__":
    _serve()
