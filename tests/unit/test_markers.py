"""Markers: made, fitted into key names, and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import InvalidRequestError
from junkie_async._jobs import markers


@given(st.integers(0, 36**10 - 1))
def test_a_marker_ends_with_its_number_in_base_36(number: int) -> None:
    """`int` reads the number back, so that the markers of a job differ."""
    marker = markers.make_marker("jk", "k3v9x2mq", number)
    found = re.fullmatch(r"jk-k3v9x2mq\.([0-9a-z]{1,10})", marker)
    assert found is not None
    assert int(found[1], 36) == number


@pytest.mark.parametrize(("number", "written"), [(0, "0"), (35, "z"), (36, "10"), (1295, "zz")])
def test_the_numbers_of_existing_ledgers(number: int, written: str) -> None:
    """A number is written without leading zeros."""
    assert markers.make_marker("jk", "00000000", number) == f"jk-00000000.{written}"


def test_job_ids_are_random() -> None:
    """A job's ID has 8 characters of base 36."""
    ids = {markers.new_job_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[0-9a-z]{12}", job_id) for job_id in ids)


@pytest.mark.parametrize("name", [None, "", "launch", "two words"])
def test_a_marker_is_the_last_word_of_the_name(name: str | None) -> None:
    """It is read back whatever stands before it; without a marker the fields stay as they are."""
    fields = {"amount": 100} if name is None else {"amount": 100, "key_name": name}
    marked = markers.add_marker(fields, "jk-k3v9x2mq.1f")
    assert marked == {"amount": 100, "key_name": f"{name or ''} jk-k3v9x2mq.1f".lstrip()}
    assert markers.read_marker(marked["key_name"]) == "jk-k3v9x2mq.1f"
    assert markers.add_marker(fields, None) == fields


@pytest.mark.parametrize(("name", "word"), [(None, ""), ("", ""), ("jk-1.1 launch", "launch")])
def test_names_without_a_marker(name: str | None, word: str) -> None:
    """The last word is what no job has as a marker."""
    assert markers.read_marker(name) == word


@pytest.mark.parametrize(("prefix", "room"), [("jk", 228), ("x" * 32, 198)])
def test_a_name_needs_room_for_the_longest_marker(prefix: str, room: int) -> None:
    """With the longest marker behind it a name of the longest length has 255 characters."""
    markers.check_room(None, prefix)
    markers.check_room("n" * room, prefix)
    longest = markers.make_marker(prefix, "k3v9x2mq4f7z", 36**10 - 1)
    assert len(f"{'n' * room} {longest}") == 255
    with pytest.raises(InvalidRequestError) as caught:
        markers.check_room("n" * (room + 1), prefix)
    assert caught.value.field == "key_name"


@pytest.mark.parametrize("prefix", ["", "two words", "x" * 33, "a\tb", 5])
def test_bad_prefixes_are_refused(prefix: str) -> None:
    """A prefix is a word of 1 to 32 characters; None is for no markers."""
    assert markers.check_prefix(None) is None
    assert markers.check_prefix("jk") == "jk"
    with pytest.raises(InvalidRequestError) as caught:
        markers.check_prefix(prefix)
    assert caught.value.field == "marker"


@pytest.mark.parametrize("number", [0, 9, 35, 36, 36**9, 36**10 - 1])
def test_the_number_of_a_call_is_read_from_its_marker(number: int) -> None:
    """And from no marker of another job."""
    marker = markers.make_marker("jk", "k3v9x2mq4f7z", number)
    assert markers.read_number(marker, "jk", "k3v9x2mq4f7z") == number
    assert markers.read_number(marker, "jk", "k3v9x2mq4f7a") is None
    assert markers.read_number(marker, "kj", "k3v9x2mq4f7z") is None


@pytest.mark.parametrize(
    "digits", ["", "00", "01", "A", "-1", " 1", "1 ", "1_0", "\u0661", "1" * 11]
)
def test_what_no_call_has_as_its_number(digits: str) -> None:
    """Somebody else has named a key like that."""
    assert markers.read_number(f"jk-k3v9x2mq4f7z.{digits}", "jk", "k3v9x2mq4f7z") is None
