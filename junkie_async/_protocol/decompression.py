"""Response bodies within the size cap: content codings undone without trusting their sizes."""

from __future__ import annotations

import contextlib
import zlib

from .._errors import InvalidResponseError

MAX_BODY = 8 * 2**20
"""Bytes that an answer may have, compressed or not; a page of 100 keys has some 50,000."""

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
                raise too_large()
        body = stream.unused_data.lstrip(b"\0")  # padding, as gzip itself allows
    return pieces


def too_large() -> InvalidResponseError:
    return InvalidResponseError(f"the answer is larger than {MAX_BODY} bytes")
