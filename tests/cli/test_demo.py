"""`junkie demo`: it adds up, says so plainly, and fails when it doesn't."""

import csv
import errno
import re
import stat
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console
from typer.testing import CliRunner

from junkie_async import DeleteReport, JunkieClient, Key, Keys
from junkie_async.cli import app
from junkie_async.cli._demo_steps import LEAST, Demo, Plan, _values
from junkie_async.cli._screen import Bars, Lines, make_screen
from junkie_async.emulator import Emulator
from junkie_async.export import COLUMNS

from ._process import Ended, run, run_in_terminal

_STEPS = 13
_COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-8]|4[0-8]|9[0-7])[0-9;]*m")
terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals here")


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """The demo as it is, its output in a pipe, and the directory where it ran."""
    where = tmp_path_factory.mktemp("piped")
    # The demo is about its own emulator, whatever the environment is set up for.
    env = {"JUNKIE_BASE_URL": "http://127.0.0.1:9", "FORCE_COLOR": "1"}
    return run("demo", cwd=where, env=env), where


def test_the_demo_adds_up(piped: tuple[Ended, Path]) -> None:
    """5,000 keys, and every step's line and the total end with "ok"."""
    ended, _ = piped
    assert (ended.code, ended.err) == (0, "")
    rows = [line for line in ended.out.splitlines() if line.endswith((" ok", " NO"))]
    assert len(rows) == _STEPS + 1
    assert all(row.endswith(" ok") for row in rows)
    assert "Keys: 5,000 created; 100 purged + 4,900 deleted + 0 left" in ended.out
    assert re.search(r"Calls: (\d+) expected; \1 counted by the emulator", ended.out)


def test_the_total_is_the_sum_of_the_lines(piped: tuple[Ended, Path]) -> None:
    """Expected, counted and requests of the steps add up to the last line's."""
    out = piped[0].out
    rows = [line for line in out.splitlines() if line.endswith(" ok")]
    # Names have single spaces and numbers none: the numbers begin where the name's column ends.
    numbers = [[int(n.replace(",", "")) for n in row[21:].split()[:3]] for row in rows]
    *steps, total = numbers
    assert [sum(column) for column in zip(*steps, strict=True)] == total


def test_a_pipe_gets_plain_lines(piped: tuple[Ended, Path]) -> None:
    """No codes, no boxes, no bars, even with $FORCE_COLOR; one line a step, 80 columns wide."""
    out = piped[0].out
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.replace("…", "").isascii()  # the ellipsis of a masked key
    lines = out.splitlines()
    assert sum(line.startswith("list, all ") for line in lines) == 1
    assert all(len(line) <= 80 for line in lines if "/" not in line)


def test_the_csv_has_every_key(piped: tuple[Ended, Path]) -> None:
    """The file is where the demo says, private, with a header and 5,000 different keys."""
    ended, where = piped
    path = where / "junkie-demo.csv"
    assert f"CSV of 5,000 keys, mode 0600: {path}" in ended.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert tuple(header) == COLUMNS
    assert len({row[1] for row in rows}) == len(rows) == 5000
    assert [sorted(where.iterdir())] == [[path]]


def test_no_whole_key_value_is_printed(piped: tuple[Ended, Path]) -> None:
    """The key that the demo shows is masked."""
    ended, where = piped
    assert not any(value in ended.out for value in _values(where / "junkie-demo.csv"))
    assert re.search(r"masked: Key\(id=\d+, key_value=JNK-….{4}, ", ended.out)


@pytest.mark.parametrize("keys", [LEAST, 101, 1234])
def test_any_number_of_keys_adds_up(keys: int, tmp_path: Path) -> None:
    """The arithmetic of pages and batches holds for odd numbers too."""
    path = tmp_path / "keys.csv"
    result = CliRunner().invoke(app, ["demo", "--keys", str(keys), "--csv", str(path)])
    assert result.exit_code == 0, result.output
    assert len(_values(path)) == keys


@terminal
def test_a_terminal_gets_bars_and_then_the_table(tmp_path: Path) -> None:
    """Bars with a rate are drawn while it runs, and the table comes after the last of them."""
    ended = run_in_terminal("demo", "--keys", "1000", cwd=tmp_path)
    assert ended.code == 0, ended.out
    assert "━" in ended.out
    assert "keys/s" in ended.out
    bars, table = ended.out.rsplit("Expected", 1)
    assert "━" in bars
    assert "━" not in table
    assert "…" not in table.partition("Keys: ")[0]  # no cell is cut off at 80 columns
    assert table.count("ok") == _STEPS + 1
    assert _COLOUR.search(ended.out)


@terminal
def test_no_color_is_respected(tmp_path: Path) -> None:
    """With $NO_COLOR a terminal gets bars without colours."""
    ended = run_in_terminal("demo", "--keys", "10", cwd=tmp_path, env={"NO_COLOR": "1"})
    assert ended.code == 0, ended.out
    assert "━" in ended.out
    assert not _COLOUR.search(ended.out)


