"""The rate limiter, on a clock that the tests move."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async.emulator import Emulator
from junkie_async.emulator.rate_limiter import Admission, RateLimiter


class _Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    """A clock in seconds."""
    return _Time()


def _run_dry(limiter: RateLimiter) -> Admission:
    while (admission := limiter.admit()).admitted:
        pass
    return admission


@pytest.mark.parametrize(
    ("rate", "burst", "size"),
    [
        (0.5, None, 1),
        (1, None, 1),
        (2.5, None, 2),
        (50, None, 50),
        (0.5, 3, 3),
        (50, 1, 1),
        (50, 7.9, 7),
        (50, 500, 500),
    ],
)
def test_burst_defaults_to_one_seconds_worth(
    time: _Time, rate: float, burst: float | None, size: int
) -> None:
    """A full bucket admits the burst, counts down `remaining`, then refuses."""
    limiter = RateLimiter(rate, burst, time)
    remaining = [limiter.admit().remaining for _ in range(size)]
    assert remaining == list(reversed(range(size)))
    admission = limiter.admit()
    assert (admission.admitted, admission.limit, admission.remaining) == (False, size, 0)


@pytest.mark.parametrize("began", [0.0, 1000.0, 1e8])
@pytest.mark.parametrize("burst", [1, 2.5, None])
@pytest.mark.parametrize("rate", [0.5, 3, 7, 10, 49, 100, 333, 1000])
def test_the_exact_rate_is_never_refused(
    time: _Time, rate: float, burst: float | None, began: float
) -> None:
    """Float rounding refuses nothing, neither after a burst nor after years of uptime."""
    time.now = began
    limiter = RateLimiter(rate, burst, time)
    _run_dry(limiter)
    for step in range(1, 10_000):
        time.now = began + step / rate
        assert limiter.admit().admitted


def test_any_second_sees_at_most_the_rate_and_one_burst(time: _Time) -> None:
    """Under any load; and over ten seconds the full rate is admitted."""
    limiter, passed = RateLimiter(100, 20, time), []
    for _ in range(20_000):
        if limiter.admit().admitted:
            passed.append(time.now)
        time.now += 0.0005
    assert max(sum(at <= other < at + 1 for other in passed) for at in passed) <= 120
    assert 1010 <= len(passed) <= 1020


@pytest.mark.parametrize(
    ("rate", "burst", "seconds"), [(100, 5, 1), (0.5, 1, 2), (0.1, 1, 10), (0.1, 9, 10)]
)
def test_retry_after_is_whole_seconds_rounded_up(
    time: _Time, rate: float, burst: float, seconds: int
) -> None:
    """After that wait a request is admitted."""
    limiter = RateLimiter(rate, burst, time)
    assert _run_dry(limiter).retry_after == seconds
    time.now += seconds
    assert limiter.admit().admitted


def test_headers_describe_the_bucket(time: _Time) -> None:
    """They give its size, what is left, and when it is full again."""
    limiter = RateLimiter(20, 60, time)
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    admissions = [limiter.admit() for _ in range(61)]
    seen = [tuple(admission.headers[name] for name in names) for admission in admissions]
    assert seen[:2] == [("60", "59", "1"), ("60", "58", "1")]
    assert seen[-2:] == [("60", "0", "3"), ("60", "0", "3")]
    time.now += 3
    assert limiter.admit().remaining == 59


RATES = st.floats(0.01, 5000)
BURSTS = st.none() | st.floats(1, 20_000)


@given(RATES, BURSTS, st.lists(st.floats(0, 100), max_size=20))
def test_announced_waits_are_long_enough(
    rate: float, burst: float | None, pauses: list[float]
) -> None:
    """After `retry_after` one request passes, after `reset` a whole burst."""
    time = _Time()
    limiter = RateLimiter(rate, burst, time)
    for pause in pauses:
        admission = limiter.admit()
        time.now += pause if admission.admitted else admission.retry_after
        assert admission.admitted or limiter.admit().admitted
    admission = limiter.admit()
    assert admission.reset >= admission.retry_after
    time.now += admission.reset
    assert limiter.admit().remaining == admission.limit - 1


@pytest.mark.parametrize("rate", [0.1, 0.5, 1, 3, 10, 33.3, 100, 1000])
@pytest.mark.parametrize("seconds_worth", [0.01, 0.1, 0.5, 1, 2.5, 30])
@pytest.mark.parametrize("spent", [0, 0.3, 0.9, 1])
def test_spreading_remaining_over_reset_is_never_refused(
    time: _Time, rate: float, seconds_worth: float, spent: float
) -> None:
    """Window by window, from any level of the bucket."""
    limiter = RateLimiter(rate, max(1, rate * seconds_worth), time)
    admission = limiter.admit()
    for _ in range(int(admission.remaining * spent)):
        admission = limiter.admit()
    for _ in range(20):
        began, remaining, reset = time.now, max(1, admission.remaining), admission.reset
        for step in range(1, min(remaining, 200) + 1):
            time.now = began + step * reset / remaining
            admission = limiter.admit()
            assert admission.admitted


@pytest.mark.parametrize("rate", [0.1, 1, 10, 100, 1000])
@pytest.mark.parametrize("seconds_worth", [0.05, 1, 10])
def test_pacing_by_the_last_response_is_never_refused(
    time: _Time, rate: float, seconds_worth: float
) -> None:
    """Such a client also reaches half the rate if the bucket holds two seconds' worth."""
    limiter = RateLimiter(rate, max(1, rate * seconds_worth), time)
    for _ in range(2000):
        admission = limiter.admit()
        assert admission.admitted
        time.now += admission.reset / max(1, admission.remaining)
    if seconds_worth >= 2:
        assert 2000 / (time.now - 1000) >= rate / 2


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_the_rate_must_be_a_finite_number_above_zero(rate: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError):
        Emulator(rate_limit=rate)


@pytest.mark.parametrize("burst", [0, 0.99, -1, math.inf, math.nan])
def test_the_burst_must_be_a_finite_number_from_one(burst: float) -> None:
    """With less than one token, nothing would ever pass."""
    with pytest.raises(ValueError):
        Emulator(rate_limit=1, rate_limit_burst=burst)
