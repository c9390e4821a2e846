"""What the tests of exports share: keys, sources of keys, and readers of what was written."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from junkie_async import (
    HWID,
    DiscordRedemption,
    Key,
    KeyDetailed,
    KeyPage,
    KeyPager,
    Pagination,
)
from junkie_async.export import COLUMNS, export_keys, unmark

from .pages import as_pending

AT = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
FULL = KeyDetailed(
    id=7,
    key_value="-JNK",
    user_id=1,
    service_id=-2,
    provider_id=3,
    folder_id=4,
    expires_at=AT,
    used_at=AT,
    is_premium=True,
    is_invalidated=True,
    one_time_use=True,
    expiry_on_first_use=True,
    validity_minutes=0,
    no_hwid=True,
    key_name='=SUM(A1), "x"\r\n🔑',
    hwid_limit=5,
    discord_id="123456789012345678",
    created_at=AT,
    service_name="ключ",
    provider_name="P",
    folder_name="F",
    hwids=(HWID(hwid="PC;=1", bound_at=AT), HWID(hwid="b", executor_user_id="9", bound_by="api")),
    keys_hwid=("=one", "two"),
    discord_redemption=DiscordRedemption(discord_user_id="5", redeemed_at=AT),
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")
unprivileged = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)


async def given_keys(keys: Iterable[Key]) -> AsyncIterator[Key]:
    """Yield keys from an async iterator."""
    for key in keys:
        yield key


def pager(*pages: Iterable[Key]) -> KeyPager:
    """Make a pager over these pages, with matching pagination."""
    contents = [tuple(page) for page in pages]
    total = sum(map(len, contents))

    async def fetch(page: int, limit: int) -> KeyPage:
        pagination = Pagination(page=page, limit=limit, total=total, total_pages=len(contents))
        return KeyPage(keys=dict(enumerate(contents, 1)).get(page, ()), pagination=pagination)

    return KeyPager(as_pending(fetch))


def files_in(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir())


async def text_of(keys: Iterable[Key], format: Any, **options: Any) -> str:  # noqa: A002 - its name
    """Export keys to a string."""
    file = io.StringIO(newline="")
    assert await export_keys(given_keys(keys), file, format=format, **options) == len([*keys])
    return file.getvalue()


async def rows_of(*keys: Key, **options: Any) -> list[dict[str, str]]:
    """Export keys as CSV and read it back, with `unmark` applied."""
    text = await text_of(keys, "csv", **options)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    return [{name: unmark(cell) for name, cell in row.items()} for row in reader]


def raw_cell(text: str, **options: Any) -> str:
    """Return the CSV cell of a key value, as a spreadsheet reads it."""
    line = asyncio.run(text_of([Key(id=1, key_value=text)], "csv", **options))
    return list(csv.reader(io.StringIO(line, newline="")))[1][1]
