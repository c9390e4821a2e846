"""Requests without I/O: each operation's method, path, query and body.

Contract: the OpenAPI document of the REST API v2, which ``junkie_async.emulator`` bundles.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote, urlencode

import msgspec

import junkie_async._models as models

from . import codec as _codec
from .codec import BadRows as BadRows
from .json_documents import encode_json

T_co = TypeVar("T_co", covariant=True)

KEY = "/keys/{keyId}"


# A struct: the `__init__` of a frozen attrs class of so many fields takes 7 times the instructions,
# which are 10,000 for each request.
class Request(msgspec.Struct, Generic[T_co], frozen=True):
    """One request, ready to be sent.

    ``path`` is the template, which is safe to log; ``target`` is the quoted path and query. A
    request that is not idempotent is not sent again unless the attempt provably did not reach the
    service.
    """

    method: str
    path: str
    target: str
    read: Callable[[bytes], T_co]
    body: bytes | None = None
    idempotent: bool = True
    unsent_secrets: tuple[str, ...] = ()
    """What the service may name though it was not sent, such as the device of a `verify`."""
    name_created: Callable[[T_co], str] | None = None
    """Returns the value of a key that the request has created, "" if there is none."""
    read_whole: Callable[[int, Mapping[str, str], bytes], T_co] | None = None
    """In place of ``read``, for a value that has the response's status and headers."""

    # The other fields may have secrets, and both of a struct's own would show them.
    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.path!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("path", self.path)]


def filter_query(filters: Mapping[str, Any]) -> str:
    """Write validated filters as a query string."""
    # %20, not "+": every server reads it as a space.
    return urlencode(filters, quote_via=quote)


def list_keys(
    query: str,
    page: int,
    limit: int,
    unsent_secrets: tuple[str, ...] = (),
    bad_rows: BadRows = "raise",
) -> Request[models.KeyPage]:
    """``GET /keys``, with the filters as `filter_query` writes them: once for all pages."""
    filters = f"{query}&" if query else ""
    target = f"/keys?{filters}page={page}&limit={limit}"
    read = functools.partial(_codec.read_page, limit=limit, bad_rows=bad_rows)
    return Request("GET", "/keys", target, read, unsent_secrets=unsent_secrets)


def create_key(fields: Mapping[str, Any]) -> Request[models.Key]:
    """``POST /keys``."""
    body = encode_json(fields)
    read = functools.partial(_codec.read_key, sent=fields)
    return Request("POST", "/keys", "/keys", read, body, idempotent=False, name_created=_name_key)


def create_batch(
    fields: Mapping[str, Any], *, whole: bool = False, marker: str | None = None
) -> Request[models.KeyBatch]:
    """``POST /keys/batch``. With ``whole`` a response with fewer keys is an error.

    ``marker`` is the end of the name, if it differs from those of all other calls.
    """
    path, body = "/keys/batch", encode_json(fields)
    read = functools.partial(
        _codec.read_batch, amount=fields["amount"], whole=whole, sent=fields, marker=marker
    )
    return Request("POST", path, path, read, body, idempotent=False, name_created=_name_first)


def _name_key(key: models.Key) -> str:
    return key.key_value


def _name_first(batch: models.KeyBatch) -> str:
    return next(iter(batch.keys), "")


def get_key(key: str, unsent_secrets: tuple[str, ...] = ()) -> Request[models.KeyDetailed]:
    """``GET /keys/{keyId}``."""
    read = functools.partial(_codec.read_detailed, reference=unquote(key))
    return Request("GET", KEY, f"/keys/{key}", read, unsent_secrets=unsent_secrets)


def update_key(key: str, changes: Mapping[str, Any]) -> Request[models.UpdateResult]:
    """``PUT /keys/{keyId}``."""
    return Request("PUT", KEY, f"/keys/{key}", _codec.read_update, encode_json(changes))


def delete_key(key: str) -> Request[None]:
    """``DELETE /keys/{keyId}``: the contract declares no body, but there may be a refusal."""
    return Request("DELETE", KEY, f"/keys/{key}", _codec.read_delete)


def reset_hwid(key: str) -> Request[models.ActionResult]:
    """``POST /keys/{keyId}/reset-hwid``."""
    path, target = f"{KEY}/reset-hwid", f"/keys/{key}/reset-hwid"
    return Request("POST", path, target, _codec.read_action, idempotent=False)


def bulk_delete(keys: Sequence[int | str]) -> Request[models.BulkDeleteResult]:
    """``POST /keys/bulk-delete``: idempotent, since a second call finds no more to delete."""
    path = "/keys/bulk-delete"
    read = functools.partial(_codec.read_bulk_delete, requested=len(keys))
    body = encode_json({"keys": keys})
    return Request("POST", path, path, read, body)


def list_folders() -> Request[list[models.KeyFolder]]:
    """``GET /keys/folders``."""
    return Request("GET", "/keys/folders", "/keys/folders", _codec.read_folders)


# What JavaScript's Number() accepts. The service takes a number in a path for an ID, and does not
# publish what it takes for a number, so every spelling is avoided.
_NUMBER = r"[\s\ufeff]*[+-]?(0[xob][0-9a-f]+|infinity|(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?)[\s\ufeff]*"
# The API's own paths below /keys.
_RESERVED = frozenset({"folders", "batch", "bulk-delete"})


def is_reserved(key_value: str) -> bool:
    """Whether a path of the API's own begins as the path of a key with this value."""
    return key_value in _RESERVED


def is_ambiguous(key_value: str) -> bool:
    """Whether a path with this key value would mean something else."""
    return is_reserved(key_value) or re.fullmatch(_NUMBER, key_value, re.IGNORECASE) is not None


def segment(key: int | str) -> str:
    """Write an ID or a key value as one segment of a path."""
    return quote(str(key), safe="")
