"""Durable jobs: exactly N keys, through crashes, lost answers and late ones.

``client.keys.create_many(amount, ..., ledger="launch.db")`` keeps a record of the job in a SQLite
file. Run it again with the same arguments after whatever has ended it (a crash, a kill, an outage),
and it goes on from there; once it ends without an error there are exactly ``amount`` keys, and the
report, or the ``async for``, has given each of them once.

How it works: each call is recorded, and synced to the disk, before it is sent, and its keys before
they are given to you. Each call's keys bear a marker of their own at the end of ``key_name``
(``launch jk-k3v9x2mq.1f``: the job, and the call's number in base 36). When it is not known what
became of a call, the job goes on with the others; then, ``reconcile_after`` seconds after the last
doubt, it
walks the provider's keys for the markers, adopts what it finds, deletes what is more than was asked
for, and asks for the rest under new markers.

What this rests on:

- The service acts on a request within ``reconcile_after`` seconds (120 by default) or never, and
  once.
- ``GET /keys`` shows what was created, with its ``key_name``, by the time the settling walk comes.
- Nobody else changes or deletes the job's keys, or their names, before the job has ended.
- The disk keeps what it says that it has synced, and the ledger is on a local file system.

The file has mode 0600 and holds key values in the clear; a file beside it with ``.lock`` at the
end keeps a second process out. Without markers (``marker=None``) unknown outcomes are reported and
never guessed: the job then ends with a `BatchError`, and running it again can't settle them either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ._errors import InvalidRequestError
from ._jobs.create import Attempt, Settling, marked
from ._jobs.ledger import Ledger, reading
from ._models import Key
from ._protocol import codec as _codec
from ._protocol.fields import MAX_TEXT
from ._validation import check_seconds, check_text, safe_repr

if TYPE_CHECKING:  # it imports this file, when a job needs it
    from ._keys import Keys

__all__ = ["JobStatus", "status"]


@attrs.frozen(kw_only=True)
class JobStatus:
    """How far a durable job has come, as its ledger tells.

    Attributes:
        job: Its name in the markers.
        requested: Keys that it is to create.
        created: Keys on record.
        open: Keys of calls that are under way, or whose outcome is not known.
        calls: Calls that were made, or are about to be.
        begun_at: When it was begun, in UTC.
        arguments: What it was begun with, by the API's names, and ``base_url`` and ``marker``.
        done: Whether it has created all its keys.
    """

    job: str
    requested: int
    created: int
    open: int
    calls: int
    begun_at: datetime
    arguments: dict[str, Any] = attrs.field(repr=False)

    @property
    def done(self) -> bool:
        """Whether it has created all its keys."""
        return self.created >= self.requested


def status(path: str | os.PathLike[str]) -> JobStatus:
    """Look into a ledger, also while its job is running.

    Args:
        path: The ledger's file.

    Raises:
        ConfigurationError: There is no such file, or it is something else than a ledger.
    """
    with reading(_path(path)) as file:
        job, written, begun = file.execute("SELECT id, arguments, begun FROM job").fetchone()
        (created,) = file.execute("SELECT count(*) FROM key").fetchone()
        calls, promised, kept = file.execute(
            "SELECT count(*), total(amount) FILTER (WHERE open), (SELECT count(*) FROM key JOIN"
            " attempt ON attempt = number WHERE open) FROM attempt"
        ).fetchone()
    arguments = _codec.decode_json(written.encode())
    return JobStatus(
        job=job,
        requested=arguments["amount"],
        created=created,
        open=int(promised) - kept,
        calls=calls,
        begun_at=datetime.fromtimestamp(begun, UTC),
        arguments=arguments,
    )


def record(
    path: str | os.PathLike[str],
    arguments: Mapping[str, Any],
    marker: str | None,
    fields: Mapping[str, Any],
) -> Ledger:
    """Make the record of a job, which is opened when the job begins."""
    if marker is not None and " " in check_text("marker", marker, 32):
        raise InvalidRequestError("marker", safe_repr(marker), "a word without spaces")
    ledger = Ledger(_path(path), arguments, marker)
    # Each call's name is longer by its marker: refuse now what the service would refuse then.
    if (name := marked(fields, 1, ledger.longest_marker).get("key_name")) is not None:
        check_text("key_name", name, MAX_TEXT, empty=True)
    return ledger


def settling(keys: Keys, provider_id: int, seconds_: float, marker: str | None) -> Settling | None:
    """Say how a job over these keys settles its doubts; not at all without markers."""
    waits = check_seconds("reconcile_after", seconds_, zero=True)

    async def find(markers: Mapping[str, Attempt]) -> list[tuple[Attempt, Key]]:
        found: list[tuple[Attempt, Key]] = []
        async with aclosing(keys.list(provider_id=provider_id, strict=True).pages()) as pages:
            async for page in pages:
                found += [
                    (attempt, key)
                    for key in page.keys
                    if (attempt := markers.get((key.key_name or "").rpartition(" ")[2]))
                ]
        return found

    async def delete(ids: list[int | str]) -> None:
        await keys.delete_many(ids)

    return Settling(waits, find, delete) if marker is not None else None


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike) or not (written := os.fspath(path)):
        raise InvalidRequestError("ledger", safe_repr(path), "the path of a file")
    if not isinstance(written, str) or "\0" in written:
        raise InvalidRequestError("ledger", safe_repr(written), "the path of a file, as text")
    return Path(written)
