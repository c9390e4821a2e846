"""What all commands share: the options before them, exit codes, help, and shell completion."""

import asyncio
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import attrs
import pytest
import typer
from typer.testing import CliRunner

from junkie_async import BatchError, DeleteReport, Key, NotFoundError, ServerError, mask_key_value
from junkie_async.cli import app
from junkie_async.cli._options import spread
from junkie_async.cli._output import exit_code
from junkie_async.emulator import Emulator, Faults

from ._process import environment, run, run_in_terminal
from ._service import environment_of, junkie, junkie_here, junkie_in_terminal, posix, terminal

_COUNT = ("keys", "count")
_COMMANDS = (
    *("list", "get", "find", "verify", "count", "create", "provision", "update", "invalidate"),
    *("revalidate", "reset-hwid", "delete", "purge", "export"),
)


async def test_the_api_key_comes_from_a_file(tmp_path: Path) -> None:
    """Its first line counts, before the environment; so does --base-url."""
    path = tmp_path / "api-key"
    path.write_text("right\nand a note\n")
    path.chmod(0o600)
    async with Emulator(api_keys={"right"}) as emulator:
        options = [f"--api-key-file={path}", f"--base-url={emulator.url}"]
        elsewhere = {"JUNKIE_API_KEY": "wrong", "JUNKIE_BASE_URL": "http://127.0.0.1:9"}
        ended = await junkie(emulator, *options, *_COUNT, cwd=tmp_path, **elsewhere)
        live = await junkie_here(emulator, *options, "demo", "--live", **elsewhere)
    assert (ended.code, ended.out, ended.err) == (0, "0\n", "")
    assert live.exit_code == 0


@posix
async def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    """It is used all the same."""
    path = tmp_path / "api-key"
    path.write_text("any")
    path.chmod(stat.S_IRUSR | stat.S_IRGRP)
    async with Emulator() as emulator:
        result = await junkie_here(emulator, f"--api-key-file={path}", *_COUNT)
    assert (result.exit_code, result.stdout) == (0, "0\n")
    assert result.stderr == f"Warning: others may read {path}; `chmod 600` keeps it yours\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "its first line is empty"),
        (b"\nsecret", "its first line is empty"),
        (b"\xff\xfe", "it is not text"),
        (b"two words", "the API key contains a space"),
    ],
)
async def test_a_file_without_an_api_key(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    """It is refused, before anything is sent, and not repeated."""
    path = tmp_path / "api-key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    async with Emulator() as emulator:
        result = await junkie_here(emulator, f"--api-key-file={path}", *_COUNT)
        assert emulator.requests == 0
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    "faults",
    [
        Faults(throttle_rate=1.0, retry_after=300),
        Faults(error_rate=1.0, error_status=403),
        None,
    ],
    ids=["429", "403", "401"],
)
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["get", "--id=1"],
        ["find", "JNK"],
        ["count"],
        ["create", "--provider-id=1"],
        ["update", "--id=1", "--is-premium"],
        ["invalidate", "--id=1"],
        ["delete", "--id=1", "--yes"],
        ["purge", "--everything", "--yes"],
    ],
    ids=lambda command: command[0],
)
async def test_a_no_is_exit_code_3(command: list[str], faults: Faults | None) -> None:
    """A 429 that asks for too long a wait, a 403, and a wrong API key: one line, nothing done."""
    async with Emulator(api_keys={"right"} if faults is None else None, faults=faults) as emulator:
        await emulator.seed(1)
        result = await junkie_here(emulator, "keys", *command)
        assert await emulator.count() == 1
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


async def test_a_service_that_is_not_there_is_exit_code_4(tmp_path: Path) -> None:
    """After some attempts; one line."""
    with socket.socket() as free:  # bound, and not listening: a connection is refused
        free.bind(("127.0.0.1", 0))
        env = {"JUNKIE_API_KEY": "any"}
        url = f"--base-url=http://127.0.0.1:{free.getsockname()[1]}"
        ended = run(url, *_COUNT, cwd=tmp_path, env=env)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("Error: GET /keys: could not connect")
    assert ended.err.count("\n") == 1


