"""Answers without I/O: statuses to errors, waits, limits and content codings."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidResponseError,
    KeyDetailed,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from junkie_async._protocol import decompression, rate_limit_headers, requests, responses

GET = requests.get_key("7")
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
KEY = b'{"key":{"id":7,"key_value":"JNK"}}'


def refused(status: int, body: bytes = b"{}", **headers: str) -> APIError:
    """Read an answer that says no."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = responses.refusal(status, CIMultiDict(JSON | named), body)
    assert isinstance(error, APIError)
    assert (error.__cause__, error.__context__) == (None, None)
    return error


# --- statuses -------------------------------------------------------------------------------------

NO, MAYBE = Outcome.NOT_EXECUTED, Outcome.UNKNOWN
STATUSES = {
    400: (BadRequestError, NO, False),
    401: (AuthenticationError, NO, False),
    402: (APIError, NO, False),
    403: (PermissionDeniedError, NO, False),
    404: (NotFoundError, NO, False),
    405: (APIError, NO, False),
    409: (ConflictError, NO, False),
    410: (APIError, NO, False),
    422: (BadRequestError, NO, False),
    429: (RateLimitError, NO, True),
    **dict.fromkeys(
        (500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 599),
        (ServerError, MAYBE, True),
    ),
}


@pytest.mark.parametrize("status", STATUSES)
def test_status_classes(status: int) -> None:
    """Each status has its class, says what became of the call, and whether to try again."""
    error = refused(status, b'{"error": "words"}', Date="now", X_Request_ID="abc")
    assert (type(error), error.outcome, error.transient) == STATUSES[status]
    assert (error.status, error.message, error.body) == (status, "words", '{"error": "words"}')
    assert error.headers == {
        "content-type": "application/json",
        "date": "now",
        "x-request-id": "abc",
    }
    assert (error.challenge, error.retry_after) == (False, None)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_read(status: int) -> None:
    """A 2xx is a success whatever its number and content type, and headers don't matter."""
    assert responses.refusal(status, {}, b"") is None
    assert responses.read(GET, status, {}, KEY) == KeyDetailed(id=7, key_value="JNK")
    assert responses.read(GET, status, HTML, KEY).id == 7
    for body in (b"", b"null", b"gone", PAGE):
        assert responses.read(requests.delete_key("7"), status, JSON, body) is None


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 303, 304, 307, 308, 399])
def test_redirects_are_refused(status: int) -> None:
    """A redirect is never followed; what the service did is not known."""
    error = responses.refusal(status, {"Location": "https://elsewhere"}, b"")
    assert isinstance(error, InvalidResponseError)
    assert f"status {status}" in error.message
    assert (error.status, error.transient) == (status, False)
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("headers", "body", "transient", "says"),
    [
        (HTML, PAGE, True, "an HTML page came instead of JSON"),
        (JSON, b" \n <html>", True, "an HTML page came instead of JSON"),
        (HTML, b"hello", True, "an HTML page came instead of JSON"),
        (JSON, KEY[:-3], True, "not JSON, or was cut short"),
        (JSON, b"", True, "not JSON, or was cut short"),
        (JSON, b'{"key": {"id": 7}}', False, "key.key_value is missing"),
        (JSON, b"[]", False, "must be an object"),
    ],
)
def test_unusable_2xx(headers: dict[str, str], body: bytes, *, transient: bool, says: str) -> None:
    """A 2xx that can't be read says why, has its status, and is transient unless it was JSON."""
    with pytest.raises(InvalidResponseError, match=re.escape(says)) as caught:
        responses.read(GET, 200, headers, body)
    error = caught.value
    assert (error.status, error.transient) == (200, transient)
    assert error.outcome is (Outcome.UNKNOWN if transient else Outcome.EXECUTED)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("status", "cls"), [(403, PermissionDeniedError), (429, RateLimitError), (503, ServerError)]
)
@pytest.mark.parametrize(("body", "kind"), [(PAGE, HTML), (PAGE, JSON), (b"blocked", HTML)])
def test_html_pages(status: int, cls: type[APIError], body: bytes, kind: dict[str, str]) -> None:
    """A CDN's challenge page is told from the service's own word, and is not to be retried."""
    error = refused(status, body, Content_Type=kind["Content-Type"])
    assert type(error) is cls
    challenge = status in (403, 429)
    assert error.challenge is challenge
    assert error.transient is not challenge
    who = "the CDN in front of the service" if challenge else "a gateway"
    assert error.message == f"{who} answered with an HTML page"
    assert error.body == body.decode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "no such key"}', "no such key"),
        (b'{"message": "no such key"}', "no such key"),
        (b'{"message": "m", "error": "e"}', "e"),
        (b'{"title": "t", "detail": "d", "message": "m"}', "m"),
        (b'{"title": "t", "detail": "d", "status": 404}', "d"),
        (b'{"type": "about:blank", "title": "Not Found"}', "Not Found"),
        (b'{"error": {"message": "deep", "code": 5}}', "deep"),
        (b'{"error": {"code": 5}, "message": "outer"}', "outer"),
        (b'{"error": true, "message": "flagged"}', "flagged"),
        (b'{"error": null, "message": ""}', '{"error": null, "message": ""}'),
        (b'{"error": "  two\\n lines "}', "two lines"),
        (b"plain text", "plain text"),
        (b'["listed"]', '["listed"]'),
        (b"", "the service gave no reason"),
        (b" \r\n ", "the service gave no reason"),
        (b"caf\xe9", "caf\ufffd"),
    ],
)
def test_error_messages(body: bytes, message: str) -> None:
    """What the service says is found in any of the usual places, on one line."""
    assert refused(404, body).message == message


