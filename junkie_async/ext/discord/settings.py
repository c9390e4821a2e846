"""Checks of the cog's arguments: a mistake shows when the bot starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from os import W_OK, PathLike, access
from pathlib import Path
from typing import Any, TypeVar, cast

import discord

from junkie_async import ConfigurationError, InvalidRequestError
from junkie_async.provisioning import is_dsn

from .texts import FACTS
from .wording import Texts

_C = TypeVar("_C")


def check_setting(
    setting: str,
    value: object,
    limit: str,
    kind: type,
    accepts: Callable[[Any], bool] = lambda _: True,
) -> None:
    """Raise an InvalidRequestError if a setting is not of a type, or not accepted."""
    # A bool is an int, but never a meant one.
    if not isinstance(value, kind) or isinstance(value, bool) or not accepts(value):
        # Of other types only the name: a client that is a string is most likely an API key.
        shown = str(value) if isinstance(value, int | timedelta) else f"a {type(value).__name__}"
        raise InvalidRequestError(setting, shown, limit)


def check_ledger(ledger: Any) -> None:
    """Raise a ConfigurationError if the file of a ledger can neither be there nor be created."""
    given = cast("str | PathLike[str]", ledger)
    if not isinstance(ledger, str | PathLike) or is_dsn(given):
        return  # a database that is down now may be up when a user calls
    path = Path(given).resolve()
    if not path.parent.is_dir():
        reason = f"there is no folder {path.parent}"
    elif path.exists() and not path.is_file():
        reason = "it is not a file"
    elif not access(path if path.exists() else path.parent, W_OK):
        reason = "the bot may not write to it"
    else:
        return
    raise ConfigurationError(f"the ledger {path} can't be used: {reason}")


def check_callable(setting: str, value: _C) -> _C:
    """Return a callable, or None; raise an InvalidRequestError for anything else."""
    if value is not None and not callable(value):
        limit = "a function that takes the interaction, or None"
        raise InvalidRequestError(setting, f"a {type(value).__name__}", limit)
    return value


def check_facts(shown: object) -> tuple[str, ...]:
    """Return the names of facts as a tuple; raise an InvalidRequestError for others."""
    limit = f"a list of some of {', '.join(FACTS)}"
    if isinstance(shown, str):  # a collection, too, but of letters
        raise InvalidRequestError("shown", "a str", limit)
    check_setting("shown", shown, limit, Collection)
    facts = tuple(cast("Collection[str]", shown))
    for fact in facts:
        if fact not in FACTS:
            raise InvalidRequestError("shown", f"one with {str(fact)[:40]!r}", limit)
    return facts


def check_translations(given: Mapping[discord.Locale, Texts]) -> dict[discord.Locale, Texts]:
    """Return a copy of the translations; raise an InvalidRequestError for anything else."""
    limit = "a dict from discord.Locale to Texts"
    check_setting("translations", given, limit, Mapping)
    for locale, translation in given.items():
        check_setting("translations", locale, limit, discord.Locale)
        check_setting("translations", translation, limit, Texts)
    return dict(given)
