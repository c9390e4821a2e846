"""The texts of the errors about arguments and responses, each in full."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from junkie_async import (
    Filters,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    Key,
    UpdateFields,
)
from junkie_async._protocol import codec, decompression, requests, responses
from junkie_async._protocol.fields import (
    CreateBatchBody,
    CreateKeyBody,
    check_key_list,
    validate_fields,
)
from junkie_async._protocol.raw_requests import make_raw_request
from junkie_async._validation import check_boolean, check_reference, check_seconds

# --- arguments ------------------------------------------------------------------------------------

AWARE = "an aware datetime (give it a tzinfo, such as datetime.UTC)"
NAIVE = datetime(2024, 5, 17)  # noqa: DTZ001 - the subject
ARGUMENTS: list[tuple[Any, str, Any, str]] = [
    (UpdateFields, "validity_minutes", -5, "an integer >= 0, got -5"),
    (UpdateFields, "validity_minutes", 2**53, f"an integer from 0 to {2**53 - 1}, got {2**53}"),
    (UpdateFields, "validity_minutes", "60", "an integer >= 0, got the string '60'"),
    (
        UpdateFields,
        "validity_minutes",
        timedelta(seconds=90),
        "a whole number of minutes >= 0, got a timedelta of 90.0 seconds",
    ),
    (UpdateFields, "hwid_limit", 101, "an integer from 0 to 100, got 101"),
    (UpdateFields, "hwid_limit", True, "an integer from 0 to 100, got True"),
    (UpdateFields, "folder_id", 0, "an integer >= 1, got 0"),
    (
        UpdateFields,
        "folder_id",
        "123",
        "an integer, such as 123 or int(os.environ[...]), got the string '123'",
    ),
    (Filters, "provider_id", None, "an integer, got None"),
    (UpdateFields, "is_premium", 1, "True or False, got 1"),
    (UpdateFields, "key_name", 5, "a string of at most 255 characters, got 5"),
    (
        UpdateFields,
        "key_name",
        "a" * 256,
        "a string of at most 255 characters, got one of 256 characters",
    ),
    (
        UpdateFields,
        "key_name",
        "a\nb",
        "a string without control characters, got one with '\\n' at 1",
    ),
    (
        UpdateFields,
        "key_name",
        "\ud800",
        "a string of valid Unicode, got one with a lone surrogate",
    ),
    (
        UpdateFields,
        "discord_id",
        "<@12345678>",
        "a Discord ID of 17 to 19 digits, got a string of 11 characters",
    ),
    (
        UpdateFields,
        "discord_id",
        "<@123456789012345678>",
        "a Discord ID of 17 to 19 digits, got '<@12…678>'",
    ),
    (Filters, "discord_id", "Bob", "a Discord ID of 17 to 19 digits, got 'Bob'"),
    (UpdateFields, "hwid_limit", "1", "an integer from 0 to 100, got the string '1'"),
    (UpdateFields, "discord_id", 12, "a Discord ID of 17 to 19 digits, got 12"),
    (UpdateFields, "discord_id", 0, "a Discord ID of 17 to 19 digits, got 0"),
    (UpdateFields, "discord_id", 1.5, f"an integer from 0 to {10**19 - 1}, got 1.5"),
    (UpdateFields, "discord_id", 10**19, f"an integer from 0 to {10**19 - 1}, got {10**19}"),
    (
        UpdateFields,
        "discord_id",
        "1" * 300,
        "a string of at most 255 characters, got one of 300 characters",
    ),
    (
        UpdateFields,
        "hwids",
        "PC",
        "a list of strings of at most 255 characters each, got a single string",
    ),
    (
        UpdateFields,
        "expires_at",
        NAIVE,
        f"{AWARE}, got the naive 2024-05-17T00:00:00",
    ),
    (
        UpdateFields,
        "expires_at",
        date(2024, 5, 17),
        f"{AWARE}, got datetime.date(2024, 5, 17)",
    ),
    (
        UpdateFields,
        "expires_at",
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        "within the years 1 to 9999 in UTC, got 0001-01-01T00:00:00+01:00",
    ),
    (Filters, "status", "ACTIVE", "one of active, used, expired, invalidated, got 'ACTIVE'"),
    (Filters, "key", "", "a string that is not empty, got ''"),
    (CreateKeyBody, "provider_id", None, "an integer >= 1, got None"),
    (CreateBatchBody, "amount", 101, "an integer from 1 to 100, got 101"),
]


@pytest.mark.parametrize(("declaration", "field", "value", "text"), ARGUMENTS)
def test_fields(declaration: Any, field: str, value: Any, text: str) -> None:
    """A refusal names the field, what it must be, and what it got instead."""
    required = {"provider_id": 1, "amount": 1}
    given = {name: required[name] for name in declaration.__required_keys__} | {field: value}
    with pytest.raises(InvalidRequestError) as caught:
        validate_fields(declaration, "call", given)
    assert str(caught.value) == f"{field} must be {text}"


REFERENCE = f"a key's ID (an int from 1 to {2**53 - 1}), its value (a str) or a Key"
SEVERAL = "a list of 1 to 1000 IDs, key values or Keys"


@pytest.mark.parametrize(
    ("check", "value", "text"),
    [
        (check_reference, 0, f"keys must be {REFERENCE}, got 0"),
        (check_reference, 5.0, f"keys must be {REFERENCE}, got 5.0"),
        (check_reference, None, f"keys must be {REFERENCE}, got None"),
        (check_reference, b"5", f"keys must be {REFERENCE}, got a bytes of 1"),
        (check_reference, "..", "keys must be a key value, not blank, '.' or '..', got '..'"),
        (check_reference, Key(id=0, key_value="v"), "keys.id must be an integer >= 1, got 0"),
        (check_key_list, [], f"keys must be {SEVERAL}, got an empty one"),
        (check_key_list, range(1, 1002), f"keys must be {SEVERAL}, got a longer one"),
        (check_key_list, "JNK", f"keys must be {SEVERAL}, got a single string"),
        (check_key_list, {1: 2}, f"keys must be {SEVERAL}, got a dict of 1"),
        (check_key_list, [5, None], f"keys[1] must be {REFERENCE}, got None"),
        (check_seconds, 0, "keys must be a finite number of seconds > 0, got 0"),
        (check_boolean, "false", "keys must be True or False, got 'false'"),
    ],
)
def test_checks(check: Callable[[str, Any], object], value: Any, text: str) -> None:
    """Checks of other arguments have the same form."""
    with pytest.raises(InvalidRequestError) as caught:
        check("keys", value)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("is_premum", ": did you mean is_premium?"),
        ("premium", ": did you mean is_premium?"),
        ("limit_hwid", ": did you mean hwid_limit?"),
        ("Id", ": did you mean discord_id or folder_id?"),
        ("colour", ""),
    ],
)
def test_unknown_argument(name: str, advice: str) -> None:
    """A misspelt argument is a TypeError with Python's own text, and with what is near."""
    with pytest.raises(TypeError) as caught:
        validate_fields(CreateKeyBody, "create", {"provider_id": 1, name: True})
    assert str(caught.value) == f"create() got an unexpected keyword argument {name!r}{advice}"


