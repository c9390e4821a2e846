"""Checks of single values, and what a refusal shows of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from junkie_async import InvalidRequestError, Key, KeyStatus, _validation
from junkie_async._protocol import fields

from .odd_values import HUGE, SAFE, Array, Index, Markup, assert_refusal, type_name


@pytest.mark.parametrize("value", [1, 0.001, 1.5, math.ulp(0.0), 1e308, 10**300])
def test_seconds_accepts(value: float) -> None:
    """A finite number above zero is a time, and comes back as a float."""
    given_back = _validation.check_seconds("timeout", value)
    assert (given_back, type(given_back)) == (float(value), float)


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.0, -1, math.nan, math.inf, -math.inf, True, None, "1", HUGE, -HUGE, 10**400],
    ids=type_name,
)
def test_seconds_refuses(value: Any) -> None:
    """Anything else is refused, integers beyond all floats among it."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_seconds("timeout", value)
    assert_refusal(caught.value, "timeout")


def test_zero_seconds() -> None:
    """Zero is a time only where it makes sense."""
    assert _validation.check_seconds("wait", 0, zero=True) == 0.0
    with pytest.raises(InvalidRequestError):
        _validation.check_seconds("wait", -math.ulp(0.0), zero=True)


@pytest.mark.parametrize(
    ("value", "checked"),
    [
        (1, 1),
        (SAFE, SAFE),
        (Index(5), 5),
        ("JNK-1", "JNK-1"),
        ("5", "5"),
        ("...", "..."),
        ("a/../b?c#d", "a/../b?c#d"),
        (Markup("5"), "5"),
        (Key(id=5, key_value="JNK-1"), 5),
    ],
)
def test_reference_accepts(value: Any, checked: int | str) -> None:
    """A number stays an ID, a string stays a key value, and a Key gives its ID."""
    reference = _validation.check_reference("key", value)
    assert (reference, type(reference)) == (checked, type(checked))


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, SAFE + 1, HUGE, -HUGE, Index(0), Array(), int, True, False, 1.0, None, b"5", [5]),
        *("", ".", "..", "\ud800", "a\x00", "a\nb", "\u2029", object(), [HUGE], KeyStatus),
        *(" ", "\u00a0\u3000", Markup(".."), bytearray(b"5")),
        Key(id=0, key_value="JNK-1"),
        Key(id=HUGE, key_value="JNK-1"),
    ],
    ids=type_name,
)
def test_reference_refuses(value: Any) -> None:
    """What names no key, or would lead elsewhere in a path, is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_reference("key", value)
    assert_refusal(caught.value, "key")


SECRET = "JNK-8F2C-77A1-93BD-0E4F-SECRET"


@pytest.mark.parametrize(
    "value",
    [
        *(SECRET, SECRET + "\n", SECRET.encode(), [SECRET], (SECRET,), {SECRET: 1}),
        *(Key(id=0, key_value=SECRET), [Key(id=0, key_value=SECRET)]),
    ],
    ids=["string", "line", "bytes", "list", "tuple", "dict", "key", "keys"],
)
@pytest.mark.parametrize(
    "check",
    [
        _validation.check_integer,
        _validation.check_seconds,
        _validation.check_datetime,
        _validation.check_reference,
        _validation.check_boolean,
        fields._check_status,
    ],
)
def test_refusals_mask_key_values(check: Callable[[str, Any], object], value: Any) -> None:
    """A key value that was put in the wrong place does not end up in a log."""
    if (check, value) == (_validation.check_reference, SECRET):
        value = {SECRET}  # the string itself is a good reference
    with pytest.raises(InvalidRequestError) as caught:
        check("field", value)
    assert SECRET[6:-6] not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("short", ["JNK-7Q2X", "ABCD1234", "a1", "{free}", "\u00e9\u00e9", "1-2"])
def test_safe_repr_masks_short_key_values(short: str) -> None:
    """Only a short word or number is shown, since a key value may be short too."""
    assert _validation.safe_repr(short) == f"a string of {len(short)} characters"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *(("ACTIVE", "'ACTIVE'"), ("42", "'42'"), (" 12", "' 12'"), ("-1.5", "'-1.5'")),
        *(("", "''"), (".", "'.'"), (Markup("true"), "'true'"), (True, "True"), (None, "None")),
        *((5, "5"), (Index(5), "5"), (HUGE, "an integer of 16610 bits"), (1.5, "1.5")),
        *((b"abc", "a bytes of 3"), ([HUGE], "a list of 1"), (object(), "a object")),
        (date(2024, 5, 17), "datetime.date(2024, 5, 17)"),
        (datetime(2024, 5, 17), "the naive 2024-05-17T00:00:00"),  # noqa: DTZ001
        (timedelta(seconds=-90), "a timedelta of -90.0 seconds"),
    ],
    ids=type_name,
)
def test_safe_repr(value: object, shown: str) -> None:
    """A refused value is described in a few words."""
    assert _validation.safe_repr(value) == shown


def _raise(*_: object) -> Any:
    raise RuntimeError("no")


class Hostile(float):
    """A number whose repr raises."""

    __slots__ = ()
    __repr__ = __str__ = _raise


class Verbose(float):
    """A number with a repr of 10 MB."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "x" * 10_000_000


class Lengthless(tuple[int, ...]):
    """A collection whose length raises."""

    __slots__ = ()
    __len__ = _raise


@pytest.mark.parametrize("value", [Hostile(1), Verbose(1), Lengthless((1,))], ids=type_name)
def test_safe_repr_survives_the_value(value: object) -> None:
    """If a repr or a length raises, or is too long, the class's name is shown."""
    assert _validation.safe_repr(value) == f"a {type(value).__name__}"


def test_safe_repr_of_a_long_class_name() -> None:
    """The name of a class may be as long, and as odd, as it likes."""
    odd = type("\u00e9\n" + "x" * 10_000, (), {})()
    assert _validation.safe_repr(odd) == "a \\xe9\\n" + "x" * 34


@pytest.mark.parametrize("value", ["123", "abc", b"1", bytearray(b"1"), memoryview(b"1"), {}, 5])
def test_elements_refuses(value: Any) -> None:
    """Text, bytes and mappings are iterable, but no list of anything; and none is shown."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_iterable("keys", value, "a list")
    assert caught.value.value in ("a single string", "5", _validation.safe_repr(value))
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("value", [[], (), {1}, range(3), iter("a"), {1: 2}.keys()], ids=type_name)
def test_elements_accepts(value: Any) -> None:
    """Any other iterable is given back as it is."""
    assert _validation.check_iterable("keys", value, "a list") is value
