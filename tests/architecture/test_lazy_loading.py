"""What must not be loaded, by the modules that a fresh process has at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import typer

import junkie_async
from junkie_async.cli import app

_RUN = (
    "import sys; sys.argv = ['junkie', *sys.argv[1:]]; import junkie_async.__main__ as m; m.main()"
)
_SDK = {"aiohttp", "msgspec", "cattrs", "junkie_async._names", "junkie_async.emulator"}


def _load(code: str, *arguments: str, **variables: str) -> tuple[set[str], str]:
    """Run code, and return the modules that it has loaded and what it has printed."""
    at_exit = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    command = [sys.executable, "-c", at_exit + code, *arguments]
    env = {**os.environ, **variables}
    ended = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return set(ended.stderr.split()), ended.stdout


@pytest.mark.parametrize(
    ("arguments", "complete", "shown"),
    [
        (["--help"], "", "Exit codes"),
        (["--version"], "", junkie_async.__version__),
        (["keys", "--help"], "", "provision"),
        ([], "junkie keys re", "revalidate"),
        ([], "junkie who", "whoami"),
    ],
    ids=["help", "version", "keys help", "completion", "completion of a command"],
)
def test_the_command_line_describes_itself_without_the_sdk(
    arguments: list[str], complete: str, shown: str
) -> None:
    """Neither the SDK, nor its libraries, nor rich's tables are loaded.

    A completion does not load pydantic either, with which typer reads the options of a command.
    """
    asked = {
        "_JUNKIE_COMPLETE": "complete_bash",
        "COMP_WORDS": complete,
        "COMP_CWORD": str(complete.count(" ")),
    }
    loaded, printed = _load(_RUN, *arguments, **(asked if complete else {}))
    assert shown in printed
    assert "typer" in loaded
    assert not loaded & {*_SDK, "rich.progress", "rich.table"}
    assert "pydantic" not in loaded or not complete


def test_options_are_completed() -> None:
    """The options of a command come from the SDK, which is loaded for them."""
    loaded, printed = _load(
        _RUN, _JUNKIE_COMPLETE="complete_bash", COMP_WORDS="junkie keys list --st", COMP_CWORD="3"
    )
    assert printed.split() == ["--status"]
    assert "junkie_async._names" in loaded


def test_a_name_loads_all_names() -> None:
    """The package's import loads little; the first name that is used loads all, but no extras."""
    loaded, _ = _load("import junkie_async")
    assert not loaded & _SDK
    loaded, _ = _load("from junkie_async import Key")
    assert {"junkie_async._client", "aiohttp"} <= loaded
    assert not loaded & {"cattrs", "difflib", "html", "rich", "typer", "junkie_async.emulator"}
    code = "import junkie_async as j; print(*dir(j)); print(j.Key, hasattr(j, 'x'))"
    _, printed = _load(code)
    assert {*junkie_async.__all__} <= {*printed.split()}
    assert printed.splitlines()[-1] == "<class 'junkie_async.Key'> False"


def test_lines_of_the_lists_are_those_of_the_commands() -> None:
    """The line of a command in a list is the first one of its docstring."""
    root: Any = typer.main.get_command(app)
    for group in (root, root.commands["keys"]):
        context = typer.Context(group)
        for name, stub in group.commands.items():
            _, command, _ = group.resolve_command(context, [name])
            assert command.get_short_help_str(200) == stub.get_short_help_str(200), name
