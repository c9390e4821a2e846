"""`Texts`: everything that the cog says, so that it can be reworded or translated. No I/O."""

from __future__ import annotations

import string
from typing import Any, Final

import attrs

from junkie_async import InvalidRequestError

MAX_LABEL: Final = 80
"""The most characters that Discord accepts on a button."""

_MAX_TEXT: Final = 1000  # half a message: the other half is for what is put into the text

_ERROR: Final = "Something went wrong. The bot's log has the details."


def _text(default: str, **samples: int | str) -> Any:
    """Declare a text and the fields that it may contain, each with an example of its values."""
    return attrs.field(default=default, validator=_check_text, metadata=samples)


def _label(default: str, **samples: int | str) -> Any:
    checks = [_check_text, _check_label]
    return attrs.field(default=default, validator=checks, metadata=samples)


def _check_text(_: Texts, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise InvalidRequestError(attribute.name, f"a {type(value).__name__}", "a string")
    if not value.strip() or len(value) > _MAX_TEXT:
        limit = f"a text of 1 to {_MAX_TEXT:,} characters that is not blank"
        shown = f"one of {len(value)} characters" if value.strip() else "a blank one"
        raise InvalidRequestError(attribute.name, shown, limit)
    if not _can_be_formatted(value, dict(attribute.metadata)):
        raise InvalidRequestError(attribute.name, repr(value[:60]), _describe_fields(attribute))


def _can_be_formatted(text: str, samples: dict[str, Any]) -> bool:
    try:
        fields = [part for part in string.Formatter().parse(text) if part[1] is not None]
        # Names only: `{id.real}` and `{0}` would depend on what the cog happens to pass.
        return all(
            name in samples and "{" not in (form or "") for _, name, form, _ in fields
        ) and bool(text.format(**samples))
    except (ValueError, TypeError, KeyError, IndexError):  # a lone brace, a wrong format
        return False


def _describe_fields(attribute: attrs.Attribute[str]) -> str:
    names = ", ".join(f"{{{name}}}" for name in attribute.metadata)
    return f"a text whose only fields are {names}" if names else "a text without fields in braces"


def _check_label(_: Texts, attribute: attrs.Attribute[str], value: str) -> None:
    length = len(value.format(**dict(attribute.metadata)))
    if length > MAX_LABEL:
        limit = f"a text of at most {MAX_LABEL} characters, which is what a button holds"
        raise InvalidRequestError(attribute.name, f"one of {length} characters", limit)


@attrs.frozen(kw_only=True, repr=False)
class Texts:
    """Everything that the cog says. A text that you leave out stays English.

        german = Texts(your_key="Dein Schlüssel:", no_keys="Du hast keine Schlüssel.")
        KeyCog(client, provider_id=42, translations={discord.Locale.german: german})

    A text may contain the fields of its default, each as often as you like or not at all. They are
    formatted as by `str.format`, so numbers take a format: ``{count:,}`` is 1,200. ``{when}`` is a
    timestamp that Discord shows in the reader's language and time zone. A brace is written twice.

    The names and descriptions of commands are not among these: discord.py passes them to the
    `discord.app_commands.Translator` of the bot's tree.

    Raises:
        InvalidRequestError: A text is empty, is longer than 1,000 characters, or contains a field
            that its default does not have.
    """

    # --- /key ---

    your_key: str = _text("Your key:")
    """Heading of the answer to ``/key get``."""

    your_keys: str = _text("Your keys:")
    """Heading of the answer to ``/key mine``."""

    no_keys: str = _text("You have no keys.")
    """Answer to ``/key mine`` of a user without keys."""

    no_such_own_key: str = _text("You have no such key.")
    """Answer to ``/key info`` and ``reset`` when the given key is not one of the user's."""

    no_working_key: str = _text("You have no key that works.")
    """Answer to ``/key info`` and ``reset`` when no key is given and none works."""

    own_key_revoked: str = _text(
        "Your key #{id} is revoked, so you can't get another one.", id=2**53
    )
    """Answer to ``/key get`` of a user whose key is revoked."""

    own_key_reset: str = _text("Your key #{id} is no longer bound to any device.", id=2**53)
    """Answer to ``/key reset``."""

    # --- a key, and lists of keys ---

    active: str = _text("active")
    """The status of a key that works and is unused."""

    used: str = _text("used")
    """The status of a key that has been used."""

    expired: str = _text("expired")
    """The status of a key that has expired."""

    invalidated: str = _text("invalidated")
    """The status of a key that is revoked."""

    premium: str = _text("premium")
    """A premium key."""

    until: str = _text("until {when}", when="<t:1:f>")
    """When a key expires."""

    one_device: str = _text("1 device")
    """The devices of a key with one device and no limit."""

    devices: str = _text("{count} devices", count=100)
    """The devices of a key without a limit; not of one device."""

    devices_of_limit: str = _text("{count} of {limit} devices", count=100, limit=100)
    """The devices of a key with a limit."""

    more_keys: str = _text("… and {count:,} more", count=10**9)
    """The last line of a list that is longer than a message."""

    # --- /keys ---

    keys_found: str = _text("Keys found: {count:,}", count=10**9)
    """Heading of the answer to ``/keys find``."""

    key_or_user: str = _text("Give either a key or a user.")
    """Answer to ``/keys find`` with both options or without any."""

    key_revoked: str = _text("{key} is revoked.", key="`JNK`")
    """Answer to ``/keys revoke``."""

    key_restored: str = _text("{key} is no longer revoked.", key="`JNK`")
    """Answer to ``/keys restore``."""

    key_deleted: str = _text("{key} is deleted.", key="`JNK`")
    """Answer to ``/keys delete``."""

    confirm_purge: str = _text(
        "Delete all {count:,} keys that are {status}? This can't be undone.",
        count=10**9,
        status="active",
    )
    """Question before ``/keys purge``."""

    confirm_button: str = _label("Delete {count:,}", count=10**9)
    """Button that confirms, of up to 80 characters."""

    cancel_button: str = _label("Cancel")
    """Button that cancels, of up to 80 characters."""

    not_yours_to_confirm: str = _text("Only the person who ran the command can confirm it.")
    """Answer to somebody else who presses a button."""

    purging: str = _text("Deleting …")
    """Shown while ``/keys purge`` deletes."""

    nothing_purged: str = _text("Nothing was deleted.")
    """Answer to a ``/keys purge`` that is cancelled, or not confirmed within a minute."""

    keys_exported: str = _text("Keys in the file: {count:,}", count=10**9)
    """Answer to ``/keys export``."""

    export_too_large: str = _text(
        "The file is too large for Discord. Run `junkie export keys.csv` to write it to a disk."
    )
    """Answer to ``/keys export`` when Discord would not take the file."""

    status_count: str = _text("{status}: {count:,}", status="active", count=10**9)
    """A line of the answer to ``/keys stats``."""

    total_count: str = _text("**Total: {count:,}**", count=10**9)
    """The last line of the answer to ``/keys stats``."""

    # --- reports of jobs, joined by commas ---

    created: str = _text("{count:,} created", count=10**9)
    """Keys that ``/keys create`` created."""

    not_created: str = _text("{count:,} not created", count=10**9)
    """Keys that it did not create; left out if there are none."""

    unknown_outcome: str = _text("{count:,} with an unknown outcome", count=10**9)
    """Keys that may or may not have been created; left out if there are none."""

    deleted: str = _text("{count:,} deleted", count=10**9)
    """Keys that ``/keys purge`` deleted."""

    already_gone: str = _text("{count:,} already gone", count=10**9)
    """Keys that did not exist any more; left out if there are none."""

    not_deleted: str = _text("{count:,} not deleted", count=10**9)
    """Keys that it did not delete; left out if there are none."""

    report: str = _text("{counts}.", counts="1 created")
    """The counts of a job that is done."""

    stopped_early: str = _text(
        "{reason} It stopped early: {counts}.", reason=_ERROR, counts="1 created"
    )
    """The counts of a job that an error stopped."""

    # --- refusals and errors ---

    not_allowed: str = _text("You are not allowed to use this command.")
    """A check refused the user, without a text of its own."""

    on_cooldown: str = _text("You can do this again {when}.", when="<t:1:R>")
    """The user must wait."""

    no_such_key: str = _text("There is no such key.")
    """The service has no such key."""

    too_many_matches: str = _text("Too many keys contain this. Give # and the key's ID instead.")
    """A look-up by value gave up."""

    invalid_input: str = _text(
        "Invalid input: {field} must be {limit}.", field="key", limit="a string"
    )
    """An option is outside its limits. ``{limit}`` is English."""

    outcome_unknown: str = _text(
        "The key service did not confirm this, so it may or may not have been done. Check with "
        "`/key mine` before you try again."
    )
    """A response was lost."""

    rate_limited: str = _text("The key service is busy. Please try again {when}.", when="<t:1:R>")
    """The service has refused too many requests."""

    rejected: str = _text("The key service rejected this.")
    """The service refused the request."""

    # An outage must never read as an invalid key: people buy a second one, or ask for their money
    # back.
    unavailable: str = _text(
        "The key service is not available. This says nothing about your keys. Please try again in "
        "a few minutes."
    )
    """An outage."""

    not_accepted: str = _text(
        "The key service does not accept this bot. This says nothing about your keys. Please tell "
        "the bot's owner."
    )
    """The API key is wrong, or lacks a scope."""

    misconfigured: str = _text(
        "This bot is not set up correctly. This says nothing about your keys. Please tell the "
        "bot's owner."
    )
    """A setting or a callable of the bot is wrong. The log says which."""

    shutting_down: str = _text("The bot is shutting down. Please try again later.")
    """The client is closed."""

    no_response: str = _text("Discord did not respond. Please try again.")
    """Discord failed."""

    unexpected: str = _text(_ERROR)
    """Any other error. The log has its traceback."""

    def __repr__(self) -> str:
        # All of them would fill the signature of `KeyCog` with 4 kB.
        fields = [(field.name, field.default) for field in attrs.fields(Texts)]
        own = [name for name, default in fields if getattr(self, name) != default]
        return f"Texts({', '.join(f'{name}={getattr(self, name)!r}' for name in own)})"


ENGLISH: Final = Texts()
