"""The CSV file: safe in a spreadsheet, private, whole or not there."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from junkie_async import Key
from junkie_async.cli import _csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_formulas_are_marked(text: str) -> None:
    """A text that a spreadsheet would run gets an apostrophe before it."""
    assert _csv.safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "JNK-1", "a=b", "'=1", "ключ"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """A text that is no formula is written as it is."""
    assert _csv.safe(text) == text


def test_a_row_matches_the_header(tmp_path: Path) -> None:
    """Every field comes back from its column, dates in ISO 8601 and nothing as an empty cell."""
    key = Key(
        id=7,
        key_value="-JNK",
        key_name='=SUM(A1), "x"',
        is_premium=True,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        keys_hwid=("one", "two"),
        service_id=-1,
    )
    path = tmp_path / "keys.csv"
    with _csv.writing(path) as write:
        write([key])
    with path.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert list(row) == _csv.HEADER
    assert {name: cell for name, cell in row.items() if cell} == {
        "id": "7",
        "key_value": "'-JNK",
        "status": "active",
        "key_name": '\'=SUM(A1), "x"',
        "is_premium": "true",
        "created_at": "2026-01-02T03:04:05+00:00",
        "hwids": "one;two",
        "service_id": "-1",
    }
    assert _csv.read_values(path) == ["'-JNK"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """When the keys stop coming, the file that was there stays, and no half one beside it."""
    path = tmp_path / "keys.csv"
    path.write_text("old")

    def fail() -> None:
        with _csv.writing(path) as write:
            write([Key(id=1, key_value="JNK")])
            raise LookupError("gone")

    with pytest.raises(LookupError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    """The new file has mode 0600, whatever the old one's was."""
    path = tmp_path / "keys.csv"
    path.write_text("old")
    path.chmod(0o644)
    with _csv.writing(path) as write:
        write([])
    assert path.stat().st_mode & 0o777 == 0o600
