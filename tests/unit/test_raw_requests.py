"""`JunkieClient.request`: what is sent, what comes back, and what no error shows."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest

from junkie_async import (
    APIError,
    APIResponse,
    BadRequestError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Key,
    KeyStatus,
    OutcomeUnknownError,
    RequestTimeoutError,
    TransportError,
)
from junkie_async._http.transport import Response
from junkie_async._protocol.raw_requests import make_raw_request
from junkie_async.emulator import Emulator

from ..cpu_time import run_within
from .clock import run
from .scripted import STEADY, Script, make_client

LOST = TransportError("lost")
GOOD: Response = (200, {"ETag": "7"}, b'{"services": [{"id": 1, "new": true}]}')


def call(script: Script, *args: Any, **kwargs: Any) -> APIResponse:
    """Make a request over a script."""
    client = make_client(script, retry=STEADY)

    async def main() -> APIResponse:
        return await client.request(*args, **kwargs)

    return run(main())


def test_an_answer() -> None:
    """It has the status, the headers in any case, and all that the JSON has."""
    answer = call(Script(GOOD), "get", "/services")
    assert (answer.status, answer.headers["etag"], answer.headers["ETAG"]) == (200, "7", "7")
    assert answer.data == {"services": [{"id": 1, "new": True}]}
    for twin in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
        assert twin == answer
        assert twin.headers["etag"] == "7"


def test_an_answer_is_read_only_and_shows_nothing() -> None:
    """Headers can't be changed; the repr has neither headers nor data."""
    answer = call(Script(GOOD), "GET", "/services")
    with pytest.raises(TypeError):
        answer.headers["etag"] = "8"  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        answer.status = 1  # type: ignore[misc]
    assert isinstance(answer.headers, Mapping)
    assert repr(answer) == "APIResponse(status=200)"


@pytest.mark.parametrize("body", [b"", b" \n"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_empty_body(method: str, body: bytes) -> None:
    """It is no data."""
    answer = call(Script((204, {"ETag": "7"}, body)), method, "/services/5")
    assert (answer.status, answer.data, answer.headers) == (204, None, {"ETag": "7"})


@pytest.mark.parametrize(
    ("method", "idempotent", "repeats"),
    [
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, False),
        ("PATCH", None, False),
        ("POST", True, True),
        ("DELETE", False, False),
    ],
)
def test_repetitions(method: str, idempotent: bool | None, repeats: bool) -> None:
    """By its method, or as the caller says, a request whose outcome is unknown is sent again."""
    script = Script(LOST, GOOD)
    if repeats:
        assert call(script, method, "/services", idempotent=idempotent).data
    else:
        with pytest.raises(OutcomeUnknownError):
            call(script, method, "/services", idempotent=idempotent)
    assert len(script.began) == 1 + repeats


def test_a_delete_that_was_carried_out() -> None:
    """The 404 of its second attempt means that the first one did it."""
    assert call(Script(LOST, (404, {}, b"")), "DELETE", "/services/5") == APIResponse(status=404)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ((422, {}, b'{"error": "no such field"}'), BadRequestError),
        ((200, {}, b'{"success": false, "error": "not yours"}'), APIError),
        ((200, {}, b"OK"), InvalidResponseError),
        ((200, {"Content-Type": "text/html"}, b"<html>"), InvalidResponseError),
        ((302, {"Location": "https://elsewhere"}, b""), InvalidResponseError),
    ],
)
def test_errors(response: Response, error: type[JunkieError]) -> None:
    """They are those of other calls, and name the call."""
    with pytest.raises(error) as caught:
        call(Script(response, response), "GET", "/services/5/providers")
    assert (caught.value.method, caught.value.path) == ("GET", "/services/{id}/providers")


def test_options() -> None:
    """The deadline of a view, or of an integration, counts."""
    script = Script(GOOD, RequestTimeoutError("late"))
    client = make_client(script)
    client.keys.deadline = 10.0

    async def main() -> None:
        await client.request("GET", "/services")
        with pytest.raises(OutcomeUnknownError):
            await client.with_options(deadline=3, timeout=2).request("POST", "/services")

    run(main())
    assert [left for _, left in script.began] == [10.0, 3.0]


