"""JSON to models and back: the only file that decodes or encodes.

msgspec reads a body straight into the models, in C. Only when it refuses does cattrs read the body
again, row by row: it mends what real services get wrong and names what it can't mend.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import attrs
import msgspec

from ._errors import InvalidResponseError, Outcome
from ._models import (
    HWID,
    ActionResult,
    BulkDeleteResult,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    Pagination,
    UpdateResult,
)

if TYPE_CHECKING:  # cattrs takes a third of the import time, and few answers need it
    import cattrs

T = TypeVar("T")


@attrs.frozen
class _Pagination:
    """The wire's spelling of `Pagination`."""

    page: int | None = None
    limit: int | None = None
    total: int | None = None
    totalPages: int | None = None  # noqa: N815 - the contract's spelling


@attrs.frozen
class _PageAnswer:
    keys: tuple[Key, ...]
    pagination: _Pagination | None = None


@attrs.frozen
class _KeyAnswer:
    key: Key


@attrs.frozen
class _DetailedAnswer:
    key: KeyDetailed


@attrs.frozen
class _FoldersAnswer:
    folders: list[KeyFolder]


@attrs.frozen
class _ValueRow:
    key_value: str


@attrs.frozen
class _BatchAnswer:
    keys: tuple[str | _ValueRow, ...]
    count: int | None = None
    config: dict[str, Any] | None = None


@attrs.frozen
class _BulkDeleteAnswer:
    deleted: int
    requested: int | None = None


def encode(body: object) -> bytes:
    """Turn a request's attrs values into JSON; fields that were left out stay out."""
    return msgspec.json.encode(_converter().unstructure(body))


def read_page(body: bytes) -> KeyPage:
    """Read the answer of ``GET /keys``."""
    answer = _strictly(body, _PageAnswer) or _lenient_page(_document(body))
    at = answer.pagination or _Pagination()
    return KeyPage(
        keys=_all_in_utc(answer.keys),
        pagination=Pagination(
            page=at.page, limit=at.limit, total=at.total, total_pages=at.totalPages
        ),
    )


def read_key(body: bytes) -> Key:
    """Read the answer of ``POST /keys``."""
    return _all_in_utc((_read(body, _KeyAnswer).key,))[0]


def read_detailed(body: bytes) -> KeyDetailed:
    """Read the answer of ``GET /keys/{keyId}``."""
    key = _all_in_utc((_read(body, _DetailedAnswer).key,))[0]
    redemption = key.discord_redemption
    if redemption is None or redemption.redeemed_at is None:
        return key
    at = redemption.redeemed_at.astimezone(UTC)
    return attrs.evolve(key, discord_redemption=attrs.evolve(redemption, redeemed_at=at))


def read_folders(body: bytes) -> list[KeyFolder]:
    """Read the answer of ``GET /keys/folders``."""
    return [
        folder
        if folder.created_at is None
        else attrs.evolve(folder, created_at=folder.created_at.astimezone(UTC))
        for folder in _read(body, _FoldersAnswer).folders
    ]


def read_batch(body: bytes) -> KeyBatch:
    """Read the answer of ``POST /keys/batch``: strings, or objects with a ``key_value``."""
    answer = _read(body, _BatchAnswer)
    keys = tuple(row if isinstance(row, str) else row.key_value for row in answer.keys)
    count = len(keys) if answer.count is None else answer.count
    return KeyBatch(keys=keys, count=count, config=answer.config or {})


def read_bulk_delete(body: bytes, *, requested: int) -> BulkDeleteResult:
    """Read the answer of ``POST /keys/bulk-delete``, to a request of ``requested`` keys."""
    answer = _read(body, _BulkDeleteAnswer)
    stated = answer.requested
    return BulkDeleteResult(
        deleted=answer.deleted, requested=requested if stated is None else stated
    )


def read_update(body: bytes) -> UpdateResult:
    """Read the answer of ``PUT /keys/{keyId}``."""
    return _read(body, UpdateResult)


def read_action(body: bytes) -> ActionResult:
    """Read the answer of ``POST /keys/{keyId}/reset-hwid``."""
    return _read(body, ActionResult)


