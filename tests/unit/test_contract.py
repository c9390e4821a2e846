"""Every request that the client can make is one that the published contract allows.

The calls go through the public client; aioresponses stands in for the network, and openapi-core,
which shares nothing with the client, validates each request against `openapi.json`.
"""

from __future__ import annotations

import copy
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qsl

import aiohttp
import attrs
import pytest
from aioresponses import CallbackResult, aioresponses
from hypothesis import given
from hypothesis import strategies as st
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest
from yarl import URL

import junkie_async
from junkie_async import (
    UNSET,
    ActionResult,
    AuthenticationError,
    BulkDeleteResult,
    CreateReport,
    DeleteReport,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    KeyRef,
    Keys,
    KeyStatus,
    NotFoundError,
    Outcome,
    Pagination,
    UpdateResult,
)
from junkie_async._http import transport
from junkie_async._protocol import decompression

from .conftest import CONTRACT

HOST, BASE = "https://api.jnkie.com", "/api/v2"
TOKEN = "t0ken"


def strict_contract() -> OpenAPI:
    """Load the contract, with what it does not name forbidden in requests."""
    contract = copy.deepcopy(CONTRACT)
    for operations in contract["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                media = operation["requestBody"]["content"]["application/json"]
                media["schema"]["additionalProperties"] = False
    return OpenAPI.from_dict(contract)


VALIDATOR = strict_contract()
QUERY = {one["name"] for one in CONTRACT["paths"]["/keys"]["get"]["parameters"]}


@attrs.frozen
class Sent:
    """A request as it would go over the wire."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any = None

    @property
    def target(self) -> str:
        """The path and query below the base URL, quoted as they are sent."""
        return self.url.removeprefix(HOST + BASE)

    @property
    def query(self) -> dict[str, str]:
        """The query, unquoted."""
        pairs = parse_qsl(self.url.partition("?")[2], keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


def validate_request(method: str, url: str, headers: dict[str, str], data: bytes | None) -> Sent:
    """Validate a request with openapi-core, which raises what is wrong with it."""
    path, _, query = url.removeprefix(HOST).partition("?")
    args = dict(parse_qsl(query, keep_blank_values=True))
    kind = headers.get("Content-Type", "")
    VALIDATOR.validate_request(
        MockRequest(
            HOST, method.lower(), path, args=args, headers=headers, data=data, content_type=kind
        )
    )
    assert (kind == "application/json") is (data is not None)
    assert args.keys() <= (QUERY if path.endswith("/keys") and method == "GET" else set())
    return Sent(method, url, headers, None if data is None else json.loads(data))


class Response(aiohttp.ClientResponse):
    """A response with what aiohttp 3.14 asks for and aioresponses 0.7.9 does not give."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


class Network(aioresponses):
    """Validates and records each request, and answers with the next response."""

    def __init__(self, *answers: Any) -> None:
        self.sent: list[Sent] = []
        self.answers = deque(answers)
        super().__init__()

    def start(self) -> None:
        """Answer any request from now on."""
        super().start()
        for method in ("GET", "POST", "PUT", "DELETE"):
            self.add(re.compile(".*"), method=method, callback=self._answer, repeat=True)

    async def _request_mock(
        self, orig_self: aiohttp.ClientSession, method: str, url: Any, *args: Any, **kwargs: Any
    ) -> aiohttp.ClientResponse:
        assert type(url) is URL  # noted before aioresponses sorts and unquotes its query
        payload: aiohttp.Payload | None = kwargs.get("data")
        headers = {**orig_self.headers, **(payload.headers if payload is not None else {})}
        body = None if payload is None else await payload.as_bytes()
        self.sent.append(validate_request(method, str(url), headers, body))
        return await super()._request_mock(orig_self, method, url, *args, **kwargs)

    def _answer(self, _: URL, **__: Any) -> CallbackResult:
        answer = self.answers.popleft()
        status, headers = 200, {}
        if isinstance(answer, tuple):
            status, headers, answer = answer
        elif isinstance(answer, int):
            status, answer = answer, {"error": "words"}
        return CallbackResult(
            status=status,
            body=answer if isinstance(answer, bytes) else json.dumps(answer).encode(),
            headers=headers,
            response_class=Response,
        )


@asynccontextmanager
async def service(*answers: Any) -> AsyncIterator[tuple[Keys, Network]]:
    """Provide a client's keys and its network; all responses must be used."""
    network = Network(*answers)
    with network:
        async with JunkieClient(TOKEN, base_url=HOST + BASE) as junkie:
            yield junkie.keys, network
    assert not network.answers


KEY = {"id": 7, "key_value": "JNK-7"}
OTHER = {"id": 8, "key_value": "XJNK-77"}
MODEL = Key(id=7, key_value="JNK-7")
DONE = {"success": True, "message": "done"}


def page(
    *rows: Any, number: int = 1, pages: int = 1, limit: int = 100, total: int | None = None
) -> dict[str, Any]:
    """Write a page of keys."""
    total = len(rows) if total is None else total
    stated = {"page": number, "limit": limit, "total": total, "totalPages": pages}
    return {"keys": rows, "pagination": stated}


FIRST = KeyPage(keys=(MODEL,), pagination=Pagination(page=1, limit=100, total=1, total_pages=1))
REFS: list[KeyRef] = [5, "5", 5, MODEL]
Use = Callable[[Keys], Any]

OPERATIONS: dict[str, tuple[Use, str, str, Any, Any, Any]] = {
    "list": (lambda keys: keys.list(), "GET", "/keys?page=1&limit=100", None, page(KEY), FIRST),
    "list_page": (
        lambda keys: keys.list(page=3, limit=20, provider_id=1),
        "GET",
        "/keys?provider_id=1&page=3&limit=20",
        None,
        page(KEY),
        FIRST,
    ),
    "first": (
        lambda keys: keys.list().first(),
        "GET",
        "/keys?page=1&limit=1",
        None,
        page(KEY),
        MODEL,
    ),
    "count": (
        lambda keys: keys.list().count(),
        "GET",
        "/keys?page=1&limit=100",
        None,
        page(KEY),
        1,
    ),
    "get": (
        lambda keys: keys.get(7),
        "GET",
        "/keys/7",
        None,
        {"key": KEY},
        KeyDetailed(id=7, key_value="JNK-7"),
    ),
    "find": (
        lambda keys: keys.find("JNK-7"),
        "GET",
        "/keys?key=JNK-7&page=1&limit=100",
        None,
        page(OTHER, KEY),
        MODEL,
    ),
    "find_none": (
        lambda keys: keys.find("NK-7"),
        "GET",
        "/keys?key=NK-7&page=1&limit=100",
        None,
        page(OTHER, KEY),
        None,
    ),
    "create": (
        lambda keys: keys.create(provider_id=1),
        "POST",
        "/keys",
        {"provider_id": 1},
        {"key": KEY},
        MODEL,
    ),
    "create_batch": (
        lambda keys: keys.create_batch(provider_id=1, amount=2),
        "POST",
        "/keys/batch",
        {"provider_id": 1, "amount": 2},
        {"keys": ["a", "b"], "count": 2, "config": {"provider_id": 1}},
        KeyBatch(keys=("a", "b"), count=2, config={"provider_id": 1}),
    ),
    "create_many": (
        lambda keys: keys.create_many(2, provider_id=1, is_premium=True),
        "POST",
        "/keys/batch",
        {"provider_id": 1, "amount": 2, "is_premium": True},
        {"keys": ["a", "b"]},
        CreateReport(requested=2, keys=("a", "b")),
    ),
    "update": (
        lambda keys: keys.update(7, folder_id=None, hwids=[]),
        "PUT",
        "/keys/7",
        {"folder_id": None, "hwids": []},
        DONE | {"keys_hwid": []},
        UpdateResult(message="done"),
    ),
    "invalidate": (
        lambda keys: keys.invalidate(MODEL),
        "PUT",
        "/keys/7",
        {"is_invalidated": True},
        DONE | {"keys_hwid": ["PC"]},
        UpdateResult(message="done", keys_hwid=("PC",)),
    ),
    "revalidate": (
        lambda keys: keys.revalidate("JNK-7"),
        "PUT",
        "/keys/JNK-7",
        {"is_invalidated": False},
        DONE,
        UpdateResult(message="done"),
    ),
    "delete": (lambda keys: keys.delete(7), "DELETE", "/keys/7", None, b"", None),
    "bulk_delete": (
        lambda keys: keys.bulk_delete([5, "5", MODEL]),
        "POST",
        "/keys/bulk-delete",
        {"keys": [5, "5", 7]},
        {"deleted": 2, "requested": 3},
        BulkDeleteResult(deleted=2, requested=3),
    ),
    "delete_many": (
        lambda keys: keys.delete_many(iter(REFS)),
        "POST",
        "/keys/bulk-delete",
        {"keys": [5, "5", 7]},
        {"deleted": 2},
        DeleteReport(requested=3, deleted=2, missing=1),
    ),
    "reset_hwid": (
        lambda keys: keys.reset_hwid("a b/c?d#e%2F..é"),
        "POST",
        "/keys/a%20b%2Fc%3Fd%23e%252F..%C3%A9/reset-hwid",
        None,
        DONE,
        ActionResult(message="done"),
    ),
    "folders": (
        lambda keys: keys.folders(),
        "GET",
        "/keys/folders",
        None,
        {"folders": [{"id": 1, "name": "f"}]},
        [KeyFolder(id=1, name="f")],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_operations(name: str) -> None:
    """Each operation makes one request, and returns the response's value."""
    use, method, target, body, answer, value = OPERATIONS[name]
    async with service(answer) as (keys, network):
        got = await use(keys)
    assert (got, type(got)) == (value, type(value))
    (sent,) = network.sent
    assert (sent.method, sent.target, sent.body) == (method, target, body)
    content = {} if body is None else {"Content-Type": "application/json"}
    assert sent.headers == content | {
        "Authorization": f"Bearer {TOKEN}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": f"junkie_async/{junkie_async.__version__}",
    }


def test_every_operation_is_used() -> None:
    """The operations above are all that the contract has."""
    templates = {
        (method.upper(), path) for path, methods in CONTRACT["paths"].items() for method in methods
    } - {("GET", "parameters")}
    used = set()
    for _, method, target, *_ in OPERATIONS.values():
        path = target.partition("?")[0]
        named = path in CONTRACT["paths"]
        used.add((method, path if named else re.sub(r"^/keys/[^/]+", "/keys/{keyId}", path)))
    assert used == templates


@pytest.mark.parametrize(
    ("method", "path", "data", "wrong"),
    [
        ("GET", "/keys?limit=101", None, "Parameter"),
        ("GET", "/keys?status=gone", None, "Parameter"),
        ("GET", "/key", None, "Path"),
        ("PUT", "/keys", b"{}", "Operation"),
        ("POST", "/keys", b"{}", "Body"),
        ("POST", "/keys", b'{"provider_id": 1, "amount": 5}', "Body"),
        ("POST", "/keys/bulk-delete", b'{"keys": []}', "Body"),
        ("PUT", "/keys/7", b'{"expires_at": "tomorrow"}', "Body"),
    ],
)
def test_the_validator_refuses(method: str, path: str, data: bytes | None, wrong: str) -> None:
    """A request that breaks the contract is refused, so passing means something."""
    headers = {"Authorization": "Bearer x"} | ({"Content-Type": "application/json"} if data else {})
    with pytest.raises(OpenAPIError) as caught:
        validate_request(method, f"{HOST}{BASE}{path}", headers, data)
    assert wrong in type(caught.value).__name__


def test_the_validator_requires_the_api_key() -> None:
    """A request without an API key is refused too."""
    with pytest.raises(OpenAPIError, match="Security"):
        validate_request("GET", f"{HOST}{BASE}/keys", {}, None)


# --- every field, by hypothesis -------------------------------------------------------------------

SAFE = 2**53 - 1
zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=11, minutes=30))]
)
texts = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"
    ),
    max_size=20,
)
filled = texts.filter(bool) | st.sampled_from(["a&b=c", "a+b", " ", "100%", "#?/;"])
moments = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(9998, 1, 1),  # noqa: DTZ001 - likewise
    timezones=zones,
)

