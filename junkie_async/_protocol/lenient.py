"""cattrs: requests to plain data, and the lenient reader of answers.

The reader mends what real services get wrong (null for a default, ``1.0`` for an integer, a date
without offset) and names what it can't mend, without quoting it.
"""

from __future__ import annotations

import contextlib
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import attrs
import msgspec

from .._errors import InvalidResponseError, Outcome

if TYPE_CHECKING:  # cattrs takes a third of the import time, and few answers need it
    import cattrs

T = TypeVar("T")


@attrs.frozen
class ValueRow:
    """A key of a batch answer, where it comes as an object."""

    key_value: str


def in_utc(at: datetime) -> datetime:
    """Give a moment in UTC; one in the last hours of the year 9999 stays as it is, but aware."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at


def structure(document: Any, shape: type[T], where: str = "") -> T:
    """Read plain data as an attrs class, leniently.

    Args:
        document: What JSON gave.
        shape: The class.
        where: The path to the document, for the error.

    Raises:
        InvalidResponseError: A field can't be mended; the error names it.
    """
    converter = _converter()
    try:
        return converter.structure(document, shape)
    except Exception as error:  # cattrs gathers whatever its hooks and constructors raise
        path, expected = _innermost(error)
    field = where + path if where else path.removeprefix(".")
    raise wrong_shape(f"{field or 'the answer'} {expected}", field)


def wrong_shape(message: str, field: str) -> InvalidResponseError:
    """The error for good JSON of a wrong shape: the service has acted, whatever it said."""
    return InvalidResponseError(message, outcome=Outcome.EXECUTED, field=field or None)


def _innermost(error: BaseException) -> tuple[str, str]:
    """Follow the first of cattrs' nested errors down to the field that it is about."""
    from cattrs.errors import AttributeValidationNote, IterableValidationNote

    path = ""
    while True:
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                path += f".{note.name}"
            elif isinstance(note, IterableValidationNote):
                path += f"[{note.index}]"
        nested = getattr(error, "exceptions", ())
        if not nested:
            break
        error = nested[0]
    if isinstance(error, KeyError):
        return path, "is missing"
    # Only our own hooks' words: any other message may quote the value.
    return path, str(error) if isinstance(error, _MismatchError) else "has the wrong shape"


class _MismatchError(ValueError):
    """A value that can't be mended; its message says what was expected and got, not the value."""

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"must be {expected}, not {kind(value)}")


def kind(value: Any) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs
    from cattrs.cols import is_sequence

    converter = cattrs.Converter()
    converter.register_structure_hook(int, _to_int)
    converter.register_structure_hook(bool, _to_bool)
    converter.register_structure_hook(str, _to_str)
    converter.register_structure_hook(datetime, _to_datetime)
    converter.register_structure_hook(str | ValueRow, _to_value)
    converter.register_structure_hook_factory(is_sequence, lambda cls: _list_hook(converter, cls))
    converter.register_structure_hook_factory(attrs.has, lambda cls: _row_hook(converter, cls))
    return converter


def _list_hook(converter: cattrs.Converter, cls: Any) -> Any:
    """Read a list as the class; cattrs alone would take a string for a list of letters."""
    from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory

    is_tuple = get_origin(cls) is tuple
    factory = homogenous_tuple_structure_factory if is_tuple else list_structure_factory
    structure = factory(cls, converter)

    def hook(rows: Any, _: Any) -> Any:
        if not isinstance(rows, list):
            raise _MismatchError("a list", rows)
        return structure(rows, cls)

    return hook


def _row_hook(converter: cattrs.Converter, cls: type[Any]) -> Any:
    """Read an object as the class, null standing for a field's default as if it were missing."""
    from cattrs.gen import make_dict_structure_fn

    structure = make_dict_structure_fn(cls, converter)

    def hook(row: Any, _: Any) -> Any:
        if not isinstance(row, dict):
            raise _MismatchError("an object", row)
        return structure({name: value for name, value in row.items() if value is not None}, cls)

    return hook


def _to_int(value: Any, _: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:  # exact up to there
        return int(value)
    raise _MismatchError("an integer", value)


def _to_bool(value: Any, _: Any) -> bool:
    if value in (True, False):  # 1 and 0 too, as SQL hands them out
        return bool(value)
    raise _MismatchError("a boolean", value)


def _to_str(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:  # a Discord ID as a number
        return str(value)
    raise _MismatchError("a string", value)


def _to_value(row: Any, _: Any) -> str:
    if isinstance(row, dict) and isinstance(row.get("key_value"), str):
        return str(row["key_value"])
    if type(row) is str:
        return row
    raise _MismatchError("a key value", row)


def _to_datetime(value: Any, _: Any) -> datetime:
    at = _parse(value.strip().upper()) if isinstance(value, str) else None  # t and z are RFC 3339
    if at is None:
        raise _MismatchError("an RFC 3339 date-time", value)
    return in_utc(at if at.tzinfo else at.replace(tzinfo=UTC))


def _parse(text: str) -> datetime | None:
    """Read a date as the strict reader does, or as `datetime` does."""
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(text, datetime)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
