"""Retry decisions, the back-off and the budget."""

from __future__ import annotations

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
from junkie_async._http.retry import RetryBudget

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
    assert POLICY.decide(lost, idempotent=True, attempt=1, left=0.5) is False
    assert POLICY.decide(asked, idempotent=False, attempt=1, left=2.0) == 2.0
    assert POLICY.decide(asked, idempotent=False, attempt=1, left=1.9) is False


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
