"""Checks of what a test says of a fake interaction: a mistake there fails at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeGuard

import discord
from discord.ext import commands

_SNOWFLAKES: Final = range(1, 2**64)

_KINDS: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "permissions": ("discord.Permissions or None", (discord.Permissions, type(None))),
    "joined_at": ("a datetime or None", (datetime, type(None))),
    "premium_since": ("a datetime or None", (datetime, type(None))),
    "created_at": ("a datetime or None", (datetime, type(None))),
    "custom_status": ("a str or None", (str, type(None))),
    "client": ("a commands.Bot or None", (commands.Bot, commands.AutoShardedBot, type(None))),
}


def check_kinds(**given: object) -> None:
    """Raise a TypeError for an argument of another type than Discord's data has."""
    for name, value in given.items():
        limit, kinds = _KINDS[name]
        if not isinstance(value, kinds):
            raise _wrong_type(name, limit, value)


def check_id(name: str, value: object) -> None:
    """Check an ID, which is a snowflake of Discord."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, "an int", value)
    if value not in _SNOWFLAKES:
        raise ValueError(f"{name} must be from 1 to {_SNOWFLAKES[-1]}, got {value}")


def check_name(name: str, value: object) -> None:
    """Check a name, which Discord never leaves empty."""
    if not isinstance(value, str):
        raise _wrong_type(name, "a str", value)
    if not value.strip():
        raise ValueError(f"{name} must not be empty")


def check_roles(roles: object) -> tuple[str | int, ...]:
    """Return names and IDs of roles as a tuple."""
    if not _is_list(roles):
        raise _wrong_type("roles", "a list of names and IDs", roles)
    checked = tuple(roles)
    for index, role in enumerate(checked):
        check = check_name if isinstance(role, str) else check_id
        check(f"roles[{index}]", role)
    return checked


def check_locale(locale: object) -> discord.Locale:
    """Return a language that is given as such, or by its code."""
    if isinstance(locale, discord.Locale):
        return locale
    if not isinstance(locale, str):
        raise _wrong_type("locale", "a discord.Locale or its code, such as 'de'", locale)
    try:
        return discord.Locale(locale)
    except ValueError:
        codes = ", ".join(one.value for one in discord.Locale)
        raise ValueError(f"locale must be one of {codes}, got {locale!r}") from None


def check_size(name: str, value: object) -> None:
    """Check a number of bytes."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, "an int", value)
    if value < 0:
        raise ValueError(f"{name} must be >= 0, got {value}")


def _is_list(value: object) -> TypeGuard[Iterable[Any]]:
    # A string is an iterable, too, but of letters.
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _wrong_type(name: str, limit: str, value: object) -> TypeError:
    shown = "None" if value is None else f"a {type(value).__name__}"
    return TypeError(f"{name} must be {limit}, got {shown}")
