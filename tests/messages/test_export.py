"""The texts of errors that exports raise."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from junkie_async import InvalidRequestError, Key, KeyBatch
from junkie_async.export import export_keys, export_values, json_line


async def _yield(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": io.BytesIO()}, "to must be a path or an open text file, got a binary file"),
        ({"to": 3}, "to must be a path or an open text file, got 3"),
        (
            {"to": "keys.txt", "format": None},
            (
                "format must be 'csv' or 'jsonl', unless the path ends in .csv, .jsonl or .ndjson, "
                "got no format and another suffix"
            ),
        ),
        ({"format": "xml"}, "format must be 'csv' or 'jsonl', got 'xml'"),
        (
            {"format": "jsonl", "bom": True},
            "bom must be False for JSON Lines (RFC 8259, section 8.1), got True",
        ),
        (
            {"format": "jsonl", "text_cells": True},
            "text_cells must be False for JSON Lines, which keep texts as they are, got True",
        ),
        (
            {"keys": []},
            "keys must be what keys.list() returns, or an async iterable of Keys, got a list of 0",
        ),
        ({"keys": _yield("JNK")}, "keys must be Key objects only, got 'JNK'"),
        (
            {"keys": _yield(Key(id=1, key_value="JNK-\ud800"))},
            "keys must be valid Unicode, got text with a lone surrogate",
        ),
    ],
)
async def test_export_keys(arguments: dict[str, Any], message: str) -> None:
    """A bad argument says what it must be, and what it was."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(
            **{"keys": _yield(), "to": io.StringIO(), "format": "csv", **arguments},
        )
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            5,
            (
                "batches must be what keys.create_many() returns, "
                "or an async iterable of KeyBatches, got 5"
            ),
        ),
        (
            _yield(KeyBatch(keys=("JNK-\ud800",), count=1)),
            "keys must be valid Unicode, got text with a lone surrogate",
        ),
    ],
)
async def test_export_values(batches: Any, message: str) -> None:
    """A bad source of batches says what it must be, and shows no key value."""
    with pytest.raises(InvalidRequestError) as caught:
        await export_values(batches, io.StringIO())
    assert str(caught.value) == message


def test_json_line() -> None:
    """Invalid Unicode is refused without showing the text."""
    with pytest.raises(InvalidRequestError) as caught:
        json_line("secret\ud800")
    assert str(caught.value) == "keys must be valid Unicode, got text with a lone surrogate"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "[Errno 21] Is a directory: '{path}'"),
        ("nowhere/keys.csv", "[Errno 2] No such file or directory: '{path}'"),
        ("/dev/null", "[Errno 22] not a regular file: '{path}'"),
    ],
)
async def test_unusable_paths(name: str, message: str, tmp_path: Path) -> None:
    """An OSError names the path that was given, never that of the temporary file."""
    path = tmp_path / name
    with pytest.raises(OSError) as caught:
        await export_keys(_yield(), path, format="csv")
    assert str(caught.value) == message.format(path=path)
