"""Values that arguments are tested with, and what every refusal of one must hold."""

from __future__ import annotations

from junkie_async import InvalidRequestError, Outcome

SAFE = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

HUGE = 10**5000
"""More digits than Python writes out: int-to-str conversion refuses it with a bare ValueError."""


class Index:
    """A number as numpy has them: no int, but with `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Array:
    """As a numpy array of several numbers: has `__index__`, and it raises."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")


class Markup(str):
    """A subclass of str, such as markupsafe's."""

    __slots__ = ()


def type_name(value: object) -> str:
    """Name a parameter: pytest's own names would write out 5000 digits."""
    return type(value).__name__


def assert_refusal(error: InvalidRequestError, name: str) -> None:
    """Assert that a refusal says what was wrong, and is short and safe to log."""
    assert isinstance(error, ValueError)
    assert error.field == name or error.field.startswith((f"{name}[", f"{name}."))
    assert error.value
    assert error.limit
    text = str(error)
    assert text == f"{error.field} must be {error.limit}, got {error.value}"
    assert len(text) < 300
    assert text.replace("…", "").isascii()
    assert text.isprintable()
    assert "0" * 41 not in text
    assert (error.outcome, error.attempts, error.method) == (Outcome.NOT_EXECUTED, 0, None)
    assert (error.__cause__, error.__context__) == (None, None)
