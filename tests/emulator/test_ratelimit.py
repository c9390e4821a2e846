"""The limiter, on a clock that the tests move."""

import math

import pytest

from junkie_async.emulator.ratelimit import RateLimiter


class _Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    """A clock in seconds."""
    return _Time()


def _admitted(limiter: RateLimiter, attempts: int) -> int:
    return sum(limiter.admit().admitted for _ in range(attempts))


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1, 1), (10, 1), (50, 5), (1000, 100)])
def test_a_burst_is_a_tenth_of_a_second_and_at_least_one(
    time: _Time, rate: float, burst: int
) -> None:
    """At one moment no more pass."""
    assert _admitted(RateLimiter(rate, time), burst * 2 + 5) == burst


@pytest.mark.parametrize("rate", [0.5, 3, 7, 10, 100, 333])
def test_the_exact_pace_is_never_refused(time: _Time, rate: float) -> None:
    """Rounding of floats refuses nobody."""
    limiter = RateLimiter(rate, time)
    for step in range(1000):
        time.now = 1000.0 + step / rate
        assert limiter.admit().admitted


def test_any_second_sees_at_most_the_rate_and_one_burst(time: _Time) -> None:
    """However hard it is pushed, and over ten seconds the rate is reached."""
    limiter, passed = RateLimiter(100, time), []
    for _ in range(20_000):
        if limiter.admit().admitted:
            passed.append(time.now)
        time.now += 0.0005
    assert max(sum(at <= other < at + 1 for other in passed) for at in passed) <= 110
    assert 1000 <= len(passed) <= 1010


@pytest.mark.parametrize(("rate", "seconds"), [(100, 1), (0.5, 2), (0.1, 10)])
def test_a_refusal_tells_whole_seconds_after_which_it_passes(
    time: _Time, rate: float, seconds: int
) -> None:
    """They are rounded up, so at least one."""
    limiter = RateLimiter(rate, time)
    while (verdict := limiter.admit()).admitted:
        pass
    assert verdict.retry_after == seconds
    time.now += verdict.retry_after
    assert limiter.admit().admitted


def test_the_headers_tell_of_the_last_second(time: _Time) -> None:
    """Limit, what is left of it, and when there is room again."""
    limiter = RateLimiter(20, time)
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    verdicts = [limiter.admit() for _ in range(3)]
    seen = [tuple(verdict.headers[name] for name in names) for verdict in verdicts]
    assert seen == [("20", "19", "1"), ("20", "18", "1"), ("20", "0", "1")]
    time.now += 1.5
    assert limiter.admit().headers["RateLimit-Remaining"] == "19"


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_the_rate_must_be_a_finite_number_above_zero(rate: float) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ValueError, match="rate_limit"):
        RateLimiter(rate)
