"""Responses without I/O: which status gives which error, and what the error holds."""

from __future__ import annotations

import gzip
import json

import pytest
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
from junkie_async._protocol import requests, responses

GET = requests.get_key("7")
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
KEY = b'{"key":{"id":7,"key_value":"JNK"}}'


def refused(status: int, body: bytes = b"{}", **headers: str) -> APIError:
    """Read the response of a refused request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = responses.read_failure(GET, status, CIMultiDict(JSON | named), body, "api-key")
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
    501: (ServerError, NO, False),
    **dict.fromkeys((500, 502, 503, 504, 520, 522, 524, 599), (ServerError, MAYBE, True)),
    # Cloudflare did not reach the origin.
    **dict.fromkeys((521, 523, 525, 526, 530), (ServerError, NO, True)),
}


@pytest.mark.parametrize("status", STATUSES)
def test_status_classes(status: int) -> None:
    """Each status has its class, its outcome, and whether a retry may help."""
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
    assert responses.read_failure(GET, status, {}, b"", "api-key") is None
    assert responses.read_success(GET, status, {}, KEY) == KeyDetailed(id=7, key_value="JNK")
    assert responses.read_success(GET, status, HTML, KEY).id == 7
    for body in (b"", b"null", b"gone", PAGE):
        assert responses.read_success(requests.delete_key("7"), status, JSON, body) is None


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 303, 304, 307, 308, 399])
def test_redirects_are_refused(status: int) -> None:
    """A redirect is never followed, and its outcome is unknown."""
    error = responses.read_failure(GET, status, {"Location": "https://elsewhere"}, b"", "api-key")
    assert isinstance(error, InvalidResponseError)
    assert (error.status, error.transient) == (status, False)
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("headers", "body", "transient", "field"),
    [
        (HTML, PAGE, True, None),
        (JSON, b" \n <html>", True, None),
        (HTML, b"hello", True, None),
        (JSON, KEY[:-3], True, None),
        (JSON, b"", True, None),
        (JSON, b'{"key": {"id": 7}}', False, "key.key_value"),
        (JSON, b"[]", False, None),
    ],
)
def test_unreadable_2xx(
    headers: dict[str, str], body: bytes, *, transient: bool, field: str | None
) -> None:
    """A 2xx that can't be read has its status, and is transient unless it is JSON."""
    with pytest.raises(InvalidResponseError) as caught:
        responses.read_success(GET, 200, headers, body)
    assert caught.value.field == field
    error = caught.value
    assert (error.status, error.transient) == (200, transient)
    assert error.outcome is (Outcome.UNKNOWN if transient else Outcome.EXECUTED)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("status", "cls"), [(403, PermissionDeniedError), (429, RateLimitError), (503, ServerError)]
)
@pytest.mark.parametrize(("body", "kind"), [(PAGE, HTML), (PAGE, JSON), (b"blocked", HTML)])
def test_html_pages(status: int, cls: type[APIError], body: bytes, kind: dict[str, str]) -> None:
    """A CDN's challenge page is told apart from the service's own refusal, and not retried."""
    error = refused(status, body, Content_Type=kind["Content-Type"])
    assert type(error) is cls
    challenge = status in (403, 429)
    assert error.challenge is challenge
    assert error.transient is not challenge
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
    """The service's message is found in any of the usual members, and put on one line."""
    assert refused(404, body).message == message


def test_an_error_keeps_the_beginning() -> None:
    """Of a large body it keeps 16,384 characters, of headers as many together."""
    headers = {"X_Long": "y" * 5000} | {f"X_{number}": "z" * 900 for number in range(50)}
    error = refused(500, b"z" * 200_000, **headers)
    assert error.body == "z" * 16_384
    assert error.headers["x-long"] == "y" * 1024
    assert 15_000 < sum(map(len, [*error.headers, *error.headers.values()])) <= 16_384
    assert refused(500, "é".encode() * 200_000).body == "é" * 16_384
    assert len(refused(500, b'{"error": "' + b"e " * 5000 + b'"}').message) == 200


def test_status_of_deep_error_bodies() -> None:
    """An error body that can't be parsed still leaves its status."""
    assert type(refused(404, b"[" * 100_000)) is NotFoundError


@pytest.mark.parametrize(
    ("status", "outcome"), [(429, NO), (503, NO), (500, MAYBE), (502, MAYBE), (504, MAYBE)]
)
def test_retry_after_in_errors(status: int, outcome: Outcome) -> None:
    """The wait is in the error; a 503 with a wait was not executed."""
    error = refused(status, Retry_After="7")
    assert (error.retry_after, error.outcome, error.transient) == (7.0, outcome, True)


# --- throttles and challenges ---------------------------------------------------------------------


def cloudflare(code: int, status: int, **members: object) -> bytes:
    """Write a problem document as Cloudflare does for clients that accept JSON."""
    document = {
        "type": f"https://developers.cloudflare.com/support/errors/error-{code}/",
        "title": f"Error {code}: You are being rate limited",
        "status": status,
        "detail": "The owner of this website does not allow this.",
        "instance": "9d99a4434fz2d168",
        "error_code": code,
        "error_name": "rate_limited",
        "error_category": "rate_limit",
        "cloudflare_error": True,
        "retryable": code == 1015,
    }
    return json.dumps(document | members).encode()


