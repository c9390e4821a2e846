"""The help, the version and shell completion."""

import subprocess
import sys
from pathlib import Path

import pytest

import junkie_async

from ._invoke import invoke
from ._process import environment, run_process

_KEYS_COMMANDS = (
    *("list", "get", "find", "verify", "count", "stats", "create", "provision", "update"),
    *("invalidate", "revalidate", "reset-hwid", "delete", "purge", "export"),
)


def test_version_is_printed(tmp_path: Path) -> None:
    """`junkie --version` names the package and its version."""
    ended = run_process("--version", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, f"junkie_async {junkie_async.__version__}\n")
    assert ended.err == ""


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands_and_exit_codes(option: str) -> None:
    """The help is plain text that names every command and every exit code."""
    ended = invoke(option)
    assert ended.code == 0
    for word in (
        "keys",
        "whoami",
        "folders",
        "export",
        "jobs",
        "serve",
        "demo",
        "Exit codes",
        "--version",
    ):
        assert word in ended.out
    assert ended.out.isascii()


def test_help_names_every_keys_command_in_a_line() -> None:
    """Each has a sentence that fits into 80 columns, uncut."""
    ended = invoke("keys", "--help", env={"COLUMNS": "80"})
    lines = ended.out.partition("Commands:\n")[2].splitlines()
    assert tuple(line.split()[0] for line in lines if line) == _KEYS_COMMANDS
    assert all(line.endswith(".") and not line.endswith("..") for line in lines if line)


@pytest.mark.parametrize(
    "command",
    [
        *(["keys", name] for name in _KEYS_COMMANDS),
        ["whoami"],
        ["folders"],
        ["serve"],
        ["demo"],
        ["export"],
    ],
    ids=" ".join,
)
def test_each_command_has_its_help(command: list[str]) -> None:
    """It is plain, fits into 80 columns, and no option takes the API key."""
    ended = invoke(*command, "--help", env={"COLUMNS": "80"})
    assert ended.code == 0
    assert ended.out.isascii()
    assert all(len(line) <= 80 for line in ended.out.splitlines())
    assert ("--api-key" in ended.out) == (command == ["serve"])  # where it is a made-up one


def test_every_command_has_a_line_uncut() -> None:
    """What a command does is said in a line of 80 columns; `keys` comes first."""
    listed = invoke("--help", env={"COLUMNS": "80"}).out.partition("Commands:\n")[2]
    lines = listed.partition("\n\n")[0].splitlines()
    assert lines[0].split()[0] == "keys"
    assert all(line.endswith(".") and not line.endswith("..") for line in lines)


def test_an_unknown_command_is_bad_usage() -> None:
    """A command that does not exist gives exit code 2."""
    assert invoke("demos").code == 2


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["whoami", "--api-key-file", "k.txt"], "`junkie --api-key-file PATH whoami`"),
        (["keys", "--base-url=http://a", "list"], "`junkie --base-url URL keys`"),
        (["keys", "list", "--proxy", "http://a"], "`junkie --proxy URL keys list`"),
        (["folders", "--ca-file=a"], "`junkie --ca-file PATH folders`"),
        (["keys", "count", "--outage=1"], "`junkie --outage SECONDS keys count`"),
        (["jobs", "a.db", "--verbose"], "`junkie --verbose jobs`"),
        (["keys", "--version"], "`junkie --version keys`"),
    ],
)
def test_a_global_option_after_the_command(arguments: list[str], usage: str) -> None:
    """The error says that it goes before the command, and how that is written."""
    ended = invoke(*arguments)
    assert ended.code == 2
    assert usage in ended.err


def test_an_unknown_option_has_no_such_hint() -> None:
    """Options that no command has are not said to go elsewhere."""
    ended = invoke("whoami", "--api-key-fil", "k.txt")
    assert (ended.code, "junkie --" in ended.err) == (2, False)


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """Bash gets the commands that begin with what was typed."""
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
