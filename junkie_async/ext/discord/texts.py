"""The texts that commands share: errors, keys and reports. No I/O.

A text of one command is in that command's method.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

from discord import app_commands
from discord.utils import format_dt

import junkie_async
from junkie_async import CreateReport, DeleteReport, JunkieError, Key
from junkie_async.ext.problem_details import is_missing_key

MAX_MESSAGE: Final = 2000
"""The most characters that Discord accepts in a message."""

_MAX_KEY_NAME: Final = 60  # of up to 255 characters, so that a list still shows many keys
_MAX_QUOTED: Final = 800  # characters: a message holds them escaped, with the rest of a line
_MAX_RETRY_AFTER: Final = 86_400.0  # one day; a service may state any number of seconds

# Also what `discord.utils.escape_markdown` leaves: links and the starts of mentions, such as
# `</key get:1>`. Discord drops the backslash before any punctuation.
_MARKUP: Final = re.compile(r"[\\`*_~|<>\[\]()#:/@]")

NO_SUCH_KEY: Final = "There is no such key."
# An outage must never read as an invalid key: people buy a second one, or ask for their money back.
_UNAVAILABLE: Final = (
    "The key service is not available. This says nothing about your keys. Please try again in a "
    "few minutes."
)


class Refusal(app_commands.AppCommandError):
    """Ends a command with a text for the user who called it."""


def describe_error(error: BaseException | None) -> str:
    """Explain an error to a user who did not cause it and can't fix it."""
    match error:
        case Refusal():
            return str(error)
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return f"You can do this again {_relative_time(seconds)}."
        case app_commands.CheckFailure():
            return "You are not allowed to use this command."
        case junkie_async.BatchError(report=report, __cause__=cause):
            return f"{describe_error(cause)} It stopped early: {describe_report(report)}."
        case JunkieError():
            return _describe_service_error(error)
        case _:
            return "Something went wrong. The bot's log has the details."


def _describe_service_error(error: JunkieError) -> str:
    match error:
        case junkie_async.InvalidRequestError(field=field, limit=limit):
            return f"Invalid input: {field} must be {limit}."
        case junkie_async.TooManyMatchesError():
            return "Too many keys contain this. Give # and the key's ID instead."
        case junkie_async.OutcomeUnknownError():
            return (
                "The key service did not confirm this, so it may or may not have been done. "
                "Check with `/key mine` before you try again."
            )
        case junkie_async.NotFoundError() if is_missing_key(error):
            return NO_SUCH_KEY
        case junkie_async.RateLimitError(retry_after=seconds):
            when = _relative_time(min(seconds or 60, _MAX_RETRY_AFTER))
            return f"The key service is busy. Please try again {when}."
        # Before the status: a CDN's challenge page often comes with a 403.
        case junkie_async.APIError(challenge=True):
            return _UNAVAILABLE
        case junkie_async.BadRequestError() | junkie_async.ConflictError():
            return "The key service rejected this."
        case (
            junkie_async.AuthenticationError()
            | junkie_async.PermissionDeniedError()
            | junkie_async.ConfigurationError()
        ):
            return (
                "The key service does not accept this bot. This says nothing about your keys. "
                "Please tell the bot's owner."
            )
        case junkie_async.ClientClosedError():
            return "The bot is shutting down. Please try again later."
        case _:
            return _UNAVAILABLE


def _relative_time(seconds: float) -> str:
    """Format a moment as Discord's timestamp that counts down on the reader's screen."""
    # Not by a datetime, which ends with the year 9999: a cooldown may be longer.
    return f"<t:{time.time() + seconds:.0f}:R>"


def quote(text: str) -> str:
    """Format a text as inline code if that shows it unchanged; otherwise escape its markup.

    Of more than 800 characters it shows the first ones, and "…".
    """
    # Cut here: without its second backtick, inline code at the end of a message would be markup.
    shown = text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
    # A backtick would end the inline code; outer blanks and line breaks would not show.
    if shown.isprintable() and shown.strip() == shown and "`" not in shown:
        return f"`{shown}`"
    return escape_markup(shown)


def escape_markup(text: str) -> str:
    """Fold a text into one line without control characters, and escape Discord's markup in it."""
    line = "".join(filter(str.isprintable, " ".join(text.split())))
    return _MARKUP.sub(r"\\\g<0>", line)


def describe_key(key: Key) -> str:
    """Describe a key in one line."""
    # A response may list a device in either field, or in both.
    devices = len({*key.keys_hwid, *(device.hwid for device in key.hwids)})
    limit = f" of {key.hwid_limit}" if key.hwid_limit else ""  # 0 is unlimited
    noun = "device" if devices == 1 and not limit else "devices"
    parts = [
        f"{quote(key.key_value)} (#{key.id})",
        key.status.value,
        "premium" if key.is_premium else "",
        f"until {format_dt(key.expires_at)}" if key.expires_at else "",
        "" if key.no_hwid else f"{devices}{limit} {noun}",
        escape_markup((key.key_name or "")[:_MAX_KEY_NAME]),
    ]
    return " · ".join(part for part in parts if part)


def list_keys(heading: str, keys: Sequence[Key]) -> str:
    """List as many keys as fit into a message, working ones first, and count the rest."""
    text = heading
    order = sorted(keys, key=lambda key: (key.status not in ("active", "used"), -key.id))
    for shown, key in enumerate(order):
        line = f"\n{describe_key(key)}"
        # Cut at a whole line: half a key value would look like a whole one.
        if len(text) + len(line) > MAX_MESSAGE - len("\n… and 1,000,000,000 more"):
            return f"{text}\n… and {len(keys) - shown:,} more"
        text += line
    return text


def describe_report(report: CreateReport | DeleteReport) -> str:
    """Summarise a job: the count of keys done, and every other count that is not zero."""
    if isinstance(report, CreateReport):
        done = f"{report.created:,} created"
        others = {"not created": report.failed, "with an unknown outcome": report.unknown}
    else:
        done = f"{report.deleted:,} deleted"
        others = {"already gone": report.missing, "not deleted": report.failed}
    return ", ".join([done, *(f"{count:,} {what}" for what, count in others.items() if count)])