# Each field with pairs of what a caller gives, and what is to be sent.
Pairs = st.SearchStrategy[tuple[Any, Any]]


def same(values: st.SearchStrategy[Any]) -> Pairs:
    """Give values that are sent as they are."""
    return values.map(lambda value: (value, value))


def iso(at: datetime) -> str:
    """Write a moment in UTC, by other means than the client's."""
    utc = at.astimezone(UTC)
    fraction = f".{utc.microsecond:06}" if utc.microsecond else ""
    return f"{utc.year:04}-{utc:%m-%dT%H:%M:%S}{fraction}Z"


null: Pairs = st.just((None, None))
at_least_1, flags = same(st.integers(1, SAFE)), same(st.booleans())
snowflakes: Pairs = st.integers(10**16, 10**19 - 1).flatmap(
    lambda number: st.sampled_from([(number, str(number)), (str(number), str(number))])
)
minutes: Pairs = same(st.integers(0, SAFE)) | st.integers(0, 10**6).map(
    lambda number: (timedelta(minutes=number), number)
)
devices: Pairs = st.lists(filled, max_size=3).flatmap(
    lambda hwids: st.sampled_from([(hwids, hwids), (tuple(hwids), hwids), (iter(hwids), hwids)])
)
expiries: Pairs = moments.map(lambda at: (at, iso(at)))

