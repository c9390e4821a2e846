"""Keys as a CSV file that is private, whole or not there, and safe to open in a spreadsheet."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from .. import Key

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for the beginning of a formula."""

_COLUMNS: dict[str, Callable[[Key], Any]] = {
    "id": lambda key: key.id,
    "key_value": lambda key: key.key_value,
    "status": lambda key: key.status().value,
    "key_name": lambda key: key.key_name,
    "is_premium": lambda key: key.is_premium,
    "validity_minutes": lambda key: key.validity_minutes,
    "created_at": lambda key: key.created_at,
    "expires_at": lambda key: key.expires_at,
    "used_at": lambda key: key.used_at,
    "discord_id": lambda key: key.discord_id,
    "hwid_limit": lambda key: key.hwid_limit,
    "hwids": lambda key: ";".join(key.keys_hwid),
    "service_id": lambda key: key.service_id,
    "provider_id": lambda key: key.provider_id,
    "folder_id": lambda key: key.folder_id,
}
HEADER = list(_COLUMNS)


def safe(text: str) -> str:
    """Mark a text that a spreadsheet would run as a formula with a leading apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def row(key: Key) -> list[str]:
    """Write a key as the cells of a row, under `HEADER`."""
    return [_cell(read(key)) for read in _COLUMNS.values()]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return safe(value) if isinstance(value, str) else str(value)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[Iterable[Key]], None]]:
    """Give a function that appends keys to a new file, which takes its place at the end.

    Only its owner may read the file; until the end there is none, or the old one.
    """
    with _replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        yield lambda keys: writer.writerows(map(row, keys))


def read_values(path: Path) -> list[str]:
    """Read the key values back, as they are written."""
    with path.open(encoding="utf-8", newline="") as file:
        return [cells["key_value"] for cells in csv.DictReader(file)]


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # of mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