def test_error_body_is_capped() -> None:
    """Of a large error body 64 KiB are kept."""
    assert refused(500, b"z" * 200_000).body == "z" * 65_536


def test_status_of_deep_error_bodies() -> None:
    """An error body that can't be parsed still leaves its status."""
    assert type(refused(404, b"[" * 100_000)) is NotFoundError


# --- Retry-After ----------------------------------------------------------------------------------

SERVER_NOW = "Wed, 01 Jan 2020 00:00:00 GMT"


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
        ("99999999999999999999", SERVER_NOW, 1e20),
        ("٣", None, None),
        ("Wed, 99 Jan 2020 00:00:30 GMT", SERVER_NOW, None),
        ("Wed, 01 Jan 99999 00:00:30 GMT", SERVER_NOW, None),
        ("Wed, 01 Jan 2020 00:00:30 +999999", SERVER_NOW, None),
    ],
)
def test_retry_after(value: str, date: str | None, wait: float | None) -> None:
    """Seconds and dates are read, dates by the server's clock; garbage is no word at all."""
    headers = {"retry-after": value} | ({"date": date} if date else {})
    assert rate_limit_headers.read_retry_after(CIMultiDict(headers)) == wait


@pytest.mark.parametrize("date", [None, "garbage"])
def test_retry_after_without_a_date(date: str | None) -> None:
    """Only where the answer has no good date is the local clock asked."""
    until = datetime.now(UTC) + timedelta(hours=1)
    headers = {"Retry-After": format_datetime(until, usegmt=True)} | (
        {"Date": date} if date else {}
    )
    wait = rate_limit_headers.read_retry_after(headers)
    assert wait is not None
    assert 3500 < wait <= 3600


def test_no_retry_after() -> None:
    """An answer without the header asks for nothing."""
    assert rate_limit_headers.read_retry_after({"Date": SERVER_NOW}) is None


@given(
    st.text(max_size=30)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,5} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} [+-]?[0-9A-Z]{1,7}"
    ),
    st.text(max_size=30) | st.just(SERVER_NOW) | st.just("Fri, 31 Dec 9999 23:59:59 -2359"),
)
def test_retry_after_never_fails(value: str, date: str) -> None:
    """Whatever the headers say, the wait is a finite number of seconds, or None."""
    wait = rate_limit_headers.read_retry_after({"Retry-After": value, "Date": date})
    assert wait is None or 0 <= wait < 1e12


@pytest.mark.parametrize(
    ("status", "outcome"), [(429, NO), (503, NO), (500, MAYBE), (502, MAYBE), (504, MAYBE)]
)
def test_retry_after_in_errors(status: int, outcome: Outcome) -> None:
    """The wait is in the error; a 503 that says when to come back was refused at the door."""
    error = refused(status, Retry_After="7")
    assert (error.retry_after, error.outcome, error.transient) == (7.0, outcome, True)


# --- content codings ------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{}", b"x" * 100_000, b""])
def test_inflate(body: bytes) -> None:
    """A gzip body comes out whole, an uncoded one as it is."""
    assert decompression.inflate(gzip.compress(body), "gzip") == body
    assert decompression.inflate(body, "") == body
    assert decompression.inflate(body, "identity") == body


