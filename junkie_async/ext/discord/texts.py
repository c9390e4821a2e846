"""How errors, keys and reports are put into words, those of `Texts`. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from typing import Final

from discord import app_commands
from discord.utils import format_dt

import junkie_async
from junkie_async import CreateReport, DeleteReport, JunkieError, Key, KeyStatus
from junkie_async.ext.problem_details import is_missing_key

from .wording import ENGLISH, Texts

MAX_MESSAGE: Final = 2000
"""The most characters that Discord accepts in a message."""

_MAX_KEY_NAME: Final = 60  # of up to 255 characters, so that a list still shows many keys
_MAX_QUOTED: Final = 800  # characters: a message holds them escaped, with the rest of a line
_MAX_RETRY_AFTER: Final = 86_400.0  # one day; a service may state any number of seconds

# Also what `discord.utils.escape_markdown` leaves: links and the starts of mentions, such as
# `</key get:1>`. Discord drops the backslash before any punctuation.
_MARKUP: Final = re.compile(r"[\\`*_~|<>\[\]()#:/@]")

FACTS: Final = ("id", "status", "is_premium", "expires_at", "hwids", "key_name")
"""The fields of a key that can be shown beside its value."""


class Refusal(app_commands.AppCommandError):
    """Ends a command with a text for the user who called it. It is not logged."""


def describe_error(error: BaseException | None, words: Texts = ENGLISH) -> str:
    """Explain an error to a user who did not cause it and can't fix it."""
    match error:
        case Refusal():
            return str(error) or words.not_allowed
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return words.on_cooldown.format(when=_relative_time(seconds))
        case app_commands.CheckFailure():
            return words.not_allowed
        case junkie_async.BatchError(report=report, __cause__=cause):
            counts = describe_report(report, words)
            return words.stopped_early.format(reason=describe_error(cause, words), counts=counts)
        case JunkieError():
            return _describe_service_error(error, words)
        case _:
            return words.unexpected


def _describe_service_error(error: JunkieError, words: Texts) -> str:
    match error:
        case junkie_async.InvalidRequestError(field=field, limit=limit):
            return words.invalid_input.format(field=field, limit=limit)
        case junkie_async.TooManyMatchesError():
            return words.too_many_matches
        case junkie_async.OutcomeUnknownError():
            return words.outcome_unknown
        case junkie_async.NotFoundError() if is_missing_key(error):
            return words.no_such_key
        case junkie_async.RateLimitError(retry_after=seconds):
            when = _relative_time(min(seconds or 60, _MAX_RETRY_AFTER))
            return words.rate_limited.format(when=when)
        # Before the status: a CDN's challenge page often comes with a 403.
        case junkie_async.APIError(challenge=True):
            return words.unavailable
        case junkie_async.BadRequestError() | junkie_async.ConflictError():
            return words.rejected
        case junkie_async.AuthenticationError() | junkie_async.PermissionDeniedError():
            return words.not_accepted
        case junkie_async.ConfigurationError():
            return words.misconfigured
        case junkie_async.ClientClosedError():
            return words.shutting_down
        case _:
            return words.unavailable


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
    """Fold a text into one line without control characters, and escape Discord's markup in it.

    A key's name can be any text: without this, it could be a link or mention everybody.
    """
    line = "".join(filter(str.isprintable, " ".join(text.split())))
    return _MARKUP.sub(r"\\\g<0>", line)


def describe_status(status: KeyStatus, words: Texts = ENGLISH) -> str:
    """Return the word for a status."""
    match status:
        case KeyStatus.ACTIVE:
            return words.active
        case KeyStatus.USED:
            return words.used
        case KeyStatus.EXPIRED:
            return words.expired
        case KeyStatus.INVALIDATED:
            return words.invalidated


def describe_key(key: Key, words: Texts = ENGLISH, facts: Collection[str] = FACTS) -> str:
    """Describe a key in one line: its value, and these facts of it in their order.

    Args:
        key: The key.
        words: The texts.
        facts: As ``shown`` of `KeyCog`.
    """
    value = quote(key.key_value)
    parts = [f"{value} (#{key.id})" if "id" in facts else value]
    parts += [_describe_fact(key, fact, words) for fact in facts if fact != "id"]
    return " · ".join(part for part in parts if part)


def _describe_fact(key: Key, fact: str, words: Texts) -> str:
    match fact:
        case "status":
            return describe_status(key.status, words)
        case "is_premium":
            return words.premium if key.is_premium else ""
        case "expires_at":
            return words.until.format(when=format_dt(key.expires_at)) if key.expires_at else ""
        case "hwids":
            return "" if key.no_hwid else _count_devices(key, words)
        case _:
            return escape_markup((key.key_name or "")[:_MAX_KEY_NAME])


def _count_devices(key: Key, words: Texts) -> str:
    # A response may list a device in either field, or in both.
    count = len({*key.keys_hwid, *(device.hwid for device in key.hwids)})
    if key.hwid_limit:  # 0 is unlimited
        return words.devices_of_limit.format(count=count, limit=key.hwid_limit)
    return words.one_device if count == 1 else words.devices.format(count=count)


def list_keys(
    heading: str,
    keys: Sequence[Key],
    words: Texts = ENGLISH,
    facts: Collection[str] = FACTS,
) -> str:
    """List as many keys as fit into a message, working ones first, and count the rest.

    Args:
        heading: The first line; ``""`` for none.
        keys: The keys.
        words: The texts.
        facts: As ``shown`` of `KeyCog`.
    """
    text = heading
    room = MAX_MESSAGE - 1 - len(words.more_keys.format(count=len(keys)))
    order = sorted(keys, key=lambda key: (key.status not in ("active", "used"), -key.id))
    for shown, key in enumerate(order):
        line = f"\n{describe_key(key, words, facts)}"
        # Cut at a whole line: half a key value would look like a whole one.
        if len(text) + len(line) > room:
            return f"{text}\n{words.more_keys.format(count=len(keys) - shown)}"
        text += line
    return text.removeprefix("\n")  # without a heading


def describe_report(report: CreateReport | DeleteReport, words: Texts = ENGLISH) -> str:
    """Summarise a job: the count of keys done, and every other count that is not zero."""
    if isinstance(report, CreateReport):
        done = words.created.format(count=report.created)
        others = [(words.not_created, report.failed), (words.unknown_outcome, report.unknown)]
    else:
        done = words.deleted.format(count=report.deleted)
        others = [(words.already_gone, report.missing), (words.not_deleted, report.failed)]
    return ", ".join([done, *(text.format(count=count) for text, count in others if count)])
