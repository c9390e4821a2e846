"""The options before the command's name: the API key and the address."""

import asyncio
import stat
from pathlib import Path

import pytest

from junkie_async.emulator import Emulator

from ._invoke import invoke, junkie
from ._process import posix

_COUNT = ("keys", "count")


async def test_the_api_key_comes_from_a_file(tmp_path: Path) -> None:
    """The file's first line precedes the environment; so does --base-url."""
    path = tmp_path / "api-key"
    path.write_text("right\nand a note\n")
    path.chmod(0o600)
    async with Emulator(api_keys={"right"}) as emulator:
        options = [f"--api-key-file={path}", f"--base-url={emulator.url}"]
        for command in (_COUNT, ("demo", "--live")):
            ended = await junkie(emulator, *options, *command, JUNKIE_API_KEY="wrong")
            assert (ended.code, ended.err) == (0, "")
        elsewhere = {"JUNKIE_API_KEY": "wrong", "JUNKIE_BASE_URL": "http://127.0.0.1:9"}
        ended = await asyncio.to_thread(invoke, *options, *_COUNT, env=elsewhere)
    assert (ended.code, ended.out, ended.err) == (0, "0\n", "")


@posix
async def test_a_file_that_others_can_read_is_used_with_a_warning(tmp_path: Path) -> None:
    """The warning is one line on stderr."""
    path = tmp_path / "api-key"
    path.write_text("any")
    path.chmod(stat.S_IRUSR | stat.S_IRGRP)
    async with Emulator() as emulator:
        ended = await junkie(emulator, f"--api-key-file={path}", *_COUNT)
    assert (ended.code, ended.out) == (0, "0\n")
    assert ended.err.startswith("Warning: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"", b"\nsecret", b"\xff\xfe", b"two words"])
async def test_a_file_without_an_api_key_is_bad_usage(
    content: bytes | None, tmp_path: Path
) -> None:
    """It is refused before anything is sent, and its content is not printed."""
    path = tmp_path / "api-key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    async with Emulator() as emulator:
        ended = await junkie(emulator, f"--api-key-file={path}", *_COUNT)
        assert emulator.requests == 0
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "secret" not in ended.err


def test_without_an_api_key_a_command_is_bad_usage() -> None:
    """There is one line on stderr, and nothing on stdout."""
    ended = invoke("keys", "list")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


async def test_verbose() -> None:
    """The option writes a line for each request to stderr, for its own command only."""
    async with Emulator() as emulator:
        loud = await junkie(emulator, "--verbose", *_COUNT)
        quiet = await junkie(emulator, *_COUNT)
    (line,) = loud.err.splitlines()
    assert " junkie_async: GET /keys: " in line
    assert (loud.out, quiet.err) == (quiet.out, "")
