"""The protocol without I/O: arguments to a request, an answer to a value or an error.

Contract: the OpenAPI document of the REST API v2, which ``junkie_async.emulator`` bundles.
"""

from __future__ import annotations

import contextlib
import functools
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar
from urllib.parse import quote

import attrs

from . import _codec
from ._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidResponseError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from ._models import (
    ActionResult,
    BulkDeleteResult,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    UpdateResult,
)
from ._params import CreateBatch, CreateKey, UpdateKey

T = TypeVar("T")

MAX_BODY = 8 * 2**20
"""Bytes that an answer may have, compressed or not; a page of 100 keys has some 50,000."""

_KEY = "/keys/{keyId}"


@attrs.frozen
class Call(Generic[T]):
    """One operation, ready to be sent.

    Attributes:
        method: The HTTP method.
        path: The path template, which is safe to log.
        target: The quoted path and query, below the base URL.
        read: Reads a good answer's body.
        body: The request's JSON, or None.
        once: Whether a repetition could do harm, so that it is only sent again when the first
            provably did not reach the service.
    """

    method: str
    path: str
    target: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    once: bool = False


def list_keys(query: str, page: int, limit: int) -> Call[KeyPage]:
    """``GET /keys``."""
    filters = f"{query}&" if query else ""
    target = f"/keys?{filters}page={page}&limit={limit}"
    return Call("GET", "/keys", target, _codec.read_page)


def create_key(request: CreateKey) -> Call[Key]:
    """``POST /keys``."""
    return Call("POST", "/keys", "/keys", _codec.read_key, _codec.encode(request), once=True)


def create_batch(request: CreateBatch) -> Call[KeyBatch]:
    """``POST /keys/batch``."""
    path = "/keys/batch"
    return Call("POST", path, path, _codec.read_batch, _codec.encode(request), once=True)


def get_key(key: str) -> Call[KeyDetailed]:
    """``GET /keys/{keyId}``."""
    return Call("GET", _KEY, f"/keys/{key}", _codec.read_detailed)


def update_key(key: str, request: UpdateKey) -> Call[UpdateResult]:
    """``PUT /keys/{keyId}``."""
    return Call("PUT", _KEY, f"/keys/{key}", _codec.read_update, _codec.encode(request))


def delete_key(key: str) -> Call[None]:
    """``DELETE /keys/{keyId}``: the contract declares no body, so none is read."""
    return Call("DELETE", _KEY, f"/keys/{key}", lambda _: None)


def reset_hwid(key: str) -> Call[ActionResult]:
    """``POST /keys/{keyId}/reset-hwid``."""
    path, target = f"{_KEY}/reset-hwid", f"/keys/{key}/reset-hwid"
    return Call("POST", path, target, _codec.read_action, once=True)


def bulk_delete(keys: Sequence[int | str]) -> Call[BulkDeleteResult]:
    """``POST /keys/bulk-delete``: repeatable, since what is gone stays gone."""
    path = "/keys/bulk-delete"
    read = functools.partial(_codec.read_bulk_delete, requested=len(keys))
    return Call("POST", path, path, read, _codec.encode_plain({"keys": keys}))


def list_folders() -> Call[list[KeyFolder]]:
    """``GET /keys/folders``."""
    return Call("GET", "/keys/folders", "/keys/folders", _codec.read_folders)


# What JavaScript's Number() would read: the service takes digits in a path for an ID, and how far
# it goes in that is not published. The other words are paths of the API itself.
_NUMBER = re.compile(
    r"[\s\ufeff]*[+-]?(0[xob][0-9a-f]+|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)[\s\ufeff]*",
    re.IGNORECASE,
)
_RESERVED = frozenset({"folders", "batch", "bulk-delete"})


def is_ambiguous(key_value: str) -> bool:
    """Whether a path with this key value would be read as something else."""
    return key_value in _RESERVED or _NUMBER.fullmatch(key_value) is not None


def segment(key: int | str) -> str:
    """Write an ID or a key value as one segment of a path."""
    return quote(str(key), safe="")


def inflate(body: bytes, encoding: str) -> bytes:
    """Undo an answer's content coding, within `MAX_BODY` and to the end of the stream.

    Raises:
        InvalidResponseError: An unknown coding, a broken or too large body (not transient), or a
            stream that stops before its end (transient).
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise InvalidResponseError(f"the answer's content coding {encoding!r} was not asked for")
    stream, inflated = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), None
    with contextlib.suppress(zlib.error):
        inflated = stream.decompress(body, MAX_BODY + 1)
    if inflated is None:
        raise InvalidResponseError("the answer is not the gzip stream that it says", transient=True)
    if len(inflated) > MAX_BODY:
        raise _too_large()
    if not stream.eof:
        raise InvalidResponseError("the answer's gzip stream was cut short", transient=True)
    return inflated


def _too_large() -> InvalidResponseError:
    return InvalidResponseError(f"the answer is larger than {MAX_BODY} bytes")


def read_answer(call: Call[T], status: int, headers: Mapping[str, str], raw: bytes | None) -> T:
    """Turn an answer into the call's value.

    Args:
        call: The call that it answers.
        status: Its HTTP status.
        headers: Its headers, in a mapping that takes names in any case.
        raw: Its body as it came, or None where that went beyond `MAX_BODY`.

    Raises:
        InvalidResponseError: A 2xx that can't be read, or a redirect.
        APIError: Any other status, by its class.
    """
    body = b""
    try:
        body = _whole(headers, raw)
        if 200 <= status < 300:
            return call.read(body)
    except InvalidResponseError as error:
        invalid = error
    if not 200 <= status < 300:  # it says no, even where its words can't be read
        raise _refusal(status, headers, body)
    invalid.status = status
    if invalid.transient and _is_html(headers, body):
        invalid.args = ("an HTML page came instead of JSON",)
    raise invalid


def _whole(headers: Mapping[str, str], raw: bytes | None) -> bytes:
    if raw is None:
        raise _too_large()
    encoding = headers.get("Content-Encoding", "")
    return inflate(raw, encoding.strip().lower()) if encoding else raw


_CLASSES: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    429: RateLimitError,
}


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    if status < 400:
        return InvalidResponseError(
            f"an answer with status {status} can't be used; redirects are not followed",
            status=status,
        )
    cls = _CLASSES.get(status, ServerError if status >= 500 else APIError)
    wait = retry_after(headers)
    html = _is_html(headers, body)
    challenge = html and status in (403, 429)
    # A 503 that says when to come back was refused at the door.
    refused = status < 500 or (status == 503 and wait is not None)
    return cls(
        _message(status, body, html=html),
        outcome=Outcome.NOT_EXECUTED if refused else Outcome.UNKNOWN,
        transient=False if challenge else None,
        status=status,
        body=body[: 64 * 1024].decode("utf-8", "replace"),
        headers={name.lower(): value for name, value in headers.items()},
        challenge=challenge,
        retry_after=wait,
    )


def _message(status: int, body: bytes, *, html: bool) -> str:
    if html:
        by = "the CDN in front of the service" if status in (403, 429) else "a gateway"
        return f"{by} answered with an HTML page"
    said = _codec.read_error(body) or body[:200].decode("utf-8", "replace").strip()
    return " ".join(said[:200].split()) or "the service gave no reason"


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body[:64].lstrip()[:1] == b"<"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds from now, None if absent or garbage.

    A date is measured against the answer's own ``Date``, so that a wrong local clock does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
