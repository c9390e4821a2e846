"""How well the throttle finds a limit that is not stated: simulated jobs on a virtual clock.

The limiters are the emulator's token bucket and a sliding window.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
import pytest

from junkie_async import RateLimitError, RequestTimeoutError, ServerError
from junkie_async._http.adaptive_rate import AdaptiveRate
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.retry import RetryPolicy
from junkie_async._http.throttle import Throttle
from junkie_async._http.transport import Transport
from junkie_async._protocol import rate_limit_headers
from junkie_async._protocol.requests import list_folders
from junkie_async.emulator.rate_limiter import RateLimiter

from .clock import run


class Limiter(Protocol):
    """A rate limiter of a service."""

    def admit(self, now: float) -> int:
        """Return 0 to admit a request, or the whole seconds to wait."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that state the limit after that request."""


class Bucket:
    """The emulator's limiter."""

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self._now = 0.0
        self._limiter = RateLimiter(rate, burst, clock=lambda: self._now)

    def admit(self, now: float) -> int:
        """Admit or refuse a request."""
        self._now = now
        self._verdict = self._limiter.admit()
        return self._verdict.retry_after

    def headers(self) -> Mapping[str, str]:
        """Return the headers that state the limit after that request."""
        return self._verdict.headers


class SlidingWindow:
    """A limit of requests in any window of so many seconds."""

    def __init__(self, requests: int, window: float) -> None:
        self._requests, self._window = requests, window
        self._recent: deque[float] = deque()
        self._now = 0.0

    def admit(self, now: float) -> int:
        """Admit or refuse a request."""
        self._now = now
        while self._recent and self._recent[0] <= now - self._window:
            self._recent.popleft()
        if len(self._recent) < self._requests:
            self._recent.append(now)
            return 0
        return max(1, math.ceil(self._recent[0] + self._window - now))

    def headers(self) -> Mapping[str, str]:
        """Return the headers that state the limit after that request."""
        return {
            "X-RateLimit-Limit": str(self._requests),
            "X-RateLimit-Remaining": str(self._requests - len(self._recent)),
            "X-RateLimit-Reset": str(math.ceil(self._recent[0] + self._window - self._now)),
        }


class FixedWindow:
    """A limit of requests in each window of so many seconds, the first of which has begun."""

    def __init__(self, requests: int, window: float, age: float = 0.0) -> None:
        self._requests, self._window, self._begin = requests, window, 1000 - age
        self._number, self._admitted = -1.0, 0

    def admit(self, now: float) -> int:
        """Admit or refuse a request."""
        number, age = divmod(now - self._begin, self._window)
        if number != self._number:
            self._number, self._admitted = number, 0
        self._admitted += 1
        return 0 if self._admitted <= self._requests else math.ceil(self._window - age)

    def headers(self) -> Mapping[str, str]:
        """Return no headers."""
        return {}


class Burst:
    """A healthy service, after so many refusals of its first requests."""

    def __init__(self, refusals: int) -> None:
        self._left = refusals

    def admit(self, now: float) -> int:
        """Admit or refuse a request."""
        self._left -= 1
        return int(self._left >= 0)

    def headers(self) -> Mapping[str, str]:
        """Return no headers."""
        return {}


class Brownout(Burst):
    """A service that refuses at random for twelve seconds, and is healthy afterwards."""

    def __init__(self, rate: float) -> None:
        self._dice, self._rate = random.Random(2), rate

    def admit(self, now: float) -> int:
        """Admit or refuse a request."""
        return int(now < 1012 and self._dice.random() < self._rate)


def _as_computed(seconds: int) -> float | None:
    return seconds


def _state_none(seconds: int) -> float | None:
    return None


def _state_zero(seconds: int) -> float | None:
    return 0


