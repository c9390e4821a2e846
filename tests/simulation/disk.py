"""Disks and clocks: a ledger's thread is a queue of events, and its files are real ones."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from junkie_async._http import retry
from junkie_async._jobs import (
    file_lock,
    ledger_file,
    ledger_tables,
    markers,
    postgres_record,
    sqlite_record,
)

from .event_loop import SimulatedLoop, current_process, run_as
from .service import EPOCH


class SimulatedThread:
    """Stands in for a ledger's thread. What a process has not committed ends with it."""

    loop: SimulatedLoop
    dice: Random

    def __init__(self, *_: object) -> None:
        self._process = current_process()
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False

    def submit(self, act: Callable[[], Any]) -> Future[Any]:
        """Let something be executed after what was submitted before."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self._queue.append((future, act))
        if len(self._queue) == 1:
            self._add_event()
        return future

    def shutdown(self, wait: bool = True) -> None:
        """Take nothing more."""
        self._closed = True

    def _add_event(self) -> None:
        self.loop.add_event(self.dice.uniform(0.0, 0.02), self._run_next)

    def _run_next(self) -> None:
        process = self._process
        if process is not None and not process.alive:
            return
        if process is not None and process.stopped is not None:
            self._add_event()
            return
        future, act = self._queue[0]
        try:
            end = partial(future.set_result, run_as(process, act))
        except BaseException as error:
            end = partial(future.set_exception, error)
        # The thread goes on meanwhile: what is queued now comes too late for this.
        self.loop.add_event(self.dice.uniform(0.0, 0.005), self._end, end)

    def _end(self, end: Callable[[], None]) -> None:
        process = self._process
        if process is not None and not process.alive:
            return
        if process is not None and process.stopped is not None:
            self.loop.add_event(0.001, self._end, end)
            return
        end()
        self._queue.popleft()
        if self._queue:
            self._add_event()


class SimulatedTime:
    """Stands in for the module `time`. Each process may have a wrong clock."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        """Return the process's clock, in Unix time."""
        process = current_process()
        return EPOCH + self._loop.time() + (process.clock_offset if process is not None else 0.0)

    def monotonic(self) -> float:
        """Return a clock that is never set."""
        return self._loop.time()

    def sleep(self, seconds: float) -> None:
        """Fail: a thread that waits would stop the world."""
        raise AssertionError("a thread waits")


class SeededSecrets:
    """Stands in for the module `secrets`."""

    def __init__(self, dice: Random) -> None:
        self.choice, self.randbits = dice.choice, dice.getrandbits


def replace_disks(patch: pytest.MonkeyPatch, loop: SimulatedLoop, dice: Random) -> None:
    """Let ledgers run on simulated threads, clocks and dice, and lose their files in crashes."""
    SimulatedThread.loop, SimulatedThread.dice = loop, dice
    clock, secrets = SimulatedTime(loop), SeededSecrets(dice)
    patch.setattr(sqlite_record, "ThreadPoolExecutor", SimulatedThread)
    patch.setattr(postgres_record, "_now", loop.time)
    for module in (sqlite_record, ledger_tables, ledger_file, postgres_record):
        patch.setattr(module, "time", clock)
    for user in (sqlite_record, markers):
        patch.setattr(user, "secrets", secrets)
    patch.setattr(retry, "random", dice)
    connect = ledger_file._connect_to

    def connect_to(
        path: Path, connections: contextlib.ExitStack, *, timeout: float
    ) -> sqlite3.Connection:
        db = connect(path, connections, timeout=timeout)
        if (process := current_process()) is not None:
            process.on_crash.append(db.close)
        return db

    @contextlib.contextmanager
    def hold_lock(path: Path, byte: int | None = None, *, others: bool = False) -> Generator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(file_lock.hold_lock(path, byte, others=others))
            if (process := current_process()) is not None:
                process.on_crash.append(stack.close)
            yield

    patch.setattr(ledger_file, "_connect_to", connect_to)
    patch.setattr(ledger_file, "hold_lock", hold_lock)
