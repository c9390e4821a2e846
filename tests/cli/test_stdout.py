"""What goes to stdout, and what a terminal must not get."""

import asyncio
import os
from pathlib import Path

from junkie_async import Key, mask_key_value
from junkie_async.cli._stdout import to_one_line
from junkie_async.emulator import Emulator

from ._invoke import junkie, junkie_in_terminal
from ._process import emulator_environment, posix, start_process, terminal


def test_one_line_keeps_what_can_be_printed() -> None:
    """Line ends become spaces, controls vanish, letters of any script stay."""
    assert to_one_line(" a\r\n\tb \x07ключ ") == "a b ключ"


def test_values_are_masked_as_in_repr() -> None:
    """`mask_key_value` is what `repr` of a key uses."""
    for value in ("JNK-AAAA-BBBB-CCCC", "short", "", "\n" * 20, "ключ" * 5):
        assert f"key_value={mask_key_value(value)}," in repr(Key(id=1, key_value=value))


@posix
async def test_a_bar_on_stderr_leaves_stdout_to_the_rows(tmp_path: Path) -> None:
    """The bar of `junkie export - > keys.csv` does not take the rows for itself."""
    import pty

    path = tmp_path / "keys.csv"
    ours, theirs = pty.openpty()
    async with Emulator() as emulator:
        await emulator.seed(150)
        with path.open("wb") as file:
            process = await start_process(
                *("export", "-", "--format=csv"),
                cwd=tmp_path,
                env=emulator_environment(emulator, TERM="xterm-256color", COLUMNS="80"),
                stdin=theirs,
                stdout=file.fileno(),
                stderr=theirs,
            )
            os.close(theirs)
            assert await asyncio.wait_for(process.wait(), 30) == 0
    drawn = os.read(ours, 65536).decode()  # all of it fits into the terminal's buffer
    os.close(ours)
    assert "150 keys written" in drawn
    assert "JNK-" not in drawn
    assert len(path.read_bytes().splitlines()) == 151


@terminal
async def test_rows_can_not_control_a_terminal() -> None:
    """An export to the screen is cleaned; one that goes to a pipe is not."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_name="a\x1b[2Jb")
        drawn = await junkie_in_terminal(emulator, "export", "-", "--format=csv")
        piped = await junkie(emulator, "export", "-", "--format=csv")
    assert "a[2Jb" in drawn.out
    assert "a\x1b[2Jb" in piped.out