PATH = "a path below the base URL that begins with one slash, such as '/services'"
PARAM = "a string, a finite number, a bool, a datetime, a list of these, or None"
JSON = (
    "what JSON can hold: dicts with string keys, lists, strings, finite numbers, bools, None,"
    " datetimes with an offset, or this package's models"
)
LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"method": "HEAD"}, "method must be one of GET, PUT, DELETE, POST, PATCH, got 'HEAD'"),
        ({"method": None}, "method must be one of GET, PUT, DELETE, POST, PATCH, got None"),
        ({"path": "services"}, f"path must be {PATH}, got 'services'"),
        ({"path": "//other"}, f"path must be {PATH}, got a string of 7 characters"),
        ({"path": "/a?"}, "path must be a path without '#' or a lone '?', got a string of 3 char"),
        ({"path": "/a/../b"}, "path must be a path without '.' and '..', got a string of 7 char"),
        ({"path": "/a//b"}, "path must be a path without '//', got a string of 5 characters"),
        (
            {"path": "/a?x=1", "params": {"y": 1}},
            "params must be None, as the path has a query, got a dict",
        ),
        ({"params": 5}, "params must be a mapping of names to values, got 5"),
        ({"params": {5: 5}}, "a name in params must be a string, got 5"),
        ({"params": {"a": math.nan}}, f"params['a'] must be {PARAM}, got nan"),
        ({"params": {"a": [1, {}]}}, f"params['a'] must be {PARAM}, got a dict of 0"),
        ({"json": []}, "json must be None for GET: use params=, got a list"),
        ({"method": "PUT", "json": [math.nan]}, f"json[0] must be {JSON}, got nan"),
        ({"method": "PUT", "json": LOOP}, f"json must be {JSON}, got a list"),
        ({"method": "PUT", "json": {"a": b"x"}}, f"json['a'] must be {JSON}, got a bytes"),
        (
            {"method": "PUT", "json": [{5: 1}]},
            "json[0] must be strings as the names of a JSON object, got 5 as a name",
        ),
        ({"secret": 5}, "secret must be names of fields, or values, as strings, got 5"),
        ({"secret": ["a", 5]}, "secret[1] must be a string, got 5"),
        ({"idempotent": 1}, "idempotent must be True or False, got 1"),
    ],
)
def test_raw_requests(given: dict[str, Any], text: str) -> None:
    """A request of one's own is refused like the arguments of other calls."""
    with pytest.raises(InvalidRequestError) as caught:
        make_raw_request(**{"method": "GET", "path": "/a"} | given)
    assert str(caught.value).startswith(text)


