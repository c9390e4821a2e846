"""A client that nobody closes is named when it is gone, and aiohttp says nothing of its own."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from junkie_async import JunkieClient
from junkie_async.emulator import Emulator


async def use_client(url: str) -> None:
    """Make calls of both kinds of connections with a client that is not closed."""
    junkie = JunkieClient("any", base_url=url)
    await junkie.keys.folders()
    await junkie.keys.create(provider_id=1)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Collect garbage by reference counts alone."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_client_that_is_gone() -> None:
    """There is one warning at once and one report to the loop's handler; connections are closed."""
    loop, reports = asyncio.get_running_loop(), list[Any]()
    async with Emulator() as emulator:
        loop.set_exception_handler(lambda _, context: reports.append(context))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await use_client(emulator.url)
            await asyncio.sleep(0.05)
    messages = [str(one.message) for one in caught]
    assert [one.category for one in caught] == [ResourceWarning], messages
    assert messages == [context["message"] for context in reports]
    assert "JunkieClient" in messages[0]


@pytest.mark.parametrize("closes", ["async with", "close"])
async def test_a_client_that_is_closed(closes: str) -> None:
    """It leaves nothing to warn about; nor does one that was never used."""
    async with Emulator() as emulator:
        junkie = JunkieClient("any", base_url=emulator.url)
        if closes == "async with":
            async with junkie:
                await junkie.keys.folders()
        else:
            await junkie.keys.folders()
            await junkie.close()
        JunkieClient("any", base_url=emulator.url)
        del junkie
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gc.collect()


PROGRAM = """
import asyncio, sys
from junkie_async import JunkieClient
from junkie_async.emulator import Emulator

async def main():
    global junkie
    async with Emulator() as emulator:
        junkie = JunkieClient("any", base_url=emulator.url)
        await junkie.keys.folders()

if sys.argv[1] == "run":
    asyncio.run(main())
else:
    asyncio.new_event_loop().run_until_complete(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("way", "lines"), [("run", 0), ("until complete", 1)])
def test_the_end_of_a_program(way: str, lines: int) -> None:
    """`asyncio.run` closes what is open. Where nobody does, the log names the client, once."""
    command = [sys.executable, "-c", PROGRAM, way]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.count("unclosed JunkieClient") == lines, ended.stderr
    assert "client session" not in ended.stderr
