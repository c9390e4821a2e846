"""Arguments, checked against the contract's limits before anything is sent.

One attrs class for each request of the contract; a field's converter checks and normalises its
value. The TypedDicts are the same fields as callers write them: what is left out is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import attrs

from .._errors import InvalidRequestError
from .._models import UNSET, KeyStatus, Unset
from .._validation import (
    check_boolean,
    check_datetime,
    check_identifier,
    check_integer,
    check_iterable,
    check_reference,
    check_text,
    safe_repr,
)
from .lenient import timestamp

MAX_BATCH = 100
MAX_BULK_DELETE = 1000
_DISCORD_ID = re.compile(r"[0-9]{17,19}")

RequestT = TypeVar("RequestT", bound=attrs.AttrsInstance)


class BatchFields(TypedDict, total=False):
    """What new keys may be given, besides their provider.

    Attributes:
        service_id: The service that the keys unlock, or None.
        folder_id: The folder to file them in, 1 or more, or None.
        key_name: A note of up to 255 characters, or None.
        validity_minutes: Whole minutes until expiry, 0 or more, or a `timedelta` of them; or None.
        hwid: A device to bind, up to 255 characters, or None.
        discord_id: The owner on Discord, 17 to 19 digits, as int or str; or None.
        is_premium: Whether the keys are premium.
        one_time_use: Whether the first use spends a key.
        expiry_on_first_use: Whether the validity begins with the first use.
        no_hwid: Whether a key is never bound to a device.
        hwid_limit: How many devices may be bound, 0 to 100, or None.
    """

    service_id: int | Unset | None
    folder_id: int | Unset | None
    key_name: str | Unset | None
    validity_minutes: int | timedelta | Unset | None
    hwid: str | Unset | None
    discord_id: int | str | Unset | None
    is_premium: bool | Unset
    one_time_use: bool | Unset
    expiry_on_first_use: bool | Unset
    no_hwid: bool | Unset
    hwid_limit: int | Unset | None


class CreateFields(BatchFields, total=False):
    """What a single new key may be given: the fields of `BatchFields`, and its devices.

    Attributes:
        hwids: Devices to bind, up to 255 characters each.
    """

    hwids: Iterable[str] | Unset


class UpdateFields(TypedDict, total=False):
    """What can be changed of a key. None sends null; what is left out stays as it is.

    Attributes:
        key_name: A note of up to 255 characters, or None for none.
        folder_id: The folder to file it in, 1 or more, or None for none.
        validity_minutes: Whole minutes, 0 or more, or a `timedelta` of them; or None.
        expires_at: When it expires, an aware datetime; or None.
        is_premium: Whether it is premium.
        one_time_use: Whether the first use spends it.
        expiry_on_first_use: Whether the validity begins with the first use.
        no_hwid: Whether it is never bound to a device.
        hwid_limit: How many devices may be bound, 0 to 100, or None.
        is_invalidated: Whether it is revoked.
        discord_id: The owner on Discord, 17 to 19 digits, as int or str; or None.
        hwids: The devices bound from now on, up to 255 characters each; empty for none.
    """

    key_name: str | Unset | None
    folder_id: int | Unset | None
    validity_minutes: int | timedelta | Unset | None
    expires_at: datetime | Unset | None
    is_premium: bool | Unset
    one_time_use: bool | Unset
    expiry_on_first_use: bool | Unset
    no_hwid: bool | Unset
    hwid_limit: int | Unset | None
    is_invalidated: bool | Unset
    discord_id: int | str | Unset | None
    hwids: Iterable[str] | Unset


class Filters(TypedDict, total=False):
    """What a list can be narrowed by; all that are given must hold.

    None narrows nothing; `purge` refuses it, since it would delete more than was meant.

    Attributes:
        discord_id: The owner on Discord, exactly.
        key: A part of the key value.
        hwid: A part of a bound device's identifier.
        service_id: The service, exactly.
        provider_id: The provider, exactly.
        folder_id: The folder, exactly.
        status: A `KeyStatus`, or its value.
        expires_before: Keys that expire before this aware datetime.
        expires_after: Keys that expire after this aware datetime.
    """

    discord_id: int | str | Unset | None
    key: str | Unset | None
    hwid: str | Unset | None
    service_id: int | Unset | None
    provider_id: int | Unset | None
    folder_id: int | Unset | None
    status: KeyStatus | str | Unset | None
    expires_before: datetime | Unset | None
    expires_after: datetime | Unset | None


def references(name: str, value: Any) -> list[int | str]:
    """Check references to the keys of one bulk delete."""
    limit = f"a list of 1 to {MAX_BULK_DELETE} IDs, key values or Keys"
    given = islice(check_iterable(name, value, limit), MAX_BULK_DELETE + 1)
    checked = [check_reference(f"{name}[{index}]", key) for index, key in enumerate(given)]
    if not 1 <= len(checked) <= MAX_BULK_DELETE:
        raise InvalidRequestError(name, "a longer one" if checked else "an empty one", limit)
    return checked


def _minutes(name: str, value: Any) -> int:
    if not isinstance(value, timedelta):
        return check_integer(name, value, 0)
    whole, rest = divmod(value, timedelta(minutes=1))
    if rest or whole < 0:
        raise InvalidRequestError(name, safe_repr(value), "a whole number of minutes, 0 or more")
    return whole


def _discord_filter(name: str, value: Any) -> str:
    return (
        check_text(name, value)
        if isinstance(value, str)
        else str(check_integer(name, value, 0, 10**19 - 1))
    )


def _discord_id(name: str, value: Any) -> str:
    written = _discord_filter(name, value)
    if not _DISCORD_ID.fullmatch(written):
        raise InvalidRequestError(name, safe_repr(value), "a Discord ID of 17 to 19 digits")
    return written


def _devices(name: str, value: Any) -> list[str]:
    given = check_iterable(name, value, "a list of strings of at most 255 characters each")
    return [check_text(f"{name}[{index}]", hwid, 255) for index, hwid in enumerate(given)]


def _status(name: str, value: Any) -> KeyStatus:
    names = [status.value for status in KeyStatus]
    if not isinstance(value, str) or str.__str__(value) not in names:
        raise InvalidRequestError(name, safe_repr(value), f"one of {', '.join(names)}")
    return KeyStatus(str.__str__(value))


def _required(check: Callable[..., Any], *limits: Any) -> Any:
    """Declare a field that can't be left out; its converter is the check."""

    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        return check(field.name, value, *limits)

    return attrs.field(converter=attrs.Converter(convert, takes_field=True))


