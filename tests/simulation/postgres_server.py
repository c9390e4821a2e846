"""A PostgreSQL of the simulation: it does what the statements of a ledger's record do.

The SQL itself is tested with a real server, in `tests/durability`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random
from typing import Any, Final

import attrs

from junkie_async._jobs import postgres_record as statements
from junkie_async._jobs.postgres_record import PostgresRecord
from junkie_async._jobs.record import DEFAULT_JOB, LedgerStore, Record

from .event_loop import Process, SimulatedLoop, current_process
from .service import EPOCH

_IDLE: Final = 1.0
"""Seconds after which the server ends a transaction that is idle."""

_GIVEN: Final = re.compile(r"decode\('([0-9a-f]*)', 'hex'\)")


@attrs.define
class Attempt:
    """A row of the table of attempts."""

    amount: int
    open: bool
    doubted: float | None = None


@attrs.define
class Job:
    """A row of the table of jobs, with those that refer to it."""

    id: int
    marker: str
    arguments: str
    begun: float
    leased_until: float
    epoch: int = 0
    result: str | None = None
    attempts: dict[int, Attempt] = attrs.field(factory=dict[int, Attempt])
    keys: dict[int, tuple[int, str]] = attrs.field(factory=dict[int, tuple[int, str]])


class PostgresServer:
    """Jobs in tables, behind a network that delays and loses.

    Attributes:
        delay: Seconds of a message, the least and the most.
        lost: The probability that a message is lost, and the connection with it.
        up: Whether it takes connections.
        hangs: Whether it answers nothing.
        cut_off: Names of processes that can't reach it.
        writer: The process that has the lease, by the name of the job.
    """

    def __init__(self, loop: SimulatedLoop, dice: Random) -> None:
        self.loop, self.dice = loop, dice
        self.delay = (0.0003, 0.002)
        self.lost = 0.0
        self.up, self.hangs = True, False
        self.cut_off: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.writer: dict[str, Process | None] = {}
        self._connections: set[SimulatedConnection] = set()
        self._transaction: SimulatedConnection | None = None  # which has written, and holds locks
        self._before: dict[str, Job] = {}

    def holds_lease(self, job: str, process: Process) -> bool:
        """Whether a process may send the calls of a job at this moment."""
        row = self.jobs.get(job)
        is_writer = row is not None and self.writer.get(job) is process
        return is_writer and row is not None and self.loop.time() < row.leased_until

    def crash(self) -> None:
        """End, with all connections. What was committed stays."""
        self.up, self.hangs = False, False
        for connection in [*self._connections]:
            connection.break_off()

    def recover(self) -> None:
        """Be up and reachable again. Who has waited finds the connection reset."""
        self.up, self.hangs = True, False
        self.cut_off.clear()
        for connection in [*self._connections]:
            if connection.is_waiting:
                connection.break_off()

    def make_delay(self) -> float:
        """Return the seconds of a message."""
        return self.dice.uniform(*self.delay)

    def loses(self) -> bool:
        """Whether a message is lost."""
        return self.dice.random() < self.lost

    def reaches(self, name: str) -> bool:
        """Whether messages of a process of this name arrive."""
        return self.up and not self.hangs and name not in self.cut_off

    def add(self, connection: SimulatedConnection) -> None:
        """Begin a session."""
        self._connections.add(connection)

    def remove(self, connection: SimulatedConnection) -> None:
        """End a session, and roll its transaction back."""
        self._connections.discard(connection)
        if self._transaction is connection:
            self.jobs, self._transaction = self._before, None

    def execute(self, connection: SimulatedConnection, act: Callable[[], Any]) -> tuple[bool, Any]:
        """Execute a statement, unless it has to wait for a lock; return whether it was, and rows.

        The whole database has one lock, which a transaction holds from its first statement on.
        """
        if self._transaction not in (None, connection):
            return False, None
        if self._transaction is None and connection.is_in_transaction:
            self._transaction, self._before = connection, copy.deepcopy(self.jobs)
        return True, act()

    def commit(self, connection: SimulatedConnection) -> None:
        """End a transaction."""
        if self._transaction is connection:
            self._transaction = None

    # The statements. Each changes all of its rows at once.

    def take_lease(self, process: Process | None, given: dict[str, Any]) -> dict[str, Any] | None:
        """Give the job to a worker, if its lease has ended."""
        job, now = self.jobs.get(given["name"]), self.loop.time()
        if job is None:
            return None
        is_taken = job.result is None and job.leased_until < now
        if is_taken:
            job.epoch += 1
            job.leased_until = now + given["lease"]
            self.writer[given["name"]] = process
        return {
            "id": job.id,
            "marker": job.marker,
            "arguments": job.arguments,
            "begun": job.begun,
            "result": job.result,
            "epoch": job.epoch if is_taken else None,
        }

    def write(self, process: Process | None, given: dict[str, Any], *, begins: bool) -> bool:
        """Write changes and renew the lease, if the worker still has it."""
        job = self._begin_job(process, given) if begins else self._renew_lease(given)
        if job is None:
            return False
        now, closed = self.loop.time(), set(given["closed"])
        before = [*job.attempts]
        for number, amount in given["attempts"]:
            job.attempts.setdefault(number, Attempt(amount, number not in closed))
        for attempt, position, value in given["keys"]:
            job.keys.setdefault(position, (attempt, value))
        for number in before:  # a statement does not see what it inserts
            attempt = job.attempts[number]
            attempt.open = attempt.open and number not in closed
            if number in given["doubted"]:
                attempt.doubted = now
        return True

    def _begin_job(self, process: Process | None, given: dict[str, Any]) -> Job | None:
        now, name = self.loop.time(), given["name"]
        job = self.jobs.get(name)
        if job is None:
            begun = EPOCH + now
            number = len(self.jobs) + 1
            job = Job(number, given["marker"], given["arguments"], begun, now + given["lease"])
            self.jobs[name], self.writer[name] = job, process
        elif job.marker != given["marker"] or job.epoch:
            return None
        job.leased_until = now + given["lease"]
        return job

    def _renew_lease(self, given: dict[str, Any]) -> Job | None:
        job = self.jobs.get(given["name"])
        if job is None or (job.marker, job.epoch) != (given["marker"], given["epoch"]):
            return None
        job.result = given["result"] or job.result
        job.leased_until = self.loop.time() + given["lease"]
        return job

    def find_job(self, number: int) -> Job:
        """Return the job of an ID."""
        return next(job for job in self.jobs.values() if job.id == number)

    def doubt_open(self, number: int) -> None:
        """Begin the doubt of all open calls."""
        now = self.loop.time()
        for attempt in self.find_job(number).attempts.values():
            if attempt.open and (attempt.doubted is None or attempt.doubted > now):
                attempt.doubted = now

    def read_keys(self, number: int, position: int) -> list[tuple[str]]:
        """Return the values of keys from a position on."""
        keys = self.find_job(number).keys
        return [(keys[at][1],) for at in sorted(keys) if at >= position]

    def is_sound(self, number: int, has_marker: bool, created: int) -> bool:
        """Whether the rows of a job go together."""
        job = self.find_job(number)
        logged = Counter(attempt for attempt, _ in job.keys.values())
        return (
            sorted(job.attempts) == [*range(len(job.attempts))]
            and sorted(job.keys) == [*range(created)]
            and logged.keys() <= job.attempts.keys()
            and not (
                has_marker and any(logged[at] > one.amount for at, one in job.attempts.items())
            )
        )

    def read_intents(self, number: int) -> list[dict[str, Any]]:
        """Return the calls that may still bring keys."""
        job, now = self.find_job(number), self.loop.time()
        logged = [attempt for attempt, _ in job.keys.values()]
        return [
            {
                "number": at,
                "open": attempt.open,
                "outstanding": attempt.amount - logged.count(at),
                "doubted_for": None if attempt.doubted is None else now - attempt.doubted,
            }
            for at, attempt in job.attempts.items()
            if attempt.open or attempt.doubted is not None
        ]


class SimulatedConnection:
    """Stands in for asyncpg's connection, as far as a record uses it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._process = current_process()
        self._name = self._process.name if self._process is not None else ""
        self._waiting: asyncio.Future[Any] | None = None
        self._used_at = server.loop.time()
        self.is_open = True
        self.is_in_transaction = False
        server.add(self)
        if self._process is not None:
            self._process.on_crash.append(self._end_soon)

    @property
    def is_waiting(self) -> bool:
        """Whether a statement has no answer yet."""
        return self._waiting is not None and not self._waiting.done()

    def break_off(self) -> None:
        """Lose the connection."""
        if self.is_open:
            self.is_open = False
            self._server.remove(self)
            if self._waiting is not None:
                _fail(self._waiting, ConnectionResetError("Connection reset by peer"))

    def terminate(self) -> None:
        """Close it at once. The server notices that soon."""
        self._end_soon()

    def _end_soon(self) -> None:
        self._server.loop.add_event(self._server.make_delay(), self.break_off)

    # What callers await.

    async def execute(self, query: str, *arguments: Any) -> str:
        """Execute a statement; return the command's tag."""
        if query.startswith("BEGIN"):
            return str(await self._ask(self._begin))
        if query == "COMMIT":
            return str(await self._ask(self._commit))
        if query == statements._DOUBT_OPEN:
            return str(await self._ask(lambda: self._server.doubt_open(*arguments)))
        given, begins = _read_given(query), "INSERT INTO junkie_async.job " in query
        is_done = await self._ask(lambda: self._server.write(self._process, given, begins=begins))
        return f"SELECT {int(is_done)}"

    async def copy_from_query(
        self, query: str, *, output: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Execute the statement that takes a lease."""
        given = _read_given(query)
        row = await self._ask(lambda: self._server.take_lease(self._process, given))
        if row is not None:
            await output(json.dumps(row).encode().hex().encode())

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Execute a query."""
        server = self._server
        is_of_keys = query == statements._READ_KEYS
        assert is_of_keys or query == statements._READ_INTENTS
        read: Callable[..., list[Any]] = server.read_keys if is_of_keys else server.read_intents
        rows: list[Any] = await self._ask(lambda: read(*arguments))
        return rows

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Execute a query of one value."""
        if query == statements._IS_SOUND:
            return await self._ask(lambda: self._server.is_sound(*arguments))
        assert query == statements._COUNT_CALLS
        return await self._ask(lambda: len(self._server.find_job(*arguments).attempts))

    def _begin(self) -> str:
        self.is_in_transaction = True
        return "BEGIN"

    def _commit(self) -> str:
        self._server.commit(self)
        self.is_in_transaction = False
        return "COMMIT"

    async def _ask(self, act: Callable[[], Any]) -> Any:
        if not self.is_open:
            raise ConnectionResetError("the connection is closed")
        self._waiting = answer = asyncio.get_running_loop().create_future()
        server = self._server
        if server.loses():
            server.loop.add_event(server.make_delay(), self.break_off)
        elif server.reaches(self._name):
            server.loop.add_event(server.make_delay(), self._receive, act, answer)
        return await answer

    def _receive(self, act: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        server = self._server
        if not self.is_open or not server.reaches(self._name):
            return
        self._used_at = server.loop.time()
        is_done, result = server.execute(self, act)
        if not is_done:
            server.loop.add_event(0.005, self._receive, act, answer)
            return
        if self.is_in_transaction:
            server.loop.add_event(_IDLE, self._end_if_idle, self._used_at)
        if server.loses():
            server.loop.add_event(server.make_delay(), self.break_off)
        else:
            server.loop.add_event(server.make_delay(), self._answer, answer, result)

    def _answer(self, answer: asyncio.Future[Any], result: Any) -> None:
        if self._server.reaches(self._name) and not answer.done():
            answer.set_result(result)

    def _end_if_idle(self, used_at: float) -> None:
        if self.is_in_transaction and self._used_at == used_at:
            self.break_off()


class SimulatedPool:
    """Stands in for `asyncpg.Pool`: up to four connections of one process."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(4)
        self._free: list[SimulatedConnection] = []

    @contextlib.asynccontextmanager
    async def acquire(
        self,
        *,
        timeout: float,  # noqa: ASYNC109 - asyncpg's
    ) -> AsyncGenerator[SimulatedConnection]:
        """Take a connection."""
        async with asyncio.timeout(timeout):
            await self._slots.acquire()
        try:
            connection = await self._connect()
            try:
                yield connection
            finally:
                if connection.is_open and not connection.is_in_transaction:
                    self._free.append(connection)
        finally:
            self._slots.release()

    async def _connect(self) -> SimulatedConnection:
        while self._free:
            if (connection := self._free.pop()).is_open:
                return connection
        await asyncio.sleep(2 * self._server.make_delay())
        process = current_process()
        if not self._server.reaches(process.name if process is not None else ""):
            raise ConnectionRefusedError("Connection refused")
        return SimulatedConnection(self._server)


class SimulatedLedger(LedgerStore):
    """Stands in for `PostgresLedger` in one process. Its records are the real ones."""

    identity = "simulated"

    def __init__(self, server: PostgresServer, lease: float) -> None:
        self._lease = lease
        self._pool = SimulatedPool(server)

    def make_record(self, job: str | None, *, waits: bool) -> Record:
        """Make the record of a job or an order."""
        return PostgresRecord(
            job or DEFAULT_JOB, self._lease, 5.0 if waits else 600.0, self._get_pool
        )

    async def close(self) -> None:
        """Close nothing: connections end with their process."""

    async def _get_pool(self) -> SimulatedPool:
        return self._pool


def _read_given(query: str) -> dict[str, Any]:
    found = _GIVEN.search(query)
    assert found is not None, query
    given: dict[str, Any] = json.loads(bytes.fromhex(found[1]))
    return given


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