@pytest.mark.parametrize(("term", "kind"), [("dumb", Lines), ("xterm-256color", Bars)])
def test_a_dumb_terminal_gets_lines(term: str, kind: type) -> None:
    """A terminal that can't move its cursor is treated like a log."""
    console = Console(force_terminal=True, _environ={"TERM": term})
    assert isinstance(make_screen(console, []), kind)


def test_a_log_of_ascii_is_no_reason_to_fail(tmp_path: Path) -> None:
    """Where the output can't hold a letter, it is replaced."""
    ended = run("demo", "--keys", "10", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0, ended.err
    assert "key_value=JNK-?" in ended.out


def _demo_in(path: Path) -> Any:
    return CliRunner().invoke(app, ["demo", "--keys", "30", "--csv", str(path / "keys.csv")])


def test_a_purge_that_counts_wrong_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A report with a key too many is found by its step and by the sum of all."""
    purge = Keys.purge

    async def wrong(self: Keys, **options: Any) -> DeleteReport:
        report = await purge(self, **options)
        return attrs.evolve(report, deleted=report.deleted + 1)

    monkeypatch.setattr(Keys, "purge", wrong)
    result = _demo_in(tmp_path)
    assert result.exit_code == 1
    assert "- purge, expired: 12 keys expected, 13 counted\n" in result.output
    assert "- keys: created is not purged + deleted + left\n" in result.output


def test_a_purge_that_does_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A report alone is not believed: the emulator is asked what it holds and what it was sent."""

    async def lie(self: Keys, **options: Any) -> DeleteReport:
        return DeleteReport(requested=12, deleted=12)

    monkeypatch.setattr(Keys, "purge", lie)
    result = _demo_in(tmp_path)
    assert result.exit_code == 1
    assert "- purge, expired: the service should hold 18 keys, and holds 30\n" in result.output
    assert "calls expected: bulkDeleteKeys 1, listKeys 1; made: none\n" in result.output


def test_a_key_that_is_not_found_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A look-up without its key is counted as none."""

    async def nothing(self: Keys, key_value: str) -> Key | None:
        return await self.list(key=key_value, limit=1).first() and None

    monkeypatch.setattr(Keys, "find", nothing)
    result = _demo_in(tmp_path)
    assert result.exit_code == 1
    assert "- find: 6 keys expected, 0 counted\n" in result.output


def test_a_request_too_many_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the emulator counted on its side is held against the steps."""
    monkeypatch.setattr(Demo, "_count_left", _count_twice)
    result = _demo_in(tmp_path)
    assert result.exit_code == 1
    assert "- count, at the end: calls expected: listKeys 1; made: listKeys 2" in result.output
    assert re.search(r"- calls: (\d+) expected, (?!\1)\d+ answered\n", result.output)


async def _count_twice(self: Demo, _: object) -> int:
    return await self._keys.list().count() + await self._keys.list().count()


@pytest.mark.parametrize("wrong", ["lost", "twice", "strange", "lost and twice"])
async def test_a_wrong_walk_is_noticed(wrong: str, tmp_path: Path) -> None:
    """A walk that loses a key, or gives one twice, or one of another, does not count as whole."""
    values = {"lost": "a", "twice": "abb", "strange": "abc", "lost and twice": "aa"}[wrong]
    async with JunkieClient("any", base_url="http://127.0.0.1:9") as junkie:
        demo = Demo(junkie, Plan(10), tmp_path / "keys.csv")
        demo._standard = ("a", "b")
        demo._keys = _Stub(values)  # type: ignore[assignment]
        assert await demo._walk(lambda *_: None) < 2


class _Stub:
    """Lists keys of these values."""

    def __init__(self, values: str) -> None:
        self._values = values

    async def list(self) -> Any:
        for number, value in enumerate(self._values, 1):
            yield Key(id=number, key_value=value)


def test_an_error_on_the_way_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When a step can't be done, the demo names the call, without a traceback."""
    monkeypatch.setattr(
        "junkie_async.cli.demo.load_emulator", lambda: lambda: Emulator(api_keys={"other"})
    )
    result = _demo_in(tmp_path)
    assert result.exit_code == 3
    assert re.match("Error: .*POST /keys/batch: .*Invalid API key", result.stderr)
    assert result.stderr.endswith(" (0 of 24 keys are created)\n")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("nowhere/keys.csv", "there is no directory"), (".", "it is not a regular file")],
)
def test_a_csv_that_cannot_be_is_bad_usage(path: str, reason: str, tmp_path: Path) -> None:
    """A path that can't be written is refused before anything is done."""
    result = CliRunner().invoke(app, ["demo", "--csv", str(tmp_path / path)])
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stdout == ""


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that can't be finished is not left half written."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = _demo_in(tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: --csv {tmp_path / 'keys.csv'}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_too_few_keys_are_bad_usage() -> None:
    """The steps need keys to work with."""
    assert CliRunner().invoke(app, ["demo", "--keys", "9"]).exit_code == 2
