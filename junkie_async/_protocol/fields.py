"""Request fields: each is declared once, with its type, its check and its help.

The TypedDicts are what callers write (``create(provider_id=1, is_premium=True)``) and what type
checkers and editors read. The same annotations carry the check, which takes the field's name and
value and returns the value ready for JSON, the command line's help, and for a text whether errors
may show it. Where the type allows None, it is sent as null. The limits are those of the contract.
"""

# Not `from __future__ import annotations`: users read the annotations of the public TypedDicts,
# which appear as `junkie_async.…`, and as strings they could not be resolved there.

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, get_args, get_type_hints

from .._errors import InvalidRequestError
from .._models import UNSET, KeyRef, KeyStatus, Unset
from .._validation import (
    MAX_KEY_VALUE,
    check_boolean,
    check_datetime,
    check_identifier,
    check_integer,
    check_iterable,
    check_reference,
    check_text,
    safe_repr,
)
from .suggestions import unknown_argument

_TypedDictClass: TypeAlias = Any  # `typing` has no type for the class of a TypedDict

MAX_BATCH = 100
MAX_BULK_DELETE = 1000
MAX_TEXT = 255
"""Characters of a key's name, and of a device's identifier."""

SECRET = True
"""Marks a field of text that no error may show: key values and devices."""
PUBLIC = False
"""Marks a field of text that an error may show. `test_texts_are_secret_or_public` wants either."""

_DISCORD_ID = re.compile(r"[0-9]{17,19}")


# --- checks ---------------------------------------------------------------------------------------


def check_key_list(name: str, value: Any) -> list[int | str]:
    """Check the key references of one bulk delete."""
    limit = f"a list of 1 to {MAX_BULK_DELETE} IDs, key values or Keys"
    # One more than allowed is enough to refuse, even if the iterable never ends.
    given = islice(check_iterable(name, value, limit), MAX_BULK_DELETE + 1)
    checked = [check_reference(f"{name}[{index}]", key) for index, key in enumerate(given)]
    if not 1 <= len(checked) <= MAX_BULK_DELETE:
        raise InvalidRequestError(name, "a longer one" if checked else "an empty one", limit)
    return checked


def _check_minutes(name: str, value: Any) -> int:
    if not isinstance(value, timedelta):
        return check_integer(name, value, 0)
    minutes, rest = divmod(value, timedelta(minutes=1))
    if rest or minutes < 0:
        raise InvalidRequestError(name, safe_repr(value), "a whole number of minutes >= 0")
    return minutes


def _check_discord_id(name: str, value: Any) -> str:
    if isinstance(value, str):
        digits = check_text(name, value, MAX_TEXT)
    else:
        digits = str(check_integer(name, value, 0, 10**19 - 1))
    if not _DISCORD_ID.fullmatch(digits):
        raise InvalidRequestError(name, safe_repr(value), "a Discord ID of 17 to 19 digits")
    return digits


def _check_hwids(name: str, value: Any) -> list[str]:
    limit = f"a list of strings of at most {MAX_TEXT} characters each"
    given = check_iterable(name, value, limit)
    return [check_text(f"{name}[{index}]", hwid, MAX_TEXT) for index, hwid in enumerate(given)]


def _check_status(name: str, value: Any) -> str:
    names = [status.value for status in KeyStatus]
    if not isinstance(value, str) or str.__str__(value) not in names:
        raise InvalidRequestError(name, safe_repr(value), f"one of {', '.join(names)}")
    return str.__str__(value)


def _check_timestamp(name: str, value: Any) -> str:
    return format_timestamp(check_datetime(name, value))