@attrs.define
class Job:
    """A job by eight workers over a connection with latency."""

    limiter: Limiter
    latency: float
    stated: bool
    calls: int = 1000
    retry_after: Callable[[int], float | None] = _as_computed
    throttle: Throttle = attrs.field(factory=lambda: Throttle(16))
    admitted_at: list[float] = attrs.field(factory=list)
    sent: int = 0
    refused: int = 0
    begun: int = 0

    async def run(self) -> float:
        """Run the job, and return the seconds that it took."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.gather(*(self._work() for _ in range(8)))
        return loop.time() - begin

    async def _work(self) -> None:
        while self.begun < self.calls:
            self.begun += 1
            while not await self.attempt():
                pass

    async def attempt(self, deadline: float = math.inf) -> bool:
        """Send a request, and return whether it was admitted."""
        loop, throttle = asyncio.get_running_loop(), self.throttle
        await throttle.acquire(deadline)
        try:
            sent = loop.time()
            await asyncio.sleep(self.latency * random.Random(self.sent).uniform(0.4, 0.6))
            at = loop.time()
            wait, headers = self.limiter.admit(at), self.limiter.headers()
            self.sent += 1
            await asyncio.sleep(self.latency / 2)
            if wait:
                self.refused += 1
                throttle.record_refusal(loop.time(), self.retry_after(wait), sent=sent)
            else:
                self.admitted_at.append(at - 1000)
                throttle.record_success(
                    loop.time(),
                    rate_limit_headers.read_rate_limit(headers) if self.stated else None,
                )
            return not wait
        finally:
            throttle.release()


@pytest.mark.parametrize("latency", [0.01, 0.05])
@pytest.mark.parametrize(
    ("limiter", "ideal", "most_time", "most_refused"),
    [
        (lambda: Bucket(100), 10.0, 1.1, 0.015),
        (lambda: Bucket(100, 300), 10.0, 1.0, 0.015),
        (lambda: Bucket(100, 10), 10.0, 1.6, 0.015),
        (lambda: Bucket(10), 100.0, 1.1, 0.025),
        (lambda: SlidingWindow(100, 1), 10.0, 1.8, 0.025),
        (lambda: SlidingWindow(600, 60), 100.0, 1.1, 0.015),
    ],
    ids=["100/s", "deep bucket", "shallow bucket", "10/s", "window of 1 s", "window of 60 s"],
)
def test_a_limit_that_is_not_stated_is_found(
    limiter: Callable[[], Limiter],
    ideal: float,
    most_time: float,
    most_refused: float,
    latency: float,
) -> None:
    """With ``Retry-After`` alone a job soon runs near the limit, with few refusals."""
    job = Job(limiter(), latency, stated=False)
    assert run(job.run()) <= ideal * most_time
    assert 0 < job.refused <= job.sent * most_refused


@pytest.mark.parametrize("latency", [0.01, 0.05])
@pytest.mark.parametrize(
    ("limiter", "ideal"),
    [(lambda: Bucket(100), 10.0), (lambda: SlidingWindow(100, 1), 10.0), (lambda: Bucket(10), 100)],
    ids=["100/s", "window", "10/s"],
)
def test_a_stated_limit_is_rarely_hit(
    limiter: Callable[[], Limiter], ideal: float, latency: float
) -> None:
    """With rate-limit headers the job slows down before it is refused."""
    job = Job(limiter(), latency, stated=True)
    assert run(job.run()) <= ideal * 1.3
    assert job.refused <= job.sent * 0.01


def test_a_limit_that_was_lifted_is_forgotten() -> None:
    """Minutes after a refusal the client is as fast as before."""

    async def main() -> float:
        loop, throttle = asyncio.get_running_loop(), Throttle(16)
        throttle.record_refusal(loop.time(), 1.0, sent=loop.time())
        job = Job(Bucket(10_000), 0.01, stated=False, throttle=throttle)
        for _ in range(2):
            await job.attempt()
        await asyncio.sleep(300)
        begin = loop.time()
        await asyncio.gather(*(job.attempt() for _ in range(100)))
        return loop.time() - begin

    assert run(main()) < 0.5


async def run_for(job: Job, seconds: float) -> None:
    """Run a job that is larger than the time."""
    job.calls = 1_000_000
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await job.run()


@pytest.mark.parametrize("retry_after", [_as_computed, _state_none, _state_zero])
@pytest.mark.parametrize(
    ("requests", "age"), [(60, 0.0), (60, 11.0), (60, 37.0), (60, 58.0), (600, 37.0)]
)
def test_windows_of_a_minute_are_learned(
    requests: int, retry_after: Callable[[int], float | None], age: float
) -> None:
    """From the third minute on most of each window is used, whatever ``Retry-After`` says."""
    job = Job(FixedWindow(requests, 60, age), 0.05, stated=False, retry_after=retry_after)
    run(run_for(job, 360 - age))
    used = Counter(int((at + age) // 60) for at in job.admitted_at)
    assert min(used[minute] for minute in (0, 1)) > 0
    assert min(used[minute] for minute in (2, 3, 4, 5)) >= 0.8 * requests
    assert job.refused <= 0.2 * job.sent


@pytest.mark.parametrize("retry_after", [_as_computed, _state_none])
@pytest.mark.parametrize("requests", [60, 600])
def test_sliding_windows_of_a_minute_are_learned(
    requests: int, retry_after: Callable[[int], float | None]
) -> None:
    """The limit of any minute is found as that of each minute is."""
    job = Job(SlidingWindow(requests, 60), 0.05, stated=False, retry_after=retry_after)
    run(run_for(job, 360))
    used = Counter(int(at // 60) for at in job.admitted_at)
    assert min(used[minute] for minute in range(6)) >= 0.8 * requests
    assert job.refused <= 0.2 * job.sent


@pytest.mark.parametrize("latency", [0.01, 0.05])
@pytest.mark.parametrize("requests", [20, 100])
def test_a_limit_that_was_measured_again_is_tried_less_often(requests: int, latency: float) -> None:
    """Each refusal pauses interactive calls, too. Most of the limit is used nonetheless."""
    job = Job(Bucket(requests), latency, stated=False)

    async def main() -> tuple[int, int]:
        await run_for(job, 40)
        before = job.refused, len(job.admitted_at)
        job.begun = 0
        await run_for(job, 180)
        return job.refused - before[0], len(job.admitted_at) - before[1]

    refused, admitted = run(main())
    assert refused <= 7
    assert admitted >= 0.95 * 180 * requests


async def visit(job: Job, calls: int) -> list[bool]:
    """Make four calls a second with deadlines of ten seconds; return which of them succeed."""

    async def call() -> bool:
        try:
            return await job.attempt(asyncio.get_running_loop().time() + 10)
        except (RateLimitError, RequestTimeoutError):
            return False

    tasks = []
    for _ in range(calls):
        tasks.append(asyncio.create_task(call()))
        await asyncio.sleep(0.25)
    return await asyncio.gather(*tasks)


async def retry(job: Job) -> None:
    """Make a call of up to five attempts."""
    for _ in range(5):
        if await job.attempt():
            break


@pytest.mark.parametrize("seconds", [5.0, 1.0, 0.0, None])
@pytest.mark.parametrize("latency", [0.05, 0.4])
def test_a_burst_of_refusals_is_soon_forgotten(seconds: float | None, latency: float) -> None:
    """Ten seconds after 24 concurrent calls were refused, a web app's calls succeed."""

    async def main() -> list[bool]:
        job = Job(Burst(24), latency, stated=False, retry_after=lambda _: seconds)
        burst = [asyncio.create_task(retry(job)) for _ in range(24)]
        await asyncio.sleep(10)
        visits = await visit(job, 160)
        await asyncio.gather(*burst)
        return visits

    assert sum(run(main())) >= 0.95 * 160


