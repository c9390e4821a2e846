"""The web application: every operation, every refusal, and the counters."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import yarl

from junkie_async.emulator import Emulator
from junkie_async.emulator.store import Store

from .conftest import Api


def _get(path: str) -> bytes:
    return f"GET /api/v2{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n".encode()


@pytest.fixture
async def raw(emulator: Emulator) -> AsyncIterator[Any]:
    """Sends bytes as they are and returns the status and the JSON body."""
    writers = []

    async def send(request: bytes) -> tuple[int, Any]:
        url = yarl.URL(emulator.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writers.append(writer)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))

    yield send
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_create_returns_201_with_the_key(api: Api) -> None:
    """The created key is in the response and in the next listing."""
    reply = await api("POST", "/keys", {"provider_id": 42, "is_premium": True, "hwid": "A"})
    assert reply.status == 201
    key = reply.body["key"]
    assert (key["provider_name"], key["is_premium"]) == ("Provider 42", True)
    assert key["keys_hwid"] == ["A"]
    assert await api.ids() == [key["id"]]


async def test_a_batch_returns_its_key_values_and_its_config(api: Api) -> None:
    """Key values come in the order of the IDs; unknown fields are dropped from the config."""
    config = {"provider_id": 1, "amount": 3, "key_name": None, "hwid": "A"}
    reply = await api("POST", "/keys/batch", {**config, "nonsense": 1})
    assert reply.status == 201
    assert reply.body["count"] == 3
    assert reply.body["config"] == config
    listed = (await api("GET", "/keys")).body["keys"]
    assert [key["key_value"] for key in reversed(listed)] == reply.body["keys"]
    assert all(key["keys_hwid"] == ["A"] for key in listed)


async def test_get_update_and_delete_accept_an_id_or_a_key_value(api: Api) -> None:
    """Both forms address the key; after the delete, a get is a 404."""
    for name in ("id", "key_value"):
        ref = (await api.create())[name]
        reply = await api("PUT", f"/keys/{ref}", {"key_name": "x"})
        assert (reply.status, reply.body) == (
            200,
            {"success": True, "message": "Key updated", "keys_hwid": []},
        )
        key = (await api("GET", f"/keys/{ref}")).body["key"]
        assert (key[name], key["key_name"], key["discord_redemption"]) == (ref, "x", None)
        reply = await api("DELETE", f"/keys/{ref}")
        assert (reply.status, reply.body["success"]) == (200, True)
        reply = await api("GET", f"/keys/{ref}")
        assert (reply.status, reply.body.keys()) == (404, {"error"})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("PUT", "", {}), ("DELETE", "", None), ("POST", "/reset-hwid", None)],
)
@pytest.mark.parametrize("ref", ["99", "JNK-NONE", "9" * 19, "9" * 5000, "0"])
async def test_an_unknown_key_is_404(api: Api, method: str, path: str, body: Any, ref: str) -> None:
    """Numbers larger than any ID are unknown keys, not errors."""
    reply = await api(method, f"/keys/{ref}{path}", body)
    assert (reply.status, reply.body.keys()) == (404, {"error"})


async def test_a_reset_unbinds_every_hwid(api: Api) -> None:
    """The operation needs no body, and ignores one."""
    key = await api.create(hwids=["A", "B"])
    for options in ({}, {"data": b"whatever"}):
        reply = await api("POST", f"/keys/{key['key_value']}/reset-hwid", **options)
        assert (reply.status, reply.body["success"]) == (200, True)
    assert (await api("GET", f"/keys/{key['id']}")).body["key"]["hwids"] == []


async def test_bulk_delete_distinguishes_strings_from_numbers(emulator: Emulator, api: Api) -> None:
    """A string of digits is a key value in a body, and an ID in a path."""
    await emulator.seed(3, key_value=lambda index: str(3 - index))
    reply = await api("POST", "/keys/bulk-delete", {"keys": ["3", "3", 1, 77]})
    assert (reply.status, reply.body) == (200, {"deleted": 1, "requested": 4})
    assert await api.ids() == [3, 2]
    assert (await api("GET", "/keys/03")).body["key"]["key_value"] == "1"


async def test_folders_are_added_directly_or_with_a_key(emulator: Emulator, api: Api) -> None:
    """The API itself can't create a folder by name."""
    vip = await emulator.add_folder("VIP")
    key = await api.create(folder_id=7)
    reply = await api("GET", "/keys/folders")
    assert [(one["id"], one["name"]) for one in reply.body["folders"]] == [
        (vip, "VIP"),
        (7, "Folder 7"),
    ]
    assert key["folder_name"] == "Folder 7"


