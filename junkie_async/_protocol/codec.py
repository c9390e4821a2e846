"""JSON to models and back.

msgspec reads a body, in C. Only when it refuses does `lenient` read the body again, with cattrs,
row by row.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import msgspec

import junkie_async._models as models

from .._errors import InvalidResponseError, Outcome
from .._models import Key, KeyDetailed
from .bodies import (
    ActionBody,
    BatchBody,
    Body,
    BulkDeleteBody,
    DetailedKeyBody,
    FoldersBody,
    KeyBody,
    PageBody,
    PageRows,
    PaginationBody,
    RefusedError,
    check_body,
    check_refusal,
)
from .echoes import ECHO, find_other_field
from .json_documents import NOT_JSON, check_size, decode_document
from .key_rows import make_keys
from .lenient import (
    KeyValueRow,
    is_list,
    is_object,
    json_type,
    prepare_reader,
    structure,
    wrong_shape,
)
from .utc import all_in_utc, in_utc, keys_in_utc

BadRows: TypeAlias = Literal["raise", "skip", "reduce"]
"""What becomes of rows of a page that can't be read: an error, nothing, or a key that has its ID,
its value, its name and its date only."""

_ENCODER = msgspec.json.Encoder()


ListT = TypeVar("ListT", PageBody, BatchBody)
BodyT = TypeVar("BodyT", bound=Body)


def prepare_codec() -> None:
    """Load and generate all that reading a response may need: see `lenient.prepare_reader`."""
    prepare_reader(
        (
            *(PageBody, KeyBody, DetailedKeyBody, FoldersBody, BatchBody, BulkDeleteBody),
            *(Key, KeyValueRow, ActionBody),
        )
    )


# --- writing --------------------------------------------------------------------------------------


def encode_lines(keys: Sequence[Key]) -> bytes:
    """Write keys as JSON Lines: one object a line, with all fields, datetimes in UTC."""
    return _ENCODER.encode_lines(all_in_utc(keys))


def encode_key(key: Key) -> bytes:
    """Write a key as JSON, for `decode_key`."""
    return _ENCODER.encode(key)


def decode_key(written: bytes) -> Key:
    """Read a key that `encode_key` wrote."""
    decoder: msgspec.json.Decoder[Key] = _make_decoder(Key)
    (key,) = keys_in_utc((decoder.decode(written),))
    return key


# --- reading --------------------------------------------------------------------------------------


def read_page(body: bytes, limit: int = 100, bad_rows: BadRows = "raise") -> models.KeyPage:
    """Read the response of ``GET /keys``, to a request of up to ``limit`` keys."""
    problems: list[str] = []
    strict = _decode_strict(body, PageRows)
    if strict is None:
        page = _structure_page(decode_document(body), limit, bad_rows, problems)
        keys, pagination = page.keys, page.pagination
    else:
        keys, pagination = make_keys(strict.keys), strict.pagination
    _check_amount(keys, limit)
    stated = pagination or PaginationBody()
    return models.KeyPage(
        keys=keys_in_utc(keys),
        unreadable=tuple(problems),
        pagination=models.Pagination(
            page=stated.page,
            limit=stated.limit,
            total=stated.total,
            total_pages=stated.totalPages,
        ),
    )


def read_key(body: bytes, sent: Mapping[str, Any] | None = None) -> Key:
    """Read the response of ``POST /keys``, to a request with these fields."""
    (key,) = keys_in_utc((_read_as(body, KeyBody).key,))
    for name in ("provider_id", "discord_id"):
        stated, asked = getattr(key, name), (sent or {}).get(name)
        if None not in (stated, asked) and stated != asked:
            raise wrong_shape(f"the response is about a key with another {name}", f"key.{name}")
    return key


def read_detailed(body: bytes, reference: str | None = None) -> KeyDetailed:
    """Read the response of ``GET /keys/{keyId}``, to a request of this ID or key value."""
    (key,) = keys_in_utc((_read_as(body, DetailedKeyBody).key,))
    if reference is not None and not _is_about(key, reference):
        raise wrong_shape("the response is about another key", "key")
    redemption = key.discord_redemption
    return key if redemption is None else attrs.evolve(key, discord_redemption=in_utc(redemption))


def _is_about(key: Key, reference: str) -> bool:
    # No value of digits is in a path: it would be taken for an ID.
    if reference.isdigit():
        return key.id == int(reference)
    return key.key_value.strip().casefold() == reference.strip().casefold()


def read_folders(body: bytes) -> list[models.KeyFolder]:
    """Read the response of ``GET /keys/folders``."""
    return [in_utc(folder) for folder in _read_as(body, FoldersBody).folders]


def read_batch(
    body: bytes,
    amount: int = 100,
    *,
    whole: bool = False,
    sent: Mapping[str, Any] | None = None,
    marker: str | None = None,
) -> models.KeyBatch:
    """Read the response of ``POST /keys/batch``, to a request of ``amount`` keys.

    They are strings, or objects with a ``key_value``. With ``whole`` a value that comes twice is
    given once, and an error for keys that are fewer, or another call's, carries them. ``marker`` is
    the last word of the name that was sent, if it tells calls apart.
    """
    strict = _decode_strict(body, BatchBody)
    batch = _structure_batch(decode_document(body), amount) if strict is None else strict
    if batch.config and sent and (name := find_other_field(batch.config, sent, marker)):
        message = f"the response is to a call with another {name}"
        rows = tuple(filter(None, batch.keys)) if whole else ()  # a job would take them for its own
        raise wrong_shape(message, f"{ECHO}.{name}", rows=rows)
    _check_amount(batch.keys, amount)
    if strict is None and "" in batch.keys:
        good = tuple(filter(None, batch.keys))
        raise wrong_shape("keys must not be empty strings", "keys", rows=good)
    keys = tuple(dict.fromkeys(batch.keys)) if whole else batch.keys
    if whole and len(keys) < amount:
        message = f"requested {amount} keys, but the response has {len(keys)}"
        raise wrong_shape(message, "keys", rows=keys)
    count = len(keys) if batch.count is None else batch.count
    return models.KeyBatch(keys=keys, count=count, config=batch.config or {})


def read_bulk_delete(body: bytes, *, requested: int) -> models.BulkDeleteResult:
    """Read the response of ``POST /keys/bulk-delete``, to a request of ``requested`` keys."""
    result = _read_as(body, BulkDeleteBody)
    if result.deleted < 0:
        raise wrong_shape("deleted must be 0 or more, got a negative number", "deleted")
    stated = requested if result.requested is None else result.requested
    return models.BulkDeleteResult(deleted=result.deleted, requested=stated)


def read_update(body: bytes) -> models.UpdateResult:
    """Read the response of ``PUT /keys/{keyId}``."""
    done = _read_as(body, ActionBody)
    return models.UpdateResult(message=done.message, keys_hwid=done.keys_hwid)


def read_action(body: bytes) -> models.ActionResult:
    """Read the response of ``POST /keys/{keyId}/reset-hwid``."""
    return models.ActionResult(message=_read_as(body, ActionBody).message)


def read_delete(body: bytes) -> None:
    """Read the response of ``DELETE /keys/{keyId}``: any body will do that is no refusal."""
    with contextlib.suppress(InvalidResponseError):
        check_refusal(decode_document(body))


def find_created(document: Any) -> tuple[str, ...] | None:
    """Find the readable key values in a refused creation's body; None if it has no key."""
    document = _unwrap(document, KeyBody)
    if not is_object(document):
        return None
    rows, key = document.get("keys"), document.get("key")
    rows = rows if is_list(rows) and rows else [] if key is None else [key]
    if not rows:
        return None
    try:
        values = _structure_rows(rows, KeyValueRow)
    except InvalidResponseError as error:
        values = error.rows
    return tuple(filter(None, values))