COMMON: dict[str, Pairs] = {
    "folder_id": at_least_1 | null,
    "key_name": same(texts) | null,
    "validity_minutes": minutes | null,
    "discord_id": snowflakes | null,
    "is_premium": flags,
    "one_time_use": flags,
    "expiry_on_first_use": flags,
    "no_hwid": flags,
    "hwid_limit": same(st.integers(0, 100)) | null,
}
BATCH = COMMON | {"hwid": same(texts) | null, "service_id": at_least_1 | null}
CREATE = BATCH | {"service_id": same(st.integers(-SAFE, SAFE)) | null, "hwids": devices}
UPDATE = COMMON | {"expires_at": expiries | null, "is_invalidated": flags, "hwids": devices}
statuses: Pairs = st.sampled_from(
    [(form, str(status)) for status in KeyStatus for form in (status, status.value)]
)
ids: Pairs = st.integers(-SAFE, SAFE).map(lambda number: (number, str(number)))
FILTERS: dict[str, Pairs] = {
    "discord_id": snowflakes,
    "key": same(filled),
    "hwid": same(filled),
    "service_id": ids,
    "provider_id": ids,
    "folder_id": ids,
    "status": statuses,
    "expires_before": expiries,
    "expires_after": expiries,
}


def some(fields: dict[str, Pairs]) -> st.SearchStrategy[dict[str, tuple[Any, Any]]]:
    """Give any of the fields, some of them UNSET."""
    unset: Pairs = st.just((UNSET, UNSET))
    return st.fixed_dictionaries({}, optional={name: one | unset for name, one in fields.items()})


