"""Rendering and parsing RFC 3339 date-times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from junkie_async.emulator import column_values


def test_a_moment_is_rendered_in_utc_with_milliseconds() -> None:
    """Offsets are applied and microseconds cut."""
    moment = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=2)))
    assert column_values.render_time(moment) == "2025-12-31T23:02:03.456Z"


def test_a_naive_moment_is_refused() -> None:
    """It is not taken for local time."""
    with pytest.raises(ValueError):
        column_values.render_time(datetime(2026, 1, 1))  # noqa: DTZ001 - the defect


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
    assert column_values.render_time(column_values.parse_time(text)) == expected


@pytest.mark.parametrize(
    ("microsecond", "expected"), [(0, "000"), (1, "001"), (999, "001"), (1000, "001")]
)
def test_rounding_up_takes_the_next_whole_millisecond(microsecond: int, expected: str) -> None:
    """A whole millisecond stays."""
    moment = datetime(2026, 1, 1, microsecond=microsecond, tzinfo=UTC)
    assert column_values.render_time(moment, microseconds=999) == f"2026-01-01T00:00:00.{expected}Z"


def test_rounding_up_is_clamped() -> None:
    """The last microsecond has no next millisecond."""
    last = datetime.max.replace(tzinfo=UTC)
    assert column_values.render_time(last, microseconds=999) == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("minutes", "expiry"),
    [
        (60, "2026-01-01T01:00:00.000Z"),
        (9_999_999_999, "~21039-03-31T10:39:00.000Z"),
        (2**63 - 1, "~17536621479641-"),
    ],
)
def test_an_expiry_may_be_beyond_the_year_9999(minutes: int, expiry: str) -> None:
    """The contract sets no maximum to a validity."""
    rendered = column_values.render_expiry(datetime(2026, 1, 1, tzinfo=UTC), minutes)
    assert rendered.startswith(expiry)
