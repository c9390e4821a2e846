"""Bodies meant to exhaust the client's memory, measured in a process of their own."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from ..cpu_time import exceeds
from .faults import commits_but_says, says_endlessly
from .server import HEALTHY, Fault, FaultServer

MIB = 2**20
GZIP = {"content_encoding": "gzip"}
ZEROS = gzip.compress(bytes(MIB))


def one_member(mib: int) -> bytes:
    """Compress zeros into one gzip member (RFC 1952), all of the same block."""
    packer, crc, zeros = zlib.compressobj(9, wbits=-zlib.MAX_WBITS), 0, bytes(MIB)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(mib):
        crc = zlib.crc32(zeros, crc)
    head, tail = b"\x1f\x8b\x08" + bytes(7), struct.pack("<II", crc, mib * MIB)
    return head + block * mib + packer.flush() + tail


def test_the_bomb_is_good_gzip() -> None:
    """The bomb is refused for its size alone."""
    assert gzip.decompress(one_member(3)) == bytes(3 * MIB)


async def meet(fault: Fault, how: str) -> dict[str, Any]:
    """Let a child process meet a fault, and return what it measured."""
    async with FaultServer() as server:
        server.script.extend([HEALTHY, fault])
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.faults.measure", server.url, how),
            cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                output, _ = await child.communicate()
        except TimeoutError:
            child.kill()
            await child.wait()
            raise
        await server.wait_until_closed()
    assert child.returncode == 0
    result: dict[str, Any] = json.loads(output)
    return result


@pytest.mark.parametrize("how", ["traced", "rss"])
@pytest.mark.parametrize("what", ["one_member", "members", "endless"])
async def test_bombs_are_refused_in_little_memory(what: str, how: str) -> None:
    """300 MiB, or an endless body, are refused after a small part of them."""
    bombs = {
        "one_member": lambda: commits_but_says(one_member(300), **GZIP),
        "members": lambda: commits_but_says(ZEROS * 300, **GZIP),
        "endless": lambda: says_endlessly,
    }
    result = await meet(bombs[what](), how)
    assert result["refused"], result["error"]
    assert 0 < result["peak"] <= 16 * MIB


async def test_a_body_of_many_members_takes_linear_time() -> None:
    """Members are read, or refused, in time that does not grow with the square of the body."""
    result = await meet(commits_but_says(gzip.compress(b"") * (4 * MIB // 20), **GZIP), "rss")
    assert "InvalidResponseError" in result["error"]
    assert not exceeds(result["cpu"], 5)  # a copy of the rest for each of 200,000 members took 12