# --- responses ------------------------------------------------------------------------------------

GET = requests.get_key("7")
BARE: dict[str, Any] = {"id": 7, "key_value": "JNK"}
HTML = {"Content-Type": "text/html"}
GZIP = {"Content-Encoding": "gzip"}
PAGE = b"<!DOCTYPE html><title>Just a moment...</title>"
KEY = b'{"key": {"id": 7, "key_value": "JNK"}}'
BOMB = gzip.compress(bytes(decompression.MAX_BODY + 1))
CUT_JSON = "the response is not JSON, or was cut short"


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        (HTML, PAGE, "got an HTML page instead of JSON"),
        ({}, b" \n <html>", "got an HTML page instead of JSON"),
        ({}, KEY[:-3], CUT_JSON),
        ({}, b"", CUT_JSON),
        ({}, b'{"key": {"id": 7}}', "key.key_value is missing"),
        ({}, b"[]", "the response must be an object, got a list"),
        ({}, None, "the response is larger than 8388608 bytes"),
        (
            GZIP,
            gzip.compress(bytes(decompression.MAX_BODY + 1)),
            "the response is larger than 8388608 bytes",
        ),
        (GZIP, gzip.compress(KEY)[:-3], "the response's gzip stream was cut short"),
        (GZIP, gzip.compress(b"") * 101, "the response has more than 100 gzip members"),
        (GZIP, KEY, "the response is not valid gzip"),
        (GZIP, gzip.compress(KEY) + b"XXXX", "the response is not valid gzip"),
        (
            {"Content-Encoding": "br"},
            KEY,
            "the response has an unsupported content coding: 'br'",
        ),
        (
            {"Content-Encoding": "br, zstd"},
            KEY,
            "the response has an unsupported content coding: 'br', 'zstd'",
        ),
        ({"Content-Encoding": "JNK-1"}, KEY, "the response has an unsupported content coding"),
        (
            {},
            b'{"keys":[' + b"{}," * 100_000 + b"0]}",
            "the response has more than 100000 values or 12000 objects",
        ),
    ],
    ids=itertools.count(),
)
def test_unreadable_responses(headers: dict[str, str], body: bytes | None, text: str) -> None:
    """A 2xx that can't be read says what is wrong with it."""
    with pytest.raises(InvalidResponseError) as caught:
        responses.read_success(GET, 200, headers, body)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("status", "headers", "body", "text"),
    [
        (302, {}, b"", "unexpected status 302; redirects are not followed"),
        (404, {}, b'{"error": "no such key"}', "no such key [404]"),
        (404, {}, b"", "the service gave no reason [404]"),
        (403, HTML, PAGE, "the CDN in front of the service answered with an HTML page [403]"),
        (502, HTML, PAGE, "a gateway answered with an HTML page [502]"),
        (500, GZIP, b"not gzip", "the service gave no reason [500]"),
        (
            403,
            {},
            b"error code: 1020",
            "the CDN in front of the service refused: error code: 1020 [403]",
        ),
    ],
)
def test_failures(status: int, headers: dict[str, str], body: bytes, text: str) -> None:
    """A refusal has the service's message, or says that there was none."""
    assert str(responses.read_failure(GET, status, headers, body, "api-key")) == text


@pytest.mark.parametrize(
    ("request_", "body", "text"),
    [
        (GET, {"key": None}, "there is no such key [200]"),
        (GET, {"success": False, "message": " a\nb "}, "a b [200]"),
        (GET, {"success": False}, "the service gave no reason [200]"),
        (
            requests.create_key({"provider_id": 1}),
            {"success": False, "message": "no", "key": BARE},
            "the response says that the call failed, but has keys (1): no",
        ),
        (
            requests.create_batch({"provider_id": 1, "amount": 2}),
            {
                "success": False,
                "message": "JNK-AAAA-1111 was created, jnk_bbbb_2222 too",
                "keys": ["JNK-AAAA-1111", "JNK-BBBB-2222"],
            },
            "the response says that the call failed, but has keys (2): *** was created, *** too",
        ),
    ],
)
def test_refusals_in_a_2xx(request_: requests.Request[Any], body: Any, text: str) -> None:
    """They read like refusals of any other status."""
    with pytest.raises(JunkieError) as caught:
        responses.read_success(request_, 200, {}, json.dumps(body).encode())
    assert str(caught.value) == text


# --- rows and shapes ------------------------------------------------------------------------------

