"""Response bodies within the size limit: gzip is undone without trusting the sizes it states."""

from __future__ import annotations

import contextlib
import zlib

from .._errors import InvalidResponseError

MAX_BODY = 8 * 2**20
"""Bytes that a response body may have, compressed or not; a page of 100 keys has some 50,000."""

# One gzip stream may be several members in a row. zlib copies what follows a member, so members
# without limit would cost quadratic time: 8 MiB of empty ones would be copied 400,000 times.
_MAX_MEMBERS = 100
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and its checksum


def decompress(body: bytes, encoding: str) -> bytes:
    """Undo a response's content coding, within `MAX_BODY` and to the end of the stream.

    Args:
        body: The body as it was received.
        encoding: The value of ``Content-Encoding``, in lower case.

    Raises:
        InvalidResponseError: An unknown coding, or a body that is broken or too large (not
            transient), or that stops before its end (transient).
    """
    if encoding in ("", "identity") or not body:
        return body
    if encoding != "gzip":
        raise InvalidResponseError(f"the response has an unsupported content coding: {encoding!r}")
    with contextlib.suppress(zlib.error):
        return _decompress_gzip(body)
    # Outside of `except`, so that zlib's error does not become this one's context.
    raise InvalidResponseError("the response is not valid gzip", transient=True)


def _decompress_gzip(body: bytes) -> bytes:
    """Decompress one member after the other (RFC 1952, section 2.2)."""
    pieces: list[bytes] = []
    room = MAX_BODY
    for _ in range(_MAX_MEMBERS):
        stream = zlib.decompressobj(wbits=_GZIP)
        # One byte more than there is room for tells a bomb from a body that just fits.
        pieces.append(stream.decompress(body, room + 1))
        room -= len(pieces[-1])
        if room < 0:
            raise body_too_large()
        if not stream.eof:
            raise InvalidResponseError("the response's gzip stream was cut short", transient=True)
        body = stream.unused_data.lstrip(b"\0")  # gzip itself allows zeros as padding
        if not body:
            return b"".join(pieces)
    raise InvalidResponseError(f"the response has more than {_MAX_MEMBERS} gzip members")


def body_too_large() -> InvalidResponseError:
    """Return the error for a body of more than `MAX_BODY` bytes."""
    return InvalidResponseError(f"the response is larger than {MAX_BODY} bytes")
