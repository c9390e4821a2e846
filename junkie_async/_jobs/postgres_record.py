"""The record of a job in PostgreSQL, which workers on any machine may run.

A worker has a job by a lease: a row with an epoch, which each new worker raises, and a time on the
server's clock. Every transaction of a worker asks for its epoch, so that one whose lease has passed
on writes nothing. There is no session state: a pooler may give each transaction another connection.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import attrs
import msgspec

from .._errors import ConfigurationError
from .._protocol.fields import MAX_BATCH
from .._protocol.json_documents import encode_json
from .background import run_in_background
from .markers import new_job_id
from .postgres_transactions import (
    FIRST_POLL,
    LAST_POLL,
    Connection,
    Enter,
    Pool,
    acquire,
    begin,
    explain_damage,
    fetch_plain,
    run_transaction,
)
from .record import (
    DamagedError,
    LeaseLostError,
    LoadedIntent,
    LoadedJob,
    check_arguments,
    check_begin,
    check_content,
    check_result,
    read_arguments,
)

T = TypeVar("T")

_CLOSING: Final = 10.0
"""Seconds that closing waits for a server that is down. The lease then ends by itself."""

# These are one message in plain text: that takes one round trip instead of four, and is a
# transaction of its own, even behind a pooler. The arguments are JSON in hexadecimal digits: no
# quotes in it. They may be executed twice: the connection may be lost before the end of a commit is
# known.
_GIVEN: Final = """WITH given AS MATERIALIZED (
  SELECT convert_from(decode('$1', 'hex'), 'UTF8')::jsonb AS it
)"""
_TAKE_LEASE: Final = f"""{_GIVEN}, taken AS (
  UPDATE junkie_async.job SET epoch = epoch + 1,
    leased_until = clock_timestamp() + make_interval(secs => (it ->> 'lease')::float8)
  FROM given WHERE name = it ->> 'name' AND result IS NULL
    AND coalesce(leased_until < clock_timestamp() OR leased_until = 'infinity', TRUE)
  RETURNING id, epoch
), found AS (
  SELECT id, marker, arguments, extract(epoch FROM begun)::float8 AS begun,
    encode(result, 'hex') AS result, taken.epoch
  FROM given JOIN junkie_async.job ON name = it ->> 'name' LEFT JOIN taken USING (id)
)
SELECT encode(convert_to(row_to_json(found)::text, 'UTF8'), 'hex') FROM found"""  # noqa: S608
_BEGIN_JOB: Final = """, lease AS (
  INSERT INTO junkie_async.job AS job (name, marker, arguments, leased_until)
  SELECT it ->> 'name', it ->> 'marker', it ->> 'arguments',
    clock_timestamp() + make_interval(secs => (it ->> 'lease')::float8)
  FROM given
  ON CONFLICT (name) DO UPDATE SET leased_until = excluded.leased_until
  WHERE job.marker = excluded.marker AND job.epoch = 0 RETURNING id
)"""
_WRITE_LEASE: Final = """, lease AS (
  UPDATE junkie_async.job SET result = coalesce(decode(it ->> 'result', 'hex'), result),
    leased_until = clock_timestamp() + make_interval(secs => (it ->> 'lease')::float8)
  FROM given WHERE name = it ->> 'name' AND marker = it ->> 'marker'
    AND epoch = (it ->> 'epoch')::bigint RETURNING id
)"""
_WRITE_ATTEMPTS: Final = """, attempts AS (
  INSERT INTO junkie_async.attempt (job, number, amount, open)
  SELECT id, (new ->> 0)::bigint, (new ->> 1)::int, NOT (it -> 'closed') @> (new -> 0)
  FROM lease, given, jsonb_array_elements(it -> 'attempts') AS new
  ON CONFLICT DO NOTHING
)"""
_WRITE_KEYS: Final = """, keys AS (
  INSERT INTO junkie_async.key (job, attempt, position, value)
  SELECT id, (new ->> 0)::bigint, (new ->> 1)::bigint, new ->> 2
  FROM lease, given, jsonb_array_elements(it -> 'keys') AS new
  ON CONFLICT DO NOTHING
)"""
_WRITE_CHANGES: Final = """, changes AS (
  UPDATE junkie_async.attempt SET open = open AND NOT (it -> 'closed') @> to_jsonb(number),
    doubted = CASE WHEN (it -> 'doubted') @> to_jsonb(number) THEN clock_timestamp()
      ELSE doubted END
  FROM lease, given WHERE job = id AND number = ANY (ARRAY(
    SELECT jsonb_array_elements_text((it -> 'closed') || (it -> 'doubted'))::bigint FROM given
  ))
)"""
# A doubt of the future is one from before the clock was set back.
_DOUBT_OPEN: Final = """UPDATE junkie_async.attempt SET doubted = clock_timestamp()
WHERE job = $1 AND open AND coalesce(doubted > clock_timestamp(), TRUE)"""
_READ_INTENTS: Final = """SELECT number, open, amount - (SELECT count(*) FROM junkie_async.key
  WHERE key.job = $1 AND key.attempt = number) AS outstanding,
