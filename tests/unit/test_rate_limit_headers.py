"""Rate-limit headers: seconds, dates and budgets, in every spelling, and garbage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from junkie_async._protocol.rate_limit_headers import read_rate_limit, read_retry_after

# --- Retry-After ----------------------------------------------------------------------------------

SERVER_NOW = "Wed, 01 Jan 2020 00:00:00 GMT"
DATE = {"Date": SERVER_NOW}


@pytest.mark.parametrize(
    ("value", "date", "wait"),
    [
        ("7", None, 7.0),
        ("0", None, 0.0),
        (" 120 ", None, 120.0),
        ("1.5", None, 1.5),
        ("999999999", None, 999_999_999.0),
        ("Wed, 01 Jan 2020 00:00:30 GMT", SERVER_NOW, 30.0),
        ("Wed, 01 Jan 2020 01:00:30 +0100", SERVER_NOW, 30.0),
        ("Wednesday, 01-Jan-20 00:00:30 GMT", SERVER_NOW, 30.0),
        ("Wed Jan  1 00:00:30 2020", SERVER_NOW, 30.0),
        ("Tue, 31 Dec 2019 23:59:59 GMT", SERVER_NOW, 0.0),
        ("-1", SERVER_NOW, None),
        ("+5", SERVER_NOW, None),
        ("1e3", SERVER_NOW, None),
        ("5 minutes", SERVER_NOW, None),
        ("inf", None, None),
        ("nan", None, None),
        ("", SERVER_NOW, None),
        ("soon", SERVER_NOW, None),
        ("2020-01-01T00:00:30Z", SERVER_NOW, 30.0),
        ("9" * 400, SERVER_NOW, None),
        ("99999999999999999999", SERVER_NOW, 1e20),
        ("٣", None, None),
        ("Wed, 99 Jan 2020 00:00:30 GMT", SERVER_NOW, None),
        ("Wed, 01 Jan 99999 00:00:30 GMT", SERVER_NOW, None),
        ("Wed, 01 Jan 2020 00:00:30 +999999", SERVER_NOW, None),
    ],
)
def test_retry_after(value: str, date: str | None, wait: float | None) -> None:
    """Seconds and dates are read, dates by the server's clock; garbage is ignored."""
    headers = {"retry-after": value} | ({"date": date} if date else {})
    assert read_retry_after(CIMultiDict(headers)) == wait


@pytest.mark.parametrize("date", [None, "garbage"])
def test_retry_after_without_a_date(date: str | None) -> None:
    """The local clock counts only if the response has no valid date."""
    until = datetime.now(UTC) + timedelta(hours=1)
    headers = {"Retry-After": format_datetime(until, usegmt=True)} | (
        {"Date": date} if date else {}
    )
    wait = read_retry_after(headers)
    assert wait is not None
    assert 3500 < wait <= 3600


def test_no_retry_after() -> None:
    """A response without the header asks for no wait."""
    assert read_retry_after({"Date": SERVER_NOW}) is None


@given(
    st.text(max_size=30)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,5} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} [+-]?[0-9A-Z]{1,7}"
    ),
    st.text(max_size=30) | st.just(SERVER_NOW) | st.just("Fri, 31 Dec 9999 23:59:59 -2359"),
)
def test_retry_after_never_fails(value: str, date: str) -> None:
    """Whatever the headers say, the wait is a finite number of seconds, or None."""
    wait = read_retry_after({"Retry-After": value, "Date": date})
    assert wait is None or 0 <= wait < 1e12


