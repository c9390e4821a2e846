"""JSON to models and back: no other file of the client reads or writes JSON.

msgspec reads a body straight into the models, in C. Only when it refuses does `lenient` read the
body again, with cattrs, row by row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import attrs
import msgspec

from .._errors import InvalidResponseError, Outcome
from .._models import (
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
from .lenient import ValueRow, is_list, is_object, json_type, structure, to_utc, wrong_shape

T = TypeVar("T")
KeyT = TypeVar("KeyT", bound=Key)

_ENCODER = msgspec.json.Encoder()
# msgspec reports bad UTF-8 and deep nesting by Python's own errors.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# --- the bodies' shapes ---------------------------------------------------------------------------


@attrs.frozen
class _PaginationBody:
    page: int | None = None
    limit: int | None = None
    total: int | None = None
    totalPages: int | None = None  # noqa: N815 - the contract's spelling


@attrs.frozen
class _PageBody:
    keys: tuple[Key, ...]
    pagination: _PaginationBody | None = None


@attrs.frozen
class _KeyBody:
    key: Key


@attrs.frozen
class _DetailedKeyBody:
    key: KeyDetailed


@attrs.frozen
class _FoldersBody:
    folders: list[KeyFolder]


@attrs.frozen
class _BatchBody:
    keys: tuple[str | ValueRow, ...]
    count: int | None = None
    config: dict[str, Any] | None = None


@attrs.frozen
class _BulkDeleteBody:
    deleted: int
    requested: int | None = None


# --- writing --------------------------------------------------------------------------------------


def encode_json(body: Mapping[str, Any] | str) -> bytes:
    """Write plain data as JSON."""
    return _ENCODER.encode(body)


def decode_json(body: bytes) -> Any:
    """Read JSON as plain data."""
    return msgspec.json.decode(body)


def encode_lines(keys: Sequence[Key]) -> bytes:
    """Write keys as JSON Lines: one object a line, with all fields, datetimes in UTC."""
    return _ENCODER.encode_lines(all_in_utc(keys))


def all_in_utc(keys: Sequence[Key]) -> Sequence[Key]:
    """Return keys with all datetimes in UTC; keys that callers made may have others."""
    return [
        _redemption_in_utc(key) if isinstance(key, KeyDetailed) else key
        for key in _keys_in_utc(tuple(keys))
    ]


def encode_text(value: object) -> str:
    """Write plain data or models as JSON inside of other text."""
    return _ENCODER.encode(value).decode()


# --- reading --------------------------------------------------------------------------------------


def read_page(body: bytes) -> KeyPage:
    """Read the response of ``GET /keys``."""
    page = _decode_strict(body, _PageBody) or _structure_page(_decode_document(body))
    stated = page.pagination or _PaginationBody()
    return KeyPage(
        keys=_keys_in_utc(page.keys),
        pagination=Pagination(
            page=stated.page,
            limit=stated.limit,
            total=stated.total,
            total_pages=stated.totalPages,
        ),
    )


def read_key(body: bytes) -> Key:
    """Read the response of ``POST /keys``."""
    return _keys_in_utc((_read_as(body, _KeyBody).key,))[0]


def read_detailed(body: bytes) -> KeyDetailed:
    """Read the response of ``GET /keys/{keyId}``."""
    return _redemption_in_utc(_keys_in_utc((_read_as(body, _DetailedKeyBody).key,))[0])


def read_folders(body: bytes) -> list[KeyFolder]:
    """Read the response of ``GET /keys/folders``."""
    folders = _read_as(body, _FoldersBody).folders
    return [attrs.evolve(folder, created_at=_utc_or_none(folder.created_at)) for folder in folders]


def read_batch(body: bytes) -> KeyBatch:
    """Read the response of ``POST /keys/batch``: strings, or objects with a ``key_value``."""
    batch = _decode_strict(body, _BatchBody) or _structure_batch(_decode_document(body))
    # Strings nearly always, and then the tuple is the result as it is.
    if set(map(type, batch.keys)) == {str}:
        keys = cast("tuple[str, ...]", batch.keys)
    else:
        keys = tuple(row if isinstance(row, str) else row.key_value for row in batch.keys)
    count = len(keys) if batch.count is None else batch.count
    return KeyBatch(keys=keys, count=count, config=batch.config or {})


def read_bulk_delete(body: bytes, *, requested: int) -> BulkDeleteResult:
    """Read the response of ``POST /keys/bulk-delete``, to a request of ``requested`` keys."""
    result = _read_as(body, _BulkDeleteBody)
    stated = requested if result.requested is None else result.requested
    return BulkDeleteResult(deleted=result.deleted, requested=stated)


def read_update(body: bytes) -> UpdateResult:
    """Read the response of ``PUT /keys/{keyId}``."""
    return _read_as(body, UpdateResult)


def read_action(body: bytes) -> ActionResult:
    """Read the response of ``POST /keys/{keyId}/reset-hwid``."""
    return _read_as(body, ActionResult)


def read_error_message(body: bytes) -> str:
    """Return the message of an error body, or an empty string.

    The contract's ``error``, and what gateways send: ``message`` and the ``detail`` and ``title``
    of problem details (RFC 9457).
    """
    try:
        document: Any = msgspec.json.decode(body)
    except _NOT_JSON:
        return ""
    for name in ("error", "message", "detail", "title"):
        found = document.get(name) if is_object(document) else None
        if is_object(found):
            found = found.get("message")
        if isinstance(found, str) and found:
            return found
    return ""


# --- UTC ------------------------------------------------------------------------------------------


def _keys_in_utc(keys: tuple[KeyT, ...]) -> tuple[KeyT, ...]:
    """Return the keys with their datetimes in UTC."""
    # msgspec gives `datetime.UTC` itself for "Z". Copying 100 keys with `evolve` takes 450 us, more
    # than decoding them; looking at them in a loop without calls takes 8 us. A service that writes
    # an offset writes it everywhere: then the whole page is copied.
    utc = UTC
    for key in keys:
        if (
            ((at := key.created_at) is not None and at.tzinfo is not utc)
            or ((at := key.expires_at) is not None and at.tzinfo is not utc)
            or ((at := key.used_at) is not None and at.tzinfo is not utc)
        ):
            return tuple(map(_key_in_utc, keys))
        if hwids := key.hwids:
            for hwid in hwids:
                if (at := hwid.bound_at) is not None and at.tzinfo is not utc:
                    return tuple(map(_key_in_utc, keys))
    return keys


def _key_in_utc(key: KeyT) -> KeyT:
    return attrs.evolve(
        key,
        created_at=_utc_or_none(key.created_at),
        expires_at=_utc_or_none(key.expires_at),
        used_at=_utc_or_none(key.used_at),
        hwids=tuple(attrs.evolve(hwid, bound_at=_utc_or_none(hwid.bound_at)) for hwid in key.hwids),
    )


def _redemption_in_utc(key: KeyDetailed) -> KeyDetailed:
    redemption = key.discord_redemption
    if redemption is None or redemption.redeemed_at is None:
        return key
    moment = to_utc(redemption.redeemed_at)
    return attrs.evolve(key, discord_redemption=attrs.evolve(redemption, redeemed_at=moment))


def _utc_or_none(moment: datetime | None) -> datetime | None:
    return moment and to_utc(moment)


# --- strict, then lenient -------------------------------------------------------------------------


def _read_as(body: bytes, shape: type[T]) -> T:
    found = _decode_strict(body, shape)
    return structure(_decode_document(body), shape) if found is None else found


def _decode_strict(body: bytes, shape: type[T]) -> T | None:
    # Good bodies are the rule, and msgspec needs a quarter of the time that cattrs takes for them.
    # It keeps a class's compiled form on the class, so decoders of our own would save nothing.
    try:
        return msgspec.json.decode(body, type=shape)
    except _NOT_JSON:
        return None  # the lenient reader's error must not have this one as its context


def _decode_document(body: bytes) -> Any:
    with contextlib.suppress(*_NOT_JSON):
        return msgspec.json.decode(body)
    raise InvalidResponseError("the response is not JSON, or was cut short", transient=True)


def _structure_page(document: Any) -> _PageBody:
    if not is_object(document) or "keys" not in document:
        raise wrong_shape("the response is not a page of keys", "keys")
    rows: Any = document["keys"]
    if rows is None:  # Go writes an empty list like that
        rows = []
    if not is_list(rows):
        raise wrong_shape(f"keys must be a list, got {json_type(rows)}", "keys")
    keys = _structure_rows(rows, Key)
    stated = document.get("pagination")
    if stated is None:
        return _PageBody(keys=keys)
    pagination = _structure_rest(keys, stated, _PaginationBody, "pagination")
    return _PageBody(keys=keys, pagination=pagination)


def _structure_batch(document: Any) -> _BatchBody:
    rows = document.get("keys") if is_object(document) else None
    if not is_list(rows):
        raise wrong_shape(f"keys must be a list of key values, got {json_type(rows)}", "keys")
    keys = _structure_rows(rows, str | ValueRow)
    return attrs.evolve(_structure_rest(keys, {**document, "keys": []}, _BatchBody), keys=keys)


def _structure_rest(rows: tuple[Any, ...], document: Any, shape: type[T], path: str = "") -> T:
    """Read what comes beside the rows; its error carries them."""
    try:
        return structure(document, shape, path)
    except InvalidResponseError as error:
        error.rows = rows
        raise


def _structure_rows(rows: list[Any], shape: Any) -> tuple[Any, ...]:
    """Read rows one by one; the error for bad ones carries the good ones."""
    good: list[Any] = []
    bad: list[tuple[int, InvalidResponseError]] = []
    for index, row in enumerate(rows):
        try:
            good.append(structure(row, shape, f"keys[{index}]"))
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
        rows=tuple(good),
    )
