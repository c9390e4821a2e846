"""Values of new keys, a line each, and single lines of JSON."""

from __future__ import annotations

import io
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from junkie_async import BatchError, InvalidRequestError, Key, KeyBatch, KeyFolder, KeyStatus
from junkie_async.export import export_keys, export_values, json_line

from .test_export import FULL, given_keys, left_in, posix


async def _batches(*batches: str, error: Exception | None = None) -> AsyncIterator[KeyBatch]:
    """Give batches whose keys are the words of a text, and fail if there is an error."""
    for keys in batches:
        yield KeyBatch(keys=tuple(keys.split()), count=2)
    if error is not None:
        raise error


async def _never() -> AsyncIterator[KeyBatch]:
    pytest.fail("the job was begun")
    yield KeyBatch(keys=(), count=0)  # type: ignore[unreachable]  # or it would be no generator


async def test_each_value_is_a_line(tmp_path: Path) -> None:
    """In the order in which they came, in UTF-8, and in place of an old file."""
    path = tmp_path / "keys.txt"
    path.write_text("old")
    assert await export_values(_batches("a b", "", "ключ"), path) == 3
    assert path.read_bytes() == "a\nb\nключ\n".encode()
    assert left_in(tmp_path) == ["keys.txt"]


@posix
async def test_the_file_is_private(tmp_path: Path) -> None:
    """Key values are secrets."""
    await export_values(_batches("a"), str(tmp_path / "keys.txt"))
    assert stat.S_IMODE((tmp_path / "keys.txt").stat().st_mode) == 0o600


async def test_an_open_file_is_written_to() -> None:
    """It is flushed, and not closed."""
    file = io.StringIO()
    assert await export_values(_batches("a b", "c"), file) == 3
    assert file.getvalue() == "a\nb\nc\n"


async def test_a_job_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Its keys are in its ledger, or its report."""
    path = tmp_path / "keys.txt"
    path.write_text("old")
    with pytest.raises(BatchError, match="ended early"):
        await export_values(_batches("a b", error=BatchError("the job ended early")), path)
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["keys.txt"]


@pytest.mark.parametrize(
    ("batches", "to", "field"),
    [([], "keys.txt", "batches"), (_never(), 5, "to"), (_never(), io.BytesIO(), "to")],
)
async def test_what_can_not_be_is_refused(batches: Any, to: Any, field: str) -> None:
    """The argument is named, and the job not begun."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_values(batches, to)
    assert caught.value.field == field


async def test_a_file_that_can_not_be_begins_no_job(tmp_path: Path) -> None:
    """Nothing is created whose value could not be kept."""
    with pytest.raises(FileNotFoundError):
        await export_values(_never(), tmp_path / "nowhere" / "keys.txt")


async def test_a_value_that_is_no_unicode_is_not_quoted() -> None:
    """The error says what is wrong, without the value."""
    with pytest.raises(InvalidRequestError, match="lone surrogate") as caught:
        await export_values(_batches("JNK-\ud800"), io.StringIO())
    assert "JNK" not in str(caught.value)


async def test_a_line_of_json_is_that_of_an_export() -> None:
    """Whatever writes it, a key looks the same."""
    file = io.StringIO()
    await export_keys(given_keys([FULL]), file, format="jsonl")
    assert f"{json_line(FULL)}\n" == file.getvalue()


def test_a_line_of_json_may_have_anything() -> None:
    """Models, dicts and plain values, each as the API writes it."""
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    folder = KeyFolder(id=1, name="VIP\n", created_at=at)
    assert json_line({"folder": folder, "status": KeyStatus.USED, "left": None}) == (
        '{"folder":{"created_at":"2026-01-31T12:00:00Z","id":1,"name":"VIP\\n"},'
        '"status":"used","left":null}'
    )
    with pytest.raises(InvalidRequestError, match="lone surrogate"):
        json_line(Key(id=1, key_value="\ud800"))
