"""The lenient reader: cattrs mends what real services get wrong in a response.

It takes null for a default, ``1.0`` and ``"1"`` for an integer, a datetime without offset as UTC,
one beyond the year 9999 as the last moment there is, and what is no date as unknown. What it can't
mend it names, without quoting it: the value may be a key.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from datetime import MAXYEAR, UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, get_args, get_origin

import attrs
import msgspec

from .._errors import InvalidResponseError, Outcome
from .._models import Identifier, KeyValue

if TYPE_CHECKING:  # loaded by `prepare_reader`: a program may import the package for its models
    import cattrs

T = TypeVar("T")

LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)


class KeyValueRow:
    """Stands for a row of a batch response: a key value, or an object that has one."""


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def to_utc(moment: datetime) -> datetime:
    """Convert an aware datetime to UTC; beyond the year 9999 it is the last moment there is."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return LAST_MOMENT if moment.year == MAXYEAR else moment


def structure(document: Any, shape: type[T], path: str = "") -> T:
    """Read plain data as an attrs class, leniently.

    The error for a field that can't be mended names it below `path`.
    """
    try:
        return _make_converter().structure(document, shape)
    except Exception as error:  # cattrs groups whatever its hooks and constructors raise
        inner_path, problem = _locate_error(error)
    field = path + inner_path if path else inner_path.removeprefix(".")
    raise wrong_shape(f"{field or 'the response'} {problem}", field)


def prepare_reader(shapes: Iterable[type]) -> None:
    """Load cattrs, and have it generate the code that reads these classes.

    In the middle of a call that would stall the event loop for 15 ms. It would fail where the
    package was upgraded in place, or where the process has no file descriptor left.
    """
    for shape in shapes:
        _make_converter().get_structure_hook(shape)


def wrong_shape(message: str, field: str, rows: tuple[Any, ...] = ()) -> InvalidResponseError:
    """Return the error for good JSON of a wrong shape, with the rows that can be used."""
    # A 2xx with whole JSON in it: the service has acted, whatever it then said.
    return InvalidResponseError(message, outcome=Outcome.EXECUTED, field=field or None, rows=rows)


def _locate_error(error: BaseException) -> tuple[str, str]:
    """Return the path of the first field that cattrs could not read, and what is wrong with it."""
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
    # Only the message of our own hooks: any other may quote the value.
    return path, str(error) if isinstance(error, _MismatchError) else "has the wrong shape"


class _MismatchError(ValueError):
    """A value that can't be mended. The message has its JSON type, not the value."""

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"must be {expected}, got {json_type(value)}")


_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def json_type(value: object) -> str:
    """Name the JSON type of a value."""
    return _JSON_TYPES[type(value)]


@functools.cache
def _make_converter() -> cattrs.Converter:
    import cattrs
    from cattrs.cols import is_sequence

    converter = cattrs.Converter()
    converter.register_structure_hook(int, _to_int)
    # Of bodies that are refused: `check_refusal` has looked before.
    converter.register_structure_hook(msgspec.Raw, _to_nothing)
    converter.register_structure_hook_func(lambda cls: cls is Identifier, _to_identifier)
    converter.register_structure_hook_func(lambda cls: cls is KeyValue, _to_key_text)
    converter.register_structure_hook(bool, _to_bool)
    converter.register_structure_hook(str, _to_str)
    converter.register_structure_hook(datetime, _to_datetime)
    converter.register_structure_hook(KeyValueRow, _to_key_value)
    converter.register_structure_hook_factory(is_sequence, _make_list_hook)
    converter.register_structure_hook_factory(attrs.has, _make_object_hook)
    return converter


def _to_nothing(_value: Any, _cls: Any) -> msgspec.Raw:
    return msgspec.Raw()


def _make_list_hook(cls: Any, converter: cattrs.Converter) -> Any:
    """Read a list as the class, up to its first bad item.

    cattrs alone would take a string for a list of letters, and collect an error for each bad item:
    100,000 of them take a second.
    """
    from cattrs import IterableValidationNote

    kind = get_origin(cls)
    item_class = get_args(cls)[0]
    structure_item = converter.get_structure_hook(item_class)

    def structure_list(rows: Any, _: Any) -> Any:
        if not is_list(rows):
            raise _MismatchError("a list", rows)
        items: list[Any] = []
        try:
            items.extend(structure_item(row, item_class) for row in rows)
        except Exception as error:  # whatever hooks and constructors raise
            error.add_note(IterableValidationNote("", len(items), item_class))
            raise ExceptionGroup("", [error]) from None
        return kind(items)

    return structure_list


def _make_object_hook(cls: type[Any], converter: cattrs.Converter) -> Any:
    """Read an object as the class; null stands for a field's default, as if it were missing."""
    from cattrs.gen import make_dict_structure_fn

    structure_fields = make_dict_structure_fn(cls, converter)

    def structure_object(row: Any, _: Any) -> Any:
        if not is_object(row):
            raise _MismatchError("an object", row)
        given = {name: value for name, value in row.items() if value is not None}
        return structure_fields(given, cls)

    return structure_object


_DIGITS = re.compile(r"[+-]?[0-9]{1,19}")


def _to_int(value: Any, _: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:  # exact up to there
        return int(value)
    if type(value) is str and _DIGITS.fullmatch(value):
        return int(value)
    raise _MismatchError("an integer", value)


def _to_identifier(value: Any, _: Any) -> int:
    number = _to_int(value, int)
    if not -(2**53) < number < 2**53:
        raise _MismatchError("an integer of at most 53 bits", value)
    return number


def _to_bool(value: Any, _: Any) -> bool:
    if value in (True, False):  # 1 and 0 too, as MySQL and SQLite store booleans
        return bool(value)
    raise _MismatchError("a boolean", value)


def _to_str(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int:  # a Discord ID as a number
        return str(value)
    raise _MismatchError("a string", value)


def _to_key_text(value: Any, _: Any) -> str:
    if not (text := _to_str(value, str)):
        raise _MismatchError("a string of at least one character", value)
    return text


def _to_key_value(row: Any, _: Any) -> str:
    value = row.get("key_value") if is_object(row) else row
    if type(value) is not str:
        raise _MismatchError("a key value", row)
    return value


_BEYOND_9999 = r"\+?0*[1-9][0-9]{4,}-"


def _to_datetime(value: Any, _: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _MismatchError("an RFC 3339 date-time", value)
    # RFC 3339 allows a lower-case "z", which `datetime.fromisoformat` refuses.
    text = str(value).strip().upper()
    if re.match(_BEYOND_9999, text):
        return LAST_MOMENT
    moment = _parse_datetime(text)
    if moment is None:  # such as "0000-00-00 00:00:00", "infinity", "", or a number
        return None
    return to_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _parse_datetime(text: str) -> datetime | None:
    # As the strict reader does first, so that both round a tenth of a microsecond alike.
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(text, datetime)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
