"""The README's FastAPI app, attacked by one visitor: the others do not notice.

The app runs under uvicorn in a process of its own, and so does the service, whose answers are as
bad as the values that the visitor types (`hostile_service`). A second run has a chance where a busy
machine has spoilt the first; what freezes or stops the app spoils all of them.
``JUNKIE_ATTACK_SECONDS=60`` attacks for longer.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import aiohttp
import attrs
import pytest

from ..cpu_time import exceeds
from ..module_process import run_module
from ..readme.document import PATH, blocks

SECONDS = float(os.environ.get("JUNKIE_ATTACK_SECONDS", "1.5"))
ROUNDS = 3
PAUSE = 0.01  # seconds between two questions of the others
MEDIAN, WORST = 0.1, 0.5  # seconds on the usual machine
VERDICTS = {True: '{"valid":true,"reason":null}', False: '{"valid":false,"reason":"not_found"}'}

# What the visitor types, one request of each list in flight.
ATTACKS = {
    "redaction": ["\\" * 40_000, "\\" * 1000, "%5C" * 300, "echoes", "\\u005c" * 150 + "echoes"],
    "rate limits": ["limit-ms", "limit-iso"],
    "large bodies": ["rows", "hashes"],
    "partial matches": ["7", "9" * 100, "x" * 9_000, "7" * 1024, "batch"],
    "firewalls": ["<script>", "code-1010", "code-1020", "mitigated"],
    "gateways": [f"status-{status}" for status in (500, 502, 504, 520, 522, 524)],
    "texts": [
        "\u200b" * 341,
        "JNK\u200b-\ufeffGOOD",
        "\x00",
        "JNK-GOOD\r\nX-Admin: 1",
        "../../admin",
        "%2e%2e%2fkeys",
        "\ud83d\ude00" * 200,
        "\u0130\ufb03" * 150,
        "e" + "\u0301" * 500,
        "[" * 1000,
        "&" * 1024,
        "?key=&limit=1#",
        "x" * 2**21,
    ],
}


@attrs.define
class Figures:
    """What the other visitors saw: seconds of each answer, and the answers that were wrong."""

    seconds: list[float] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)

    @property
    def good(self) -> bool:
        """Whether they noticed nothing."""
        median, worst = statistics.median(self.seconds), max(self.seconds)
        return not (self.wrong or exceeds(median, MEDIAN) or exceeds(worst, WORST))

    def __str__(self) -> str:
        median, worst = statistics.median(self.seconds), max(self.seconds)
        times = f"{len(self.seconds)} answers, median {median * 1e3:.0f} ms, worst {worst:.2f} s"
        return f"{times}, {len(self.wrong)} wrong: {self.wrong[:2]}"


@pytest.fixture
def app() -> Iterator[str]:
    """The README's app, in front of the hostile service."""
    (block,) = (
        one
        for one in blocks(PATH.read_text("utf-8"), "python")
        if "/verify" in one.text and "FastAPI(" in one.text
    )
    with run_module("tests.faults.hostile_service") as (_, service):
        settings = {"JUNKIE_BASE_URL": f"http://127.0.0.1:{service}", "JUNKIE_API_KEY": "secret"}
        with run_module("tests.faults.attacked_app", text=block.text, **settings) as (_, port):
            yield f"http://127.0.0.1:{port}"


async def attack(session: aiohttp.ClientSession, url: str, values: list[str], end: float) -> None:
    """Post one value after the other, whatever the answers are."""
    number = 0
    while time.monotonic() < end:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(url, json={"key": values[number % len(values)]}) as response:
                await response.read()
        number += 1


async def ask(session: aiohttp.ClientSession, url: str, end: float) -> Figures:
    """Ask for a good and an unknown key in turn, and note how long each answer takes."""
    figures = Figures()
    while time.monotonic() < end:
        known = len(figures.seconds) % 2 == 0
        key, begin = "JNK-GOOD-1" if known else "JNK-NONE-1", time.monotonic()
        try:
            async with session.post(url, json={"key": key}) as response:
                text = await response.text()
        except (TimeoutError, aiohttp.ClientError) as error:
            text = repr(error)
        figures.seconds.append(time.monotonic() - begin)
        if text != VERDICTS[known]:
            figures.wrong.append(text)
        await asyncio.sleep(PAUSE)
    return figures


async def attack_and_ask(url: str, lists: Iterable[list[str]], seconds: float) -> Figures:
    """Let one visitor post several lists of values at a time while another visitor asks."""
    limit = aiohttp.ClientTimeout(total=20.0)
    async with (
        aiohttp.ClientSession(timeout=limit) as visitor,
        aiohttp.ClientSession(timeout=limit) as other,
    ):
        end = time.monotonic() + seconds
        attackers = [asyncio.create_task(attack(visitor, url, values, end)) for values in lists]
        figures = await ask(other, url, end)
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)
    return figures


@pytest.mark.slow
async def test_one_visitor_slows_nobody(app: str) -> None:
    """Others get right answers, under 100 ms at the median and 500 ms at the worst."""
    rounds: list[str] = []
    for _ in range(ROUNDS):
        figures = await attack_and_ask(f"{app}/verify", ATTACKS.values(), SECONDS)
        rounds.append(str(figures))
        if figures.good:
            return
    pytest.fail("\n".join(rounds))