def given_and_sent(pairs: dict[str, tuple[Any, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split pairs into a call's arguments and the body that they make."""
    arguments = {name: value for name, (value, _) in pairs.items()}
    return arguments, {name: sent for name, (_, sent) in pairs.items() if sent is not UNSET}


def test_strategies_are_complete() -> None:
    """What is generated below are all the fields of the contract."""
    for fields, required, path, method in (
        (CREATE, {"provider_id"}, "/keys", "post"),
        (BATCH, {"provider_id", "amount"}, "/keys/batch", "post"),
        (UPDATE, set(), "/keys/{keyId}", "put"),
    ):
        body = CONTRACT["paths"][path][method]["requestBody"]["content"]["application/json"]
        assert fields.keys() | required == body["schema"]["properties"].keys()
    assert FILTERS.keys() | {"page", "limit"} == QUERY


@given(some(CREATE), st.integers(1, SAFE))
async def test_create_fields(pairs: dict[str, tuple[Any, Any]], provider_id: int) -> None:
    """Every field of a create is sent in the contract's form, null is null, and UNSET is absent."""
    arguments, body = given_and_sent(pairs)
    async with service({"key": KEY}) as (keys, network):
        assert await keys.create(provider_id=provider_id, **arguments) == MODEL
    assert network.sent[0].body == body | {"provider_id": provider_id}


@given(some(BATCH), st.integers(1, SAFE), st.integers(1, 100))
async def test_batch_fields(
    pairs: dict[str, tuple[Any, Any]], provider_id: int, amount: int
) -> None:
    """Every field of a batch is sent likewise, by the single call and by the job."""
    arguments, body = given_and_sent(pairs)
    values = [f"{index}" for index in range(2 * amount)]
    async with service({"keys": values[:amount]}, {"keys": values[amount:]}) as (keys, network):
        await keys.create_batch(provider_id=provider_id, amount=amount, **arguments)
        await keys.create_many(amount, provider_id=provider_id, **arguments)
    wanted = body | {"provider_id": provider_id, "amount": amount}
    assert [sent.body for sent in network.sent] == [wanted, wanted]


@given(some(UPDATE))
async def test_update_fields(pairs: dict[str, tuple[Any, Any]]) -> None:
    """Every field of an update is sent likewise; an update of nothing is refused."""
    arguments, body = given_and_sent(pairs)
    async with service(*[DONE] * bool(body)) as (keys, network):
        if body:
            await keys.update(7, **arguments)
        else:
            with pytest.raises(InvalidRequestError):
                await keys.update(7, **arguments)
    assert [sent.body for sent in network.sent] == [body] * bool(body)


@given(some(FILTERS), st.integers(1, 10**6), st.integers(1, 100))
async def test_filters(pairs: dict[str, tuple[Any, Any]], number: int, limit: int) -> None:
    """Every filter is in the query, quoted so that it comes back; None and UNSET narrow nothing."""
    arguments, query = given_and_sent(pairs)
    nothing: dict[str, Any] = dict.fromkeys(FILTERS.keys() - arguments.keys())
    async with service(page(), page()) as (keys, network):
        await keys.list(page=number, limit=limit, **arguments)
        await keys.list(page=number, limit=limit, **arguments, **nothing)
    first, second = network.sent
    assert first.query == query | {"page": str(number), "limit": str(limit)}
    assert second.url == first.url
    assert first.url.isascii()


key_values = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"
    ),
    min_size=1,
    max_size=20,
).map(lambda text: f"K{text}")


@given(st.lists(st.integers(1, SAFE) | key_values | st.from_regex(r"\A[0-9]{1,9}\Z"), min_size=1))
async def test_deletes_keep_numbers_and_strings_apart(refs: list[int | str]) -> None:
    """In a bulk-delete a number is an ID and a string a key value, digits or not."""
    async with service({"deleted": len(refs)}, {"deleted": 0}) as (keys, network):
        result = await keys.bulk_delete(refs)
        await keys.delete_many(refs)
    assert result == BulkDeleteResult(deleted=len(refs), requested=len(refs))
    one_call, job = (sent.body["keys"] for sent in network.sent)
    assert [(type(ref), ref) for ref in one_call] == [(type(ref), ref) for ref in refs]
    assert job == list(dict.fromkeys(refs))


# --- references -----------------------------------------------------------------------------------

BY_PATH: dict[str, tuple[Callable[[Keys, Any], Any], Any]] = {
    "get": (Keys.get, {"key": KEY}),
    "update": (lambda keys, key: keys.update(key, is_premium=True), DONE),
    "invalidate": (Keys.invalidate, DONE),
    "revalidate": (Keys.revalidate, DONE),
    "delete": (Keys.delete, b""),
    "reset_hwid": (Keys.reset_hwid, DONE),
}


@given(st.sampled_from(sorted(BY_PATH)), st.integers(1, SAFE) | key_values)
async def test_references(name: str, key: int | str) -> None:
    """An ID and a plain key value go into the path, as one segment that means the same."""
    use, answer = BY_PATH[name]
    if name == "get":
        answer = {"key": KEY | ({"id": key} if isinstance(key, int) else {"key_value": key})}
    async with service(answer) as (keys, network):
        await use(keys, key)
    (sent,) = network.sent
    assert URL(sent.url, encoded=True).parts[4] == str(key)
    assert sent.target.count("/") == (3 if name == "reset_hwid" else 2)
    assert not set(sent.target) & set("?#")


@pytest.mark.parametrize("name", BY_PATH)
@pytest.mark.parametrize("value", ["123", "0x10", "1e5", "folders"])
async def test_digits_are_looked_up(name: str, value: str) -> None:
    """A value that a path would read as an ID is found by value first, then named by its ID."""
    use, answer = BY_PATH[name]
    partial = {"id": 9, "key_value": f"{value}4"}
    exact = {"id": 55, "key_value": value}
    answer = {"key": exact} if name == "get" else answer
    async with service(page(partial, pages=2), page(exact, number=2, pages=2), answer) as (
        keys,
        network,
    ):
        await use(keys, value)
    search, more, call = network.sent
    assert (search.method, search.query) == ("GET", {"key": value, "page": "1", "limit": "100"})
    assert more.query == {"key": value, "page": "2", "limit": "100"}
    assert URL(call.url).parts[4] == "55"


@pytest.mark.parametrize("name", BY_PATH)
async def test_digits_that_no_key_has(name: str) -> None:
    """Where no key has exactly that value, the error is the one of any missing key."""
    use, _ = BY_PATH[name]
    async with service(page({"id": 123, "key_value": "1234"})) as (keys, network):
        with pytest.raises(NotFoundError) as caught:
            await use(keys, "123")
    assert len(network.sent) == 1
    assert (caught.value.status, caught.value.outcome) == (404, Outcome.NOT_EXECUTED)
    assert caught.value.path == "/keys/{keyId}"
    assert caught.value.method in ("GET", "PUT", "DELETE", "POST")
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("key", [".", "..", "", 0, -1, True, 1.0, None, b"JNK", "a\nb"])
@pytest.mark.parametrize("name", BY_PATH)
async def test_bad_references(name: str, key: Any) -> None:
    """A reference that names no key is refused before anything is sent."""
    use, _ = BY_PATH[name]
    async with service() as (keys, network):
        with pytest.raises(InvalidRequestError):
            await use(keys, key)
    assert network.sent == []


# --- jobs and walks -------------------------------------------------------------------------------


async def test_create_many_splits() -> None:
    """A large create makes equal calls of at most 100 keys."""
    batches = [{"keys": [f"{n}-{i}" for i in range(size)]} for n, size in enumerate((100, 100, 50))]
    async with service(*batches) as (keys, network):
        report = await keys.create_many(250, provider_id=1, key_name="x", concurrency=1)
    assert [sent.body["amount"] for sent in network.sent] == [100, 100, 50]
    assert all(sent.body["key_name"] == "x" for sent in network.sent)
    assert (report.created, report.failed, report.unknown) == (250, 0, 0)


async def test_delete_many_splits() -> None:
    """A large delete makes calls of at most 1000 keys, from any kind of iterable."""

    async def some_keys() -> AsyncIterator[int]:
        for key_id in range(1, 1502):
            yield key_id

    async with service({"deleted": 1000}, {"deleted": 501}) as (keys, network):
        report = await keys.delete_many(some_keys(), concurrency=1)
    assert [len(sent.body["keys"]) for sent in network.sent] == [1000, 501]
    assert report == DeleteReport(requested=1501, deleted=1501)


async def test_purge() -> None:
    """A purge walks the list with its filters, and then deletes the IDs."""
    expired = {"service_id": 5, "expires_at": "2020-01-01T00:00:00Z"}
    rows = page({**KEY, **expired}, {**OTHER, **expired})
    async with service(rows, {"deleted": 2}) as (keys, network):
        report = await keys.purge(status=KeyStatus.EXPIRED, service_id=5)
    walk, delete = network.sent
    assert walk.query == {"status": "expired", "service_id": "5", "page": "1", "limit": "100"}
    assert delete.body == {"keys": [7, 8]}
    assert report == DeleteReport(requested=2, deleted=2)


async def test_purge_of_everything() -> None:
    """Deleting every key takes an explicit `everything=True`."""
    async with service(page(KEY), {"deleted": 1}) as (keys, network):
        await keys.purge(everything=True)
    assert network.sent[0].query == {"page": "1", "limit": "100"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"status": UNSET},
        {"status": None},
        {"status": "expired", "folder_id": None},
        {"everything": True, "status": "expired"},
        {"everything": False},
        {"key": ""},
    ],
)
async def test_purge_refuses_to_guess(arguments: dict[str, Any]) -> None:
    """Without a filter that narrows, a purge sends nothing."""
    async with service() as (keys, network):
        with pytest.raises(InvalidRequestError):
            await keys.purge(**arguments)
    assert network.sent == []