@given(st.integers(1, 10_000))
def test_cut_gzip_is_noticed(cut: int) -> None:
    """Wherever a gzip stream is cut, its trailer included, it does not pass for a whole one."""
    whole = gzip.compress(json.dumps(list(range(1000))).encode())
    with pytest.raises(InvalidResponseError, match="cut short") as caught:
        decompression.inflate(whole[: cut % len(whole) or 1], "gzip")
    assert caught.value.transient
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "coding", "transient"),
    [
        (b"{}", "gzip", True),
        (PAGE, "gzip", True),
        (zlib.compress(b"{}"), "gzip", True),
        (gzip.compress(b"{}", mtime=0)[:-8] + b"\0" * 8, "gzip", True),
        (b"{}", "br", False),
        (b"{}", "deflate", False),
        (b"{}", "gzip, gzip", False),
    ],
)
def test_bad_coding(body: bytes, coding: str, *, transient: bool) -> None:
    """A stream that is broken may come whole next time; a coding never asked for won't."""
    with pytest.raises(InvalidResponseError) as caught:
        decompression.inflate(body, coding)
    assert caught.value.transient is transient
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_gzip_with_trailing_garbage() -> None:
    """What follows the end of the stream is no part of the answer (as zlib's own tools read it)."""
    assert decompression.inflate(gzip.compress(b"{}") + b"\0" * 8, "gzip") == b"{}"


def test_gzip_bomb() -> None:
    """A body is inflated to the cap and no further, in bounded memory."""
    exact = gzip.compress(b"\0" * decompression.MAX_BODY, 1)
    assert len(decompression.inflate(exact, "gzip")) == decompression.MAX_BODY
    bomb = gzip.compress(b"\0" * (8 * decompression.MAX_BODY), 1)
    for body in (bomb, gzip.compress(b"\0" * (decompression.MAX_BODY + 1), 1)):
        tracemalloc.start()
        with pytest.raises(InvalidResponseError, match="larger") as caught:
            decompression.inflate(body, "gzip")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not caught.value.transient
        assert peak < 3 * decompression.MAX_BODY


def test_gzip_members_follow_one_another() -> None:
    """A stream of several members is read to the end of the last (RFC 1952, section 2.2)."""
    members = [gzip.compress(piece) for piece in (b'{"a"', b"", b": 1}")]
    assert decompression.inflate(b"".join(members), "gzip") == b'{"a": 1}'
    with pytest.raises(InvalidResponseError, match="cut short"):
        decompression.inflate(b"".join(members)[:-3], "gzip")


def test_many_members_are_a_bomb_too() -> None:
    """The cap is on all members together."""
    member = gzip.compress(bytes(decompression.MAX_BODY // 4))
    assert len(decompression.inflate(member * 4, "gzip")) == decompression.MAX_BODY
    with pytest.raises(InvalidResponseError, match="larger"):
        decompression.inflate(member * 4 + gzip.compress(b"x"), "gzip")


def test_an_empty_body_needs_no_inflating() -> None:
    """An answer without a body may well name a coding."""
    assert decompression.inflate(b"", "gzip") == b""


# --- budgets --------------------------------------------------------------------------------------


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
        ({"RateLimit": '"default";r=50;t=30'}, 50, 30, None),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, 50, 5, 100),
    ],
)
def test_budgets(
    headers: dict[str, str], remaining: float, reset: float, limit: float | None
) -> None:
    """What an answer says of the limit, in the ways that are common."""
    allowance = rate_limit_headers.read_rate_limit(CIMultiDict(headers))
    assert allowance is not None
    assert (allowance.remaining, allowance.reset, allowance.limit) == (remaining, reset, limit)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Limit": "100"},
        {"RateLimit-Remaining": "5"},
        {"RateLimit-Remaining": "-1", "RateLimit-Reset": "5"},
        {"RateLimit-Remaining": "many", "RateLimit-Reset": "5"},
        {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"RateLimit": "garbage"},
        {"RateLimit": '"default";r=50'},
    ],
)
def test_no_budget(headers: dict[str, str]) -> None:
    """Headers that are missing, half there or garbage say nothing."""
    assert rate_limit_headers.read_rate_limit(CIMultiDict(headers)) is None


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_budgets_never_fail(remaining: str, reset: str, line: str) -> None:
    """Whatever a server writes there, an answer is read."""
    for prefix in ("RateLimit-", "X-RateLimit-"):
        headers = {prefix + "Remaining": remaining, prefix + "Reset": reset}
        allowance = rate_limit_headers.read_rate_limit(headers)
        assert allowance is None or allowance.reset >= 0 <= allowance.remaining
    allowance = rate_limit_headers.read_rate_limit({"RateLimit": line})
    assert allowance is None or allowance.reset >= 0 <= allowance.remaining