async def test_a_key_value_is_decoded_from_the_path(emulator: Emulator, raw: Any) -> None:
    """Slashes, percent signs, spaces and non-ASCII letters are decoded."""
    values = ["a/b", "50%", "a b", "ключ", "%41", "a?b#c", "x+y", "batch", ".", "x\x00y"]
    ids = await emulator.seed(len(values), key_value=lambda index: values[index])
    for key_id, value in zip(ids, values, strict=True):
        escaped = "".join(f"%{byte:02X}" for byte in value.encode())
        status, body = await raw(_get(f"/keys/{escaped}"))
        assert (status, body["key"]["id"]) == (200, key_id), value


async def test_pagination_adds_up(emulator: Emulator, api: Api) -> None:
    """The totals are right on every page, past the last one, and without keys."""
    empty = (await api("GET", "/keys")).body
    assert empty == {
        "keys": [],
        "pagination": {"page": 1, "limit": 50, "total": 0, "totalPages": 0},
    }
    await emulator.seed(101)
    for page, limit, length, pages in [
        (1, 50, 50, 3),
        (3, 50, 1, 3),
        (4, 50, 0, 3),
        (2, 100, 1, 2),
    ]:
        body = (await api("GET", "/keys", params={"page": page, "limit": limit})).body
        assert body["pagination"] == {
            "page": page,
            "limit": limit,
            "total": 101,
            "totalPages": pages,
        }
        assert len(body["keys"]) == length


@pytest.mark.parametrize("newest_first", [True, False])
async def test_the_order_of_listings(session: aiohttp.ClientSession, newest_first: bool) -> None:
    """Listings start with the newest key by default."""
    async with Emulator(newest_first=newest_first) as emulator:
        ids = list(await emulator.seed(5))
        listed = await Api(session, emulator.url).ids()
    assert listed == (ids[::-1] if newest_first else ids)


async def test_filters_reach_the_store(emulator: Emulator, api: Api) -> None:
    """Each filter works by its query parameter, and all work together."""
    expires_at = datetime(2099, 1, 1, tzinfo=UTC)
    wanted = await emulator.seed(
        1,
        discord_id="1" * 17,
        key_value="+needle & co",
        hwids=["HW-1"],
        service_id=2,
        provider_id=3,
        folder_id=4,
        expires_at=expires_at,
        used_at=expires_at,
    )
    await emulator.seed(3, is_invalidated=True, provider_id=9)
    filters = {
        "discord_id": "1" * 17,
        "key": "+needle &",
        "hwid": "W-",
        "service_id": "2",
        "provider_id": "3",
        "folder_id": "4",
        "status": "used",
        "expires_before": "2099-01-01T00:00:01+00:00",
        "expires_after": "2098-12-31T23:59:59Z",
    }
    for some in (*({name: value} for name, value in filters.items()), filters):
        assert await api.ids(**some) == list(wanted)


async def test_mark_used_is_visible_in_the_key(emulator: Emulator, api: Api) -> None:
    """`mark_used` sets the use, the expiry and the redemption."""
    key = await api.create(discord_id="1" * 17, validity_minutes=5, expiry_on_first_use=True)
    await emulator.mark_used(key["id"], datetime(2020, 1, 1, tzinfo=UTC))
    used = (await api("GET", f"/keys/{key['id']}")).body["key"]
    assert used["expires_at"] == "2020-01-01T00:05:00.000Z"
    assert used["discord_redemption"]["redeemed_at"] == "2020-01-01T00:00:00.000Z"
    assert await api.ids(status="expired") == [key["id"]]
    with pytest.raises(LookupError):
        await emulator.mark_used("none")


