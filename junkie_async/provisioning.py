"""Durable jobs: exactly N keys, through crashes, lost responses and late ones.

``client.keys.create_many(amount, ..., ledger="launch.db")`` keeps a record of the job in a SQLite
file, the ledger. (One in PostgreSQL, which several machines may share, is in
`junkie_async.postgres`.) After anything that has ended the job (a crash, a kill, an outage), run it
again with the same arguments: it resumes. When it ends without an error there are exactly
``amount`` keys, and the report, or the ``async for``, has given each of them once.

How it works:

1. Each call is logged, and synced to the disk, before it is sent. Its keys are logged before you
   get them.
2. Each call's keys have a marker at the end of ``key_name``, such as ``launch jk-k3v9x2mq4f7z.1f``.
3. When the outcome of a call is unknown, the job continues with other calls. ``reconcile_after``
   seconds after the last unknown outcome it looks for the markers in the list of the provider's
   keys. It adopts the keys that it is short of, deletes surplus keys, and creates what is missing
   under new markers. While it waits it says so: see ``JobEvent.waiting`` and ``JobStatus.waiting``.
   A response whose keys came before, such as one that a gateway repeats, is an unknown outcome too.

What it relies on:

- The service carries a request out within ``reconcile_after`` seconds (120 by default) or never,
  and only once.
- By that time ``GET /keys`` lists the keys that were created, with their ``key_name``.
- Nobody else changes, renames or deletes the job's keys before the job has ended.
- The disk keeps what it reports as synced, and the ledger is on a local file system.

A ledger holds many jobs by name: ``create_many(..., ledger="orders.db", job="launch")``. A job has
one writer, and a ledger has many: several processes of one machine may run different jobs of one
file. (On systems without locks on single bytes of a file, such as macOS, they take turns.)

Orders are jobs that wait for each other: ``create(..., idempotency_key="order-123", ledger=...)``
returns the same key however often, and in however many processes, it is called. After an unknown
outcome the call raises `OutcomeUnknownError`, and the next one finds the key by its marker before
it creates one. It waits until ``reconcile_after`` seconds have passed since then.

The file holds key values in plain text, so it has mode 0600; one that is there already gets this
mode. A second file, with ``.lock`` at the end of its name, keeps a second job out. Files and
symbolic links that another user made are refused: ``/tmp`` may have such files. A ledger with hard
links is refused, too. When a file is moved, replaced or deleted while the job runs, the job ends
with a `BatchError`, and its report has all keys, also those that the ledger lacks. Without markers
(``marker=None``) the job can't look for keys: after an unknown outcome it ends with a `BatchError`,
and running it again does not help.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import attrs

from ._errors import ConfigurationError
from ._jobs.ledger_file import check_path, open_readonly, prune_jobs, write_claim
from ._jobs.ledger_tables import end_claim, read_counts, read_names, take_claim
from ._jobs.record import DEFAULT_JOB, JobCounts, check_claim, check_job_name, names_database
from ._masking import error_boundary
from ._validation import check_seconds, safe_repr

__all__ = [
    "DEFAULT_JOB",
    "JobStatus",
    "claim",
    "is_dsn",
    "prune",
    "release",
    "status",
    "statuses",
]


@attrs.frozen(kw_only=True)
class JobStatus:
    """The progress of a durable job, as recorded in its ledger.

    Attributes:
        name: The job's name: its ``job=``, or its ``idempotency_key=``.
        job: The job's ID, as in its markers.
        requested: Keys that the job is to create.
        created: Keys that it has created and logged.
        open: Keys of calls that are in flight, or whose outcome is unknown.
        calls: Calls that were made or are about to be made.
        begun_at: When the job was first run, in UTC.
        arguments: Its arguments, by the API's names, and ``base_url`` and ``marker``.
        waiting: Whether nothing is left to do but to find out what became of calls with an unknown
            outcome: a running job waits until it may look for their keys.
        done: Whether all keys are created, and nothing is left to find out.
    """

    name: str
    job: str
    requested: int
    created: int
    open: int
    calls: int
    begun_at: datetime
    arguments: dict[str, Any] = attrs.field(repr=False)
    waiting: bool = False

    @property
    def done(self) -> bool:
        """Whether all keys are created, and nothing is left to find out."""
        return self.created >= self.requested and not self.waiting


@error_boundary
def is_dsn(ledger: object) -> TypeGuard[str]:
    """Whether a ledger is the DSN of a PostgreSQL database, and not the path of a file.

    Args:
        ledger: What is passed as ``ledger=``.
    """
    return names_database(ledger)


@error_boundary
def status(path: str | os.PathLike[str], job: str | None = None) -> JobStatus:
    """Read a job's progress from its ledger, even while the job runs.

    Args:
        path: The ledger's file.
        job: The job's name, if it was run with one.

    Raises:
        ConfigurationError: There is no such file or job, it is not a ledger, or it is damaged.
        InvalidRequestError: The path is not one of a file.
    """
    checked, name = check_path(path), check_job_name("job", job or DEFAULT_JOB)
    with open_readonly(checked) as db:
        counts = read_counts(db, name)
        if counts is None:
            raise ConfigurationError(f"the ledger {checked} has no job {safe_repr(name)}")
        return make_status(counts)


@error_boundary
def statuses(path: str | os.PathLike[str]) -> Iterator[JobStatus]:
    """Read the progress of all jobs of a ledger, in the order in which they were begun.

    Args:
        path: The ledger's file.

    Raises:
        ConfigurationError: There is no such file, it is not a ledger, or it is damaged.
        InvalidRequestError: The path is not one of a file.
    """
    with open_readonly(check_path(path)) as db:
        for name in read_names(db):
            if (counts := read_counts(db, name)) is not None:
                yield make_status(counts)


@error_boundary
def prune(path: str | os.PathLike[str], older_than: timedelta | float) -> int:
    """Delete finished jobs and orders of a ledger that began longer ago than ``older_than``.

    An order that comes again after that is a new one. The file keeps its size; later jobs use the
    space.

    Args:
        path: The ledger's file.
        older_than: A timedelta, or seconds, above 0.

    Returns:
        How many were deleted.

    Raises:
        ConfigurationError: There is no such file, it is not a ledger, or it is damaged.
        InvalidRequestError: An argument is out of its limits.
    """
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    return prune_jobs(check_path(path), check_seconds("older_than", seconds))


@error_boundary
def claim(path: str | os.PathLike[str], name: str, seconds: float) -> float:
    """Claim a name for some time, for a cooldown for instance. Only one process can hold it.

    It blocks for some milliseconds, or for up to 30 seconds while another program locks the file.

    Args:
        path: The ledger's file. It is made if there is none.
        name: What is claimed, 1 to 255 characters.
        seconds: For how long, up to 1e9. An earlier claim that would last longer is shortened.

    Returns:
        0.0 if the caller has it now. Otherwise the seconds until somebody else's claim ends.

    Raises:
        ConfigurationError: It is not a ledger, it is damaged, or it can't be written.
        InvalidRequestError: An argument is out of its limits.
    """
    checked, checked_seconds = check_claim(name, seconds)
    return write_claim(check_path(path), lambda db: take_claim(db, checked, checked_seconds))


@error_boundary
def release(path: str | os.PathLike[str], name: str) -> None:
    """End a claim, whoever has it, so that it can be claimed at once.

    Without such a claim it does nothing.

    Args:
        path: The ledger's file. It is not created.
        name: What was claimed.

    Raises:
        ConfigurationError: It is not a ledger, it is damaged, or it can't be written.
        InvalidRequestError: An argument is out of its limits.
    """
    checked, file = check_job_name("name", name), check_path(path)
    try:
        file.stat()
    except FileNotFoundError:
        return
    except OSError:
        pass  # reported below
    write_claim(file, lambda db: end_claim(db, checked))


def make_status(counts: JobCounts) -> JobStatus:
    """Make a job's status from what its ledger has of it."""
    requested = counts.arguments["amount"]
    outstanding = counts.intended - counts.logged
    is_all_requested = counts.created + outstanding >= requested
    return JobStatus(
        name=counts.name,
        job=counts.marker,
        requested=requested,
        created=counts.created,
        open=outstanding,
        calls=counts.calls,
        begun_at=datetime.fromtimestamp(counts.begun, UTC),
        arguments=counts.arguments,
        waiting=bool(counts.in_doubt and not counts.in_flight and is_all_requested),
    )