def read_error(body: bytes) -> str:
    """Find what an error body says: any of the usual members, else nothing."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    for name in ("error", "message", "detail", "title"):
        found = document.get(name) if isinstance(document, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str) and found:
            return found
    return ""


K = TypeVar("K", bound=Key)


def _all_in_utc(keys: tuple[K, ...]) -> tuple[K, ...]:
    """Give all datetimes in UTC; without a copy when they are, as nearly always."""
    for key in keys:
        created, expires, used = key.created_at, key.expires_at, key.used_at
        if (
            (created is not None and created.tzinfo is not UTC)
            or (expires is not None and expires.tzinfo is not UTC)
            or (used is not None and used.tzinfo is not UTC)
            or (key.hwids and not all(map(_bound_in_utc, key.hwids)))
        ):
            return tuple(map(_in_utc, keys))
    return keys


def _bound_in_utc(hwid: HWID) -> bool:
    return hwid.bound_at is None or hwid.bound_at.tzinfo is UTC


def _utc(at: datetime | None) -> datetime | None:
    return at and at.astimezone(UTC)


def _in_utc(key: K) -> K:
    return attrs.evolve(
        key,
        created_at=_utc(key.created_at),
        expires_at=_utc(key.expires_at),
        used_at=_utc(key.used_at),
        hwids=tuple(attrs.evolve(hwid, bound_at=_utc(hwid.bound_at)) for hwid in key.hwids),
    )


@functools.cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _read(body: bytes, shape: type[T]) -> T:
    answer = _strictly(body, shape)
    return _structure(_document(body), shape) if answer is None else answer


def _strictly(body: bytes, shape: type[T]) -> T | None:
    decoder: msgspec.json.Decoder[T] = _decoder(shape)  # type: ignore[arg-type]  # a class hashes
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # the caller reads on outside of `except`, so that no error hangs on another


def _document(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise InvalidResponseError("the answer is not JSON, or was cut short", transient=True)


def _lenient_page(document: Any) -> _PageAnswer:
    if not isinstance(document, dict) or "keys" not in document:
        raise _wrong_shape("the answer is not a page of keys", "keys")
    rows, at = document["keys"] or [], document.get("pagination")
    if not isinstance(rows, list):
        raise _wrong_shape(f"keys must be a list, not {_kind(rows)}", "keys")
    return _PageAnswer(
        keys=_good_rows(rows),
        pagination=None if at is None else _structure(at, _Pagination, "pagination"),
    )


def _good_rows(rows: list[Any]) -> tuple[Key, ...]:
    """Read a page's rows one by one, so that a bad one does not take the others with it."""
    good: list[Key] = []
    bad: list[tuple[int, InvalidResponseError]] = []
    for index, row in enumerate(rows):
        try:
            good.append(_structure(row, Key, f"keys[{index}]"))
        except InvalidResponseError as error:
            bad.append((index, error))
    if not bad:
        return tuple(good)
    index, first = bad[0]
    more = f", and {len(bad) - 1} more bad rows" if len(bad) > 1 else ""
    raise InvalidResponseError(
        f"{first.message}{more}; the other {len(good)} rows are in this error's `rows`",
        outcome=Outcome.EXECUTED,
        field=first.field,
        row=index,
        rows=_all_in_utc(tuple(good)),
    )


def _structure(document: Any, shape: type[T], where: str = "") -> T:
    converter = _converter()
    try:
        return converter.structure(document, shape)
    except Exception as error:  # cattrs gathers whatever its hooks and constructors raise
        path, expected = _innermost(error)
    field = where + path if where else path.removeprefix(".")
    raise _wrong_shape(f"{field or 'the answer'} {expected}", field)


def _wrong_shape(message: str, field: str) -> InvalidResponseError:
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
        super().__init__(f"must be {expected}, not {_kind(value)}")


def _kind(value: Any) -> str:
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

    converter = cattrs.Converter(omit_if_default=True)  # requests' only default is UNSET
    converter.register_unstructure_hook(datetime, timestamp)
    converter.register_structure_hook(int, _to_int)
    converter.register_structure_hook(bool, _to_bool)
    converter.register_structure_hook(str, _to_str)
    converter.register_structure_hook(datetime, _to_datetime)
    converter.register_structure_hook(str | _ValueRow, _to_value)
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
    if type(value) is float and value.is_integer():
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
    try:
        at = datetime.fromisoformat(value.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, AttributeError, OverflowError):
        pass
    raise _MismatchError("an RFC 3339 date-time", value)


def timestamp(at: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC, with a ``Z``: it needs no quoting in a query."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
