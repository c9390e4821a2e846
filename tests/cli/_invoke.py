"""The command line in this process, with pipes or in a pseudo-terminal: 20 times faster."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from junkie_async.cli import app
from junkie_async.emulator import Emulator

from ._process import OUR_VARIABLES, Ended, emulator_environment


def invoke(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Ended:
    """Run a command to its end, with pipes."""
    unset = {name: None for name in os.environ if name.startswith(OUR_VARIABLES)}
    plain = {**unset, "JUNKIE_OUTAGE": "0"}
    with contextlib.chdir(cwd or Path()):
        result = CliRunner().invoke(app, arguments, input=stdin, env={**plain, **(env or {})})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def invoke_in_terminal(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    typed: str = "",
    typed_ahead: str = "",
) -> Ended:
    """Run a command in a terminal of 80 columns, and return all that was written to it.

    Args:
        *arguments: The command's arguments.
        cwd: Where it runs.
        env: Its environment, besides a plain one.
        typed: What is typed once it asks.
        typed_ahead: What is typed before that.
    """
    import pty

    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OUR_VARIABLES)}
    size = {"JUNKIE_OUTAGE": "0", "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    os.write(ours, typed_ahead.encode())
    written: list[bytes] = []
    reader = threading.Thread(target=lambda: written.extend(_read_and_answer(ours, typed)))
    reader.start()
    with (
        os.fdopen(theirs, encoding="utf-8") as stdin,
        os.fdopen(os.dup(theirs), "w", encoding="utf-8", buffering=1) as stdout,
        os.fdopen(os.dup(theirs), "w", encoding="utf-8", buffering=1) as stderr,
        patch.multiple(sys, stdin=stdin, stdout=stdout, stderr=stderr),
        patch.dict(os.environ, {**kept, **size, **(env or {})}, clear=True),
        contextlib.chdir(cwd or Path()),
    ):
        code = _exit_code(*arguments)
    reader.join(30)
    os.close(ours)
    return Ended(code, b"".join(written).decode(), "")


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:  # the command line always exits
        app(arguments, prog_name="junkie")
    assert isinstance(caught.value.code, int | None)
    return caught.value.code or 0


def _read_and_answer(file: int, answer: str) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # EIO is how Linux ends a terminal
        while read := os.read(file, 65536):
            yield read
            if read.endswith(b"[y/N] "):
                os.write(file, answer.encode())


async def junkie(
    emulator: Emulator,
    *arguments: str,
    cwd: Path | None = None,
    stdin: str | None = None,
    **env: str,
) -> Ended:
    """Run a command against an emulator: in a thread, where it has an event loop of its own."""
    given = emulator_environment(emulator, **env)
    return await asyncio.to_thread(invoke, *arguments, cwd=cwd, env=given, stdin=stdin)


async def junkie_in_terminal(
    emulator: Emulator,
    *arguments: str,
    cwd: Path | None = None,
    typed: str = "",
    typed_ahead: str = "",
    **env: str,
) -> Ended:
    """Run a command against an emulator in a terminal of 80 columns."""
    given = emulator_environment(emulator, **env)
    return await asyncio.to_thread(
        invoke_in_terminal, *arguments, cwd=cwd, env=given, typed=typed, typed_ahead=typed_ahead
    )
