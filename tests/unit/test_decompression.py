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
def test_inflate(body: bytes) -> None:
    """A gzip body comes out whole, an uncoded one as it is."""
    assert decompress(gzip.compress(body), "gzip") == body
    assert decompress(body, "") == body
    assert decompress(body, "identity") == body


@given(st.integers(1, 10_000))
def test_cut_gzip_is_noticed(cut: int) -> None:
    """Wherever a gzip stream is cut, its trailer included, it does not pass for a whole one."""
    whole = gzip.compress(json.dumps(list(range(1000))).encode())
    with pytest.raises(InvalidResponseError, match="cut short") as caught:
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
    """A stream that is broken may come whole next time; a coding never asked for won't."""
    with pytest.raises(InvalidResponseError) as caught:
        decompress(body, coding)
    assert caught.value.transient is transient
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_gzip_with_trailing_garbage() -> None:
    """What follows the end of the stream is no part of the answer (as zlib's own tools read it)."""
    assert decompress(gzip.compress(b"{}") + b"\0" * 8, "gzip") == b"{}"


def test_gzip_bomb() -> None:
    """A body is inflated to the cap and no further, in bounded memory."""
    exact = gzip.compress(b"\0" * MAX_BODY, 1)
    assert len(decompress(exact, "gzip")) == MAX_BODY
    bomb = gzip.compress(b"\0" * (8 * MAX_BODY), 1)
    for body in (bomb, gzip.compress(b"\0" * (MAX_BODY + 1), 1)):
        tracemalloc.start()
        with pytest.raises(InvalidResponseError, match="larger") as caught:
            decompress(body, "gzip")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not caught.value.transient
        assert peak < 3 * MAX_BODY


def test_gzip_members_follow_one_another() -> None:
    """A stream of several members is read to the end of the last (RFC 1952, section 2.2)."""
    members = [gzip.compress(piece) for piece in (b'{"a"', b"", b": 1}")]
    assert decompress(b"".join(members), "gzip") == b'{"a": 1}'
    with pytest.raises(InvalidResponseError, match="cut short"):
        decompress(b"".join(members)[:-3], "gzip")


def test_many_members_are_a_bomb_too() -> None:
    """The cap is on all members together."""
    member = gzip.compress(bytes(MAX_BODY // 4))
    assert len(decompress(member * 4, "gzip")) == MAX_BODY
    with pytest.raises(InvalidResponseError, match="larger"):
        decompress(member * 4 + gzip.compress(b"x"), "gzip")


def test_an_empty_body_needs_no_inflating() -> None:
    """An answer without a body may well name a coding."""
    assert decompress(b"", "gzip") == b""