# --- strict, then lenient -------------------------------------------------------------------------


def _read_as(body: bytes, shape: type[BodyT]) -> BodyT:
    found = _decode_strict(body, shape)
    if found is None:
        document = decode_document(body)
        check_refusal(document)
        found = structure(_unwrap(document, shape), shape)
    return found


def _unwrap(document: Any, shape: type[Body]) -> Any:
    """Take a key that comes bare, or as ``data``, for the ``key`` that the contract names."""
    if shape not in (KeyBody, DetailedKeyBody) or not is_object(document):
        return document
    if "key" in document:
        if shape is DetailedKeyBody and document["key"] is None:
            raise RefusedError(document=document, no_key=True)
        return document
    inner: Any = document.get("data", document)
    return {"key": inner} if is_object(inner) and "key_value" in inner else inner


@functools.cache  # `msgspec.json.decode(type=...)` takes 10% more instructions for a batch
def _make_decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _decode_strict(body: bytes, shape: type[BodyT]) -> BodyT | None:
    check_size(body)
    # Good bodies are the rule, and msgspec needs a quarter of the time that cattrs takes for them.
    decoder: msgspec.json.Decoder[BodyT] = _make_decoder(shape)  # type: ignore[arg-type]  # a class hashes
    try:
        found = decoder.decode(body)
    except NOT_JSON:
        return None  # the lenient reader's error must not have this one as its context
    check_body(found)
    return found


