"""Exports: what is in the file, which cells are disarmed, and where the file goes."""

from __future__ import annotations

import asyncio
import io
import stat
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from junkie_async import (
    HWID,
    DiscordRedemption,
    InvalidRequestError,
    Key,
    KeyDetailed,
    export,
)
from junkie_async.export import COLUMNS, Format, export_keys

from .conftest import component
from .exports import AT, FULL, files_in, given_keys, pager, posix, rows_of, text_of


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


async def test_a_coroutine_function_as_on_progress_is_awaited(tmp_path: Path) -> None:
    """It may tell somebody over the network."""
    reported: list[int] = []

    async def report(written: int, _: int | None) -> None:
        await asyncio.sleep(0)
        reported.append(written)

    other = attrs.evolve(FULL, id=FULL.id + 1)
    assert await export_keys(pager([FULL], [other]), tmp_path / "k.csv", on_progress=report) == 2
    assert reported == [1, 2]


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

    monkeypatch.setattr(export, "_CHUNK_SIZE", 1)
    await export_keys(given_keys([FULL, FULL]), RecordingFile(), format="csv")
    assert len(threads) == 1
    assert threading.current_thread() not in threads
