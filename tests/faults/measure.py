"""A child process that receives a bomb and prints its memory: ``measure.py URL traced|rss``."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
import tracemalloc
from pathlib import Path

from junkie_async import InvalidResponseError, JunkieClient, JunkieError, RetryPolicy


def peak_rss() -> int:
    """Return the peak memory of this process, in bytes.

    Linux counts what was there before `exec`, the test runner's memory, in `ru_maxrss`; its
    VmHWM is the new process's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert found
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes, on macOS


async def measure(url: str, *, traced: bool) -> dict[str, object]:
    """Make a healthy call first, so that only the second call's memory counts."""
    async with JunkieClient("secret", base_url=url, retry=RetryPolicy(attempts=1)) as client:
        await client.keys.get(1)
        if traced:
            tracemalloc.start()
        before, begin = peak_rss(), time.process_time()
        error: JunkieError | None = None
        try:
            await client.keys.get(1)
        except JunkieError as raised:
            error = raised
        cpu = time.process_time() - begin
        peak = tracemalloc.get_traced_memory()[1] if traced else peak_rss() - before
    refused = type(error) is InvalidResponseError and "larger" in error.message
    return {"error": repr(error), "refused": refused, "peak": peak, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], traced=sys.argv[2] == "traced"))))
