"""What users of the bot read, as templates for `str.format` and for `_shop.says`."""

from __future__ import annotations

from typing import Final

YOUR_KEY: Final = "Your key:\n{key}"
NO_KEYS: Final = "You have no keys."
NOT_YOUR_KEY: Final = "You have no such key."
NO_WORKING_KEY: Final = "You have no key that works."
NO_KEY_AFTER_REVOCATION: Final = "Your key #{id} is revoked, so you can't get another one."
UNBOUND: Final = "Your key #{id} is no longer bound to any device."

KEY_OR_USER: Final = "Give either a key or a user."
REVOKED: Final = "{key} is revoked."
RESTORED: Final = "{key} is no longer revoked."
DELETED: Final = "{key} is deleted."
CONFIRM_PURGE: Final = "Delete all {count:,} keys that are {status}? This can't be undone."
NOT_YOURS_TO_CONFIRM: Final = "Only the person who ran the command can confirm it."
NOTHING_DELETED: Final = "Nothing was deleted."
EXPORTED: Final = "Keys in the file: {count:,}"
EXPORT_TOO_LARGE: Final = (
    "The file is too large for Discord. Run `junkie export keys.csv` to write it to a disk."
)
TOTAL_COUNT: Final = "**Total: {count:,}**"

UNAVAILABLE: Final = (
    "The key service is not available. This says nothing about your keys. Please try again in a "
    "few minutes."
)
OUTCOME_UNKNOWN: Final = (
    "The key service did not confirm this, so it may or may not have been done. Check with "
    "`/key mine` before you try again."
)
NOT_ACCEPTED: Final = (
    "The key service does not accept this bot. This says nothing about your keys. Please tell the "
    "bot's owner."
)
MISCONFIGURED: Final = (
    "This bot is not set up correctly. This says nothing about your keys. Please tell the bot's "
    "owner."
)
NO_SUCH_KEY: Final = "There is no such key."
TOO_MANY_MATCHES: Final = "Too many keys contain this. Give # and the key's ID instead."
INVALID_INPUT: Final = "Invalid input: {field} must be {limit}."
RATE_LIMITED: Final = "The key service is busy. Please try again {when}."
REJECTED: Final = "The key service rejected this."
SHUTTING_DOWN: Final = "The bot is shutting down. Please try again later."
STOPPED_EARLY: Final = "{reason} It stopped early: {report}."
ON_COOLDOWN: Final = "You can do this again {when}."
NOT_ALLOWED: Final = "You are not allowed to use this command."
UNEXPECTED: Final = "Something went wrong. The bot's log has the details."