async def test_walk() -> None:
    """A walk asks for page after page, and gives each key once."""
    third = {"id": 9, "key_value": "JNK-9"}
    answers = [
        page(KEY, OTHER, pages=2, limit=2, total=3),
        page(OTHER, third, number=2, pages=2, limit=2, total=4),  # a key was created meanwhile
        page(number=3, pages=2, limit=2, total=4),
    ]
    async with service(*answers) as (keys, network):
        found = [key.id async for key in keys.list(discord_id=10**17, limit=2)]
    assert found == [7, 8, 9]
    assert [sent.query["page"] for sent in network.sent] == ["1", "2", "3"]
    assert all(sent.query["discord_id"] == str(10**17) for sent in network.sent)


REFUSED: dict[str, tuple[str, Use]] = {
    "bulk_delete_none": ("keys", lambda keys: keys.bulk_delete([])),
    "bulk_delete_1001": ("keys", lambda keys: keys.bulk_delete(range(1, 1002))),
    "bulk_delete_str": ("keys", lambda keys: keys.bulk_delete("JNK-7")),
    "bulk_delete_bad": ("keys[1]", lambda keys: keys.bulk_delete([1, 0])),
    "delete_many_str": ("keys", lambda keys: keys.delete_many("JNK-7")),
    "delete_many_bad": ("keys[1]", lambda keys: keys.delete_many([1, ".."])),
    "delete_many_turns": ("concurrency", lambda keys: keys.delete_many([1], concurrency=0)),
    "create_many_0": ("amount", lambda keys: keys.create_many(0, provider_id=1)),
    "create_many_turns": (
        "concurrency",
        lambda keys: keys.create_many(1, provider_id=1, concurrency=1001),
    ),
    "create_batch_101": ("amount", lambda keys: keys.create_batch(provider_id=1, amount=101)),
    "create_unset": ("provider_id", lambda keys: keys.create(provider_id=UNSET)),  # type: ignore[arg-type]
    "find_nothing": ("key_value", lambda keys: keys.find("")),
    "list_page_0": ("page", lambda keys: keys.list(page=0)),
    "list_limit_101": ("limit", lambda keys: keys.list(limit=101)),
    "list_prefetch_65": ("prefetch", lambda keys: keys.list(prefetch=65)),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_bad_arguments(name: str) -> None:
    """A value beyond its limit is refused, by the field's name, before anything is sent."""
    field, use = REFUSED[name]
    async with service() as (keys, network):
        with pytest.raises(InvalidRequestError) as caught:
            await use(keys)
    assert caught.value.field == field
    assert network.sent == []


SECRET = "JNK-8F2C-77A1-93BD-0E4F-SECRET"


@pytest.mark.parametrize("delete", [Keys.bulk_delete, Keys.delete_many])
@pytest.mark.parametrize("form", [str, str.encode, lambda secret: [[secret]]])
async def test_refused_deletes_name_no_key_value(delete: Any, form: Callable[[str], Any]) -> None:
    """A key value given in place of a list of them does not get into the error."""
    async with service() as (keys, _):
        with pytest.raises(InvalidRequestError) as caught:
            await delete(keys, form(SECRET))
    assert SECRET[6:-6] not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    "use",
    [
        lambda keys: keys.create(provider_id=1, premium=True),
        lambda keys: keys.create_batch(provider_id=1, amount=1, hwids=[]),
        lambda keys: keys.update(1, provider_id=1),
        lambda keys: keys.list(is_premium=True),
        lambda keys: keys.purge(is_premium=True),
    ],
)
async def test_unknown_arguments(use: Use) -> None:
    """An unknown argument is a TypeError, not ignored."""
    async with service() as (keys, network):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            await use(keys)
    assert network.sent == []


async def test_errors_name_the_call() -> None:
    """An error says which call failed, by its template."""
    async with service(404) as (keys, _):
        with pytest.raises(NotFoundError) as caught:
            await keys.get(SECRET)
    assert str(caught.value) == "GET /keys/{keyId}: words [404]"
    assert caught.value.attempts == 1


@pytest.mark.parametrize(
    ("headers", "body"), [({"Content-Encoding": "br"}, b"{}"), ({}, b"x" * 101), ({}, b"[]")]
)
async def test_unreadable_responses_keep_their_status(
    headers: dict[str, str], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of an unreadable response has its status."""
    for module in (decompression, transport):
        monkeypatch.setattr(module, "MAX_BODY", 100)
    async with service((200, headers, body)) as (keys, _):
        with pytest.raises(InvalidResponseError) as caught:
            await keys.folders()
    assert caught.value.status == 200
    assert caught.value.path == "/keys/folders"


async def test_failures_need_no_readable_body() -> None:
    """A 4xx or 5xx is reported even if its body can't be decoded."""
    async with service((401, {"Content-Encoding": "br"}, b"{}")) as (keys, _):
        with pytest.raises(AuthenticationError):
            await keys.folders()