MARK = "S3CRET"
ANOTHER_KEY = "the response is about another key"
IN_ROWS = "rows are in this error's `rows`"
SMALL = "must be an integer of at most 53 bits"


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ({"key_value": MARK}, "keys[1].id", "is missing"),
        ({"id": None, "key_value": MARK}, "keys[1].id", "is missing"),
        ({"id": 1}, "keys[1].key_value", "is missing"),
        ({"id": "1.5", "key_value": MARK}, "keys[1].id", "must be an integer, got a string"),
        ({"id": True, "key_value": MARK}, "keys[1].id", "must be an integer, got a boolean"),
        ({"id": 1.5, "key_value": MARK}, "keys[1].id", "must be an integer, got a number"),
        # Beyond 2**53 a float is any of several integers, and so names another key.
        ({"id": 2.0**53 + 2, "key_value": MARK}, "keys[1].id", "must be an integer, got a number"),
        ({"id": 2**53, "key_value": MARK}, "keys[1].id", f"{SMALL}, got a number"),
        ({"id": -(2**61) + 1, "key_value": MARK}, "keys[1].id", f"{SMALL}, got a number"),
        (
            {"id": 1, "key_value": ""},
            "keys[1].key_value",
            "must be a string of at least one character, got a string",
        ),
        ({"id": 1, "key_value": [MARK]}, "keys[1].key_value", "must be a string, got a list"),
        (BARE | {"keys_hwid": MARK}, "keys[1].keys_hwid", "must be a list, got a string"),
        (BARE | {"keys_hwid": [None]}, "keys[1].keys_hwid[0]", "must be a string, got null"),
        (BARE | {"hwids": [MARK]}, "keys[1].hwids[0]", "must be an object, got a string"),
        (
            BARE | {"hwids": [{"hwid": "a"}, {"hwid": "b", "bound_at": [MARK]}]},
            "keys[1].hwids[1].bound_at",
            "must be an RFC 3339 date-time, got a list",
        ),
        (BARE | {"is_premium": "true"}, "keys[1].is_premium", "must be a boolean, got a string"),
        (MARK, "keys[1]", "must be an object, got a string"),
        (None, "keys[1]", "must be an object, got null"),
        ([], "keys[1]", "must be an object, got a list"),
    ],
)
def test_a_bad_row(row: Any, field: str, problem: str) -> None:
    """The text names the field to its depth, what it must be, and the type that it has."""
    body = json.dumps({"keys": [BARE, row, BARE | {"id": 9}]}).encode()
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(body)
    assert (caught.value.field, caught.value.row) == (field, 1)
    assert [key.id for key in caught.value.rows] == [7, 9]
    assert str(caught.value) == (f"{field} {problem}; the other 2 rows are in this error's `rows`")


def test_several_bad_rows() -> None:
    """The first bad row is described, and the others are counted."""
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(json.dumps({"keys": [1, BARE, 2, 3]}).encode())
    assert str(caught.value) == (
        "keys[0] must be an object, got a number, and 2 more bad rows; the other 1 rows are in "
        "this error's `rows`"
    )


@pytest.mark.parametrize(
    ("read", "document", "text"),
    [
        (codec.read_page, {}, "the response is not a page of keys"),
        (codec.read_page, {"keys": "v"}, "keys must be a list, got a string"),
        (codec.read_batch, {}, "keys must be a list of key values, got null"),
        (codec.read_batch, {"keys": ["JNK", ""]}, "keys must not be empty strings"),
        (codec.read_batch, [], "keys must be a list of key values, got null"),
        (codec.read_batch, {"keys": "JNK"}, "keys must be a list of key values, got a string"),
        (
            codec.read_batch,
            {"keys": [{"id": 1}]},
            f"keys[0] must be a key value, got an object; the other 0 {IN_ROWS}",
        ),
        (
            partial(codec.read_key, sent={"provider_id": 1}),
            {"key": BARE | {"provider_id": 2}},
            "the response is about a key with another provider_id",
        ),
        (partial(codec.read_detailed, reference="8"), {"key": BARE}, ANOTHER_KEY),
        (partial(codec.read_detailed, reference="KNJ"), {"key": BARE}, ANOTHER_KEY),
        (codec.read_action, None, "the response must be an object, got null"),
        (codec.read_batch, {"keys": [], "config": ["v"]}, "config has the wrong shape"),
        (
            codec.read_page,
            {"keys": [BARE] * 101},
            "requested up to 100 keys, but the response has 101",
        ),
    ],
)
def test_wrong_shapes(read: Callable[[bytes], object], document: Any, text: str) -> None:
    """A response of another shape is described by the field that differs."""
    with pytest.raises(InvalidResponseError) as caught:
        read(json.dumps(document).encode())
    assert str(caught.value) == text
