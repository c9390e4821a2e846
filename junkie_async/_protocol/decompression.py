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
# zlib joins what one call gives from blocks, which takes twice its size (tests/faults/test_memory).
_STEP = 2**18
_OTHER_CODINGS = ("br", "compress", "dcb", "dcz", "deflate", "zstd")
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and its checksum


def decompress(body: bytes, encoding: str) -> bytes:
    """Undo a response's content coding, within `MAX_BODY` and to the end of the stream.

    The encoding is the value of ``Content-Encoding``: a list of codings, in any case.
    """
    # Some frameworks write a charset there. "x-gzip" is as good as "gzip" (RFC 9110, 8.4.1.3).
    codings = [coding.strip() for coding in encoding.lower().split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity", "utf-8")]
    if not codings or not body:
        return body
    if codings not in (["gzip"], ["x-gzip"]):
        # Not quoted unless it is known: an unknown one may be anything, even a secret.
        known = ", ".join(repr(coding) for coding in codings if coding in _OTHER_CODINGS)
        name = f": {known}" if known else ""
        raise InvalidResponseError(f"the response has an unsupported content coding{name}")
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
        while not stream.eof:
            piece = stream.decompress(body, _STEP)
            if not piece and not stream.eof:
                raise InvalidResponseError(
                    "the response's gzip stream was cut short", transient=True
                )
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise body_too_large()
            body = stream.unconsumed_tail
        body = stream.unused_data.lstrip(b"\0")  # gzip itself allows zeros as padding
        if not body:
            return b"".join(pieces)
    raise InvalidResponseError(f"the response has more than {_MAX_MEMBERS} gzip members")


def body_too_large() -> InvalidResponseError:
    """Return the error for a body of more than `MAX_BODY` bytes."""
    return InvalidResponseError(f"the response is larger than {MAX_BODY} bytes")