def _structure_page(document: Any, limit: int, bad_rows: BadRows, problems: list[str]) -> PageBody:
    check_refusal(document)
    if is_object(document) and "keys" not in document and "data" in document:
        document = document["data"]
    if is_list(document):
        document = {"keys": document}
    if not is_object(document) or "keys" not in document:
        raise wrong_shape("the response is not a page of keys", "keys")
    rows: Any = document["keys"]
    if rows is None:  # Go writes an empty list like that
        rows = []
    if not is_list(rows):
        raise wrong_shape(f"keys must be a list, got {json_type(rows)}", "keys")
    _check_amount(rows, limit)
    if bad_rows != "raise":
        rows = [*_mend_rows(rows, bad_rows, problems)]
    return _structure_list(document, rows, Key, PageBody)


def _mend_rows(rows: list[Any], bad_rows: BadRows, problems: list[str]) -> Iterator[Any]:
    """Give the rows that can be read, and of others what identifies them, if they are reduced."""
    for index, row in enumerate(rows):
        try:
            structure(row, Key, f"keys[{index}]")
        except InvalidResponseError as error:
            problem = error.message
        else:
            yield row
            continue
        if bad_rows == "skip":
            problems.append(problem)
        else:
            yield {name: row.get(name) for name in _IDENTITY} if is_object(row) else row


_IDENTITY = ("id", "key_value", "key_name", "created_at")


def _structure_batch(document: Any, amount: int) -> BatchBody:
    check_refusal(document)
    rows = document.get("keys") if is_object(document) else None
    if not is_list(rows):
        raise wrong_shape(f"keys must be a list of key values, got {json_type(rows)}", "keys")
    _check_amount(rows, amount)
    return _structure_list(document, rows, KeyValueRow, BatchBody)


def _check_amount(rows: Sequence[object], most: int) -> None:
    """Refuse more rows than were requested: reading them would have no limit."""
    if len(rows) > most:
        good = rows[:most] if isinstance(rows, tuple) else ()  # a list is not read yet
        message = f"requested up to {most} keys, but the response has {len(rows)}"
        raise wrong_shape(message, "keys", rows=good)


def _structure_list(
    document: dict[str, Any], rows: list[Any], row_shape: type[Any], shape: type[ListT]
) -> ListT:
    """Read the rows, then what comes beside them; its error carries the rows."""
    keys = _structure_rows(rows, row_shape)
    try:
        return attrs.evolve(structure({**document, "keys": []}, shape), keys=keys)
    except InvalidResponseError as error:
        error.rows = keys
        raise


def _structure_rows(rows: list[Any], shape: Any) -> tuple[Any, ...]:
    """Read rows one by one; the error for bad ones carries the good ones."""
    good: list[Any] = []
    problems: list[tuple[int, str, str | None]] = []  # an error would keep this frame alive
    for index, row in enumerate(rows):
        try:
            good.append(structure(row, shape, f"keys[{index}]"))
        except InvalidResponseError as error:
            problems.append((index, error.message, error.field))
    if not problems:
        return tuple(good)
    index, message, field = problems[0]
    more = f", and {len(problems) - 1} more bad rows" if len(problems) > 1 else ""
    raise InvalidResponseError(
        f"{message}{more}; the other {len(good)} rows are in this error's `rows`",
        outcome=Outcome.EXECUTED,
        field=field,
        row=index,
        rows=tuple(good),
    )
