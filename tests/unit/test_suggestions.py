"""Names of arguments that do not exist are refused at the call, in coroutine methods too."""

from __future__ import annotations

import inspect
from typing import Any, TypedDict

import pytest

from junkie_async._protocol.suggestions import takes


class _Required(TypedDict):
    provider_id: int


class _Fields(_Required, total=False):
    key_name: str


def decorate() -> Any:
    """Make an object with two decorated methods."""

    class Calls:
        @takes(_Fields)
        def create(self, key: int, *, retry: bool = False, **fields: Any) -> Any:
            """Have a docstring."""
            return key, retry, fields

        @takes(_Fields)
        async def wait(self, **fields: Any) -> Any:
            """Have a docstring."""
            return fields

    return Calls()


def test_known_arguments() -> None:
    """Those of the fields and of the signature reach the method."""
    given = decorate().create(key=1, retry=True, provider_id=2, key_name="a")
    assert given == (1, True, {"provider_id": 2, "key_name": "a"})
    assert decorate().create(1) == (1, False, {})


@pytest.mark.parametrize("name", ["key_nam", "given", "self_", "fields"])
def test_unknown_arguments(name: str) -> None:
    """They are refused before there is a coroutine, by the method's name."""
    calls = decorate()
    for call in (calls.create, calls.wait):
        with pytest.raises(TypeError, match=call.__name__):
            call(**{name: 1})


def test_what_it_is() -> None:
    """A method looks like the one that was decorated."""
    calls = decorate()
    assert inspect.iscoroutinefunction(calls.wait)
    assert not inspect.iscoroutinefunction(calls.create)
    assert (calls.wait.__name__, calls.wait.__doc__) == ("wait", "Have a docstring.")
