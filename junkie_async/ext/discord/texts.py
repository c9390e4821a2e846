"""All texts of the Discord commands: names, descriptions, answers and error messages. No I/O.

Change or translate them here. `str.format` fills placeholders such as ``{key}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict

import junkie_async
from junkie_async import CreateReport, DeleteReport, JunkieError, Key
from junkie_async.ext import needs_extra

with needs_extra("discord"):
    from discord import app_commands
    from discord.utils import escape_markdown, format_dt

MAX_MESSAGE: Final = 2000
"""The most characters that Discord accepts in a message."""

_MAX_KEY_NAME: Final = 60  # of up to 255 characters, so that a list still shows many keys


class CommandText(TypedDict):
    """The arguments of a command's or group's decorator. Discord allows 100 characters each."""

    name: str
    description: str


# --- /key -----------------------------------------------------------------------------------------

USER_GROUP: Final = CommandText(name="key", description="Your keys")
OWN_KEY_OPTION: Final = "The whole key; leave it out for the one that works now"
NO_WORKING_KEY: Final = "You have no key that works."
NOT_YOUR_KEY: Final = "You have no such key."

GET: Final = CommandText(name="get", description="Get a key, or show the one you have")
YOUR_KEY: Final = "Your key:\n{key}"

MINE: Final = CommandText(name="mine", description="List your keys")
YOUR_KEYS, NO_KEYS = "Your keys:", "You have no keys."

INFO: Final = CommandText(name="info", description="Show one of your keys")

RESET: Final = CommandText(
    name="reset", description="Unbind your key from its devices, so that you can use another one"
)
UNBOUND: Final = "Your key #{id} is no longer bound to any device."

# --- /keys ----------------------------------------------------------------------------------------

ADMIN_GROUP: Final = CommandText(name="keys", description="All keys of the shop")
KEY_OPTION: Final = "The whole key, or # and its ID"

CREATE: Final = CommandText(name="create", description="Create keys and get them as a text file")
CREATE_OPTIONS: Final = {
    "amount": "How many keys to create",
    "minutes": "Minutes until they expire",
    "premium": "Whether they are premium",
    "name": "A note stored with them",
    "user": "Their owner",
}

FIND: Final = CommandText(name="find", description="Show a key, or all keys of a user")
FIND_OPTIONS: Final = {"key": KEY_OPTION, "user": "The owner of the keys"}
KEY_OR_USER: Final = "Give either a key or a user."
FOUND: Final = "Keys found: {count:,}"

REVOKE: Final = CommandText(name="revoke", description="Revoke a key until it is restored")
REVOKED: Final = "{key} is revoked."
RESTORE: Final = CommandText(name="restore", description="Restore a revoked key")
RESTORED: Final = "{key} is no longer revoked."
DELETE: Final = CommandText(name="delete", description="Delete a key permanently")
DELETED: Final = "{key} is deleted."

PURGE: Final = CommandText(
    name="purge", description="Delete all keys with a status permanently, after you confirm"
)
PURGE_OPTIONS: Final = {"status": "Which keys to delete", "user": "Only keys of this user"}
CONFIRM_PURGE: Final = "Delete all {count:,} keys that are {status}? This can't be undone."
CONFIRM_BUTTON, CANCEL_BUTTON = "Delete {count:,}", "Cancel"
NOT_YOURS_TO_CONFIRM: Final = "Only the person who ran the command can confirm it."
DELETING: Final = "Deleting …"
NOTHING_DELETED: Final = "Nothing was deleted."

EXPORT: Final = CommandText(name="export", description="Get the shop's keys as a CSV file")
EXPORT_OPTIONS: Final = {"status": "Only keys with this status"}
EXPORTED: Final = "Keys in the file: {count:,}"
EXPORT_TOO_LARGE: Final = (
    "The file is too large for Discord. Run `junkie export keys.csv` to write it to a disk."
)

STATS: Final = CommandText(name="stats", description="Count the shop's keys by status")
STATUS_COUNT: Final = "{status}: {count:,}"
TOTAL_COUNT: Final = "**Total: {count:,}**"

# --- errors ---------------------------------------------------------------------------------------

# An outage must never read as an invalid key: people buy a second one, or ask for their money back.
UNAVAILABLE: Final = (
    "The key service is not available. This says nothing about your keys. Please try again in a "
    "few minutes."
)
OUTCOME_UNKNOWN: Final = (
    "The key service did not confirm this, so it may or may not have been done. Check with "
    "`/key mine` before you try again."
)
MISCONFIGURED: Final = (
    "The key service does not accept this bot. This says nothing about your keys. Please tell the "
    "bot's owner."
)
NO_SUCH_KEY: Final = "There is no such key."
INVALID_INPUT: Final = "Invalid input: {field} must be {limit}."
RATE_LIMITED: Final = "The key service is busy. Please try again {when}."
REJECTED: Final = "The key service rejected this."
SHUTTING_DOWN: Final = "The bot is shutting down. Please try again later."
STOPPED_EARLY: Final = "{reason} It stopped early: {report}."
ON_COOLDOWN: Final = "You can do this again {when}."
NOT_ALLOWED: Final = "You are not allowed to use this command."
DISCORD_FAILED: Final = "Discord did not respond. Please try again."
UNEXPECTED: Final = "Something went wrong. The bot's log has the details."


class Refusal(app_commands.AppCommandError):
    """Ends a command with a text for the user who called it."""


def describe_error(error: BaseException | None) -> str:
    """Explain an error to a user who did not cause it and can't fix it."""
    match error:
        case Refusal():
            return str(error)
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return ON_COOLDOWN.format(when=_relative_time(seconds))
        case app_commands.CheckFailure():
            return NOT_ALLOWED
        case junkie_async.BatchError(report=report, __cause__=cause):
            return STOPPED_EARLY.format(
                reason=describe_error(cause), report=describe_report(report)
            )
        case JunkieError():
            return _describe_service_error(error)
        case _:
            return UNEXPECTED