@pytest.mark.parametrize(
    ("method", "path", "options", "field"),
    [
        ("GET", "/keys?limit=101", {}, "limit"),
        ("GET", "/keys?page=abc", {}, "page"),
        ("GET", "/keys?status=foo", {}, "status"),
        ("GET", "/keys?page=1&page=2", {}, "page"),
        ("GET", "/keys?expires_after=2026-01-01T00:00:00+02:00", {}, "expires_after"),
        ("POST", "/keys", {"json": {}}, "provider_id"),
        ("POST", "/keys", {"data": b'{"provider_id": 1}'}, "body"),
        ("POST", "/keys", {}, "body"),
        ("POST", "/keys/batch", {"json": {"provider_id": 1, "amount": 101}}, "amount"),
        ("POST", "/keys/bulk-delete", {"json": {"keys": [1, 2, 3, {}]}}, "keys.3"),
        ("PUT", "/keys/1", {"json": {"hwids": ["a", None]}}, "hwids.1"),
    ],
)
async def test_an_invalid_request_is_400(
    api: Api, method: str, path: str, options: dict[str, Any], field: str
) -> None:
    """The response names the field, and nothing is done."""
    url = yarl.URL(api.url + path, encoded=True)
    async with api.session.request(method, url, **options) as response:
        body = await response.json()
    assert response.status == 400
    assert body.keys() == {"error", "field"}
    assert body["field"] == field
    assert body["error"].startswith(f"{field}: ")
    assert await api.ids() == []


async def test_json_with_a_charset_is_json(api: Api) -> None:
    """Media types are compared without parameters and case."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    reply = await api("POST", "/keys", data=b'{"provider_id": 1}', headers=headers)
    assert reply.status == 201


async def test_a_body_over_a_megabyte_is_413(api: Api) -> None:
    """The refusal is JSON."""
    headers = {"Content-Type": "application/json"}
    reply = await api("POST", "/keys", data=io.BytesIO(b" " * (1024 * 1024 + 1)), headers=headers)
    assert reply.status == 413
    assert reply.body.keys() == {"error"}


async def test_a_body_with_a_wrong_content_encoding_is_400(api: Api) -> None:
    """The body claims to be gzip and is not."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = await api("POST", "/keys", data=b'{"provider_id": 1}', headers=headers)
    assert reply.status == 400


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Basic c2VjcmV0"])
async def test_a_missing_bearer_token_is_401(emulator: Emulator, authorization: str) -> None:
    """The API key is checked before the body is validated."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(headers=headers) as session:
        reply = await Api(session, emulator.url)("POST", "/keys", {})
    assert (reply.status, reply.body.keys()) == (401, {"error"})
    assert reply.headers["WWW-Authenticate"] == "Bearer"


async def test_only_the_given_api_keys_are_accepted() -> None:
    """The scheme's case does not matter."""
    statuses = []
    async with Emulator(api_keys=["one", "two"]) as emulator, aiohttp.ClientSession() as session:
        api = Api(session, emulator.url)
        for token in ("one", "two", "three", "on"):
            headers = {"Authorization": f"bearer {token}"}
            statuses.append((await api("GET", "/keys", headers=headers)).status)
    assert statuses == [200, 200, 401, 401]


async def _statuses(api: Api, token: str, requests: int) -> list[int]:
    headers = {"Authorization": f"Bearer {token}"}
    return [(await api("GET", "/keys", headers=headers)).status for _ in range(requests)]


async def test_each_api_key_has_a_bucket_of_its_own() -> None:
    """One that is empty refuses no other API key; unknown ones share one, however many they are."""
    async with (
        Emulator(api_keys=["one", "two"], rate_limit=0.01, rate_limit_burst=2) as emulator,
        aiohttp.ClientSession() as session,
    ):
        api = Api(session, emulator.url)
        for token in ("one", "two"):
            assert await _statuses(api, token, 3) == [200, 200, 429]
        guesses = [status for guess in "abc" for status in await _statuses(api, guess, 1)]
        assert guesses == [401, 401, 429]
        assert await _statuses(api, "", 1) == [429]
        emulator.rate_limit_burst = 1  # fills all buckets
        assert await _statuses(api, "one", 2) == await _statuses(api, "two", 2) == [200, 429]


