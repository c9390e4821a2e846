"""Retry decisions, the back-off and the budget."""

from __future__ import annotations

import math

import attrs
import pytest

from junkie_async import (
    BadRequestError,
    ConnectError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from junkie_async._http.retry import RetryBudget, hurry, shorten_wait

POLICY = RetryPolicy()


@pytest.mark.parametrize(
    ("error", "if_idempotent", "otherwise"),
    [
        (ConnectError("refused"), True, True),
        (ConnectError("certificate", transient=False), False, False),
        (TransportError("lost"), True, False),
        (ServerError("500", status=500), True, False),
        (ServerError("503", status=503, outcome=Outcome.NOT_EXECUTED, retry_after=2.0), 2.0, 2.0),
        (RateLimitError("429", status=429, outcome=Outcome.NOT_EXECUTED), True, True),
        (RateLimitError("429", outcome=Outcome.NOT_EXECUTED, retry_after=121.0), False, False),
        (RateLimitError("429", outcome=Outcome.NOT_EXECUTED, transient=False), False, False),
        (BadRequestError("400", status=400), False, False),
        (InvalidResponseError("html", transient=True), True, False),
        (InvalidResponseError("shape", outcome=Outcome.EXECUTED), False, False),
    ],
    ids=str,
)
def test_decisions(
    error: JunkieError, if_idempotent: bool | float, otherwise: bool | float
) -> None:
    """Which errors of a first attempt are retried, by kind of request."""
    assert POLICY.decide(error, idempotent=True, attempt=1) == if_idempotent
    assert POLICY.decide(error, idempotent=False, attempt=1) == otherwise


@pytest.mark.parametrize("status", [500, 502, 504, 520, 521, 522, 523, 524])
def test_the_wait_of_a_gateway(status: int) -> None:
    """Cloudflare adds 60 to 120 s to its own errors: only walks and jobs wait for so long."""
    down = ServerError(str(status), status=status, retry_after=60.0)
    assert POLICY.decide(down, idempotent=True, attempt=1) is True
    assert POLICY.decide(down, idempotent=True, attempt=1, left=1.0) is True
    assert POLICY.decide(down, idempotent=True, attempt=1, interactive=False) == 60.0
    # Beyond the cap, or the time that is left, the usual back-off is better than none.
    for longer in (attrs.evolve(POLICY, retry_after_cap=59.0), POLICY):
        left = 59.0 if longer is POLICY else math.inf
        assert longer.decide(down, idempotent=True, attempt=1, left=left, interactive=False) is True


@pytest.mark.parametrize("interactive", [True, False])
def test_the_wait_of_a_service_that_sheds_load(interactive: bool) -> None:
    """A 503 or a 429 with a wait is the service's own: every call honours it."""
    for error in (
        ServerError("503", status=503, outcome=Outcome.NOT_EXECUTED, retry_after=60.0),
        RateLimitError("403", status=403, outcome=Outcome.NOT_EXECUTED, retry_after=60.0),
    ):
        decide = POLICY.decide(error, idempotent=False, attempt=1, interactive=interactive)
        assert decide == 60.0


def test_attempts_are_counted() -> None:
    """No retry follows the last attempt; HTML or broken JSON is only tried twice."""
    lost, html = TransportError("lost"), InvalidResponseError("html", transient=True)
    assert POLICY.decide(lost, idempotent=True, attempt=4) is True
    assert POLICY.decide(lost, idempotent=True, attempt=5) is False
    assert POLICY.decide(html, idempotent=True, attempt=2) is False
    assert RetryPolicy(attempts=1).decide(lost, idempotent=True, attempt=1) is False


def test_the_deadline() -> None:
    """An attempt that could not begin before the deadline is not made."""
    lost = TransportError("lost")
    asked = RateLimitError("429", outcome=Outcome.NOT_EXECUTED, retry_after=2.0)
    assert POLICY.decide(lost, idempotent=True, attempt=1, left=1.0) is True
    assert POLICY.decide(lost, idempotent=True, attempt=1, left=0.75) is True  # with all jitter
    assert POLICY.decide(lost, idempotent=True, attempt=1, left=0.5) is False
    assert POLICY.decide(asked, idempotent=False, attempt=1, left=2.0) == 2.0
    assert POLICY.decide(asked, idempotent=False, attempt=1, left=1.9) is False


@pytest.mark.parametrize(
    ("error", "if_idempotent", "otherwise"),
    [
        (ConnectError("refused"), True, True),
        (ConnectError("certificate", transient=False), False, False),
        (TransportError("lost"), True, False),
        (ServerError("500", status=500), True, False),
        (RateLimitError("429", outcome=Outcome.NOT_EXECUTED), False, False),
        (InvalidResponseError("html", transient=True), False, False),
    ],
    ids=str,
)
def test_what_is_an_outage(error: JunkieError, if_idempotent: bool, otherwise: bool) -> None:
    """Walks and jobs go on while the service does not respond, or answers 5xx."""
    assert POLICY.rides_out(error, idempotent=True, seconds=1.0) is if_idempotent
    assert POLICY.rides_out(error, idempotent=False, seconds=1.0) is otherwise
    once = RetryPolicy(attempts=1)
    assert not once.rides_out(error, idempotent=True, seconds=1.0)


def test_how_long_an_outage_may_be() -> None:
    """Up to the policy's end, with the wait that the service states."""
    for error, limit in (
        (ServerError("500", status=500), 600.0),
        (ServerError("503", status=503, retry_after=100.0), 500.0),
        (ConnectError("refused"), 600.0),
    ):
        for seconds in (0.0, limit - 0.5):
            assert POLICY.rides_out(error, idempotent=True, seconds=seconds)
        assert not POLICY.rides_out(error, idempotent=True, seconds=limit)


def test_instant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits pass a thousand times faster, stated ones too; what is decided is the same."""
    url = "http://127.0.0.1"
    assert hurry(POLICY, url) is POLICY
    monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", "1")
    assert hurry(POLICY, "https://shop.example") is POLICY
    fast = hurry(POLICY, url)
    assert [shorten_wait(policy, 60.0) for policy in (POLICY, fast)] == [60.0, 0.06]
    assert (fast.wait_initial, fast.wait_max, fast.outage) == (0.00025, 0.008, 0.6)
    assert (fast.attempts, fast.deadline, fast.retry_after_cap) == (5, 180.0, 120.0)
    for error in (
        ServerError("503", status=503, retry_after=60.0),
        RateLimitError("429", outcome=Outcome.NOT_EXECUTED, retry_after=60.0),
        ServerError("502", status=502, retry_after=60.0),
    ):
        assert fast.decide(error, idempotent=True, attempt=1, interactive=False) == 0.06
    down = ServerError("503", status=503, retry_after=100.0)
    assert fast.rides_out(down, idempotent=True, seconds=0.49)
    assert not fast.rides_out(down, idempotent=True, seconds=0.51)


@pytest.mark.parametrize(
    ("field", "value"),
    [("attempts", 0), ("attempts", 101), ("wait_max", -1.0), ("deadline", float("nan"))],
)
def test_limits(field: str, value: float) -> None:
    """A policy's numbers are checked when it is made."""
    with pytest.raises(InvalidRequestError) as caught:
        RetryPolicy(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == f"RetryPolicy.{field}"


def test_the_budget_runs_out_and_refills() -> None:
    """There are a hundred retries at first; successes refill the budget up to that."""
    budget, lost = RetryBudget(), TransportError("lost")
    assert [budget.take(lost) for _ in range(101)] == [True] * 100 + [False]
    for _ in range(5):
        assert not budget.take(lost)
        budget.earn()
    assert [budget.take(lost), budget.take(lost)] == [True, False]
    budget.earn(retried=True)
    assert [budget.take(lost), budget.take(lost)] == [True, False]
    for _ in range(10_000):
        budget.earn()
    assert [budget.take(lost) for _ in range(101)] == [True] * 100 + [False]


def test_jobs_leave_the_retries_of_interactive_calls() -> None:
    """Each kind has a hundred of its own, and each success refills both."""
    budget, lost = RetryBudget(), TransportError("lost")
    taken = [budget.take(lost, interactive=False) for _ in range(101)]
    assert taken == [True] * 100 + [False]
    assert [budget.take(lost) for _ in range(101)] == [True] * 100 + [False]
    budget.earn(retried=True)
    for interactive in (False, True):
        taken = [budget.take(lost, interactive=interactive) for _ in range(2)]
        assert taken == [True, False]


def test_a_time_out_costs_double() -> None:
    """After time-outs the budget lasts for fifty retries."""
    budget = RetryBudget()
    assert [budget.take(RequestTimeoutError("late")) for _ in range(51)] == [True] * 50 + [False]


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 0.25, 0.75), (3, 2.0, 2.5), (5, 8.0, 8.0), (10**6, 8.0, 8.0)],
)
def test_back_off(failures: int, least: float, most: float) -> None:
    """Waits double, with jitter, up to the longest wait."""
    waits = [POLICY.back_off(failures) for _ in range(100)]
    assert least <= min(waits) <= max(waits) <= most
    assert len(set(waits)) > 1 or least == most