extract(epoch FROM clock_timestamp() - doubted)::float8 AS doubted_for
FROM junkie_async.attempt WHERE job = $1 AND (open OR doubted IS NOT NULL)"""
_MOST_READ: Final = 10_000  # keys in one transaction
_READ_KEYS: Final = f"""SELECT value FROM junkie_async.key
WHERE job = $1 AND position >= $2 ORDER BY position LIMIT {_MOST_READ}"""  # noqa: S608 - constants
# See `ledger_tables`. Positions without gaps: a key would be dropped for one that has its position.
_IS_SOUND: Final = f"""SELECT NOT EXISTS (
  SELECT FROM junkie_async.attempt WHERE job = $1 AND (amount NOT BETWEEN 1 AND {MAX_BATCH}
    OR $2 AND amount < (
      SELECT count(*) FROM junkie_async.key WHERE key.job = $1 AND key.attempt = number))
) AND (
  SELECT coalesce(max(number), -1) = count(*) - 1 AND coalesce(min(number), 0) = 0
  FROM junkie_async.attempt WHERE job = $1
) AND (
  SELECT coalesce(min(position), 0) = 0 AND coalesce(max(position), -1) = $3 - 1
    AND coalesce(min(attempt), 0) >= 0 AND coalesce(max(attempt), -1) < (
      SELECT count(*) FROM junkie_async.attempt WHERE attempt.job = $1)
  FROM junkie_async.key WHERE job = $1)"""  # noqa: S608 - constants
_COUNT_CALLS: Final = "SELECT count(*) FROM junkie_async.attempt WHERE job = $1"


@attrs.define
class _Changes:
    """What is to be written in one transaction."""

    amounts: dict[int, int] = attrs.field(factory=dict[int, int])  # of new calls, by number
    keys: list[tuple[int, int, str]] = attrs.field(factory=list[tuple[int, int, str]])
    closed: set[int] = attrs.field(factory=set[int])
    doubted: set[int] = attrs.field(factory=set[int])
    result: bytes | None = None
    ends_lease: bool = False

    def make_statement(self, write_lease: str, **others: str | float) -> str:
        """Return the statement, of the parts that are needed: planning all takes 0.3 ms."""
        given = {
            "attempts": [*self.amounts.items()],
            "keys": self.keys,
            "closed": [*self.closed],
            "doubted": [*self.doubted],
            "result": None if self.result is None else self.result.hex(),
            **others,
        }
        parts = (
            _GIVEN.replace("$1", encode_json(given).hex()),
            write_lease,
            _WRITE_ATTEMPTS if self.amounts else "",
            _WRITE_KEYS if self.keys else "",
            _WRITE_CHANGES if self.closed or self.doubted else "",
        )
        return "".join(parts) + " SELECT id FROM lease"  # noqa: S608 - constants and hex digits


@attrs.define(eq=False)
class PostgresRecord:
    """A job's rows in a database, by the job's name.

    A worker that finds the job taken stands by until its lease ends. ``patience`` is the seconds
    for which it goes on while the server can't be reached.
    """

    has_lease: ClassVar[bool] = True
    name: str
    lease: float
    patience: float
    get_pool: Callable[[], Awaitable[Pool]]
    _patience: float = attrs.field(default=0.0, init=False)
    # These name one term of one job: a job of the same name may be begun anew once it is pruned.
    _marker: str = attrs.field(default="", init=False)
    _epoch: int = attrs.field(default=0, init=False)
    _unlogged: str | None = attrs.field(default=None, init=False)  # the arguments of a new job
    _valid_until: float = attrs.field(default=0.0, init=False)  # on this machine's clock
    _position: int = attrs.field(default=0, init=False)  # of the next key
    _changes: _Changes | None = attrs.field(default=None, init=False)  # since the latest commit
    _commit: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _renewal: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    async def open(
        self, arguments: Mapping[str, Any], add_keys: Callable[[Sequence[str]], None]
    ) -> LoadedJob:
        """Become the job's writer, and read what earlier runs have logged.

        Nothing is written of a new job, since its row comes with those of its first calls: that is
        one transaction less. Then it may turn out that another worker has begun the same job.
        An order that has its key needs no writer.
        """
        self._failure, self._patience, self._position = None, self.patience, 0
        self._marker, self._epoch, self._unlogged = new_job_id(), 0, None
        row, seconds = await self._take_lease(), FIRST_POLL
        while row is not None and row["epoch"] is None and row["result"] is None:
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_POLL)
            row = await self._take_lease()
        if row is None or self._epoch:
            self._renewal = asyncio.create_task(self._renew_lease())
        if row is None:
            self._unlogged = encode_json(arguments).decode()
            return LoadedJob(id=self._marker, begun=time.time())
        with explain_damage():
            check_begin(row["marker"], row["begun"])
            check_arguments(read_arguments(row["arguments"]), arguments)
            result = check_result(row["result"] and bytes.fromhex(row["result"]))
            job = LoadedJob(id=row["marker"], begun=row["begun"], result=result)
            if self._epoch:
                has_marker = arguments.get("marker") is not None
                job = await self._load_rows(row["id"], job, add_keys, has_marker=has_marker)
            return check_content(job, arguments)

    def log_intents(self, intents: Sequence[tuple[int, int]]) -> None:
        """Log calls, by their numbers and their amounts of keys, with the next `sync`."""
        self._change().amounts.update(intents)

    def log_keys(
        self, number: int, keys: Collection[str], *, final: bool, result: bytes | None = None
    ) -> None:
        """Log keys of a call, with the next `sync`. It is closed, or else in doubt."""
        changes = self._change()
        changes.keys += [(number, at, key) for at, key in enumerate(keys, self._position)]
        self._position += len(keys)
        (changes.closed if final else changes.doubted).add(number)
        changes.result = result or changes.result

    async def sync(self) -> None:
        """Wait until everything logged so far is committed."""
        while self._failure is None and self._commit is not None:
            await asyncio.shield(self._commit)
        self._raise_failure()

    def check_writer(self) -> None:
        """Raise LeaseLostError unless the lease surely holds at this moment."""
        if _now() >= self._valid_until or self._failure is not None:
            raise LeaseLostError(f"the lease on the job {self.name!r} has ended")

    async def wait_until_writer(self) -> None:
        """Wait until the lease is renewed, if the server could not be reached in time."""
        while self._failure is None and _now() >= self._valid_until:  # noqa: ASYNC110 - rare
            await asyncio.sleep(FIRST_POLL)
        self._raise_failure()

    async def close(self) -> None:
        """Flush, and end the lease, even if the caller is cancelled."""
        if (self._valid_until or self._commit) and self._failure is None:
            self._change().ends_lease = True  # in one transaction with what was logged just before
        await asyncio.shield(asyncio.ensure_future(self._flush_and_end()))

    async def _flush_and_end(self) -> None:
        self._patience = min(self._patience, _CLOSING)
        await _cancel(self._renewal)
        try:
            await self.sync()
        finally:
            # Nothing of this run may be written under the epoch of the next one.
            await _cancel(self._commit)
            self._changes, self._valid_until = None, 0.0

    async def _take_lease(self) -> Mapping[str, Any] | None:
        """Become the writer if nobody is. None if there is no such job."""
        taking = asyncio.ensure_future(self._become_writer())
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # It may be committed by now. Then nobody else would have the job before the lease ends.
            run_in_background(self._return_lease(taking))
            raise

    async def _become_writer(self) -> Mapping[str, Any] | None:
        row, began = await self._in_transaction(self._update_lease, acquire)
        if row is not None and row["epoch"] is not None:
            self._marker, self._epoch = row["marker"], row["epoch"]
            self._valid_until = began + self.lease  # less than on the server, which began later
        return row

    async def _return_lease(self, taking: asyncio.Future[Any]) -> None:
        with suppress(ConfigurationError):
            await taking
            await self.close()

    async def _update_lease(self, db: Connection) -> tuple[Mapping[str, Any] | None, float]:
        began, given = _now(), encode_json({"name": self.name, "lease": self.lease})
        return await fetch_plain(db, _TAKE_LEASE.replace("$1", given.hex())), began

    async def _load_rows(
        self,
        job_id: int,
        job: LoadedJob,
        add_keys: Callable[[Sequence[str]], None],
        *,
        has_marker: bool,
    ) -> LoadedJob:
        # The keys first: the lease is renewed meanwhile, and the write finds out if it was lost. No
        # other worker has added keys since then.
        keys = [""] * _MOST_READ
        while len(keys) == _MOST_READ:
            keys = await self._in_transaction(partial(self._read_keys, job_id))
            for at in range(0, len(keys), MAX_BATCH):
                add_keys(keys[at : at + MAX_BATCH])
                await asyncio.sleep(0)  # a million take longer than a short lease
            self._position += len(keys)
        # In a transaction of its own, which keeps no lease from being renewed.
        await self._in_transaction(partial(self._check_rows, job_id, has_marker))
        read = partial(self._read_calls, job_id)
        calls, intents, self._valid_until = await self._in_transaction(read)
        return msgspec.structs.replace(job, created=self._position, calls=calls, intents=intents)

    async def _renew_lease(self) -> None:
        while self._failure is None:
            await asyncio.sleep(self.lease / 3)
            if self._unlogged is None:
                await self._commit_all(_Changes())

    async def _write(self, changes: _Changes, db: Connection) -> float:
        """Write changes and renew the lease, unless another worker has taken it since.

        Returns the end of the lease, which counts once the transaction is committed.
        """
        began, seconds = _now(), 0.0 if changes.ends_lease else self.lease
        job: dict[str, str | float] = {
            "name": self.name,
            "marker": self._marker,
            "epoch": self._epoch,
            "lease": seconds,
        }
        write_lease = _WRITE_LEASE
        if self._unlogged is not None:
            write_lease, job["arguments"] = _BEGIN_JOB, self._unlogged
        if await db.execute(changes.make_statement(write_lease, **job)) != "SELECT 1":
            raise LeaseLostError(f"another worker has begun or taken over the job {self.name!r}")
        return began + seconds

    async def _read_keys(self, job_id: int, db: Connection) -> list[str]:
        """Read the key values that come next."""
        return [value for (value,) in await db.fetch(_READ_KEYS, job_id, self._position)]

    async def _check_rows(self, job_id: int, has_marker: bool, db: Connection) -> None:
        if not await db.fetchval(_IS_SOUND, job_id, has_marker, self._position):
            await self._write(_Changes(), db)  # another worker may have added to them meanwhile
            raise DamagedError

    async def _read_calls(
        self, job_id: int, db: Connection
    ) -> tuple[int, list[LoadedIntent], float]:
        valid_until = await self._write(_Changes(), db)
        await db.execute(_DOUBT_OPEN, job_id)
        calls = await db.fetchval(_COUNT_CALLS, job_id)
        intents = [
            LoadedIntent(row["number"], row["outstanding"], row["open"], row["doubted_for"])
            for row in await db.fetch(_READ_INTENTS, job_id)
        ]
        return calls, intents, valid_until

    def _change(self) -> _Changes:
        """Return what the next transaction writes."""
        if self._changes is None:
            self._changes = _Changes()
        if self._commit is None:
            self._commit = asyncio.create_task(self._commit_changes())
        return self._changes

    async def _commit_changes(self) -> None:
        """Commit what was logged, and what comes meanwhile, in as few transactions as possible."""
        try:
            while self._failure is None and self._changes is not None:
                changes, self._changes = self._changes, None
                await self._commit_all(changes)
        finally:
            self._commit = None

    async def _commit_all(self, changes: _Changes) -> None:
        try:
            self._valid_until = await self._in_transaction(partial(self._write, changes), acquire)
            self._unlogged = None
        except ConfigurationError as error:  # or LeaseLostError
            self._failure = self._failure or error

    async def _in_transaction(
        self, act: Callable[[Connection], Awaitable[T]], enter: Enter = begin
    ) -> T:
        return await run_transaction(self.get_pool, act, self._patience, enter)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _now() -> float:
    # The boot-time clock goes on while a machine sleeps, unlike the monotonic one.
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 - mypy takes what follows a `return` for unreachable
        return time.monotonic()