def test_without_an_api_key_it_says_so() -> None:
    """The variable's name, and exit code 2."""
    result = CliRunner().invoke(app, ["keys", "list"], env={"JUNKIE_API_KEY": None})
    assert result.exit_code == 2
    assert "$JUNKIE_API_KEY" in result.stderr


def test_a_job_that_surely_did_nothing_has_its_causes_code() -> None:
    """Where it may have done something, the code is that of a part done."""
    failed = BatchError("the job ended early", DeleteReport(requested=10, failed=10))
    for cause, code in ((NotFoundError("no"), 3), (ServerError("oops"), 5), (OSError(), 5)):
        failed.__cause__ = cause
        assert exit_code(failed) == code


def test_help_names_every_command_in_a_line() -> None:
    """Each has a sentence that fits into 80 columns, uncut."""
    result = CliRunner().invoke(app, ["keys", "--help"], env={"COLUMNS": "80"})
    lines = result.output.partition("Commands:\n")[2].splitlines()
    assert tuple(line.split()[0] for line in lines if line) == _COMMANDS
    assert all(line.endswith(".") and not line.endswith("..") for line in lines if line)


@pytest.mark.parametrize("command", [*(["keys", name] for name in _COMMANDS), ["folders"]])
def test_each_command_has_its_help(command: list[str]) -> None:
    """Plain, within 80 columns, and no option takes the API key."""
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.output.isascii()
    assert all(len(line) <= 80 for line in result.output.splitlines())
    assert "--api-key" not in result.output


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """What bash asks for gets the commands that begin so."""
    code = "import sys; sys.argv = ['junkie']; import junkie_async.__main__ as m; m.main()"
    asked = {"_JUNKIE_COMPLETE": "complete_bash", "COMP_WORDS": "junkie keys re", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=tmp_path,
        env=environment(asked),
        capture_output=True,
        encoding="utf-8",
        timeout=30,
    )
    assert done.stdout.split() == ["revalidate", "reset-hwid"]


def test_values_are_masked_as_everywhere() -> None:
    """As `repr` shows a key."""
    for value in ("JNK-AAAA-BBBB-CCCC", "short", "", "\n" * 20, "ключ" * 5):
        assert f"key_value={mask_key_value(value)}," in repr(Key(id=1, key_value=value))


def test_options_are_spread_and_gathered() -> None:
    """A class's fields become options in its place, required ones too."""

    @attrs.frozen(kw_only=True)
    class Size:
        width: Annotated[int, typer.Option(help="How wide.")]
        height: Annotated[int, typer.Option(help="How high.")] = 2

    got: list[object] = []

    @spread
    def draw(name: str, *, loud: bool = False, size: Size) -> None:
        """Draw."""
        got.append((name, loud, size))

    one = typer.Typer()
    one.command()(draw)
    assert CliRunner().invoke(one, ["box", "--width=3"]).exit_code == 0
    assert got == [("box", False, Size(width=3))]
    assert CliRunner().invoke(one, ["box"]).exit_code == 2
    assert "How wide." in CliRunner().invoke(one, ["--help"]).output


@posix
async def test_stdout_is_a_file_while_stderr_has_the_bar(tmp_path: Path) -> None:
    """The bar of `junkie export - > keys.csv` does not take the rows for itself."""
    path = tmp_path / "keys.csv"
    async with Emulator() as emulator:
        await emulator.seed(150)
        with path.open("wb") as file:
            ended = await asyncio.to_thread(
                run_in_terminal,
                *("export", "-", "--format=csv"),
                cwd=tmp_path,
                env=environment_of(emulator),
                stdout=file.fileno(),
            )
    assert ended.code == 0
    assert "JNK-" not in ended.out
    assert len(path.read_bytes().splitlines()) == 151


@terminal
async def test_rows_can_not_control_a_terminal(tmp_path: Path) -> None:
    """An export that goes to the screen is cleaned; one that goes to a file is not."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_name="a\x1b[2Jb")
        ended = await junkie_in_terminal(emulator, "export", "-", "--format=csv", cwd=tmp_path)
        result = await junkie_here(emulator, "export", "-", "--format=csv")
    assert "a[2Jb" in ended.out
    assert "a\x1b[2Jb" in result.stdout
