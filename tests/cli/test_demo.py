"""`junkie demo`: every count is checked, the result is plain to see, and a wrong count fails."""

import csv
import errno
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from junkie_async import DeleteReport, Key, KeyPage, KeyPager, Keys
from junkie_async.cli.demo import _count_keys, _walk_all
from junkie_async.emulator import Emulator
from junkie_async.export import COLUMNS, unmark

from ._invoke import invoke, invoke_in_terminal
from ._process import Ended, run_process, terminal

_STEPS = 15
_LEAST = 10
_COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-8]|4[0-8]|9[0-7])[0-9;]*m")


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """The demo with 5,000 keys in a process, its output in a pipe, and its directory."""
    folder = tmp_path_factory.mktemp("piped")
    # The demo uses its own emulator, whatever the environment says.
    env = {"JUNKIE_BASE_URL": "http://127.0.0.1:9", "FORCE_COLOR": "1"}
    return run_process("demo", "--csv=junkie-demo.csv", cwd=folder, env=env), folder


def test_nothing_is_left_behind_unless_asked(tmp_path: Path) -> None:
    """Without --csv neither the directory nor that of temporary files has a new file."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    ended = run_process("demo", "--keys=10", cwd=work, env={"TMPDIR": str(temporary)})
    assert (ended.code, ended.err) == (0, "")
    assert "CSV of" not in ended.out
    assert [*work.iterdir(), *temporary.iterdir()] == []


def test_the_counts_agree(piped: tuple[Ended, Path]) -> None:
    """5,000 keys, and every step's row ends with "ok"."""
    ended, _ = piped
    assert (ended.code, ended.err) == (0, "")
    rows = [line for line in ended.out.splitlines() if line.endswith((" ok", " NO"))]
    assert len(rows) == _STEPS
    assert all(row.endswith(" ok") for row in rows)
    assert re.search(r"Calls: (\d+) expected, \1 counted by the emulator", ended.out)


def test_the_total_is_the_sum_of_the_rows(piped: tuple[Ended, Path]) -> None:
    """The rows' keys agree, and their calls add up to the last line's number."""
    out = piped[0].out
    rows = [line for line in out.splitlines() if line.endswith(" ok")]
    # Names have single spaces and numbers none: the numbers begin where the name's column ends.
    numbers = [[int(n.replace(",", "")) for n in row[21:].split()[:3]] for row in rows]
    assert all(expected == counted for expected, counted, _ in numbers)
    assert f"Calls: {sum(calls for *_, calls in numbers)} expected" in out


def test_a_pipe_gets_plain_lines(piped: tuple[Ended, Path]) -> None:
    """No escape codes, boxes or bars, even with $FORCE_COLOR; one row per step, 80 columns."""
    out = piped[0].out
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.replace("…", "").isascii()  # the ellipsis of a masked key
    lines = out.splitlines()
    assert sum(line.startswith("list ") for line in lines) == 1
    assert all(len(line) <= 80 for line in lines if "/" not in line)


def test_the_csv_has_every_key(piped: tuple[Ended, Path]) -> None:
    """The file is where the demo says, private, with a header and 5,000 different keys."""
    ended, folder = piped
    path = folder / "junkie-demo.csv"
    assert f"CSV of 5,000 keys, mode 0600: {path}" in ended.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert tuple(header) == COLUMNS
    assert len({row[1] for row in rows}) == len(rows) == 5000
    assert [sorted(folder.iterdir())] == [[path]]


def _read_values(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [unmark(row["key_value"]) for row in csv.DictReader(file)]


def test_no_whole_key_value_is_printed(piped: tuple[Ended, Path]) -> None:
    """The key that the demo shows is masked."""
    ended, folder = piped
    assert not any(value in ended.out for value in _read_values(folder / "junkie-demo.csv"))
    assert re.search(r"masked: Key\(id=\d+, key_value=JNK-….{4}, ", ended.out)


@pytest.mark.parametrize("keys", [_LEAST, 101, 1234])
def test_the_counts_agree_for_any_number_of_keys(keys: int, tmp_path: Path) -> None:
    """The arithmetic of pages and batches holds for odd numbers too."""
    path = tmp_path / "keys.csv"
    ended = invoke("demo", "--keys", str(keys), "--csv", str(path))
    assert ended.code == 0, ended.out
    assert len(_read_values(path)) == keys


@terminal
def test_a_terminal_gets_bars_and_rows(tmp_path: Path) -> None:
    """A bar is drawn while a step runs; the rows stay, coloured and uncut at 80 columns."""
    ended = invoke_in_terminal("demo", "--keys", "1000", cwd=tmp_path)
    assert ended.code == 0, ended.out
    assert "━" in ended.out
    assert re.search(r"[\d,]+/s", ended.out)
    assert ended.out.count("ok\x1b[0m\r\n") == _STEPS
    assert _COLOUR.search(ended.out)


@terminal
def test_no_color_is_respected(tmp_path: Path) -> None:
    """With $NO_COLOR a terminal gets bars without colours."""
    ended = invoke_in_terminal("demo", "--keys", "10", cwd=tmp_path, env={"NO_COLOR": "1"})
    assert ended.code == 0, ended.out
    assert "━" in ended.out
    assert not _COLOUR.search(ended.out)


@terminal
def test_a_dumb_terminal_gets_plain_rows(tmp_path: Path) -> None:
    """A terminal that can't move its cursor is treated like a log."""
    ended = invoke_in_terminal("demo", "--keys", "10", cwd=tmp_path, env={"TERM": "dumb"})
    assert ended.code == 0, ended.out
    assert "\x1b" not in ended.out
    assert "━" not in ended.out


def test_an_ascii_log_is_no_error(tmp_path: Path) -> None:
    """Where the output can't hold a letter, the demo still succeeds."""
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ended = run_process("demo", "--keys", "10", cwd=tmp_path, env=env)
    assert ended.code == 0, ended.err
    assert "key_value=JNK-" in ended.out


def _run_demo(folder: Path) -> Ended:
    return invoke("demo", "--keys", "30", "--csv", str(folder / "keys.csv"))


def test_a_purge_that_counts_wrong_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A report with a key too many is found."""
    purge = Keys.purge

    async def purge_wrong(self: Keys, **options: Any) -> DeleteReport:
        report = await purge(self, **options)
        return attrs.evolve(report, deleted=report.deleted + 1)

    monkeypatch.setattr(Keys, "purge", purge_wrong)
    ended = _run_demo(tmp_path)
    assert ended.code == 1
    assert "- purge, expired: 15 keys expected, 16 counted\n" in ended.out


def test_a_purge_that_does_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A report alone is not trusted: the emulator is asked what it holds and what it received."""

    async def pretend(self: Keys, **options: Any) -> DeleteReport:
        return DeleteReport(requested=15, deleted=15)

    monkeypatch.setattr(Keys, "purge", pretend)
    ended = _run_demo(tmp_path)
    assert ended.code == 1
    assert "- purge, expired: 15 keys expected in the service, 30 counted\n" in ended.out
    assert (
        "- purge, expired: calls expected: bulkDeleteKeys 1, listKeys 1; made: none\n" in ended.out
    )


def test_a_key_that_is_not_found_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A look-up without its key is counted as none."""

    async def find_nothing(self: Keys, key_value: str) -> Key | None:
        return await self.list(key=key_value, limit=1).first() and None

    monkeypatch.setattr(Keys, "find", find_nothing)
    ended = _run_demo(tmp_path)
    assert ended.code == 1
    assert "- find: 6 keys expected, 0 counted\n" in ended.out


def test_a_request_too_many_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the emulator counted on its side is compared with the steps."""
    count: Callable[[KeyPager], Awaitable[int]] = KeyPager.count

    async def count_twice(self: KeyPager) -> int:
        return await count(self) * 0 + await count(self)

    monkeypatch.setattr(KeyPager, "count", count_twice)
    ended = _run_demo(tmp_path)
    assert ended.code == 1
    assert "- count, at the end: calls expected: listKeys 1; made: listKeys 2\n" in ended.out
    assert re.search(r"- calls: (\d+) expected, (?!\1)\d+ answered\n", ended.out)


@pytest.mark.parametrize("wrong", ["lost", "twice", "strange", "lost and twice"])
async def test_a_wrong_walk_is_noticed(wrong: str) -> None:
    """A walk that loses or repeats a key, or has a foreign one, does not count as complete."""
    values = {"lost": "a", "twice": "abb", "strange": "abc", "lost and twice": "aa"}[wrong]
    keys: Any = _KeysStub(values)  # only `list` is used
    walked = await _walk_all(keys, 10, lambda *_: None)
    assert _count_keys(walked, ("a", "b")) < 2


class _KeysStub:
    """Lists keys of these values, in one page."""

    def __init__(self, values: str) -> None:
        self._values = values

    def list(self) -> Any:
        return self

    async def pages(self) -> Any:
        keys = (Key(id=n, key_value=value) for n, value in enumerate(self._values, 1))
        yield KeyPage(keys=tuple(keys))


def test_an_error_on_the_way_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When a step fails, the demo names the call, without a traceback."""
    monkeypatch.setattr(
        "junkie_async.cli.demo.load_emulator", lambda: lambda: Emulator(api_keys={"other"})
    )
    ended = _run_demo(tmp_path)
    assert ended.code == 3
    assert "POST /keys/batch" in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["nowhere/keys.csv", "."])
def test_a_csv_that_can_not_be_written_is_bad_usage(path: str, tmp_path: Path) -> None:
    """The path is refused before any key is created."""
    ended = invoke("demo", "--csv", str(tmp_path / path))
    assert (ended.code, ended.out) == (2, "")


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that can't be completed is not left half written."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    ended = _run_demo(tmp_path)
    assert ended.code == 2
    assert ended.err == f"Error: --csv {tmp_path / 'keys.csv'}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_too_few_keys_are_bad_usage() -> None:
    """The steps need keys to work with."""
    assert invoke("demo", "--keys", str(_LEAST - 1)).code == 2
