"""Where the journal of a durable job is kept: what SQLite and PostgreSQL have in common."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeGuard

import msgspec

from .._errors import ConfigurationError, InvalidRequestError, Outcome
from .._protocol.codec import decode_key
from .._protocol.fields import MAX_TEXT
from .._protocol.json_documents import decode_json
from .._validation import MAX_INTEGER, check_seconds, check_text, safe_repr

DEFAULT_JOB: Final = "job"
"""The name of the only job of a ledger that version 0.1 wrote, and of one without ``job=``."""

MAX_CLAIM: Final = 1e9
"""Seconds; about 30 years."""

LATEST: Final = 253402300799
"""The end of the year 9999, in Unix time."""

_JOB_ID: Final = re.compile("[0-9a-z]{1,32}")


class DamagedError(Exception):
    """The content is not what this package writes."""


class LeaseLostError(ConfigurationError):
    """Another worker has the job now, or may have it."""

    outcome = Outcome.NOT_EXECUTED


class LoadedIntent(msgspec.Struct, frozen=True):
    """A call of an earlier run that may still bring keys."""

    number: int
    outstanding: int
    is_open: bool
    doubted_for: float
    """Seconds since its outcome became unknown."""


class LoadedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a record has of a job when it is opened."""

    id: str
    begun: float  # in Unix time
    created: int = 0
    calls: int = 0
    intents: Sequence[LoadedIntent] = ()
    result: bytes | None = None


class JobCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger has of a job, counted."""

    name: str
    marker: str
    arguments: dict[str, Any]
    begun: float  # in Unix time
    created: int
    calls: int
    intended: int  # keys of open calls
    logged: int  # of these
    in_doubt: int  # open calls that may have been carried out
    in_flight: int  # other open calls


class Record(Protocol):
    """One job's rows. One worker at a time may write them."""

    has_lease: ClassVar[bool]
    """Whether another worker may become the writer while this one lives."""

    async def open(
        self, arguments: Mapping[str, Any], add_keys: Callable[[Sequence[str]], None]
    ) -> LoadedJob:
        """Become the job's writer, and read what earlier runs have logged.

        ``add_keys`` takes their key values, 100 at a time.

        Raises:
            InvalidRequestError: The job was begun with other arguments.
            ConfigurationError: The ledger can't be used, or another worker has the job.
        """
        ...

    def log_intents(self, intents: Sequence[tuple[int, int]]) -> None:
        """Log calls, by their numbers and their amounts of keys, with the next `sync`."""
        ...

    def log_keys(
        self, number: int, keys: Collection[str], *, final: bool, result: bytes | None = None
    ) -> None:
        """Log keys of a call, with the next `sync`. It is closed, or else in doubt."""
        ...

    async def sync(self) -> None:
        """Wait until everything logged so far is durable."""
        ...

    def check_writer(self) -> None:
        """Raise LeaseLostError unless this worker surely is the writer at this moment."""
        ...

    async def wait_until_writer(self) -> None:
        """Wait as long as it is unsure whether this worker is the writer."""
        ...

    async def close(self) -> None:
        """Flush, and let other workers write."""
        ...


class LedgerStore(abc.ABC):
    """A ledger of many jobs, as an object."""

    identity: str
    """What is the same for two stores of one ledger."""
    folder: Path | None = None
    """Where a job may put key values that don't fit in memory; None is for temporary files."""

    @abc.abstractmethod
    def make_record(self, job: str | None, *, waits: bool) -> Record:
        """Make the record of a job; ``waits`` for its writer rather than to refuse."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the connections that it has opened. May be called again."""


def names_database(ledger: object) -> TypeGuard[str]:
    """Whether a ledger is the DSN of a PostgreSQL database."""
    return isinstance(ledger, str) and ledger.startswith(("postgresql://", "postgres://"))


def check_job_name(field: str, name: str) -> str:
    """Check the name of a job or of an order: a string of 1 to 255 characters."""
    return check_text(field, name, MAX_TEXT)


def check_claim(name: str, seconds: float) -> tuple[str, float]:
    """Check a claim: a name of 1 to 255 characters, and seconds above 0 and up to 1e9."""
    checked = check_job_name("name", name), check_seconds("seconds", seconds)
    if seconds > MAX_CLAIM:
        raise InvalidRequestError("seconds", repr(seconds), f"at most {MAX_CLAIM:g}")
    return checked


def check_arguments(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check that a job is run with the arguments that it was begun with."""
    for name in sorted({*recorded, *given}):
        before, now = recorded.get(name), given.get(name)
        if before != now and name == "call":
            limit = f"one that {'create_many' if now else 'create'}() has not used"
            raise InvalidRequestError("idempotency_key", "that of another order", limit)
        if before != now:
            # An address is no secret, and cut short both might read the same.
            show = ascii if name == "base_url" else safe_repr
            error = InvalidRequestError(name, show(now), "as in the ledger")
            # Not in the limit, which an app's users may read: the order may be somebody else's.
            error.advice = f"the ledger has {show(before)}"
            raise error


def read_arguments(recorded: str) -> dict[str, Any]:
    """Read the arguments that a record has as JSON.

    Raises:
        DamagedError: They are not those of a job.
    """
    try:
        arguments: dict[str, Any] = {**decode_json(recorded.encode())}
        amount = arguments["amount"]
    except Exception:  # whatever it is, the text is not an object with an amount
        raise DamagedError from None
    is_amount = type(amount) is int and 0 < amount <= MAX_INTEGER
    if not is_amount or not all(map(str.isidentifier, arguments)):  # errors show the names
        raise DamagedError
    return arguments


def check_begin(marker: object, begun: object) -> None:
    """Check what a record has as a job's ID, and as the Unix time when the job was begun.

    Raises:
        DamagedError: They are not those of a job.
    """
    is_id = isinstance(marker, str) and _JOB_ID.fullmatch(marker)
    if not is_id or not isinstance(begun, int | float) or not 0 <= begun <= LATEST:
        raise DamagedError


def check_content(job: LoadedJob, arguments: Mapping[str, Any]) -> LoadedJob:
    """Check that a record's content goes together. The key of an order is one of its rows, too.

    Raises:
        DamagedError: Something of it is missing. To go on would create a second key for an order.
    """
    is_order = "call" in arguments
    if is_order and job.result is None and (job.created or not job.calls):
        raise DamagedError
    if job.result is not None and not is_order:
        raise DamagedError
    return job


def check_result(written: object) -> bytes | None:
    """Check the key that a record has of an order, if any.

    Raises:
        DamagedError: It is no key.
    """
    if written is None:
        return None
    if not isinstance(written, bytes):
        raise DamagedError
    try:
        decode_key(written)
    except (ValueError, RecursionError):
        raise DamagedError from None
    return written
