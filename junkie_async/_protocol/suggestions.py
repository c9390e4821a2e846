"""Names of arguments that do not exist: the one that was probably meant, said at the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar, cast

from .._masking import mark_coroutine_function

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_OTHER_WORDS: Final = {
    "amount": ("count", "n", "number", "quantity"),
    "concurrency": ("max_concurrency", "max_workers", "workers"),
    "discord_id": ("owner", "owner_id", "user", "user_id", "member_id"),
    "expires_at": ("expires", "expiry", "expires_on", "expiration", "valid_until"),
    "hwid_limit": ("devices", "device_limit", "max_devices", "max_hwids"),
    "is_invalidated": ("banned", "disabled", "revoked"),
    "key": ("key_value", "value"),
    "key_name": ("label", "note", "notes", "title"),
    "limit": ("page_size", "per_page", "size"),
    "status": ("active", "expired", "invalidated", "state", "used"),
    "validity_minutes": (
        *("days", "duration", "expires", "expires_at", "expires_in", "expiry", "hours"),
        *("lifetime", "minutes", "ttl", "validity"),
    ),
}
"""What callers of other SDKs write for a field. Other words are found by their letters."""


def unknown_argument(call: str, name: str, names: Collection[str]) -> TypeError:
    """Return the error for an argument that a call does not have."""
    message = f"{call}() got an unexpected keyword argument {name!r}"
    found = _suggest(name, names)
    return TypeError(f"{message}: did you mean {' or '.join(found)}?" if found else message)


def _suggest(name: str, names: Collection[str]) -> list[str]:
    if others := [field for field in sorted(names) if name in _OTHER_WORDS.get(field, ())]:
        return others
    words = {*name.lower().split("_")}
    if longer := [field for field in sorted(names) if words <= {*field.split("_")}]:
        return longer[:2]  # `service` is a part of `service_id`, `expires` of two filters
    from difflib import get_close_matches  # few programs need it

    return get_close_matches(name.lower(), sorted(names), n=1)


def takes(declaration: Any) -> Callable[[FunctionT], FunctionT]:
    """Decorate a public method with ``**fields``: refuse an unknown name when it is called.

    Without it, a coroutine method would do that when it is awaited, which may be elsewhere.

    Args:
        declaration: The TypedDict of the fields.
    """
    fields: frozenset[str] = declaration.__required_keys__ | declaration.__optional_keys__

    def decorate(function: FunctionT) -> FunctionT:
        code = inspect.unwrap(function).__code__
        named = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        names = fields.union(named)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if not names.issuperset(kwargs):
                    raise unknown_argument(function.__name__, min(kwargs.keys() - names), names)
                return function(*args, **kwargs)
            finally:
                del args, kwargs  # error trackers show the variables of this frame

        if inspect.iscoroutinefunction(function):
            mark_coroutine_function(call)
        return cast("FunctionT", call)

    return decorate