async def test_any_api_key_has_a_bucket_of_its_own() -> None:
    """Also where none is named."""
    async with Emulator(rate_limit=0.01) as emulator, aiohttp.ClientSession() as session:
        api = Api(session, emulator.url)
        assert await _statuses(api, "one", 2) == await _statuses(api, "two", 2) == [200, 429]


async def test_api_keys_have_limits_of_their_own() -> None:
    """The headers are those of the key's bucket; a key without a limit has the emulator's."""
    limits: list[str | None] = []
    async with (
        Emulator(
            api_keys={"slow": 0.01, "fast": 50, "plain": None}, rate_limit_headers=True
        ) as emulator,
        aiohttp.ClientSession() as session,
    ):
        api = Api(session, emulator.url)
        assert await _statuses(api, "slow", 2) == [200, 429]
        assert await _statuses(api, "fast", 20) == await _statuses(api, "plain", 20) == [200] * 20
        emulator.rate_limit = 7  # leaves the own limits as they are
        for token in ("slow", "fast", "plain"):
            reply = await api("GET", "/keys", headers={"Authorization": f"Bearer {token}"})
            limits.append(reply.headers.get("RateLimit-Limit"))
        assert limits == ["1", "50", "7"]
        assert await _statuses(api, "other", 1) == [401]


@pytest.mark.parametrize("api_keys", [[], [""], {"": 5}])
async def test_an_empty_api_key_is_never_accepted(api_keys: Any) -> None:
    """Neither is any other, if none is named."""
    async with Emulator(api_keys=api_keys) as emulator, aiohttp.ClientSession() as session:
        api = Api(session, emulator.url)
        assert await _statuses(api, "", 1) == await _statuses(api, "x", 1) == [401]


