"""Decompression: whole bodies, cut ones, bombs, and streams of several members."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import InvalidResponseError, Outcome
from junkie_async._protocol.decompression import MAX_BODY, decompress

PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@pytest.mark.parametrize("body", [b"{}", b"x" * 100_000, b""])
def test_decompresses(body: bytes) -> None:
    """A gzip body is decompressed whole, and one without a coding stays as it is."""
    assert decompress(gzip.compress(body), "gzip") == body
    assert decompress(body, "") == body
    assert decompress(body, "identity") == body


@given(st.integers(1, 10_000))
def test_cut_gzip_is_noticed(cut: int) -> None:
    """Wherever a gzip stream is cut, its trailer included, it does not pass for a whole one."""
    whole = gzip.compress(json.dumps(list(range(1000))).encode())
    with pytest.raises(InvalidResponseError) as caught:
        decompress(whole[: cut % len(whole) or 1], "gzip")
    assert caught.value.transient
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "coding", "transient"),
    [
        (b"{}", "gzip", True),
        (PAGE, "gzip", True),
        (zlib.compress(b"{}"), "gzip", True),
        (gzip.compress(b"{}", mtime=0)[:-8] + b"\0" * 8, "gzip", True),
        (b"{}", "br", False),
        (b"{}", "deflate", False),
        (b"{}", "gzip, gzip", False),
    ],
)
def test_bad_coding(body: bytes, coding: str, *, transient: bool) -> None:
    """A broken stream is worth a retry; an unsupported coding is not."""
    with pytest.raises(InvalidResponseError) as caught:
        decompress(body, coding)
    assert caught.value.transient is transient
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_gzip_with_trailing_zeros() -> None:
    """Zeros after the end of the stream are padding, as for gzip itself."""
    assert decompress(gzip.compress(b"{}") + b"\0" * 8, "gzip") == b"{}"


def test_gzip_bomb() -> None:
    """A body is decompressed up to the limit and no further, in bounded memory."""
    exact = gzip.compress(b"\0" * MAX_BODY, 1)
    assert len(decompress(exact, "gzip")) == MAX_BODY
    bomb = gzip.compress(b"\0" * (8 * MAX_BODY), 1)
    for body in (bomb, gzip.compress(b"\0" * (MAX_BODY + 1), 1)):
        tracemalloc.start()
        with pytest.raises(InvalidResponseError) as caught:
            decompress(body, "gzip")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not caught.value.transient
        assert peak < 3 * MAX_BODY


def test_members_are_joined() -> None:
    """A stream of several members is read to the end of the last (RFC 1952, section 2.2)."""
    members = [gzip.compress(piece) for piece in (b'{"a"', b"", b": 1}")]
    assert decompress(b"".join(members), "gzip") == b'{"a": 1}'
    with pytest.raises(InvalidResponseError):
        decompress(b"".join(members)[:-3], "gzip")


def test_members_share_the_limit() -> None:
    """The size limit applies to all members together."""
    member = gzip.compress(bytes(MAX_BODY // 4))
    assert len(decompress(member * 4, "gzip")) == MAX_BODY
    with pytest.raises(InvalidResponseError):
        decompress(member * 4 + gzip.compress(b"x"), "gzip")


def test_empty_body() -> None:
    """A response without a body may name a coding."""
    assert decompress(b"", "gzip") == b""


def test_the_number_of_members_is_limited() -> None:
    """Members cost a copy of the rest each: 8 MiB of empty ones are refused after the first 100."""
    empty = gzip.compress(b"")
    assert decompress(empty * 100, "gzip") == b""
    with pytest.raises(InvalidResponseError) as caught:
        decompress(empty * (MAX_BODY // len(empty)), "gzip")
    assert not caught.value.transient
