"""Responses without I/O: which status gives which error, and what the error holds."""

from __future__ import annotations

import gzip

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
    error = responses.read_failure(status, CIMultiDict(JSON | named), body)
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
    assert responses.read_failure(status, {}, b"") is None
    assert responses.read_success(GET, status, {}, KEY) == KeyDetailed(id=7, key_value="JNK")
    assert responses.read_success(GET, status, HTML, KEY).id == 7
    for body in (b"", b"null", b"gone", PAGE):
        assert responses.read_success(requests.delete_key("7"), status, JSON, body) is None


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 303, 304, 307, 308, 399])
def test_redirects_are_refused(status: int) -> None:
    """A redirect is never followed, and its outcome is unknown."""
    error = responses.read_failure(status, {"Location": "https://elsewhere"}, b"")
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


def test_error_body_is_truncated() -> None:
    """An error keeps 64 KiB of a large body."""
    assert refused(500, b"z" * 200_000).body == "z" * 65_536


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