LIMITED = (RateLimitError, True, False)  # waits as after a 429
CHALLENGED = (PermissionDeniedError, False, True)
DENIED = (PermissionDeniedError, False, False)


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (403, b'{"error": "Rate limit exceeded"}', {}, LIMITED),
        (403, b'{"error": "too many requests"}', {}, LIMITED),
        (403, b'{"error": {"message": "rate-limited"}}', {}, LIMITED),
        (403, b'{"error": "no", "code": "RATE_LIMITED"}', {}, LIMITED),
        (403, b"you are being rate limited", {}, LIMITED),
        (403, b'{"error": "slow down"}', {"Retry_After": "3"}, LIMITED),
        (403, b'{"error": "slow down", "retry_after": 3}', {}, LIMITED),
        (403, b'{"error": "missing scope"}', {}, DENIED),
        (403, b'{"error": "missing scope", "docs": "https://x.example/rate-limit"}', {}, DENIED),
        (403, b'{"error": "the operator limits this"}', {}, DENIED),
        (403, b"", {}, DENIED),
        (429, cloudflare(1015, 429), {}, LIMITED),
        (403, cloudflare(1015, 403), {}, LIMITED),
        (403, cloudflare(1015, 403, error_code=None), {}, LIMITED),
        (429, b"error code: 1015", {"Content_Type": "text/plain"}, LIMITED),
        (403, b"error code: 1015\n", {"Content_Type": "text/plain"}, LIMITED),
        (403, cloudflare(1020, 403), {}, CHALLENGED),
        (403, cloudflare(1010, 403, title="Error 1010: Access denied"), {}, CHALLENGED),
        (403, cloudflare(1006, 403, error_code="1006", title=""), {}, CHALLENGED),
        (403, cloudflare(1020, 403), {"Retry_After": "60"}, CHALLENGED),
        (403, b"error code: 1020", {"Content_Type": "text/plain"}, CHALLENGED),
        (403, b"Error code: 1010", {}, CHALLENGED),
        (403, b'{"error": "no"}', {"cf_mitigated": "challenge"}, CHALLENGED),
        (403, b"", {"CF_Mitigated": "Challenge", "Retry_After": "60"}, CHALLENGED),
        (403, PAGE, {"Content_Type": "text/html"}, CHALLENGED),
        (403, PAGE, {"Retry_After": "5"}, (RateLimitError, False, True)),
        (429, b"", {"cf_mitigated": "challenge"}, (RateLimitError, False, True)),
        (503, b"", {"cf_mitigated": "challenge"}, (ServerError, False, True)),
        (403, b'{"error": "no", "error_code": 4001}', {}, DENIED),
        (404, cloudflare(1020, 404), {}, (NotFoundError, False, False)),
    ],
)
def test_refusals_by_a_cdn_or_a_limiter(
    status: int,
    body: bytes,
    headers: dict[str, str],
    expected: tuple[type[APIError], bool, bool],
) -> None:
    """A 403 may be a throttle or a CDN's, by its words, its headers or Cloudflare's members."""
    error = refused(status, body, **headers)
    assert (type(error), error.transient, error.challenge) == expected
    assert error.outcome is Outcome.NOT_EXECUTED


def test_a_key_that_says_rate_limit() -> None:
    """What a visitor typed does not make a throttle of a refusal that repeats it."""
    call = requests.get_key(requests.segment("rate limit"))
    body = b'{"error": "rate limit is not allowed"}'
    error = responses.read_failure(call, 403, CIMultiDict(JSON), body, "api-key")
    assert type(error) is PermissionDeniedError
    assert error.message == "*** is not allowed"


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (cloudflare(1015, 429, retry_after=30), {}, 30.0),
        (cloudflare(1015, 429, retry_after=30), {"Retry_After": "7"}, 7.0),
        (b'{"message": "slow down", "retry_after": 1.5}', {}, 1.5),
        (b'{"retry_after": "30"}', {}, None),
        (b'{"retry_after": -1}', {}, None),
        (b'{"retry_after": true}', {}, None),
        (b'{"retry_after": 1e300}', {}, None),
        (b'{"retry_after": 1e400}', {}, None),
        (b'{"retry_after": [30]}', {}, None),
        (b"[30]", {}, None),
    ],
)
def test_retry_after_in_bodies(body: bytes, headers: dict[str, str], wait: float | None) -> None:
    """A wait in the body counts where the header does not state one."""
    assert refused(429, body, **headers).retry_after == wait
    # Only the header proves that a 503 was load shedding.
    outcome = refused(503, body, **headers).outcome
    assert outcome is (Outcome.NOT_EXECUTED if headers else Outcome.UNKNOWN)


# --- codings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "coding",
    [
        *("x-gzip", "X-GZip", "GZIP", "gzip, identity", "identity,gzip", "utf-8, gzip"),
        *("utf-8", "UTF-8", "identity, identity", " , ", ""),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_codings(coding: str, mark: bytes) -> None:
    """Whatever names gzip or nothing is read, and a byte order mark before JSON is skipped."""
    encode = gzip.compress if "gzip" in coding.lower() else bytes
    headers = CIMultiDict({"Content-Encoding": coding})
    assert responses.read_success(GET, 200, headers, encode(mark + KEY)).id == 7
    body = encode(mark + b'{"error": "no such key"}')
    assert refused(404, body, Content_Encoding=coding).message == "no such key"