# --- rate limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "remaining", "reset", "limit"),
    [
        (
            {"RateLimit-Remaining": "5", "RateLimit-Reset": "30", "RateLimit-Limit": "100"},
            5,
            30,
            100,
        ),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "1"}, 0, 1, None),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "2.5"}, 7, 2.5, None),
        (
            {"RateLimit-Remaining": "5", "RateLimit-Reset": "9", "RateLimit-Limit": "10, 10;w=1"},
            5,
            9,
            10,
        ),
        (
            {
                "X-RateLimit-Remaining": "5",
                "X-RateLimit-Reset": "946684860",
                "Date": "Sat, 01 Jan 2000 00:00:00 GMT",
            },
            5,
            946684860,  # below a billion: seconds, however many
            None,
        ),
        (
            {
                "X-RateLimit-Remaining": "5",
                "X-RateLimit-Reset": "1577836860",
                "Date": "Wed, 01 Jan 2020 00:00:00 GMT",
            },
            5,
            60,
            None,
        ),
        (
            {
                "X-RateLimit-Remaining": "5",
                "X-RateLimit-Reset": "1577836800",
                "Date": "Wed, 01 Jan 2020 00:01:00 GMT",
            },
            5,
            0,
            None,
        ),
        (
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1577836860000",
                "Date": SERVER_NOW,
            },
            0,
            60,
            None,
        ),
        (
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1577836799500",
                "Date": SERVER_NOW,
            },
            0,
            0,
            None,
        ),
        *(
            ({f"{prefix}Remaining": "0", f"{prefix}Reset": reset} | DATE, 0, 60, None)
            for prefix in ("X-RateLimit-", "RateLimit-")
            for reset in (
                "2020-01-01T00:01:00Z",
                "2020-01-01T01:01:00.000+01:00",
                "2020-01-01 00:01:00",
                "Wed, 01 Jan 2020 00:01:00 GMT",
            )
        ),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "999999999"}, 0, 999_999_999, None),
        ({"RateLimit": '"burst";r=0;t=2, "daily";r=9000;t=80000'}, 0, 2, None),
        ({"RateLimit": '"daily";r=9000;t=80000,"burst";r=0;t=2'}, 0, 2, None),
        ({"RateLimit": '"burst";r=5;t=1, "daily";r=1;t=80000'}, 1, 80_000, None),
        ({"RateLimit": '"burst";r=0;t=2, "daily";r=0;t=80000'}, 0, 80_000, None),
        ({"RateLimit": '"a, r=0";r=5;t=1;pk=:eA==:, b;r=7, c;t=3;r=3'}, 3, 3, None),
        ({"RateLimit": "b;t=60;r=0"}, 0, 60, None),
        ({"RateLimit": '"default";r=50;t=30'}, 50, 30, None),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, 50, 5, 100),
    ],
)
def test_rate_limits(
    headers: dict[str, str], remaining: float, reset: float, limit: float | None
) -> None:
    """The rate limit is read in each of the common spellings."""
    state = read_rate_limit(CIMultiDict(headers))
    assert state is not None
    assert (state.remaining, state.reset, state.limit) == (remaining, reset, limit)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Limit": "100"},
        {"RateLimit-Remaining": "5"},
        {"RateLimit-Remaining": "-1", "RateLimit-Reset": "5"},
        {"RateLimit-Remaining": "many", "RateLimit-Reset": "5"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "Sat, 41 Jan 2000 00:00:00 GMT"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "2020-13-01T00:00:00Z"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "1577836860000000"},
        {"RateLimit-Remaining": "٣", "RateLimit-Reset": "5"},
        {"RateLimit": "garbage"},
        {"RateLimit": '"default";r=50'},
    ],
)
def test_no_rate_limit(headers: dict[str, str]) -> None:
    """Headers that are missing, incomplete or garbage are ignored."""
    assert read_rate_limit(CIMultiDict(headers)) is None


def test_the_tightest_policy_counts() -> None:
    """That is the one with the fewest requests a second; a reset that is due allows them all."""
    for line in ('"a";r=1;t=0, "b";r=5;t=2, "c";r=9;t=3', '"c";r=9;t=3, "b";r=5;t=2, "a";r=1;t=0'):
        state = read_rate_limit({"RateLimit": line})
        assert state is not None
        assert (state.remaining, state.reset) == (5, 2)


def test_a_list_may_be_spread_over_several_fields() -> None:
    """Policies in fields of their own are as good as in one list (RFC 9110, section 5.3)."""
    headers = CIMultiDict([("RateLimit", '"daily";r=9;t=80000'), ("ratelimit", '"burst";r=0;t=2')])
    state = read_rate_limit(headers)
    assert state is not None
    assert (state.remaining, state.reset) == (0, 2)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_rate_limits_never_fail(remaining: str, reset: str, line: str) -> None:
    """No header value makes the reader fail."""
    for prefix in ("RateLimit-", "X-RateLimit-"):
        headers = {prefix + "Remaining": remaining, prefix + "Reset": reset}
        state = read_rate_limit(headers)
        assert state is None or state.reset >= 0 <= state.remaining
    state = read_rate_limit({"RateLimit": line})
    assert state is None or state.reset >= 0 <= state.remaining
