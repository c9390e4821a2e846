"""Requests without I/O: references in paths, and what must not be repeated."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from junkie_async import InvalidRequestError, InvalidResponseError, _validation
from junkie_async._protocol import requests, responses

# --- references in paths --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *("0", "7", "0123", "1" * 40, "-5", "+5", "1.5", "5.", ".5", "1e5", "1E-5", "0x1F", "0b1"),
        *("0o7", "0X1f", "Infinity", "-Infinity", " 7", "7 ", "\xa07\u3000", "\ufeff7"),
        *("folders", "batch", "bulk-delete"),
    ],
)
def test_ambiguous_values(value: str) -> None:
    """What JavaScript reads as a number, or the API as a path of its own, is no plain reference."""
    assert requests.is_ambiguous(value)


@pytest.mark.parametrize(
    "value",
    [
        *("JNK-123", "123-456", "12a", "1_000", "e5", "0xG", "--5", "1.2.3", "NaN", "folder", "x7"),
        *("batches", "0x", "1e", ".", "7/8", "٣x"),
    ],
)
def test_plain_values(value: str) -> None:
    """Everything else goes into a path as it is, without a look-up before."""
    assert not requests.is_ambiguous(value)


@given(st.integers(1, 2**53) | st.floats(allow_nan=False).map(repr) | st.integers(0).map(hex))
def test_numbers_are_ambiguous(value: int | str) -> None:
    """However a number is written, it is noticed."""
    assert requests.is_ambiguous("Infinity" if value == "inf" else str(value).replace("-inf", "7"))


texts = st.text(max_size=30) | st.text(alphabet="./?#%&=+ \\:@;2eE\u2028é😀", max_size=8)


@given(texts | st.integers(1, 2**53 - 1))
@example("a/../b")
@example("%2e%2e")
@example(" ?#/%")
@example("https://elsewhere/")
def test_segment(value: int | str) -> None:
    """A reference is one segment of the path: it comes back whole and leads nowhere else."""
    try:
        checked = _validation.check_reference("key", value)
    except InvalidRequestError:
        return
    segment = requests.segment(checked)
    assert unquote(segment) == str(value)
    assert not set(segment) & set("/?#\\ ")
    assert segment.isascii()
    assert segment not in ("", ".", "..")
    for call in (
        requests.get_key(segment),
        requests.delete_key(segment),
        requests.reset_hwid(segment),
    ):
        base = "https://api.jnkie.com/api/v2"
        for url in (URL(base + call.target), URL(base + call.target, encoded=True)):
            assert url.parts[:5] == ("/", "api", "v2", "keys", str(value))
            assert (url.query_string, url.fragment, url.host) == ("", "", "api.jnkie.com")
        assert call.path.startswith("/keys/{keyId}")


def all_requests() -> list[requests.Request[Any]]:
    """Make one request of each operation."""
    return [
        requests.list_keys("", 1, 1),
        requests.create_key({"provider_id": 1}),
        requests.create_batch({"provider_id": 1, "amount": 1}),
        requests.get_key("7"),
        requests.update_key("7", {"hwids": []}),
        requests.delete_key("7"),
        requests.reset_hwid("7"),
        requests.bulk_delete([7]),
        requests.list_folders(),
    ]


def test_what_must_not_be_repeated() -> None:
    """Creates and resets are sent once; everything else may be sent again."""
    once = {(call.method, call.path) for call in all_requests() if call.idempotent is False}
    assert once == {
        ("POST", "/keys"),
        ("POST", "/keys/batch"),
        ("POST", "/keys/{keyId}/reset-hwid"),
    }


def test_key_values_stay_out_of_paths_and_errors() -> None:
    """The path that errors show is the template, and a response's error names no key."""
    call = requests.get_key("JNK-SECRET")
    assert call.path == "/keys/{keyId}"
    answer = b'{"key": {"id": "x", "key_value": "JNK-SECRET"}}'
    with pytest.raises(InvalidResponseError) as caught:
        responses.read_success(call, 200, {}, answer)
    assert "SECRET" not in f"{caught.value!r}{caught.value}"
