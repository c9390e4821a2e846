"""`junkie keys stats`: charts in a terminal, lines in a pipe, one object with ``--json``."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from junkie_async.cli.keys.stats import _make_bar, _make_column
from junkie_async.emulator import Emulator

from ._invoke import junkie, junkie_in_terminal
from ._process import emulator_environment, posix, start_process, terminal, wait_for_end


async def fill(emulator: Emulator) -> None:
    """Add keys whose names try to draw on the terminal."""
    folder = await emulator.add_folder("[bold]Läunch[/bold]\x1b[2J" + "x" * 60)
    soon = datetime.now(UTC) + timedelta(days=2)
    await emulator.seed(6, folder_id=folder, service_id=7, expires_at=soon)
    await emulator.seed(2, service_id=lambda index: index + 1, is_invalidated=True)


def drawn(out: str) -> list[str]:
    """Return the lines without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out).replace("\r", "\n").split("\n")


@terminal
async def test_a_terminal_gets_charts() -> None:
    """All lines fit in 80 columns, and names are shown as they are, without controls."""
    async with Emulator() as emulator:
        await fill(emulator)
        ended = await junkie_in_terminal(emulator, "keys", "stats")
    lines = drawn(ended.out)
    assert ended.code == 0
    assert "\x1b[2J" not in ended.out
    assert max(map(len, lines)) <= 80
    for pattern in (
        r"^active +6 +█+▌? +75%$",
        r"^7 Service 7 +6 +█+▌? +75%$",
        r"^1 \[bold\]Läunch\[/bold\]",
        r"^no folder +2 ",
        r"^next 7 days +6 ",
        r"^most: 6 on ",
    ):
        assert any(re.search(pattern, line) for line in lines), (pattern, lines)


@terminal
async def test_no_colours() -> None:
    """$NO_COLOR leaves no colours, and the bars stay."""
    async with Emulator() as emulator:
        await fill(emulator)
        ended = await junkie_in_terminal(emulator, "keys", "stats", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", ended.out)
    assert "█" in ended.out


async def test_a_pipe_gets_lines() -> None:
    """Each line has a group, an ID or a date, a name and a number."""
    async with Emulator() as emulator:
        await fill(emulator)
        ended = await junkie(emulator, "keys", "stats", "--days=3", "--service-id=7")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert {len(row) for row in rows} == {4}
    assert rows[0] == ["total", "", "", "6"]
    assert ["status", "active", "", "6"] in rows
    assert [row[3] for row in rows if row[0] == "expiring"] == ["0", "0", "6"]
    assert ended.err == ""


async def test_json_has_everything() -> None:
    """One object, with the names of `KeyStats`."""
    async with Emulator() as emulator:
        await fill(emulator)
        ended = await junkie(emulator, "keys", "stats", "--json")
    stats: dict[str, Any] = json.loads(ended.out)
    assert stats["total"] == 8
    assert stats["by_status"] == {"active": 6, "used": 0, "expired": 0, "invalidated": 2}
    assert [group["id"] for group in stats["by_service"]] == [7, 1, 2]
    assert len(stats["expiring"]) == 30
    assert stats["expired"] == 0


async def test_an_empty_list() -> None:
    """No keys are no charts and no error."""
    async with Emulator() as emulator:
        ended = await junkie_in_terminal(emulator, "keys", "stats")
        lines = drawn(ended.out)
    assert ended.code == 0
    assert lines[-1] == ""
    assert [line for line in lines if line][-1].startswith("0 keys, ")


@pytest.mark.parametrize(
    ("share", "bar", "plain"),
    [(0, "", ""), (0.0001, "▏", "#"), (0.5, "█" * 15, "#" * 15), (1, "█" * 30, "#" * 30)],
)
def test_bars(share: float, bar: str, plain: str) -> None:
    """A share that is not nothing is seen, also where only ASCII can be printed."""
    assert _make_bar(share, ascii_only=False) == bar
    assert _make_bar(share, ascii_only=True) == plain


@pytest.mark.parametrize(
    ("count", "most", "column"), [(0, 9, " "), (1, 1000, "▁"), (500, 1000, "▄"), (9, 9, "█")]
)
def test_columns(count: int, most: int, column: str) -> None:
    """The highest fills its column, and one that is not nothing is seen."""
    assert _make_column(count, most) == column


@posix
async def test_a_reader_that_has_left_is_no_error(tmp_path: Path) -> None:
    """`junkie keys stats | head -1` ends as `junkie keys list` does, even before the first line."""
    ours, theirs = os.pipe()
    os.close(ours)
    async with Emulator() as emulator:
        env = emulator_environment(emulator)
        process = await start_process("keys", "stats", cwd=tmp_path, env=env, stdout=theirs)
        os.close(theirs)
        ended = await wait_for_end(process)
    assert (ended.code, ended.err) == (0, "")