def _describe_service_error(error: JunkieError) -> str:
    match error:
        case junkie_async.InvalidRequestError(field=field, limit=limit):
            return INVALID_INPUT.format(field=field, limit=limit)
        case junkie_async.OutcomeUnknownError():
            return OUTCOME_UNKNOWN
        # Only the path of a single key has a parameter. A 404 of any other path comes from a
        # proxy or a wrong base URL, and must not read as a missing key.
        case junkie_async.NotFoundError(path=str(path)) if "{" in path:
            return NO_SUCH_KEY
        case junkie_async.RateLimitError(retry_after=seconds):
            return RATE_LIMITED.format(when=_relative_time(seconds or 60))
        # Before the status: a CDN's challenge page often comes with a 403.
        case junkie_async.APIError(challenge=True):
            return UNAVAILABLE
        case junkie_async.BadRequestError() | junkie_async.ConflictError():
            return REJECTED
        case (
            junkie_async.AuthenticationError()
            | junkie_async.PermissionDeniedError()
            | junkie_async.ConfigurationError()
        ):
            return MISCONFIGURED
        case junkie_async.ClientClosedError():
            return SHUTTING_DOWN
        case _:
            return UNAVAILABLE


def _relative_time(seconds: float) -> str:
    """Format a moment as Discord's timestamp that counts down on the reader's screen."""
    return format_dt(datetime.now(UTC) + timedelta(seconds=seconds), "R")


# --- keys and reports -----------------------------------------------------------------------------


def quote(text: str) -> str:
    """Format a text as inline code if that shows it unchanged; otherwise escape its markdown."""
    # A backtick would end the inline code; outer blanks and line breaks would not show.
    if text.isprintable() and text.strip() == text and "`" not in text:
        return f"`{text}`"
    return escape_markdown(text)


def describe_key(key: Key) -> str:
    """Describe a key in one line."""
    # A response may list a device in either field, or in both.
    devices = len({*key.keys_hwid, *(device.hwid for device in key.hwids)})
    limit = "" if key.hwid_limit is None else f" of {key.hwid_limit}"
    parts = [
        f"{quote(key.key_value)} (#{key.id})",
        key.status.value,
        "premium" if key.is_premium else "",
        f"until {format_dt(key.expires_at)}" if key.expires_at else "",
        "" if key.no_hwid else f"{devices}{limit} devices",
        escape_markdown(" ".join((key.key_name or "").split())[:_MAX_KEY_NAME]),
    ]
    return " · ".join(part for part in parts if part)


def list_keys(heading: str, keys: Sequence[Key]) -> str:
    """List as many keys as fit into a message, working ones first, and count the rest."""
    lines = [heading]
    room = MAX_MESSAGE - len(heading) - len("\n… and 1,000,000,000 more")
    order = sorted(keys, key=lambda key: (key.status not in ("active", "used"), -key.id))
    for key in order:
        # Cut at a whole line: half a key value would look like a whole one.
        line = f"\n{describe_key(key)}"
        if len(line) > room:
            break
        room -= len(line)
        lines.append(line)
    left = len(keys) - len(lines) + 1
    return "".join(lines) + (f"\n… and {left:,} more" if left else "")


def describe_report(report: CreateReport | DeleteReport) -> str:
    """Summarise a job: the count of keys done, and every other count that is not zero."""
    if isinstance(report, CreateReport):
        counts = {
            "created": report.created,
            "not created": report.failed,
            "with an unknown outcome": report.unknown,
        }
    else:
        counts = {
            "deleted": report.deleted,
            "already gone": report.missing,
            "not deleted": report.failed,
        }
    done, *others = counts.items()
    shown = [done, *(other for other in others if other[1])]
    return ", ".join(f"{count:,} {what}" for what, count in shown)
