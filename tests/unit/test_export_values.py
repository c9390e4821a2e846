"""`export_values` and `json_line`."""

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

from .exports import FULL, files_in, given_keys, posix


async def _batches(*batches: str, error: Exception | None = None) -> AsyncIterator[KeyBatch]:
    """Yield a batch for each text, whose keys are its words; then raise the error, if any."""
    for keys in batches:
        yield KeyBatch(keys=tuple(keys.split()), count=2)
    if error is not None:
        raise error


async def _unused_job() -> AsyncIterator[KeyBatch]:
    pytest.fail("the job was started")
    yield KeyBatch(keys=(), count=0)  # type: ignore[unreachable]  # makes this a generator


async def test_each_value_is_a_line(tmp_path: Path) -> None:
    """Values keep their order, are UTF-8, and replace an old file."""
    path = tmp_path / "keys.txt"
    path.write_text("old")
    assert await export_values(_batches("a b", "", "ключ"), path) == 3
    assert path.read_bytes() == "a\nb\nключ\n".encode()
    assert files_in(tmp_path) == ["keys.txt"]


@posix
async def test_the_file_is_private(tmp_path: Path) -> None:
    """Key values are secrets."""
    await export_values(_batches("a"), str(tmp_path / "keys.txt"))
    assert stat.S_IMODE((tmp_path / "keys.txt").stat().st_mode) == 0o600


async def test_an_open_file_is_written_to() -> None:
    """An open file is flushed, and not closed."""
    file = io.StringIO()
    assert await export_values(_batches("a b", "c"), file) == 3
    assert file.getvalue() == "a\nb\nc\n"


async def test_a_job_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """No partial file is written: the keys are in the ledger or in the error's report."""
    path = tmp_path / "keys.txt"
    path.write_text("old")
    with pytest.raises(BatchError):
        await export_values(_batches("a b", error=BatchError("the job ended early")), path)
    assert path.read_text() == "old"
    assert files_in(tmp_path) == ["keys.txt"]


@pytest.mark.parametrize(
    ("batches", "to", "field"),
    [([], "keys.txt", "batches"), (_unused_job(), 5, "to"), (_unused_job(), io.BytesIO(), "to")],
)
async def test_bad_arguments_are_named(batches: Any, to: Any, field: str) -> None:
    """A bad argument is refused by its name, before the job is started."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_values(batches, to)
    assert caught.value.field == field


async def test_an_impossible_path_starts_no_job(tmp_path: Path) -> None:
    """No key is created whose value could not be written."""
    with pytest.raises(FileNotFoundError):
        await export_values(_unused_job(), tmp_path / "nowhere" / "keys.txt")


async def test_a_lone_surrogate_is_refused() -> None:
    """The error does not show the value."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_values(_batches("JNK-\ud800"), io.StringIO())
    assert caught.value.field == "keys"
    assert "JNK" not in str(caught.value)


async def test_json_line_writes_what_an_export_writes() -> None:
    """`json_line` and `export_keys` encode a key in the same way."""
    file = io.StringIO()
    await export_keys(given_keys([FULL]), file, format="jsonl")
    assert f"{json_line(FULL)}\n" == file.getvalue()


def test_json_line_takes_models_and_plain_values() -> None:
    """Models, dicts and plain values are encoded as the API does it."""
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    folder = KeyFolder(id=1, name="VIP\n", created_at=at)
    assert json_line({"folder": folder, "status": KeyStatus.USED, "left": None}) == (
        '{"folder":{"created_at":"2026-01-31T12:00:00Z","id":1,"name":"VIP\\n"},'
        '"status":"used","left":null}'
    )
    with pytest.raises(InvalidRequestError) as caught:
        json_line(Key(id=1, key_value="\ud800"))
    assert caught.value.field == "keys"