def format_timestamp(moment: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC; its ``Z`` needs no quoting in a query."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


_positive_id = functools.partial(check_identifier, low=1)
_up_to_100 = functools.partial(check_integer, low=0, high=100)
# Longer ones match nothing, and no longer fit into a URL.
_part = functools.partial(check_text, longest=MAX_KEY_VALUE)
_text_or_empty = functools.partial(check_text, longest=MAX_TEXT, empty=True)


# --- fields ---------------------------------------------------------------------------------------


class _SharedFields(TypedDict, total=False):
    """Fields of new and of existing keys."""

    folder_id: Annotated[int | Unset | None, _positive_id, "Folder to file the key in."]
    """Folder to file the key in: its ID, 1 or more. None for no folder."""

    key_name: Annotated[str | Unset | None, _text_or_empty, "Note of up to 255 characters.", PUBLIC]
    """Note of up to 255 characters, or None."""

    validity_minutes: Annotated[
        int | timedelta | Unset | None, _check_minutes, "Whole minutes until the key expires."
    ]
    """Whole minutes until the key expires, or a `timedelta` of them. 0 or None is for ever.

    A new key without this field may get the default of its provider.
    """

    discord_id: Annotated[
        int | str | Unset | None, _check_discord_id, "Owner's Discord ID, 17 to 19 digits.", PUBLIC
    ]
    """Owner's Discord ID, 17 to 19 digits, as int or str. None for no owner."""

    is_premium: Annotated[bool | Unset, check_boolean, "Make the key premium."]
    """Whether the key is premium."""

    one_time_use: Annotated[bool | Unset, check_boolean, "Allow a single use."]
    """Whether the key is spent by its first use."""

    expiry_on_first_use: Annotated[
        bool | Unset, check_boolean, "Start the validity at the first use."
    ]
    """Whether the validity starts at the first use instead of the creation."""

    no_hwid: Annotated[bool | Unset, check_boolean, "Never bind the key to a device."]
    """Whether the key is never bound to a device."""

    hwid_limit: Annotated[
        int | Unset | None, _up_to_100, "Devices that may be bound; 0 is unlimited."
    ]
    """How many devices may be bound, up to 100. 0 or None is unlimited."""


class _NewKeyFields(_SharedFields, total=False):
    """Fields of every new key."""

    hwid: Annotated[str | Unset | None, _text_or_empty, "Device to bind.", SECRET]
    """Device to bind, of every key of a batch: its identifier, up to 255 characters; or None."""


class BatchFields(_NewKeyFields, total=False):
    """Fields of the keys that one batch or job creates, besides their provider."""

    service_id: Annotated[int | Unset | None, _positive_id, "Service that the keys unlock."]
    """Service that the keys unlock: its ID, 1 or more; or None."""


class CreateFields(_NewKeyFields, total=False):
    """Fields of a single new key, besides its provider: those of `BatchFields`, and ``hwids``."""

    service_id: Annotated[int | Unset | None, check_identifier, "Service that the key unlocks."]
    """Service that the key unlocks: its ID; or None."""

    hwids: Annotated[Iterable[str] | Unset, _check_hwids, "Devices to bind.", SECRET]
    """Devices to bind, up to 255 characters each. They replace ``hwid`` where both are given."""


class UpdateFields(_SharedFields, total=False):
    """Fields of a key that an update can change.

    None sends null, which clears the field. A field that is left out stays as it is.
    """

    expires_at: Annotated[datetime | Unset | None, _check_timestamp, "When the key expires."]
    """When the key expires: an aware datetime; or None."""

    is_invalidated: Annotated[bool | Unset, check_boolean, "Revoke the key."]
    """Whether the key is revoked."""

    hwids: Annotated[
        Iterable[str] | Unset,
        _check_hwids,
        "Devices to bind, in place of those bound now.",
        SECRET,
    ]
    """Devices to bind, up to 255 characters each, in place of those bound now; empty for none."""


class Filters(TypedDict, total=False):
    """Filters of a list of keys. A key must match all that are given.

    `list` ignores a filter that is None. `purge` refuses it, since it would delete more keys than
    the caller meant.
    """

    # An empty string is refused: as a part of a value, it would match every key.
    discord_id: Annotated[
        int | str | Unset | None, _check_discord_id, "Owner's Discord ID, 17 to 19 digits.", PUBLIC
    ]
    """Owner's Discord ID, exactly: 17 to 19 digits, as int or str."""

    key: Annotated[str | Unset | None, _part, "Part of the value.", SECRET]
    """Part of the key value, 1 to 1024 characters. `find` takes a whole one."""

    hwid: Annotated[str | Unset | None, _part, "Part of a bound device's identifier.", SECRET]
    """Part of a bound device's identifier, 1 to 1024 characters."""

    service_id: Annotated[int | Unset | None, check_identifier, "Service ID."]
    """ID of the service that the keys unlock, exactly."""

    provider_id: Annotated[int | Unset | None, check_identifier, "Provider ID."]
    """ID of the provider that the keys were issued under, exactly."""

    folder_id: Annotated[int | Unset | None, check_identifier, "Folder ID."]
    """ID of the folder that the keys are filed in, exactly."""

    status: Annotated[
        KeyStatus | Literal["active", "used", "expired", "invalidated"] | Unset | None,
        _check_status,
        "Only keys with this status.",
        PUBLIC,
    ]
    """Status, as a `KeyStatus` or its value: active, used, expired or invalidated."""

    expires_before: Annotated[
        datetime | Unset | None, _check_timestamp, "Only keys that expire before then."
    ]
    """Only keys that expire before this aware datetime."""

    expires_after: Annotated[
        datetime | Unset | None, _check_timestamp, "Only keys that expire after then."
    ]
    """Only keys that expire after this aware datetime."""


class CreateKeyBody(CreateFields):
    """Body of ``POST /keys``."""

    provider_id: Annotated[int, _positive_id]


class CreateBatchBody(BatchFields):
    """Body of ``POST /keys/batch``."""

    provider_id: Annotated[int, _positive_id]
    amount: Annotated[int, functools.partial(check_integer, low=1, high=MAX_BATCH)]


class BulkDeleteBody(TypedDict):
    """Body of ``POST /keys/bulk-delete``."""

    keys: Annotated[Iterable[KeyRef], check_key_list, "Keys to delete.", SECRET]


class Claims(TypedDict, total=False):
    """Arguments of `verify`: what is claimed of a key and its holder. None claims nothing."""

    hwid: Annotated[str | None, functools.partial(check_text, longest=MAX_TEXT)]
    discord_id: Annotated[int | str | None, _check_discord_id]
    service_id: Annotated[int | None, check_identifier]
    premium: Annotated[bool | None, check_boolean]


# --- validation -----------------------------------------------------------------------------------


@functools.cache  # reading the annotations costs more than checking the values
def declared_fields(
    declaration: _TypedDictClass,
) -> dict[str, tuple[Callable[[str, Any], Any], bool]]:
    """Return each field's check, and whether None is sent as null instead of being checked."""
    fields: dict[str, tuple[Callable[[str, Any], Any], bool]] = {}
    for name, hint in get_type_hints(declaration, include_extras=True).items():
        kind, check, *_ = get_args(hint)
        # A query has no null. For a filter, None says only that a caller may pass it to `list`.
        nullable = type(None) in get_args(kind) and declaration is not Filters
        fields[name] = check, nullable
    return fields


def validate_fields(
    declaration: _TypedDictClass, call: str, given: Mapping[str, object]
) -> dict[str, Any]:
    """Return the given fields, checked and ready for JSON, without those that are UNSET.

    The result is in the order of the declaration. A TypeError names the caller's method, `call`.
    """
    declared = declared_fields(declaration)
    if unknown := given.keys() - declared.keys():
        raise unknown_argument(call, min(unknown), declared.keys())
    validated: dict[str, Any] = {}
    for name, (check, nullable) in declared.items():
        value = given.get(name, UNSET)
        if value is not UNSET or name in declaration.__required_keys__:
            validated[name] = None if value is None and nullable else check(name, value)
    return validated


REQUESTS: Final[tuple[_TypedDictClass, ...]] = (
    CreateKeyBody,
    CreateBatchBody,
    UpdateFields,
    BulkDeleteBody,
    Filters,
)
"""The declarations of all requests that have fields."""


@functools.cache
def secret_fields() -> frozenset[str]:
    """Return the names of the fields that no error may show."""
    return frozenset(
        name
        for declaration in REQUESTS
        for name, hint in get_type_hints(declaration, include_extras=True).items()
        if SECRET in get_args(hint)[3:]
    )