@pytest.mark.parametrize(
    ("path", "params", "target"),
    [
        ("/services", None, "/services"),
        ("/services/", {}, "/services/"),
        ("/a b/ä", None, "/a%20b/%C3%A4"),
        ("/a%20b/100%", None, "/a%20b/100%25"),
        ("/a?x=1&y=%20", None, "/a?x=1&y=%20"),
        ("/a", {"x": 1, "y": " ", "z": None}, "/a?x=1&y=%20"),
        ("/a", {"x": [1, "b"], "y": True, "z": 1.5}, "/a?x=1&x=b&y=true&z=1.5"),
        ("/a?x=&y", None, "/a?x=&y="),
        ("/a", {"x": KeyStatus.ACTIVE}, "/a?x=active"),
        ("/a", {"x": False, "y": "", "z": (0, None)}, "/a?x=false&y=&z=0"),
        ("/a", {"x": datetime(2026, 1, 2, tzinfo=UTC)}, "/a?x=2026-01-02T00%3A00%3A00Z"),
    ],
)
def test_targets(path: str, params: Any, target: str) -> None:
    """Paths are quoted where they are not, and queries written as filters are."""
    assert make_raw_request("GET", path, params=params).target == target


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/services", "/services"),
        ("/v2/scriptVersions/by-name", "/v2/scriptVersions/by-name"),
        ("/services/42/providers/", "/services/{id}/providers/"),
        ("/keys/batch", "/keys/batch"),
        ("/keys/secretword/log", "/keys/{keyId}/log"),
        ("/users/JNK-1/x%20y", "/users/{value}/{value}"),
        ("/users/swordfish", "/users/{value}"),
        ("/users/a.swordfish.b", "/users/{value}"),
    ],
)
def test_templates(path: str, template: str) -> None:
    """What logs show has no value of a path."""
    assert make_raw_request("GET", path, secret=["swordfish"]).path == template


def test_a_long_value_of_letters() -> None:
    """What a user typed does not stop the event loop: matching takes linear time."""
    run_within(1, lambda: make_raw_request("GET", f"/users/{'a' * 39}1"))


BODY = {
    "name": "public-name",
    "hwid": "PC-7654321",
    "users": [{"pin": {"code": 4711, "ok": True, "no": None}}, {"word": "public-word"}],
    "hwids": ["PC-1234567"],
}


def test_secrets_are_masked() -> None:
    """Declared fields and values, the fields of other calls, and values of the path."""
    secrets = "4711 PC-1234567 PC-7654321 JNK-0001-abcd sesame-street 77-token"
    said = {"error": f"{secrets}, not public-word, public-name, pin, None or True"}
    script = Script((400, {"X-Said": "77-token"}, msgspec.json.encode(said)))
    with pytest.raises(BadRequestError) as caught:
        call(
            script,
            "POST",
            "/users/JNK-0001-abcd",
            params={"auth": "77-token", "word": "public-word"},
            json=BODY,
            secret=("pin", "auth", "sesame-street"),
        )
    error = caught.value
    assert (
        error.message == "*** *** *** *** *** ***, not public-word, public-name, pin, None or True"
    )
    assert error.headers == {"x-said": "***"}
    assert error.path == "/users/{value}"


def test_a_key_in_the_path() -> None:
    """It is as secret as in a call of the package's own; an ID is none."""
    for path, shown in (("/keys/JNK-0001-abcd/log", "*** of 7"), ("/keys/7", "JNK-0001-abcd of 7")):
        refusal: Response = (400, {}, b'{"error": "JNK-0001-abcd of 7"}')
        with pytest.raises(BadRequestError) as caught:
            call(Script(refusal), "GET", path, secret="")
        assert (caught.value.message, str(caught.value.path)[:13]) == (shown, "/keys/{keyId}")


def test_a_key_that_is_sent_back() -> None:
    """The fields of responses are as secret as those of requests."""
    key = Key(id=1, key_value="JNK-0001-abcd", keys_hwid=("PC-1234567",))
    said = {"error": "JNK-0001-abcd of PC-1234567"}
    with pytest.raises(BadRequestError) as caught:
        call(Script((400, {}, msgspec.json.encode(said))), "PUT", "/a", json=key)
    assert caught.value.message == "*** of ***"


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"method": "HEAD"}, "method"),
        ({"method": None}, "method"),
        ({"path": "services"}, "path"),
        ({"path": ""}, "path"),
        ({"path": "https://elsewhere/services"}, "path"),
        ({"path": "//elsewhere/services"}, "path"),
        ({"path": "/a//b"}, "path"),
        ({"path": "/../admin"}, "path"),
        ({"path": "/a/%2e%2E/b"}, "path"),
        ({"path": "/a/..%2fb"}, "path"),
        ({"path": "/a/..\\b"}, "path"),
        ({"path": "/a/./b"}, "path"),
        ({"path": "/a#b"}, "path"),
        ({"path": "/a?"}, "path"),
        ({"path": "/a\r\nX: y"}, "path"),
        ({"path": "/" + "a" * 4096}, "path"),
        ({"path": b"/a"}, "path"),
        ({"path": "/a?x=1", "params": {"y": 1}}, "params"),
        ({"params": [("a", 1)]}, "params"),
        ({"params": {"a": float("nan")}}, "params['a']"),
        ({"params": {"a": {}}}, "params['a']"),
        ({"params": {"a": "x\n"}}, "params['a']"),
        ({"params": {"a": datetime(2026, 1, 1)}}, "params['a']"),  # noqa: DTZ001 - refused
        ({"params": {1: "x"}}, "a name in params"),
        ({"params": {"a": 10**5000}}, "params['a']"),
        ({"json": {"a": 1}}, "json"),
        ({"method": "POST", "json": {"a": object()}}, "json['a']"),
        ({"secret": [1]}, "secret[0]"),
        ({"secret": 5}, "secret"),
        ({"idempotent": 1}, "idempotent"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], field: str) -> None:
    """They are refused before anything is sent, by the name of the argument."""
    script = Script()
    with pytest.raises(InvalidRequestError) as caught:
        call(script, **{"method": "GET", "path": "/a"} | kwargs)
    assert caught.value.field == field
    assert not script.began


