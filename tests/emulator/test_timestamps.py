"""Rendering and parsing RFC 3339 date-times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from junkie_async.emulator import timestamps


def test_a_moment_is_rendered_in_utc_with_milliseconds() -> None:
    """Offsets are applied and microseconds cut."""
    moment = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=2)))
    assert timestamps.render(moment) == "2025-12-31T23:02:03.456Z"


def test_a_naive_moment_is_refused() -> None:
    """It is not taken for local time."""
    with pytest.raises(ValueError):
        timestamps.render(datetime(2026, 1, 1))  # noqa: DTZ001 - the defect


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01t00:00:00.5z", "2026-01-01T00:00:00.500Z"),
        ("2026-01-01T00:00:00.1239999999+01:30", "2025-12-31T22:30:00.123Z"),
        ("2026-06-30T23:59:60Z", "2026-07-01T00:00:00.000Z"),
        ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_any_rfc_3339_date_time_is_parsed(text: str, expected: str) -> None:
    """Lower case, long fractions, leap seconds and dates out of range are included."""
    assert timestamps.render(timestamps.parse(text)) == expected


@pytest.mark.parametrize(
    ("microsecond", "expected"), [(0, "000"), (1, "001"), (999, "001"), (1000, "001")]
)
def test_rounding_up_takes_the_next_whole_millisecond(microsecond: int, expected: str) -> None:
    """A whole millisecond stays."""
    moment = datetime(2026, 1, 1, microsecond=microsecond, tzinfo=UTC)
    assert timestamps.render_up(moment) == f"2026-01-01T00:00:00.{expected}Z"


def test_rounding_up_is_clamped() -> None:
    """The last microsecond has no next millisecond."""
    last = datetime.max.replace(tzinfo=UTC)
    assert timestamps.render_up(last) == "9999-12-31T23:59:59.999Z"


def test_add_minutes_is_clamped() -> None:
    """The contract sets no maximum to a validity."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert timestamps.add_minutes(moment, 60) == moment + timedelta(hours=1)
    for minutes in (10**10, 2**63 - 1):
        assert (
            timestamps.render(timestamps.add_minutes(moment, minutes)) == "9999-12-31T23:59:59.999Z"
        )
