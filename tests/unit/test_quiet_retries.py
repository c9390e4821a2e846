"""Retries are the package's own: no library prints them, and no global switch turns them off."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

PROGRAM = """
import asyncio, sys
from junkie_async import RetryPolicy
from tests.unit.scripted import FOLDERS, Script, make_dispatcher

async def main():
    script = Script(*[(503, {}, b"")] * 3)
    retry = RetryPolicy(wait_initial=0.0, wait_jitter=0.0)
    await make_dispatcher(script, retry).send(FOLDERS)
    print(len(script.began), "attempts")

asyncio.run(main())
watched = {"stamina", "tenacity", "backoff", "structlog", "prometheus_client", "opentelemetry"}
print(sorted(watched & sys.modules.keys()))
"""


def test_a_retry_prints_nothing() -> None:
    """Though structlog is installed: some libraries print through it wherever it is."""
    assert importlib.util.find_spec("structlog") is not None
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("4 attempts\n[]\n", "")
