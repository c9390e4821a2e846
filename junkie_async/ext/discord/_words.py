"""What people are told: keys in a line, lists that fit, and what went wrong. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    CreateReport,
    DeleteReport,
    InvalidRequestError,
    JunkieError,
    Key,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
)
from junkie_async.ext import needs_extra

with needs_extra("discord"):
    from discord import app_commands
    from discord.utils import escape_markdown, format_dt

MESSAGE: Final = 2000
"""Characters in a message at most, as Discord counts them."""

_NAME: Final = 60  # characters of a key's name that a line has room for

_OUTAGE: Final = (
    "The key service can't be reached just now. That says nothing about your keys: please try "
    "again in a few minutes."
)
_UNKNOWN: Final = (
    "The key service did not say whether it has done that. Please look, with `/key mine`, before "
    "you ask again."
)
_MISCONFIGURED: Final = (
    "The key service does not accept this bot. That says nothing about your keys: please tell "
    "whoever runs the bot."
)
_UNFORESEEN: Final = "Something went wrong. Whoever runs this bot finds it in the log."


class Refusal(app_commands.AppCommandError):
    """Ends a command with words for whoever called it."""


def quoted(text: str) -> str:
    """Set text apart so that it is shown as it is, and copied as it is where that can be."""
    if text.isprintable() and text.strip() == text and "`" not in text:
        return f"`{text}`"
    return escape_markdown(text)


def described(key: Key) -> str:
    """Write a key in a line."""
    devices = len({*key.keys_hwid, *(device.hwid for device in key.hwids)})
    limit = "" if key.hwid_limit is None else f" of {key.hwid_limit}"
    parts = [
        f"{quoted(key.key_value)} (#{key.id})",
        key.status.value,
        "premium" if key.is_premium else "",
        f"until {format_dt(key.expires_at)}" if key.expires_at else "",
        "" if key.no_hwid else f"{devices}{limit} devices",
        escape_markdown(" ".join((key.key_name or "").split())[:_NAME]),
    ]
    return " · ".join(part for part in parts if part)


def listed(head: str, keys: Sequence[Key]) -> str:
    """Write as many keys as a message has room for, those that work first, and count the rest."""
    lines = [head]
    room = MESSAGE - len(head) - len("\n… and 1,000,000,000 more")
    order = sorted(keys, key=lambda key: (key.status not in ("active", "used"), -key.id))
    for key in order:
        line = f"\n{described(key)}"
        if len(line) > room:
            break
        room -= len(line)
        lines.append(line)
    left = len(keys) - len(lines) + 1
    return "".join(lines) + (f"\n… and {left:,} more" if left else "")


def counted(report: CreateReport | DeleteReport) -> str:
    """Write what a job has done."""
    if isinstance(report, CreateReport):
        counts = {
            "created": report.created,
            "not created": report.failed,
            "of which it is not known": report.unknown,
        }
    else:
        counts = {
            "deleted": report.deleted,
            "not there any more": report.missing,
            "not deleted": report.failed,
        }
    done, *others = counts.items()
    told = [done, *(other for other in others if other[1])]
    return ", ".join(f"{count:,} {what}" for what, count in told)


def apology(error: BaseException | None) -> str:
    """Say what went wrong, to somebody who can't do anything about it."""
    match error:
        case Refusal():
            return str(error)
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return f"You can do that again {_from_now(seconds)}."
        case app_commands.CheckFailure():
            return "This command is not for you."
        case BatchError(report=report, __cause__=cause):
            return f"{apology(cause)} It ended early: {counted(report)}."
        case JunkieError():
            return _of_the_service(error)
    return _UNFORESEEN


def _of_the_service(error: JunkieError) -> str:
    """Tell a word of the service about a key from an outage, which is none."""
    match error:
        case InvalidRequestError(field=field, limit=limit):
            return f"That can't be: {field} must be {limit}."
        case OutcomeUnknownError():
            return _UNKNOWN
        case NotFoundError(path=str(path)) if "{" in path:  # of one key, and not of the service
            return "There is no such key."
        case RateLimitError(retry_after=seconds):
            return f"The key service is busy. Please try again {_from_now(seconds or 60)}."
        case APIError(challenge=True):
            return _OUTAGE
        case BadRequestError() | ConflictError():
            return "The key service has refused that."
        case AuthenticationError() | PermissionDeniedError() | ConfigurationError():
            return _MISCONFIGURED
        case ClientClosedError():
            return "The bot is about to go offline. Please try again later."
    return _OUTAGE


def _from_now(seconds: float) -> str:
    return format_dt(datetime.now(UTC) + timedelta(seconds=seconds), "R")
