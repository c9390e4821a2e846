"""`junkie keys list`, `keys count` and `folders`: tables, tabs and JSON."""

import asyncio
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from junkie_async import Key, KeyFolder
from junkie_async.emulator import Emulator

from ._invoke import junkie, junkie_in_terminal
from ._process import emulator_environment, start_process, terminal, wait_for_end

_PAST = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
_EVIL = "evil\x1b[31m\x07\tname"


async def test_a_pipe_gets_a_line_for_each_key(tmp_path: Path) -> None:
    """A line has seven tab-separated cells, a masked value and no control characters."""
    async with Emulator() as emulator:
        await emulator.seed(
            250,
            key_value=lambda row: f"JNK-AAAA-BBBB-C{row:03}",
            key_name=_EVIL,
            expires_at=lambda row: _PAST if row == 249 else None,
            hwids=["PC"],
            hwid_limit=3,
            discord_id="123456789012345678",
        )
        ended = await junkie(emulator, "keys", "list", cwd=tmp_path, FORCE_COLOR="1")
        assert emulator.calls == {"listKeys": 3}
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert len(rows) == 250
    assert rows[0] == [
        *("250", "JNK-…C249", "expired", "2020-01-02T03:04:05Z", "1/3", "123456789012345678"),
        "evil[31m name",
    ]
    assert rows[1][2:4] == ["active", ""]


async def test_json_has_all_fields(tmp_path: Path) -> None:
    """A line is a complete key, whose value is masked unless --show-values is given."""
    async with Emulator() as emulator:
        await emulator.seed(3, key_name=_EVIL, expires_at=_PAST)
        masked = await junkie(emulator, "keys", "list", "--json", cwd=tmp_path)
        shown = await junkie(emulator, "keys", "list", "--json", "--show-values")
        exported = await junkie(emulator, "export", "-", "--format=jsonl")
    assert (masked.code, masked.err, shown.code) == (0, "", 0)
    assert shown.out == exported.out
    keys = msgspec.json.Decoder(Key).decode_lines(masked.out)
    whole = msgspec.json.Decoder(Key).decode_lines(shown.out)
    assert keys[0].key_name == _EVIL
    assert keys[0].expires_at == _PAST
    for key, full in zip(keys, whole, strict=True):
        assert f"key_value={key.key_value}," in repr(full)
        assert full.key_value not in masked.out


async def test_json_escapes_unprintable_characters() -> None:
    """They are written as JSON escapes and decode to the original text."""
    name = "a\x9b31m\u202eb\U000e0001c é"
    async with Emulator() as emulator:
        await emulator.seed(1, key_name=name)
        result = await junkie(emulator, "keys", "list", "--json")
    assert "\\u009b31m\\u202eb\\udb40\\udc01c é" in result.out
    assert msgspec.json.decode(result.out)["key_name"] == name


async def test_limit_is_the_total_number_of_keys() -> None:
    """No page is larger than needed, and no page is requested in vain."""
    async with Emulator() as emulator:
        await emulator.seed(300)
        few = await junkie(emulator, "keys", "list", "--limit=7")
        assert emulator.calls == {"listKeys": 1}
        more = await junkie(emulator, "keys", "list", "--limit=150")
    assert [line.split("\t")[0] for line in few.out.splitlines()] == [
        str(number) for number in range(300, 293, -1)
    ]
    assert (len(more.out.splitlines()), more.err) == (150, "")