@pytest.mark.parametrize("seconds", [5.0, 1.0, None])
@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_random_refusals_are_soon_forgotten(seconds: float | None, rate: float) -> None:
    """Windows of a few requests do not hold a healthy service's visitors."""

    async def main() -> list[bool]:
        job = Job(Brownout(rate), 0.05, stated=False, retry_after=lambda _: seconds)
        await visit(job, 48)
        await asyncio.sleep(10)
        return await visit(job, 160)

    assert sum(run(main())) >= 0.95 * 160


def saturate(
    rate: AdaptiveRate, demand: float, seconds: float, admits: Callable[[float], bool]
) -> Counter[int]:
    """Send as fast as allowed, with pauses that double; return the requests admitted each 10 s."""
    now, refusals, admitted = 0.0, 0, Counter[int]()
    while (now := now + 1 / min(rate.rate(now), demand)) < seconds:
        if admits(now):
            rate.record_success(now)
            refusals = 0
            admitted[int(now // 10)] += 1
            continue
        pause = min(8.0, 0.25 * 2**refusals + 0.25)
        refusals += 1
        rate.record_refusal(now, pause)
        now += pause
    return admitted


@pytest.mark.parametrize(
    ("demand", "share", "most"),
    [(5, 0.02, 0.1), (20, 0.02, 0.2), (5, 0.05, 0.1), (20, 0.05, 0.1), (20, 0.1, 0.05)],
)
def test_a_minute_of_random_refusals_slows_few_down_for_another_minute(
    demand: float, share: float, most: float
) -> None:
    """Refusals by chance agree with each other seldom enough to be taken for a limit."""
    slow = 0
    for seed in range(60):
        rate, dice = AdaptiveRate(), random.Random(seed)
        saturate(rate, demand, 60, lambda _: dice.random() >= share)  # noqa: B023
        slow += rate.rate(120) < demand
    assert slow <= most * 60


@pytest.mark.parametrize(
    ("before", "after", "window", "seconds"),
    [
        (20, 1000, 1, 300),
        (120, 6000, 60, 300),
        (60, 600, 60, 240),
        (600, 6000, 60, 240),
        (300, 600, 60, 180),
    ],
)
def test_a_limit_that_was_raised_is_used_within_minutes(
    before: int, after: int, window: float, seconds: float
) -> None:
    """After five minutes at the lower limit, of which nearly all was used."""
    counts = Counter[float]()

    def admits(now: float) -> bool:
        counts[now // window] += 1
        return counts[now // window] <= (before if now < 300 else after)

    demand = 1.2 * after / window
    admitted = saturate(AdaptiveRate(), demand, 300 + seconds + 60, admits)
    assert sum(admitted[at] for at in range(12, 30)) >= 0.9 * 180 * before / window
    end = int(300 + seconds) // 10
    assert sum(admitted[at] for at in range(end, end + 6)) >= 0.8 * 60 * after / window


class Outage(Transport):
    """A transport whose service fails each request after ``seconds``."""

    seconds = 0.0
    requests = 0

    async def _exchange_bytes(self, *_: object) -> tuple[int, Mapping[str, str], bytes | None]:
        self.requests += 1
        await asyncio.sleep(self.seconds)
        return 500, {}, b""


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_an_outage_does_not_multiply_the_load(seconds: float) -> None:
    """In a minute of 16 busy tasks, retries add at most half of the calls to the requests."""

    async def main() -> tuple[int, int]:
        transport = Outage(base_url="http://127.0.0.1", timeout=30.0, session=None)
        transport.seconds = seconds
        dispatcher = Dispatcher(
            transport, api_key="secret", retry=RetryPolicy(), max_in_flight=16, rate_limit=None
        )
        loop, calls = asyncio.get_running_loop(), 0
        end = loop.time() + 60

        async def busy() -> None:
            nonlocal calls
            while loop.time() < end:
                calls += 1
                with pytest.raises(ServerError):
                    await dispatcher.send(list_folders())

        await asyncio.gather(*(busy() for _ in range(16)))
        await dispatcher.close()
        return calls, transport.requests

    calls, sent = run(main())
    assert calls < sent <= 1.5 * calls


def refuse(seconds: float, calls: int, pause: float) -> AdaptiveRate:
    """Admit so many calls in so many seconds, the first at once, and then refuse one."""
    rate = AdaptiveRate()
    for at in range(calls):
        rate.record_success(1000.0 + seconds * at / calls)
    rate.record_refusal(1000.0 + seconds, pause)
    return rate


def test_nothing_is_known_before_a_refusal_of_something_that_was_admitted() -> None:
    """A service that refuses from the first request on says nothing of its rate."""
    rate = AdaptiveRate()
    assert rate.rate(1000.0) == math.inf
    rate.record_refusal(1000.0, 10.0)
    assert rate.rate(1010.0) == math.inf


def test_the_rate_after_the_first_refusal() -> None:
    """It begins at what was admitted from pause to pause, and doubles each second, or faster."""
    slow = refuse(8.0, 100, 2.0)
    assert [slow.rate(1010.0 + at) for at in (0, 1, 2)] == pytest.approx([10.0, 20.0, 40.0])
    assert slow.rate(1009.0) == pytest.approx(10.0)  # it is the one after the pause
    assert slow.rate(1100.0) == math.inf  # it restrains nothing any more, and is forgotten
    assert slow.rate(1010.0) == math.inf
    fast = refuse(9.5, 100, 0.5)
    assert [fast.rate(1010.0 + at) for at in (0, 0.25, 0.5)] == pytest.approx([10.0, 20.0, 40.0])
    assert refuse(8.0, 4, 2.0).rate(1010.0) == pytest.approx(1.0)  # too few to believe


def test_a_pause_without_an_end_is_as_long_as_its_refusals() -> None:
    """Each refusal in a row moves it; only their pauses count, not the last wait."""
    rate = refuse(8.0, 100, 2.0)
    rate.record_refusal(1012.0, 8.0)
    assert rate.rate(1020.0) == pytest.approx(100 / 12)


def test_what_was_in_flight_at_a_refusal_counts() -> None:
    """It was admitted before. What comes after the pause belongs to the next window."""
    rate = refuse(8.0, 100, 2.0)
    for _ in range(20):
        rate.record_success(1009.0)
    assert rate.rate(1010.0) == pytest.approx(12.0)
    rate.record_success(1010.0)
    assert rate.rate(1010.0) == pytest.approx(12.0)


def test_the_rate_after_the_second_refusal() -> None:
    """95% of what explains the admissions that the first burst does not explain."""
    rate = refuse(8.0, 20, 2.0)
    for at in range(60):
        rate.record_success(1010.0 + at / 10)
    rate.record_refusal(1016.0, 10.0)
    assert rate.rate(1026.0) == pytest.approx(0.95 * 40 / 6.0)
    windows = refuse(50.0, 100, 10.0)  # a service that counts in them admits no more in the second
    for at in range(100):
        windows.record_success(1060.0 + at / 2)
    windows.record_refusal(1110.0, 10.0)
    assert windows.rate(1120.0) == pytest.approx(100 / 60)


def test_the_rate_after_later_refusals() -> None:
    """95% of the mean of what was admitted from pause to pause, and of the rate that was refused.

    From then on it grows slowly: by 1% in a pause, or in ten requests.
    """
    rate = refuse(8.0, 100, 2.0)
    for begin, pause in ((1010.0, 2.0), (1020.0, 8.0)):
        for at in range(100):
            rate.record_success(begin + at * 0.08)
        rate.record_refusal(begin + 8.0, pause)
        if begin == 1010.0:
            assert rate.rate(1020.0) == pytest.approx(10.0)
            assert rate.rate(1022.0) == pytest.approx(10.1, rel=1e-3)
    assert rate.rate(1036.0) == pytest.approx(0.95 * math.sqrt(100 / 16 * 10.4), rel=1e-3)


def test_an_idle_time_begins_a_new_window() -> None:
    """What was admitted a second before says nothing of the rate."""
    rate = AdaptiveRate()
    for at in range(100):
        rate.record_success(1000.0 + at / 100)
    for at in range(10):
        rate.record_success(1002.5 + at / 10)
    rate.record_refusal(1003.5, 1.0)
    assert rate.rate(1004.5) == pytest.approx(10 / 2.0)


def test_a_long_window_is_halved() -> None:
    """Of more than 64 s the older half is dropped, with its admissions."""
    rate = AdaptiveRate()
    for at in range(1291):
        rate.record_success(1000.0 + at / 20)
    rate.record_refusal(1064.5, 1.0)
    assert rate.rate(1065.5) == pytest.approx(20.0, rel=0.05)


def test_a_slow_rate_grows_by_the_requests() -> None:
    """Where ten of them take longer than the pause, the 1% are those of the ten requests."""
    rate = refuse(10.0, 25, 1.0)
    for at in range(25):
        rate.record_success(1011.0 + at * 0.2)
    rate.record_refusal(1016.0, 1.0)
    slow = 25 / 6
    assert rate.rate(1017.0) == pytest.approx(slow)
    assert rate.rate(1017.0 + 10 / slow) == pytest.approx(1.01 * slow, rel=5e-4)


def test_late_successes_of_a_second_window() -> None:
    """They were admitted, but nobody knows when: they count as the latest ones."""
    rate = refuse(0.5, 1, 2.0)
    for at in range(5):
        rate.record_success(1002.5 + at)
    rate.record_refusal(1012.5, 5.0)
    for _ in range(3):
        rate.record_success(1013.0)
    # Seven of them after a burst of one, in ten seconds.
    assert rate.rate(1017.5) == pytest.approx(0.95 * 0.7)


def test_a_slow_window() -> None:
    """A second one that admits no more than the first has measured a limit below one a second."""
    rate = refuse(10.0, 20, 50.0)
    for at in range(20):
        rate.record_success(1060.0 + at / 2)
    rate.record_refusal(1070.0, 50.0)
    assert rate.rate(1120.0) == pytest.approx(20 / 60)


def test_a_short_window() -> None:
    """Half a second counts as half a second."""
    assert refuse(0.5, 10, 2.0).rate(1002.5) == pytest.approx(10 / 2.5)
