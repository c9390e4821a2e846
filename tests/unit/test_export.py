"""Exports: what is in the file, which cells are disarmed, and where the file goes."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import (
    HWID,
    DiscordRedemption,
    InvalidRequestError,
    Key,
    KeyDetailed,
    KeyPage,
    KeyPager,
    Pagination,
)
from junkie_async.export import COLUMNS, Format, export_keys, sources, unmark

from .conftest import component
from .pages import as_pending

AT = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
SIGNS = ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠"]  # noqa: RUF001 - meant
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
        return KeyPage(keys=contents[page - 1], pagination=pagination)

    return KeyPager(as_pending(fetch))


def files_in(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir())


async def text_of(keys: Iterable[Key], format: Any, **options: Any) -> str:  # noqa: A002 - its name
    """Export keys to a string."""
    file = io.StringIO(newline="")
    assert await export_keys(given_keys(keys), file, format=format, **options) == len([*keys])
    return file.getvalue()


async def rows_of(*keys: Key) -> list[dict[str, str]]:
    """Export keys as CSV and read it back, with `unmark` applied."""
    reader = csv.DictReader(io.StringIO(await text_of(keys, "csv"), newline=""), strict=True)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    return [{name: unmark(cell) for name, cell in row.items()} for row in reader]


def raw_cell(text: str) -> str:
    """Return the CSV cell of a key value, as a spreadsheet reads it."""
    line = asyncio.run(text_of([Key(id=1, key_value=text)], "csv"))
    return list(csv.reader(io.StringIO(line, newline="")))[1][1]


# --- contents -------------------------------------------------------------------------------------


def test_columns_are_the_fields_of_the_contract() -> None:
    """The header has exactly the fields of the published contract."""
    detailed = component("KeyDetailed")["allOf"][1]["properties"]
    assert list(COLUMNS) == [*component("Key")["properties"], *detailed]


async def test_csv_has_every_field() -> None:
    """Numbers, booleans, RFC 3339 times in UTC, joined identifiers and JSON can be read back."""
    [row] = await rows_of(FULL)
    at = "2026-01-02T03:04:05.000600Z"
    assert msgspec.json.decode(row.pop("hwids"), type=tuple[HWID, ...]) == FULL.hwids
    redemption = msgspec.json.decode(row.pop("discord_redemption"), type=DiscordRedemption)
    assert redemption == FULL.discord_redemption
    assert row.pop("keys_hwid") == "=one;two"
    expected = {name: getattr(FULL, name) for name in row}
    shown = {True: "true", AT: at}
    assert row == {
        name: str(shown.get(value, value)) if value != 1 or value is True else "1"
        for name, value in expected.items()
    }


async def test_none_is_an_empty_cell() -> None:
    """None is written as an empty cell, and False as ``false``."""
    [row] = await rows_of(Key(id=1, key_value="a"))
    flags = {name for name, cell in row.items() if cell == "false"}
    assert {name: cell for name, cell in row.items() if cell and name not in flags} == {
        "id": "1",
        "key_value": "a",
    }
    assert len(flags) == 5


async def test_json_lines_read_back_as_models() -> None:
    """Each line has all fields under the API's names, and decodes to an equal key."""
    plain = Key(id=2, key_value="=1+1\n;@", discord_id="9", keys_hwid=("-",))
    lines = (await text_of([FULL, plain], "jsonl")).splitlines()
    assert [msgspec.json.decode(lines[0], type=KeyDetailed)] == [FULL]
    assert [msgspec.json.decode(lines[1], type=Key)] == [plain]
    assert msgspec.json.decode(lines[0]).keys() == {*COLUMNS}
    assert msgspec.json.decode(lines[1])["folder_id"] is None


@pytest.mark.parametrize("format", Format)
async def test_times_are_in_utc(format: Format) -> None:  # noqa: A002 - its name
    """Datetimes that a caller made in another time zone are written in UTC."""
    at = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    redemption = DiscordRedemption(redeemed_at=at)
    key = KeyDetailed(id=1, key_value="a", created_at=at, discord_redemption=redemption)
    written = await text_of([key, attrs.evolve(key, hwids=(HWID(bound_at=at),))], format)
    assert written.count("2025-12-31T23:00:00Z") == 5
    assert "+02:00" not in written


async def test_no_keys_give_a_header_and_no_lines() -> None:
    """An empty list still gives the header, and empty pages don't repeat it."""
    header = ",".join(COLUMNS) + "\r\n"
    assert await text_of([], "csv") == header
    assert await text_of([], "jsonl") == ""
    file = io.StringIO(newline="")
    assert await export_keys(pager([], [FULL], []), file, format="csv") == 1  # pages may be empty
    assert file.getvalue().count(header) == 1


async def test_a_byte_order_mark_for_excel(tmp_path: Path) -> None:
    """``bom=True`` puts it at the start of a CSV file, and is refused for JSON Lines."""
    path = tmp_path / "keys.csv"
    await export_keys(given_keys([FULL]), path, bom=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfid,key_value,")
    with pytest.raises(InvalidRequestError) as caught:
        await export_keys(given_keys([]), tmp_path / "keys.jsonl", bom=True)
    assert caught.value.field == "bom"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@'\";,\t\r\n\0"))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_any_text_can_be_read_back(texts: list[tuple[str, str]]) -> None:
    """Quotes, commas, line breaks, NUL and apostrophes survive both formats."""
    keys = [
        Key(id=i, key_value=a, key_name=b, hwids=(HWID(hwid=b),)) for i, (a, b) in enumerate(texts)
    ]
    rows = asyncio.run(rows_of(*keys))
    assert [(row["key_value"], row["key_name"]) for row in rows] == texts
    devices = [msgspec.json.decode(row["hwids"], type=tuple[HWID, ...]) for row in rows]
    assert devices == [key.hwids for key in keys]
    lines = asyncio.run(text_of(keys, "jsonl"))
    assert msgspec.json.Decoder(Key).decode_lines(lines) == keys


# --- formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", SIGNS)
def test_formulas_are_disarmed(sign: str) -> None:
    """A text that a spreadsheet would run gets an apostrophe, which `unmark` removes."""
    for text in (f"{sign}1+1", sign, f"'{sign}x", f"''{sign}"):
        assert raw_cell(text) == f"'{text}"
        assert unmark(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "JNK-1", "a=b", "'", "'a", "a, =1", "ключ", "a;b", "🔑", "1"])
