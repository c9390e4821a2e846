"""What a job that makes one call for each key has to tell: an outcome per key, and the report."""

# Not `from __future__ import annotations`: the classes appear as `junkie_async.…`, where strings
# could not be resolved.

import enum
from typing import Final

import attrs

from .._errors import JunkieError
from .._masking import mask_key_value
from .._models import ActionResult, Model

MAX_OUTCOMES: Final = 1000
"""Outcomes in a report. With its error and the service's response, one has up to 35 KB."""


class OutcomeStatus(enum.StrEnum):
    """What became of one key in a job."""

    DONE = "done"
    """The service carried the call out."""

    NOT_FOUND = "not found"
    """The key does not exist."""

    FAILED = "failed"
    """The service refused the call, or it failed with all its retries. It may be repeated.

    The ``outcome`` of the error says whether the service may have acted even so.
    """

    UNKNOWN = "unknown"
    """The call may have been carried out, and was not repeated: look before you repeat it."""


def _mask_reference(key: int | str) -> str:
    return str(key) if isinstance(key, int) else mask_key_value(key)


@attrs.frozen(kw_only=True)
class KeyOutcome(Model):
    """What became of one key in a job. ``repr`` masks a key value.

    Attributes:
        key: The key's ID (int) or its value (str), as it was given; for a `Key` its ID.
        status: The key's outcome.
        error: Why it is not done; None if it is, or if the job was cancelled during its call.
        result: The service's confirmation: an `UpdateResult` for an update. None if not done.
    """

    key: int | str = attrs.field(repr=_mask_reference)
    status: OutcomeStatus
    error: JunkieError | None = None
    result: ActionResult | None = None


@attrs.frozen(kw_only=True)
class UpdateReport(Model):
    """The result of an update or an HWID reset job.

    ``done + not_found + failed + unknown`` is ``requested``.

    Attributes:
        requested: Keys taken from the caller, without duplicates; or pairs.
        done: Keys whose call was carried out.
        not_found: Keys that don't exist.
        failed: Keys whose call was refused or failed, or was never made.
        unknown: Keys whose call may have been carried out, and was not repeated.
        outcomes: The first 1000 outcomes that are not `OutcomeStatus.DONE`, in order of
            completion. The loop over the job gives all of them.
    """

    requested: int
    done: int = 0
    not_found: int = 0
    failed: int = 0
    unknown: int = 0
    outcomes: tuple[KeyOutcome, ...] = attrs.field(
        default=(), repr=lambda outcomes: f"<{len(outcomes)} outcomes>"
    )