@pytest.mark.parametrize("path", ["/", "/nothing", "/keys/1/2", "/keys/", "/../../keys"])
async def test_an_unknown_route_is_404(api: Api, path: str) -> None:
    """The refusal is JSON."""
    reply = await api("GET", path)
    assert (reply.status, reply.body.keys()) == (404, {"error"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/keys", "GET, POST"),
        ("HEAD", "/keys/1", "DELETE, GET, PUT"),
        ("GET", "/keys/1/reset-hwid", "POST"),
    ],
)
async def test_a_wrong_method_is_405(api: Api, method: str, path: str, allowed: str) -> None:
    """The Allow header lists the methods of the path."""
    async with api.session.request(method, api.url + path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert response.content_type == "application/json"


async def test_an_internal_error_is_500_and_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The response hides the details, and the next request is served."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("details")

    monkeypatch.setattr(Store, "folders", fail)
    with caplog.at_level(logging.ERROR, "junkie_async.emulator"):
        reply = await api("GET", "/keys/folders")
    assert (reply.status, reply.body.keys()) == (500, {"error"})
    assert [record.getMessage() for record in caplog.records] == ["GET /api/v2/keys/folders failed"]
    assert "details" in caplog.text
    assert await api.ids() == []


async def test_counters(emulator: Emulator, api: Api) -> None:
    """Responses, calls by operation and responses by status are counted."""
    await api.create()
    await api("POST", "/keys", {})
    await api("GET", "/nothing")
    await api("GET", "/keys", headers={"Authorization": ""})
    assert emulator.requests == 4
    assert emulator.calls == {"createKey": 2, "listKeys": 1}
    assert emulator.statuses == {201: 1, 400: 1, 404: 1, 401: 1}


async def test_requests_are_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Neither successes nor refusals are logged."""
    with caplog.at_level(logging.INFO):
        await api.create()
        await api("POST", "/keys", {})
    assert [one.name for one in caplog.records if not one.name.startswith("asyncio")] == []


async def test_latency_is_a_minimum_and_can_be_changed(emulator: Emulator, api: Api) -> None:
    """Concurrent requests wait concurrently, and the processing time counts."""
    loop = asyncio.get_running_loop()
    await api.ids()
    emulator.latency = 0.05
    before = loop.time()
    await asyncio.gather(*(api.ids() for _ in range(60)))
    assert 0.05 <= loop.time() - before < 1.5  # one after the other would take 3 s
    emulator.latency = 0
    assert emulator.latency == 0
    assert (await api("GET", "/keys")).status == 200


@pytest.mark.parametrize("latency", [-1, float("inf"), float("nan")])
async def test_a_latency_must_be_finite_and_not_negative(latency: float) -> None:
    """The constructor and the setter check it."""
    with pytest.raises(ValueError):
        Emulator(latency=latency)
    emulator = Emulator()
    with pytest.raises(ValueError):
        emulator.latency = latency


async def test_too_many_requests_are_429(emulator: Emulator, api: Api) -> None:
    """A refusal has Retry-After; the limit can be set and removed while the emulator runs."""
    emulator.rate_limit = 0.01
    assert emulator.rate_limit == 0.01
    assert (await api("GET", "/keys")).status == 200
    reply = await api("POST", "/keys", {"provider_id": 1})
    assert (reply.status, reply.body.keys()) == (429, {"error"})
    assert 99 <= int(reply.headers["Retry-After"]) <= 100
    assert "RateLimit-Limit" not in reply.headers
    emulator.rate_limit = None
    assert await api.ids() == []


async def test_rate_limit_headers_are_in_every_response(session: aiohttp.ClientSession) -> None:
    """Refusals and errors carry them too."""
    async with Emulator(rate_limit=0.5, rate_limit_headers=True) as emulator:
        api = Api(session, emulator.url)
        replies = [await api("GET", "/nothing"), await api("GET", "/keys")]
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    assert [reply.status for reply in replies] == [404, 429]
    assert [[reply.headers[name] for name in names] for reply in replies] == [
        ["1", "0", "2"],
        ["1", "0", "2"],
    ]


async def test_a_burst_can_be_set_at_run_time(emulator: Emulator, api: Api) -> None:
    """Setting the burst or the rate limit fills the bucket."""
    emulator.rate_limit_burst = 3
    for rate in (0.01, 0.02):
        emulator.rate_limit = rate
        assert [(await api("GET", "/keys")).status for _ in range(4)] == [200, 200, 200, 429]
    emulator.rate_limit_burst = None
    assert emulator.rate_limit_burst is None
    assert [(await api("GET", "/keys")).status for _ in range(2)] == [200, 429]
    assert emulator.rate_limit == 0.02


async def test_an_invalid_limit_leaves_the_old_one_in_force() -> None:
    """The constructor and the setters check the limits."""
    with pytest.raises(ValueError):
        Emulator(rate_limit_burst=0)
    emulator = Emulator(rate_limit=5, rate_limit_burst=10)
    with pytest.raises(ValueError):
        emulator.rate_limit_burst = 0.5
    with pytest.raises(ValueError):
        emulator.rate_limit = 0
    assert (emulator.rate_limit, emulator.rate_limit_burst) == (5, 10)


@pytest.mark.parametrize("target", ["?key=%ED%A0%80", "?key=%FF", "?key=%00", "/%FF", "/%00"])
async def test_malformed_urls_are_no_internal_errors(raw: Any, target: str) -> None:
    """Lone surrogates, bytes that are not UTF-8, and NUL are handled."""
    status, _ = await raw(_get(f"/keys{target}"))
    assert status in (200, 400, 404)


async def test_a_client_may_disconnect_during_its_body(
    emulator: Emulator, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """The next request is served, and no error is logged."""
    url = yarl.URL(emulator.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /api/v2/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"provider_id"'
    )
    await writer.drain()
    while not emulator.calls:
        await asyncio.sleep(0)
    writer.transport.abort()
    assert await api.ids() == []
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []
