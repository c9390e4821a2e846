"""`junkie keys delete` and `keys purge`: dry run, question, deletion."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import typer

from junkie_async.cli.keys.delete import ConfirmOptions, _ask_user
from junkie_async.emulator import Emulator, Faults

from ._invoke import junkie, junkie_in_terminal
from ._process import posix, run_and_signal, terminal

_VALUE = "JNK-AAAA-BBBB-CCCC"
_PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def test_delete_by_value_and_id(tmp_path: Path) -> None:
    """`delete 1` is the key whose value is 1, and `--id 1` the one whose ID is."""
    async with Emulator() as emulator:
        await emulator.seed(3, key_value=lambda row: [_VALUE, "1", "2"][row])
        ended = await junkie(emulator, "keys", "delete", "1", "--id=1", "--yes", cwd=tmp_path)
        left = await junkie(emulator, "keys", "list", "--show-values")
        assert emulator.calls["bulkDeleteKeys"] == 1
    assert (ended.code, ended.out, ended.err) == (0, "2 keys deleted\n", "")
    assert left.out.split("\t")[:2] == ["3", "2"]


async def test_delete_from_a_file(tmp_path: Path) -> None:
    """Each request has up to 1,000 keys, without duplicates; --json prints the report."""
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(1, 2002)) + "7\n")
    async with Emulator() as emulator:
        await emulator.seed(2100)
        options = ["--from=ids.txt", "--ids", "--yes", "--json"]
        ended = await junkie(emulator, "keys", "delete", *options, cwd=tmp_path)
        assert await emulator.count() == 99
        assert emulator.calls == {"bulkDeleteKeys": 3}
    assert (ended.code, ended.err) == (0, "")
    assert msgspec.json.decode(ended.out) == {
        "requested": 2001,
        "deleted": 2001,
        "missing": 0,
        "failed": 0,
    }


async def test_missing_keys_are_counted() -> None:
    """The exit code is 5 if some are missing, and 1 if all are."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        some = await junkie(emulator, "keys", "delete", "--id=1", "--id=2", "--yes")
        none = await junkie(emulator, "keys", "delete", "--id=1", "--id=2", "--yes")
    assert (some.code, some.out) == (5, "1 key deleted; 1 not found\n")
    assert (none.code, none.out) == (1, "0 keys deleted; 2 not found\n")


@pytest.mark.parametrize("command", [["delete", "--id=1"], ["purge", "--status=expired"]])
async def test_a_question_without_a_terminal_is_bad_usage(
    command: list[str], tmp_path: Path
) -> None:
    """Nothing is sent, whatever comes from stdin."""
    async with Emulator() as emulator:
        await emulator.seed(1, expires_at=_PAST)
        ended = await junkie(emulator, "keys", *command, cwd=tmp_path, stdin="y\n")
        assert (emulator.requests, await emulator.count()) == (0, 1)
    assert (ended.code, ended.out) == (2, "")


@terminal
@pytest.mark.parametrize(("typed", "deleted"), [("y\n", 1234), ("n\n", 0), ("\n", 0), ("\4", 0)])
async def test_the_question_has_the_number_of_keys(
    typed: str, deleted: int, tmp_path: Path
) -> None:
    """Only yes deletes; no, an empty line and the end of input give exit code 130."""
    async with Emulator() as emulator:
        await emulator.seed(1300, expires_at=lambda row: _PAST if row < 1234 else None)
        ended = await junkie_in_terminal(
            emulator, "keys", "purge", "--status=expired", cwd=tmp_path, typed=typed
        )
        assert await emulator.count() == 1300 - deleted
    assert "Delete 1,234 keys? [y/N] " in ended.out
    if deleted:
        assert ended.code == 0
        assert ended.out.endswith("1,234 keys deleted\r\n")
    else:
        assert ended.code == 130
        assert ended.out.endswith("Error: stopped; nothing was deleted\r\n")


@terminal
async def test_what_was_typed_ahead_is_no_answer(tmp_path: Path) -> None:
    """The walk took its time: a "y" that was typed meanwhile was typed for something else."""
    async with Emulator() as emulator:
        await emulator.seed(3, expires_at=_PAST)
        ended = await junkie_in_terminal(
            emulator,
            *("keys", "purge", "--status=expired"),
            cwd=tmp_path,
            typed="n\n",
            typed_ahead="y\n",
        )
        assert await emulator.count() == 3
    assert ended.code == 130


@terminal
async def test_delete_asks_too(tmp_path: Path) -> None:
    """The question is in the singular for one key."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        yes = await junkie_in_terminal(
            emulator, "keys", "delete", "--id=1", cwd=tmp_path, typed="yes\n"
        )
        assert await emulator.count() == 0
    assert yes.code == 0
    assert "Delete 1 key? [y/N] " in yes.out


def test_ctrl_c_means_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question's line is ended, and nothing is deleted."""

    class Terminal:
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            raise OSError

        def readline(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(typer.Exit) as caught:
        _ask_user(2, ConfirmOptions())
    assert caught.value.exit_code == 130
    asked, answered = capsys.readouterr().err.splitlines()
    assert asked == "Delete 2 keys? [y/N] "
    assert answered == "Error: stopped; nothing was deleted"


async def test_purge_deletes_the_matching_keys(tmp_path: Path) -> None:
    """Other keys stay. Without a match it says so and asks nothing."""
    async with Emulator() as emulator:
        await emulator.seed(150, expires_at=lambda row: _PAST if row < 120 else None)
        ended = await junkie(emulator, "keys", "purge", "--status=expired", "-y", cwd=tmp_path)
        again = await junkie(emulator, "keys", "purge", "--status=expired", "-y")
        assert await emulator.count() == 30
        rest = await junkie(emulator, "keys", "purge", "--everything", "-y", "--json")
        assert await emulator.count() == 0
    assert (ended.code, ended.out, ended.err) == (0, "120 keys deleted\n", "")
    assert (again.code, again.out) == (0, "0 keys deleted\n")
    assert msgspec.json.decode(rest.out)["deleted"] == 30


@pytest.mark.parametrize(
    "arguments", [[], ["--everything", "--status=expired"], ["--key="], ["--status=old"]]
)
async def test_purge_needs_a_filter_or_everything(arguments: list[str]) -> None:
    """Neither, both, or an empty filter is bad usage, and nothing is sent."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        result = await junkie(emulator, "keys", "purge", "--yes", *arguments)
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")


async def test_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    """It shows the keys and their number, and asks nothing."""
    async with Emulator() as emulator:
        await emulator.seed(120, key_value=lambda row: f"{_VALUE}{row:03}", key_name="launch")
        purge = await junkie(emulator, "keys", "purge", "--everything", "--dry-run", cwd=tmp_path)
        keys = ["--id=7", "--id=999", f"{_VALUE}000", f"{_VALUE}006"]
        delete = await junkie(emulator, "keys", "delete", *keys, "--dry-run", cwd=tmp_path)
        assert "bulkDeleteKeys" not in emulator.calls
        assert await emulator.count() == 120
    assert (purge.code, len(purge.out.splitlines())) == (0, 120)
    assert purge.err == "120 keys would be deleted\n"
    assert purge.out.startswith("120\tJNK-…C119\tactive\t")
    assert (delete.code, delete.err) == (0, "2 keys would be deleted; 2 not found\n")
    assert [line.split("\t")[0] for line in delete.out.splitlines()] == ["1", "7"]


@terminal
async def test_a_dry_run_in_a_terminal_shows_some(tmp_path: Path) -> None:
    """The table has 100 keys, and the last line the number of all."""
    async with Emulator() as emulator:
        await emulator.seed(120)
        command = ("keys", "purge", "--everything", "--dry-run")
        ended = await junkie_in_terminal(emulator, *command, cwd=tmp_path)
    assert ended.code == 0
    assert ended.out.count("JNK-") == 100
    assert ended.out.endswith("120 keys would be deleted\r\n")


@posix
async def test_a_stopped_deletion_prints_its_progress(tmp_path: Path) -> None:
    """Requests in flight are completed and counted."""
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(1, 20_001)))
    async with Emulator(latency=0.2) as emulator:
        await emulator.seed(20_000)

        async def has_begun(emulator: Emulator) -> bool:
            return await emulator.count() < 20_000

        ended = await run_and_signal(
            emulator,
            signal.SIGINT,
            *("keys", "delete", "--from=ids.txt", "--ids", "--yes"),
            cwd=tmp_path,
            when=has_begun,
        )
        deleted = 20_000 - await emulator.count()
    assert 0 < deleted < 20_000
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == f"Error: stopped: {deleted:,} of 20,000 keys deleted\n"


async def test_a_failed_deletion_prints_its_progress(tmp_path: Path) -> None:
    """The exit code is 5, or that of the cause if nothing was deleted."""
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(1, 20_001)))
    faults = Faults(error_rate=0.2, error_status=403, operations="bulkDeleteKeys", seed=4)
    arguments = ["keys", "delete", f"--from={tmp_path / 'ids.txt'}", "--ids", "--yes"]
    async with Emulator(faults=faults) as emulator:
        await emulator.seed(20_000)
        partly = await junkie(emulator, *arguments)
        left = await emulator.count()
        emulator.faults = Faults(error_rate=1.0, error_status=403)
        refused = await junkie(emulator, *arguments)
    assert 0 < left < 20_000
    assert (partly.code, partly.out) == (5, "")
    assert f"({20_000 - left:,} of " in partly.err
    assert (refused.code, refused.out) == (3, "")
    assert refused.err.count("\n") == 1
