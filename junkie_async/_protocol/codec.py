"""JSON to models and back: no other file of the client reads or writes JSON.

msgspec reads a body straight into the models, in C. Only when it refuses does cattrs (in
`_converter`) read the body again, row by row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

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
from .lenient import ValueRow, in_utc, kind, structure, wrong_shape

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder()
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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
class _BatchAnswer:
    keys: tuple[str | ValueRow, ...]
    count: int | None = None
    config: dict[str, Any] | None = None


@attrs.frozen
class _BulkDeleteAnswer:
    deleted: int
    requested: int | None = None


def encode_json(body: Mapping[str, Any] | str) -> bytes:
    """Write plain data as JSON."""
    return _ENCODER.encode(body)


def decode_json(body: bytes) -> Any:
    """Read JSON as plain data."""
    return msgspec.json.decode(body)


def encode_lines(keys: Sequence[Key]) -> bytes:
    """Turn keys into JSON Lines: an object a line, with all fields, dates in UTC."""
    return _ENCODER.encode_lines(in_utc_throughout(keys))


def in_utc_throughout(keys: Sequence[Key]) -> Sequence[Key]:
    """Give all datetimes in UTC, in keys that callers may have made themselves too."""
    return [
        _redemption_in_utc(key) if isinstance(key, KeyDetailed) else key
        for key in _all_in_utc(tuple(keys))
    ]


def encode_text(value: object) -> str:
    """Turn plain data or models into JSON within another text."""
    return _ENCODER.encode(value).decode()


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
    return _redemption_in_utc(_all_in_utc((_read(body, _DetailedAnswer).key,))[0])


def read_folders(body: bytes) -> list[KeyFolder]:
    """Read the answer of ``GET /keys/folders``."""
    folders = _read(body, _FoldersAnswer).folders
    return [attrs.evolve(folder, created_at=_utc(folder.created_at)) for folder in folders]


def read_batch(body: bytes) -> KeyBatch:
    """Read the answer of ``POST /keys/batch``: strings, or objects with a ``key_value``."""
    answer = _strictly(body, _BatchAnswer) or _lenient_batch(_document(body))
    keys: tuple[str, ...] = answer.keys  # type: ignore[assignment]  # as nearly always
    if set(map(type, keys)) != {str}:
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
    except _NOT_JSON:
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
    utc = UTC
    for key in keys:
        if (
            ((at := key.created_at) is not None and at.tzinfo is not utc)
            or ((at := key.expires_at) is not None and at.tzinfo is not utc)
            or ((at := key.used_at) is not None and at.tzinfo is not utc)
        ):
            return tuple(map(_in_utc, keys))
        if hwids := key.hwids:
            for hwid in hwids:
                if (at := hwid.bound_at) is not None and at.tzinfo is not utc:
                    return tuple(map(_in_utc, keys))
    return keys


def _redemption_in_utc(key: KeyDetailed) -> KeyDetailed:
    redemption = key.discord_redemption
    if redemption is None or redemption.redeemed_at is None:
        return key
    at = _utc(redemption.redeemed_at)
    return attrs.evolve(key, discord_redemption=attrs.evolve(redemption, redeemed_at=at))


def _utc(at: datetime | None) -> datetime | None:
    return at and in_utc(at)


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
    return structure(_document(body), shape) if answer is None else answer


def _strictly(body: bytes, shape: type[T]) -> T | None:
    decoder: msgspec.json.Decoder[T] = _decoder(shape)  # type: ignore[arg-type]  # a class hashes
    try:
        return decoder.decode(body)
    except _NOT_JSON:
        return None  # the caller reads on outside of `except`, so that no error hangs on another


def _document(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except _NOT_JSON:
        pass
    raise InvalidResponseError("the answer is not JSON, or was cut short", transient=True)


def _lenient_page(document: Any) -> _PageAnswer:
    if not isinstance(document, dict) or "keys" not in document:
        raise wrong_shape("the answer is not a page of keys", "keys")
    rows, at = document["keys"], document.get("pagination")
    if rows is None:  # as some languages write an empty list
        rows = []
    if not isinstance(rows, list):
        raise wrong_shape(f"keys must be a list, not {kind(rows)}", "keys")
    keys = _good_rows(rows, Key)
    return _PageAnswer(
        keys=keys, pagination=None if at is None else _beside(keys, at, _Pagination, "pagination")
    )


def _lenient_batch(document: Any) -> _BatchAnswer:
    rows = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise wrong_shape(f"keys must be a list of key values, not {kind(rows)}", "keys")
    keys = _good_rows(rows, str | ValueRow)
    return attrs.evolve(_beside(keys, document | {"keys": []}, _BatchAnswer), keys=keys)


def _beside(rows: tuple[Any, ...], document: Any, shape: type[T], where: str = "") -> T:
    """Read what comes beside the rows; its error has them."""
    try:
        return structure(document, shape, where)
    except InvalidResponseError as error:
        error.rows = rows
        raise


def _good_rows(rows: list[Any], shape: Any) -> tuple[Any, ...]:
    """Read rows one by one, so that a bad one does not take the others with it."""
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