def _field(
    check: Callable[..., Any],
    *limits: Any,
    null: bool = False,
    empty: bool = False,
    default: Unset | None = UNSET,
) -> Any:
    """Declare a field that can be left out; None passes the check only where null does."""
    more = {"empty": True} if empty else {}

    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        if value is UNSET or (null and value is None):
            return value
        return check(field.name, value, *limits, **more)

    return attrs.field(default=default, converter=attrs.Converter(convert, takes_field=True))


@attrs.frozen(kw_only=True)
class _Settings:
    """What a new key may be given, and an old one too."""

    folder_id: int | Unset | None = _field(check_identifier, 1, null=True)
    key_name: str | Unset | None = _field(check_text, 255, null=True, empty=True)
    validity_minutes: int | Unset | None = _field(_minutes, null=True)
    discord_id: str | Unset | None = _field(_discord_id, null=True)
    is_premium: bool | Unset = _field(check_boolean)
    one_time_use: bool | Unset = _field(check_boolean)
    expiry_on_first_use: bool | Unset = _field(check_boolean)
    no_hwid: bool | Unset = _field(check_boolean)
    hwid_limit: int | Unset | None = _field(check_integer, 0, 100, null=True)


@attrs.frozen(kw_only=True)
class CreateKey(_Settings):
    """The body of ``POST /keys``."""

    provider_id: int = _required(check_identifier, 1)
    service_id: int | Unset | None = _field(check_identifier, null=True)
    hwid: str | Unset | None = _field(check_text, 255, null=True, empty=True)
    hwids: list[str] | Unset = _field(_devices)


@attrs.frozen(kw_only=True)
class CreateBatch(_Settings):
    """The body of ``POST /keys/batch``."""

    provider_id: int = _required(check_identifier, 1)
    service_id: int | Unset | None = _field(check_identifier, 1, null=True)
    hwid: str | Unset | None = _field(check_text, 255, null=True, empty=True)
    amount: int = _required(check_integer, 1, MAX_BATCH)


@attrs.frozen(kw_only=True)
class UpdateKey(_Settings):
    """The body of ``PUT /keys/{keyId}``."""

    expires_at: datetime | Unset | None = _field(check_datetime, null=True)
    is_invalidated: bool | Unset = _field(check_boolean)
    hwids: list[str] | Unset = _field(_devices)


@attrs.frozen(kw_only=True)
class ListFilters:
    """The query of ``GET /keys``, but for its page. An empty part would match every key."""

    discord_id: str | Unset = _field(_discord_filter)
    key: str | Unset = _field(check_text)
    hwid: str | Unset = _field(check_text)
    service_id: int | Unset = _field(check_identifier)
    provider_id: int | Unset = _field(check_identifier)
    folder_id: int | Unset = _field(check_identifier)
    status: KeyStatus | Unset = _field(_status)
    expires_before: datetime | Unset = _field(check_datetime)
    expires_after: datetime | Unset = _field(check_datetime)

    def query(self) -> str:
        """Write the filters as a query string, quoted."""
        given = attrs.asdict(self, filter=lambda _, value: value is not UNSET)
        written = {
            name: timestamp(value) if isinstance(value, datetime) else value
            for name, value in given.items()
        }
        return urlencode(written, quote_via=quote)


@attrs.frozen(kw_only=True)
class Claims:
    """What is claimed of a key's holder; None for nothing."""

    hwid: str | None = _field(check_text, 255, null=True, default=None)
    discord_id: int | str | None = _field(_discord_id, null=True, default=None)
    service_id: int | None = _field(check_identifier, null=True, default=None)
    premium: bool | None = _field(check_boolean, null=True, default=None)


def check(request: type[RequestT], call: str, fields: Mapping[str, Any]) -> RequestT:
    """Make a request's value of the arguments of ``call``; an unknown one is a TypeError."""
    known = attrs.fields_dict(request)
    if unknown := fields.keys() - known.keys():
        raise TypeError(f"{call}() got an unexpected keyword argument {min(unknown)!r}")
    return request(**fields)
