"""Answers without I/O: status, headers and body to a value or an error."""

from __future__ import annotations

import contextlib
import re
import string
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from . import _codec
from ._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from ._throttle import Allowance
from ._wire import Call

T = TypeVar("T")

MAX_BODY = 8 * 2**20
"""Bytes that an answer may have, compressed or not; a page of 100 keys has some 50,000."""

_MOST = 64 * 1024  # bytes of a body that an error keeps
_LETTERS = string.ascii_letters.encode() + string.digits.encode()
_MEMBERS = 100  # of one gzip stream; each costs a copy of all that follows it
_STEP = 2**18  # bytes that are inflated at once, so that a bomb is found out early


def inflate(body: bytes, encoding: str) -> bytes:
    """Undo an answer's content coding, within `MAX_BODY` and to the end of the stream.

    Raises:
        InvalidResponseError: An unknown coding, a broken or too large body (not transient), or a
            stream that stops before its end (transient).
    """
    if encoding in ("", "identity") or not body:
        return body
    if encoding != "gzip":
        raise InvalidResponseError(f"the answer's content coding {encoding!r} was not asked for")
    pieces = None
    with contextlib.suppress(zlib.error):
        pieces = _gunzip(body)
    if pieces is None:
        raise InvalidResponseError("the answer is not the gzip stream that it says", transient=True)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _gunzip(body: bytes) -> list[bytes]:
    """Inflate one member after the other (RFC 1952, section 2.2), a step at a time."""
    pieces, size, members = [], 0, 0
    while body:
        members += 1
        if members > _MEMBERS:
            raise InvalidResponseError(f"the answer has more than {_MEMBERS} gzip members")
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not stream.eof:
            piece = stream.decompress(body, _STEP)
            body = stream.unconsumed_tail
            if not piece and not body and not stream.eof:
                raise InvalidResponseError("the answer's gzip stream was cut short", transient=True)
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise _too_large()
        body = stream.unused_data.lstrip(b"\0")  # padding, as gzip itself allows
    return pieces


def _too_large() -> InvalidResponseError:
    return InvalidResponseError(f"the answer is larger than {MAX_BODY} bytes")


def read(call: Call[T], status: int, headers: Mapping[str, str], raw: bytes | None) -> T:
    """Turn a good answer into the call's value.

    Args:
        call: The call that it answers.
        status: Its HTTP status, a 2xx.
        headers: Its headers, in a mapping that takes names in any case.
        raw: Its body as it came, or None where that went beyond `MAX_BODY`.

    Raises:
        InvalidResponseError: It can't be read.
    """
    body = b""
    try:
        body = _whole(headers, raw)
        return call.read(body)
    except InvalidResponseError as error:
        invalid = error
    invalid.status = status
    if invalid.transient and _is_html(headers, body):
        invalid.args = ("an HTML page came instead of JSON",)
    raise invalid


def refusal(status: int, headers: Mapping[str, str], raw: bytes | None) -> JunkieError | None:
    """Say what an answer means that is no 2xx; None of one that is, whatever its body.

    Args:
        status: Its HTTP status.
        headers: Its headers, in a mapping that takes names in any case.
        raw: Its body as it came, or None where that went beyond `MAX_BODY`.
    """
    if 200 <= status < 300:
        return None
    body = b""
    with contextlib.suppress(InvalidResponseError):  # it says no, even if its words can't be read
        body = _whole(headers, raw)
    return _refusal(status, headers, body)


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


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> JunkieError:
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
        body=_cut(body).decode("utf-8", "replace"),
        headers={name.lower(): value for name, value in headers.items()},
        challenge=challenge,
        retry_after=wait,
    )


def _message(status: int, body: bytes, *, html: bool) -> str:
    if html:
        by = "the CDN in front of the service" if status in (403, 429) else "a gateway"
        return f"{by} answered with an HTML page"
    said = _codec.read_error(body) or _cut(body).decode("utf-8", "replace").strip()
    return " ".join(said.split()) or "the service gave no reason"


def _cut(body: bytes) -> bytes:
    """Cut a body to what an error keeps of it, but not in a word, which may have to be masked."""
    kept = body[:_MOST]
    whole = kept.rstrip(_LETTERS) if len(body) > _MOST else kept
    return whole if len(kept) - len(whole) < 1024 else kept


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body[:64].lstrip()[:1] == b"<"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds from now, None if absent or garbage.

    A date is measured against the answer's own ``Date``, so that a wrong local clock does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
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


def allowance(headers: Mapping[str, str]) -> Allowance | None:
    """Read what an answer says of the rate limit; None where it says nothing that can be used.

    Known are ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds) of
    draft-ietf-httpapi-ratelimit-headers-03, the same with ``X-`` (where a reset may also be a Unix
    time), and the one ``RateLimit`` field of the later drafts.
    """
    for prefix in ("RateLimit-", "X-RateLimit-"):
        if (remaining := headers.get(prefix + "Remaining")) is not None:
            reset, limit = headers.get(prefix + "Reset", ""), headers.get(prefix + "Limit", "")
            return _allowance(_number(remaining), _until(_number(reset), headers), _number(limit))
    if (line := headers.get("RateLimit")) is not None:
        stated = {name: float(number) for name, number in _STATED.findall(line)}
        remaining_, reset_ = stated.get("r", stated.get("remaining")), stated.get("t")
        return _allowance(remaining_, reset_ or stated.get("reset"), stated.get("limit"))
    return None


_STATED = re.compile(r"\b(r|t|remaining|reset|limit)=(\d{1,15})\b")
_EPOCH = 1e9  # seconds; a reset beyond that is a moment, not a time to wait


def _allowance(
    remaining: float | None, reset: float | None, limit: float | None
) -> Allowance | None:
    if remaining is None or reset is None:
        return None
    return Allowance(remaining, reset, limit)


def _number(text: str) -> float | None:
    """Read the first number of a header that may go on (``100, 100;w=1``)."""
    found = re.match(r"\s*(\d{1,15}(\.\d{1,9})?)", text)
    return float(found[1]) if found else None


def _until(reset: float | None, headers: Mapping[str, str]) -> float | None:
    if reset is None or reset < _EPOCH:
        return reset
    now = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, reset - now.timestamp())
