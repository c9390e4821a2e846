"""Strings of bytes one after the other, against a list of them."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from junkie_async._pagination.byte_sets import contains

STRINGS = st.text("ab", min_size=2, max_size=2).map(str.encode)


@given(st.lists(STRINGS, max_size=9), STRINGS)
@example([b"ab", b"bb", b"ab", b"ba"], b"bb")  # found across two, as one, and across two
@example([b"ab", b"ba"], b"bb")
@example([b"bb"], b"bb")
def test_it_agrees_with_a_list(strings: list[bytes], string: bytes) -> None:
    """The end of one and the beginning of the next are not one of them."""
    assert contains(b"".join(strings), string) == (string in strings)