async def test_filters_narrow_the_list() -> None:
    """A key must match all filters."""
    async with Emulator() as emulator:
        await emulator.seed(20, provider_id=lambda row: row % 2 + 1, folder_id=lambda row: row // 5)
        result = await junkie(emulator, "keys", "list", "--provider-id=2", "--folder-id=3")
        none = await junkie(emulator, "keys", "list", "--status=used")
    assert [line.split("\t")[0] for line in result.out.splitlines()] == ["20", "18", "16"]
    assert (none.code, none.out, none.err) == (0, "", "")


async def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`junkie keys list | head -1` succeeds without walking the whole list."""
    ours, theirs = os.pipe()
    async with Emulator() as emulator:
        await emulator.seed(20_000)
        process = await start_process(
            *("keys", "list"), cwd=tmp_path, env=emulator_environment(emulator), stdout=theirs
        )
        os.close(theirs)
        assert (await asyncio.to_thread(os.read, ours, 10)).startswith(b"20000\t")
        os.close(ours)
        ended = await wait_for_end(process)
        assert emulator.calls["listKeys"] < 200
    assert (ended.code, ended.err) == (0, "")


@terminal
async def test_a_terminal_gets_a_table(tmp_path: Path) -> None:
    """It has a header, colours, 100 keys in 80 columns, and a notice of the rest."""
    async with Emulator() as emulator:
        await emulator.seed(120, key_name="launch \x1b[41m of a very long name that goes on and on")
        ended = await junkie_in_terminal(emulator, "keys", "list", cwd=tmp_path)
    assert ended.code == 0
    assert "\x1b[41m" not in ended.out
    *lines, notice = _plain(ended.out).splitlines()
    assert lines[0].split() == ["ID", "Key", "Status", "Expires", "(UTC)", "HWIDs", *_NAMES]
    assert len(lines) == 2 + 100
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[0] == "120"
    assert "\x1b[32mactive" in ended.out
    assert notice == "100 of 120 keys shown; --limit shows more"


_NAMES = ("Discord", "ID", "Name")


@terminal
async def test_a_long_table_has_one_header_and_no_cut_ids(tmp_path: Path) -> None:
    """It is printed page by page; columns widen, and optional ones are dropped."""
    async with Emulator(newest_first=False) as emulator:
        await emulator.seed(1050, discord_id="123456789012345678")
        full = "--show-values"
        ended = await junkie_in_terminal(
            emulator, "keys", "list", "--limit=1050", full, cwd=tmp_path
        )
        nothing = await junkie_in_terminal(emulator, "keys", "list", "--status=used", cwd=tmp_path)
    lines = _plain(ended.out).splitlines()
    assert lines[0].split() == ["ID", "Key", "Status", "Expires", "(UTC)", "HWIDs", "Name"]
    assert [line.split()[0] for line in lines[2:]] == [str(number) for number in range(1, 1051)]
    assert all(re.fullmatch(r"JNK(-\w{4}){4}", line.split()[1]) for line in lines[2:])
    assert nothing.out == "No keys match.\r\n"


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


async def test_count_is_a_number(tmp_path: Path) -> None:
    """It takes two requests; --json prints an object."""
    async with Emulator() as emulator:
        await emulator.seed(1234, provider_id=lambda row: 2 if row < 34 else 1)
        ended = await junkie(emulator, "keys", "count", "--provider-id", "1", cwd=tmp_path)
        assert emulator.calls == {"listKeys": 2}
        result = await junkie(emulator, "keys", "count", "--json")
    assert (ended.code, ended.out, ended.err) == (0, "1200\n", "")
    assert result.out == '{"count":1234}\n'


async def test_count_by_status() -> None:
    """Each status has a line, even without keys."""
    async with Emulator() as emulator:
        await emulator.seed(12, expires_at=lambda row: _PAST if row < 5 else None)
        lines = await junkie(emulator, "keys", "count", "--by-status")
        objects = await junkie(emulator, "keys", "count", "--by-status", "--json")
        both = await junkie(emulator, "keys", "count", "--by-status", "--status=used")
    assert lines.out == "active\t7\nused\t0\nexpired\t5\ninvalidated\t0\n"
    assert objects.out.splitlines()[2] == '{"status":"expired","count":5}'
    assert (both.code, both.out) == (2, "")


async def test_folders(tmp_path: Path) -> None:
    """Each folder has a line, and names can't control a terminal."""
    async with Emulator() as emulator:
        await emulator.add_folder("VIP")
        await emulator.add_folder("a\x1b[2Jb")
        ended = await junkie(emulator, "folders", cwd=tmp_path)
        objects = await junkie(emulator, "folders", "--json")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert (ended.code, [row[:2] for row in rows]) == (0, [["1", "VIP"], ["2", "a[2Jb"]])
    folders = msgspec.json.Decoder(KeyFolder).decode_lines(objects.out)
    assert [folder.name for folder in folders] == ["VIP", "a\x1b[2Jb"]


@pytest.mark.parametrize("command", [["folders"], ["keys", "count", "--by-status"]])
@terminal
async def test_small_tables_are_drawn(command: list[str], tmp_path: Path) -> None:
    """A terminal gets a drawn header."""
    async with Emulator() as emulator:
        await emulator.add_folder("VIP")
        ended = await junkie_in_terminal(emulator, *command, cwd=tmp_path)
    assert ended.code == 0
    assert "───" in ended.out
