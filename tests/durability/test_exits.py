"""Programs that end while a job is in a task: in processes of their own, from start to end."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from junkie_async import provisioning
from tests.other_user import posix

from .server import Service

pytestmark = posix

_PROGRAM: Final = """
import asyncio, signal, sys
from junkie_async import JunkieClient

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
url, ledger, how, seconds = sys.argv[1:]

async def main():
    client = JunkieClient("jk_test", base_url=url)
    job = client.keys.create_many(200_000, provider_id=7, ledger=ledger)
    task = asyncio.create_task(asyncio.wait_for(job, 60))
    await asyncio.sleep(float(seconds))
    print(flush=True)
    if how == "raise":
        raise ValueError
    if how == "exit":
        sys.exit(1)
    if how == "cancel":
        task.cancel()
    if how == "wait":
        await task

if how == "loop":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
else:
    asyncio.run(main())
"""

_SIGNALS: Final = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
_ENDS: Final = ("return", "raise", "exit", "cancel", "loop", *_SIGNALS)


async def _end_program(how: str, seconds: float, url: str, path: Path) -> float:
    """Run the program until it ends, and return how many seconds its end takes."""
    mode = "wait" if how in _SIGNALS else how
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, url, path, mode, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert program.stdout is not None
    try:
        await program.stdout.readline()
        begun = time.monotonic()
        if how in _SIGNALS:
            program.send_signal(_SIGNALS[how])
        await asyncio.wait_for(program.wait(), 20)
        return time.monotonic() - begun
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


@pytest.mark.slow
async def test_a_program_ends_while_its_job_runs(tmp_path: Path) -> None:
    """It ends at once however it ends, and its ledger is sound and names all keys to look for."""
    paths = {how: tmp_path / f"{how}.db" for how in _ENDS}
    async with Service() as service, asyncio.TaskGroup() as group:
        tasks = {
            how: group.create_task(_end_program(how, 0.02 * number, service.url, paths[how]))
            for number, how in enumerate(_ENDS)
        }
        await asyncio.wait(tasks.values())
        # Not the 10 s that calls in flight may take. Seven programs at once are slower than one.
        assert max((task.result(), how) for how, task in tasks.items()) < (8.0, "")
        # A program that ends at once may not have begun its job: then it has sent nothing.
        statuses = [one for path in paths.values() for one in provisioning.statuses(path)]
        logged = sum(status.created + status.open for status in statuses)
        assert logged >= len(service.values()) >= sum(status.created for status in statuses) > 0
