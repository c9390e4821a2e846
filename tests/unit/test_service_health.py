"""When look-ups are held back, moment by moment."""

from __future__ import annotations

import logging

import pytest

from junkie_async import ConnectError, ServerError
from junkie_async._verification.service_health import ServiceHealth

REFUSED, FAILED = ConnectError("refused"), ServerError("failed", status=500)


def test_one_probe_in_each_interval() -> None:
    """The first call at its end is the probe, and the others wait for the next one."""
    health = ServiceHealth(5.0)
    assert not health.holds_back(99.0)
    health.record_failure(b"a", REFUSED, 100.0)
    assert [health.holds_back(at) for at in (100.0, 104.9, 105.0, 105.1)] == [
        True,
        True,
        False,
        True,
    ]
    assert [health.holds_back(at) for at in (110.0, 110.0, 114.9)] == [False, True, True]


def test_a_clock_that_is_behind() -> None:
    """Another event loop's clock puts no probe off."""
    health = ServiceHealth(5.0)
    health.record_failure(b"a", REFUSED, 100.0)
    assert [health.holds_back(at) for at in (50.0, 50.0, 54.9, 55.0)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("names", "is_down"),
    [
        ([b"a"], False),
        ([b"a", b"a"], False),
        ([b"a", b"b"], True),
        ([b"a", None], False),
        ([None, b"a"], False),
        ([None, None], False),
        ([b"a", None, b"b"], True),
    ],
)
def test_failures_of_two_keys(names: list[bytes | None], is_down: bool) -> None:
    """One known key alone may have a trouble of its own, and unknown ones do not count."""
    health = ServiceHealth(5.0)
    for name in names:
        health.record_failure(name, FAILED, 100.0)
    assert health.holds_back(101.0) is is_down
    health.record_answer()
    assert not health.holds_back(101.0)
    health.record_failure(b"c", FAILED, 101.0)
    assert not health.holds_back(101.0)


def test_what_puts_the_probe_off() -> None:
    """While the service is down, the failure of any known key does."""
    health = ServiceHealth(5.0)
    health.record_failure(b"a", REFUSED, 100.0)
    health.record_failure(None, FAILED, 103.0)
    assert not health.holds_back(105.5)
    health.record_failure(b"a", FAILED, 106.0)
    assert [health.holds_back(at) for at in (110.9, 111.0)] == [True, False]


def test_what_the_operator_reads(caplog: pytest.LogCaptureFixture) -> None:
    """One line as it goes down, and one as it works again."""
    health = ServiceHealth(5.0)
    with caplog.at_level(logging.WARNING, "junkie_async"):
        health.report_stale(FAILED)
        health.record_answer()
        assert not caplog.records
        for _ in range(2):
            health.record_failure(b"a", REFUSED, 100.0)
            health.report_stale(REFUSED)
        health.record_answer()
        health.record_answer()
    assert [record.args for record in caplog.records] == [("ConnectError",), ()]
