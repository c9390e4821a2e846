"""Whether the rows of a page agree with the filters that were sent.

A service that does not know a filter, or takes its value for "no filter", lists every key. Who
deletes or counts by the filter must not take those for a match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

from .._errors import InvalidResponseError, Outcome
from .._models import Key

_Agrees: TypeAlias = Callable[[Key, Any, datetime], bool | None]
"""Whether a key agrees with a filter's value at a moment; None if the row does not tell."""

_TOLERANCE: Final = timedelta(minutes=1)
"""A key may expire while its page is on its way."""


def check_rows(
    filters: Mapping[str, Any], keys: Iterable[Key], now: datetime, *, certain: bool
) -> None:
    """Check a page's keys against the validated filters of its request.

    A row may leave out any field but its ID and value. With ``certain`` that is refused where the
    filter needs the field.

    Raises:
        InvalidResponseError: A key contradicts a filter, which ``field`` names.
    """
    for name, value in filters.items():
        agrees = _AGREES[name]
        found = {_judge(key, agrees(key, value, now)) for key in keys}
        if False in found:
            problem = "contradict it: the service ignores this filter, or this value of it"
        elif certain and None in found:
            problem = "don't tell whether they match it: the service may ignore this filter"
        else:
            continue
        raise InvalidResponseError(
            f"keys in the response to the filter {name} {problem}",
            outcome=Outcome.EXECUTED,
            field=name,
        )


def _judge(key: Key, agrees: bool | None) -> bool | None:
    # A row that has the fields which no key is without leaves out no others: they are null.
    is_whole = key.created_at is not None and key.provider_id is not None
    return False if agrees is None and is_whole else agrees


def _agrees_exactly(name: str, key: Key, value: Any, _: datetime) -> bool | None:
    stated = getattr(key, name)
    return None if stated is None else stated == value


def _has_part(key: Key, value: Any, _: datetime) -> bool:
    return value.casefold() in key.key_value.casefold()  # a database may ignore case


def _has_device(key: Key, value: Any, _: datetime) -> bool | None:
    devices = {*key.keys_hwid, *(device.hwid for device in key.hwids)}
    part = value.casefold()
    return any(part in device.casefold() for device in devices) if devices else None


def _has_status(key: Key, value: Any, now: datetime) -> bool | None:
    expires = key.expires_at
    match value:
        case "invalidated":
            return key.is_invalidated
        case "expired":
            return None if expires is None else expires - now <= _TOLERANCE
        case "used":
            return None if key.used_at is None else True
        case _:  # active
            expired = expires is not None and now - expires >= _TOLERANCE
            return not (key.is_invalidated or expired)


def _expires_before(key: Key, value: Any, _: datetime) -> bool | None:
    moment = datetime.fromisoformat(value)
    return None if key.expires_at is None else key.expires_at - moment <= _TOLERANCE


def _expires_after(key: Key, value: Any, _: datetime) -> bool | None:
    moment = datetime.fromisoformat(value)
    return None if key.expires_at is None else moment - key.expires_at <= _TOLERANCE


_AGREES: Final[Mapping[str, _Agrees]] = {
    "discord_id": partial(_agrees_exactly, "discord_id"),
    "key": _has_part,
    "hwid": _has_device,
    "service_id": partial(_agrees_exactly, "service_id"),
    "provider_id": partial(_agrees_exactly, "provider_id"),
    "folder_id": partial(_agrees_exactly, "folder_id"),
    "status": _has_status,
    "expires_before": _expires_before,
    "expires_after": _expires_after,
}
