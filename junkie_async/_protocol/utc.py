"""Datetimes of models in UTC, without a copy of what has them in UTC already."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs

from .._models import HWID, Key, KeyDetailed
from .lenient import to_utc

KeyT = TypeVar("KeyT", bound=Key)


def all_in_utc(keys: Sequence[Key]) -> Sequence[Key]:
    """Return keys with all datetimes in UTC; keys that callers made may have others."""
    return [
        in_utc(key) if isinstance(key, KeyDetailed) else key for key in keys_in_utc(tuple(keys))
    ]


def keys_in_utc(keys: tuple[KeyT, ...]) -> tuple[KeyT, ...]:
    """Return the keys with their datetimes in UTC."""
    # msgspec gives `datetime.UTC` itself for "Z". Copying 100 keys with `evolve` takes 450 us, more
    # than decoding them; looking at them in a loop without calls takes 8 us. A service that writes
    # an offset writes it everywhere: then the whole page is copied.
    utc = UTC
    for key in keys:
        # To read a field twice where it is set takes less than to name it where it is None.
        if (
            (key.created_at is not None and key.created_at.tzinfo is not utc)
            or (key.expires_at is not None and key.expires_at.tzinfo is not utc)
            or (key.used_at is not None and key.used_at.tzinfo is not utc)
            or (key.hwids and any(map(_has_offset, key.hwids)))
        ):
            return tuple(map(in_utc, keys))
    return keys


def _has_offset(hwid: HWID) -> bool:
    return hwid.bound_at is not None and hwid.bound_at.tzinfo is not UTC


def in_utc(value: Any) -> Any:
    """Return a model with all datetimes in UTC, those of models inside of it too."""
    kind: Any = value.__class__
    if kind is datetime:
        return to_utc(value)
    if kind is tuple:
        return tuple(map(in_utc, value))
    changed = {
        name: new
        for name in _field_names(kind)
        if (new := in_utc(old := getattr(value, name))) is not old
    }
    return attrs.evolve(value, **changed) if changed else value


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind)) if attrs.has(kind) else ()