def test_a_loop_is_refused() -> None:
    """A list that contains itself is no JSON."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidRequestError):
        make_raw_request("POST", "/a", json=loop)


@pytest.mark.parametrize(
    ("body", "field", "shown"),
    [
        ({"a": math.nan}, "json['a']", "nan"),
        ([1.5, [math.inf]], "json[1][0]", "inf"),
        ({"a": {"b": {1}}}, "json['a']['b']", "set"),
        ((b"x",), "json[0]", "bytes"),
        ({"a": timedelta(days=1)}, "json['a']", "timedelta"),
        ({"a": date(2026, 1, 31)}, "json['a']", "date"),
        ({"a": datetime(2026, 1, 31)}, "json['a']", "2026"),  # noqa: DTZ001  # naive on purpose
        ({"a": Decimal(1)}, "json['a']", "Decimal"),
        ({"a": UUID(int=1)}, "json['a']", "UUID"),
        ({"a": {1: 2}}, "json['a']", "1"),
        ({1, 2}, "json", "set"),
    ],
)
def test_what_json_can_not_hold(body: Any, field: str, shown: str) -> None:
    """It is refused by its place, where msgspec would send something else."""
    with pytest.raises(InvalidRequestError) as caught:
        make_raw_request("POST", "/a", json=body)
    assert caught.value.field == field
    assert shown in str(caught.value)


def test_what_json_can_hold() -> None:
    """It is sent as it is."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    body: dict[str, Any] = {"a": [1, 2.5, True, None, "ä"], "b": (KeyStatus.ACTIVE, noon), "": {}}
    assert msgspec.json.decode(make_raw_request("POST", "/a", json=body).body or b"") == {
        "a": [1, 2.5, True, None, "ä"],
        "b": ["active", "2026-01-31T12:00:00Z"],
        "": {},
    }


def test_a_fault_far_down() -> None:
    """Neither its depth nor what is shared on the way costs much, and its place stays short."""
    body: Any = [math.nan]
    for _ in range(50_000):
        body = [body, body]
    with pytest.raises(InvalidRequestError) as caught:
        make_raw_request("POST", "/a", json=body)
    assert caught.value.field == "json…" + "[0]" * 8
    del caught
    while len(body) == 2:  # else freeing it is deep, too
        body = body.pop()


@pytest.mark.parametrize("depth", [990, 1010, 5000, 100_000])
def test_a_deep_body(depth: int) -> None:
    """It is written or refused: how deep a body may be depends on Python's version."""
    body: list[Any] = []
    for _ in range(depth):
        body = [body]
    with suppress(InvalidRequestError):
        make_raw_request("POST", "/a", json=body)
    while body:  # else freeing it is deep, too
        body = body.pop()


async def test_over_a_connection() -> None:
    """A key is created, read with all its fields, and deleted."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as client:
        made = await client.request("POST", "/keys", json={"provider_id": 1, "key_name": "ä"})
        key = made.data["key"]
        assert made.headers["content-type"].startswith("application/json")
        got = await client.request("GET", f"/keys/{key['id']}")
        assert got.data["key"]["key_name"] == "ä"
        page = await client.request("GET", "/keys", params={"key": key["key_value"], "limit": 5})
        assert [one["id"] for one in page.data["keys"]] == [key["id"]]
        await client.request("DELETE", f"/keys/{key['key_value']}")
        assert await client.keys.list().count() == 0
