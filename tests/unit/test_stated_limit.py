"""What a stated limit allows: the turns of a limit that is nearly used up, without I/O."""

from __future__ import annotations

import math

import pytest

from junkie_async._http.stated_limit import StatedLimit, Turn
from junkie_async._protocol.rate_limit_headers import RateLimitState


def make(
    remaining: float, *, limit: float | None = 100.0, reset: float = 60.0, now: float = 1000.0
) -> StatedLimit:
    """Make the limit of one statement."""
    stated = StatedLimit(max_reset=120.0)
    stated.record_statement(now, RateLimitState(limit=limit, remaining=remaining, reset=reset))
    return stated


def turn(
    stated: StatedLimit,
    in_flight: int = 0,
    *,
    interactive: bool = False,
    now: float = 1000.0,
    at_least: bool = False,
) -> Turn | None:
    """Find the next turn."""
    return stated.find_turn(now, in_flight, interactive=interactive, at_least=at_least)


@pytest.mark.parametrize(
    ("remaining", "in_flight", "is_scarce"),
    [
        (20, 0, True),
        (21, 0, False),
        (24, 12, True),
        (25, 12, False),
        (50, 26, True),
        (51, 26, False),
        (55, 55, True),
        (56, 55, False),
    ],
)
def test_when_a_limit_is_scarce(remaining: int, in_flight: int, *, is_scarce: bool) -> None:
    """A fifth of it is left, or twice what is in flight, but at most half of it; or as much."""
    assert make(remaining).is_scarce(in_flight) is is_scarce


@pytest.mark.parametrize(("remaining", "is_scarce"), [(12, True), (13, False)])
def test_a_limit_whose_size_is_not_stated(remaining: int, *, is_scarce: bool) -> None:
    """It is scarce when what is in flight could use it up twice."""
    assert make(remaining, limit=None).is_scarce(6) is is_scarce


def test_nothing_is_stated() -> None:
    """There is no turn to wait for, and a response without a statement ends the one before."""
    stated = make(0.0)
    assert turn(stated) is not None
    stated.record_statement(1001.0, None)
    assert turn(stated) is None
    assert not stated.is_scarce(5)


@pytest.mark.parametrize(
    ("remaining", "in_flight", "interactive", "expected"),
    [
        (60, 0, False, None),
        (20, 0, False, Turn(rate=10 / 60)),  # a tenth is left to interactive calls
        (20, 4, False, Turn(rate=6 / 60)),
        (11, 0, False, Turn(rate=1 / 60)),
        (10, 0, False, Turn(due=1060.0)),
        (11, 1, False, Turn(due=1060.0)),
        (21, 0, True, None),
        (20, 0, True, Turn(due=990.0 + 3.0)),
        (10, 0, True, Turn(due=990.0 + 6.0)),
        (10, 4, True, Turn(due=990.0 + 10.0)),
        (1, 0, True, Turn(due=990.0 + 60.0)),
        (0, 0, True, Turn(due=1060.0)),
    ],
)
def test_what_remains_is_spread_until_the_reset(
    remaining: int, in_flight: int, *, interactive: bool, expected: Turn | None
) -> None:
    """Over all calls of walks and jobs, and over the turns of interactive ones apart."""
    stated = make(remaining)
    stated.record_interactive(990.0)
    found = turn(stated, in_flight, interactive=interactive)
    assert (found is None) is (expected is None)
    if found and expected:
        assert found == pytest.approx(expected)


def test_after_the_reset_the_whole_limit_remains() -> None:
    """One without a size restrains nothing then."""
    for limit in (100.0, None):
        stated = make(0.0, limit=limit)
        assert turn(stated, now=1059.9) == Turn(due=1060.0)
        assert turn(stated, now=1060.0) is None


def test_a_small_limit_that_is_in_use_at_its_reset() -> None:
    """What is in flight will tell what is left; what does not wait for that may go on."""
    stated = make(0.0, limit=4.0)
    assert turn(stated, 4, now=1061.0) == Turn(due=math.inf)
    assert turn(stated, 4, now=1061.0, at_least=True) == Turn()


@pytest.mark.parametrize(("reset", "due"), [(30.0, 1030.0), (3600.0, 1120.0)])
def test_a_reset_is_believed_up_to_a_limit(reset: float, due: float) -> None:
    """Then a request goes out, whose response may correct it."""
    assert turn(make(0.0, reset=reset)) == Turn(due=due)


def test_responses_that_arrive_together() -> None:
    """The lower statement counts, whichever comes first; a later response replaces it."""
    for numbers in ([5.0, 60.0], [60.0, 5.0]):
        stated = StatedLimit(max_reset=120.0)
        for at, number in enumerate(numbers):
            state = RateLimitState(limit=100.0, remaining=number, reset=60.0)
            stated.record_statement(1000.0 + 0.004 * at, state)
        assert stated.is_scarce(0)
        state = RateLimitState(limit=100.0, remaining=60.0, reset=60.0)
        stated.record_statement(1000.1, state)
        assert not stated.is_scarce(0)


def test_a_response_without_a_statement_arrives_with_one_that_has_it() -> None:
    """The latest response tells whether the service states a limit at all."""
    stated = make(0)
    stated.record_statement(1000.005, None)
    assert turn(stated, now=1000.005) is None