def test_other_texts_are_unchanged(text: str) -> None:
    """A text that is not a formula is written unchanged."""
    assert raw_cell(text) == unmark(text) == text


@pytest.mark.parametrize("separator", [";", "\t", "\r", "\n", "\r\n"])
def test_formulas_within_a_text_are_disarmed(separator: str) -> None:
    """Formulas after a character at which spreadsheets split cells are disarmed too."""
    assert raw_cell(f"a{separator}=1;'@b") == f"a{separator}'=1;''@b"


async def test_joined_identifiers_are_disarmed() -> None:
    """Each of the joined device identifiers is disarmed."""
    text = await text_of([Key(id=1, key_value="a", keys_hwid=("a", "=b", "+c"))], "csv")
    assert text.splitlines()[1].endswith(",a;'=b;'+c,")


@given(TEXTS)
def test_no_cell_is_a_formula(text: str) -> None:
    """No part of a cell, split at any separator, begins with a formula sign."""
    cell = raw_cell(text)
    for part in cell.replace("\t", ";").replace("\r", ";").replace("\n", ";").split(";"):
        assert not part.startswith(tuple(sign for sign in SIGNS if not sign.isspace()))
    assert not cell.startswith(tuple(SIGNS))


async def test_unknown_types_are_disarmed_too() -> None:
    """Types that only a caller can put into a key are written as text."""

    class Text(str):
        __slots__ = ()

    odd = Key(id=1, key_value=Text("=1"), key_name=-1.5)  # type: ignore[arg-type]
    text = await text_of([odd], "csv")
    assert text.splitlines()[1].startswith("1,'=1,")
    assert ",'-1.5," in text


# --- destination ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["keys.csv", "keys.CSV", "keys.jsonl", "keys.ndjson"])
async def test_the_suffix_selects_the_format(name: str, tmp_path: Path) -> None:
    """A path with a known suffix needs no ``format``; a given one takes precedence."""
    assert await export_keys(pager([FULL]), str(tmp_path / name)) == 1
    is_csv = name.lower().endswith(".csv")
    assert (tmp_path / name).read_bytes().startswith(b"id," if is_csv else b'{"')
    await export_keys(pager([FULL]), tmp_path / name, format="jsonl")
    assert (tmp_path / name).read_bytes().startswith(b'{"')


async def test_pages_are_written_as_they_come(tmp_path: Path) -> None:
    """Progress is reported after each page, with the total that the service states."""
    pages = [[Key(id=10 * n + i, key_value="k") for i in range(3)] for n in range(3)]
    reported: list[Any] = []
    path = tmp_path / "keys.jsonl"
    count = await export_keys(
        pager(*pages), path, on_progress=lambda *counts: reported.append(counts)
    )
    assert (count, reported) == (9, [(3, 9), (6, 9), (9, 9)])
    keys = msgspec.json.Decoder(Key).decode_lines(path.read_bytes())
    assert keys == [key for page in pages for key in page]


async def test_any_async_iterable_of_keys(tmp_path: Path) -> None:
    """Keys that do not come in pages are written in chunks of 500."""
    reported: list[Any] = []
    keys = given_keys(Key(id=i, key_value="k") for i in range(1001))
    path = tmp_path / "keys.csv"
    assert (
        await export_keys(keys, path, on_progress=lambda *counts: reported.append(counts)) == 1001
    )
    assert reported == [(500, None), (1000, None), (1001, None)]
    assert len(path.read_bytes().splitlines()) == 1002


async def test_an_open_file_is_flushed_and_stays_open(tmp_path: Path) -> None:
    """A stream is written to at its current position, flushed, and left open."""
    with (tmp_path / "log").open("w", encoding="utf-8", newline="") as file:
        file.write("# keys\n")
        await export_keys(given_keys([FULL]), file, format="jsonl")
        assert (tmp_path / "log").read_text("utf-8").startswith('# keys\n{"')
        file.write("# end\n")


@posix
async def test_the_file_has_mode_0600(tmp_path: Path) -> None:
    """The file gets mode 0600, whatever the old one had, and a link to it stays a link."""
    path, link = tmp_path / "keys.csv", tmp_path / "link.csv"
    path.write_text("old")
    path.chmod(0o644)
    link.symlink_to(path)
    await export_keys(given_keys([FULL]), link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert path.read_text("utf-8").startswith("id,")
    assert files_in(tmp_path) == ["keys.csv", "link.csv"]


async def test_encoding_and_writing_leave_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are written in one thread, and not in that of the event loop."""
    threads = set()

    class RecordingFile(io.StringIO):
        def write(self, text: str) -> int:
            threads.add(threading.current_thread())
            return super().write(text)

    monkeypatch.setattr(sources, "CHUNK_SIZE", 1)
    await export_keys(given_keys([FULL, FULL]), RecordingFile(), format="csv")
    assert len(threads) == 1
    assert threading.current_thread() not in threads
