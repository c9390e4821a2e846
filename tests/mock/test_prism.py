"""All nine operations work against Prism, which validates every request by the contract."""

import json
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources
from typing import Any

import aiohttp
import pytest

from junkie_async import (
    BadRequestError,
    InvalidResponseError,
    JunkieClient,
    KeyStatus,
    OutcomeUnknownError,
    UpdateResult,
)
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._protocol.requests import Request

from .traffic import Contract, Traffic, fields, parameters

EXAMPLE = "string"  # Prism's example of any string, so of a key value too
# Prism answers all requests with the same examples. The client refuses them where they are about
# another key, or contradict filters; these tests are about what was sent.
REFUSALS = (InvalidResponseError, OutcomeUnknownError)
MOMENT = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
HEADERS = {"Authorization": "Bearer a-key"}

NEW: dict[str, Any] = {
    "provider_id": 42,
    "service_id": 7,
    "folder_id": 1,
    "key_name": "ä" * 255,
    "validity_minutes": timedelta(days=1),
    "hwid": "H" * 255,
    "discord_id": 123456789012345678,
    "is_premium": True,
    "one_time_use": True,
    "expiry_on_first_use": True,
    "no_hwid": False,
    "hwid_limit": 100,
}
NULLS: dict[str, Any] = {
    "provider_id": 42,
    "service_id": None,
    "folder_id": None,
    "key_name": None,
    "validity_minutes": None,
    "hwid": None,
    "discord_id": None,
    "hwid_limit": None,
}
CHANGES: dict[str, Any] = {
    "key_name": "",
    "folder_id": 1,
    "validity_minutes": 0,
    "expires_at": MOMENT,
    "is_premium": False,
    "one_time_use": False,
    "expiry_on_first_use": False,
    "no_hwid": True,
    "hwid_limit": 0,
    "is_invalidated": False,
    "discord_id": "12345678901234567",
    "hwids": ["A", "B" * 255],
}
FILTERS: dict[str, Any] = {
    "discord_id": 123456789012345678,
    "key": "JNK &=+#ä/?%",
    "hwid": "{A}",
    "service_id": 7,
    "provider_id": 42,
    "folder_id": 7,
    "expires_before": MOMENT,
    "expires_after": datetime(1999, 12, 31, tzinfo=UTC),
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    """The document that Prism serves."""
    text = (resources.files("junkie_async.emulator") / "openapi.json").read_text("utf-8")
    document: Contract = json.loads(text)
    return document


class TestOperations:
    """The client's requests are accepted, and Prism's answers are read."""

    async def test_all_nine(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """Each operation of the contract has a method that calls it, and nothing else."""
        await _call_all(client)
        paths = contract["paths"].values()
        declared = [one["operationId"] for path in paths for one in path.values()]
        assert len(declared) == 9
        assert sorted(traffic.operations(contract)) == sorted(declared)

    async def test_sessions_of_its_own(self, prism: str) -> None:
        """They work as well over the sessions that a client opens when it is given none."""
        async with JunkieClient("a-key", base_url=prism) as junkie:
            await _call_all(junkie)

    @pytest.mark.parametrize("status", KeyStatus)
    async def test_list_with_every_filter(
        self, client: JunkieClient, traffic: Traffic, contract: Contract, status: KeyStatus
    ) -> None:
        """Every query parameter of the contract can be given, and is sent."""
        with pytest.raises(REFUSALS):
            await client.keys.list(page=2, limit=100, status=status, **FILTERS)
        assert traffic.query() == parameters(contract, "/keys")

    async def test_walk(self, client: JunkieClient) -> None:
        """The example's total of 0 contradicts its one key, and the second page is the first."""
        found: list[str] = []
        with pytest.raises(REFUSALS):
            found.extend([key.key_value async for key in client.keys.list()])
        with pytest.raises(REFUSALS):
            await client.keys.list().count()
        assert [key.key_value for key in (await client.keys.list()).keys] == [EXAMPLE]

    async def test_find(self, client: JunkieClient) -> None:
        """The key whose value is the one asked for, and no other that the service turns up."""
        found = await client.keys.find(EXAMPLE)
        assert found is not None
        assert found.key_value == EXAMPLE
        with pytest.raises(REFUSALS):
            await client.keys.find("another")

    @pytest.mark.parametrize("key", [1, "JNK-0123-abcd", "a/b ä?#%25;=", "folders/"])
    async def test_get_of_another_key(
        self, client: JunkieClient, traffic: Traffic, contract: Contract, key: int | str
    ) -> None:
        """A key is asked for by ID or by any value, whatever letters it has."""
        with pytest.raises(REFUSALS):
            await client.keys.get(key)
        assert traffic.operations(contract) == ["getKey"]

    async def test_get(self, client: JunkieClient) -> None:
        """The example is read."""
        found = await client.keys.get(EXAMPLE)
        assert found.created_at == datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)
        assert found.discord_redemption is not None

    @pytest.mark.parametrize("value", ["123", "folders", "batch", "bulk-delete"])
    async def test_ambiguous_values(
        self, client: JunkieClient, traffic: Traffic, contract: Contract, value: str
    ) -> None:
        """What would be another path, or an ID, is looked for by value."""
        with pytest.raises(REFUSALS):
            await client.keys.get(value)
        assert {*traffic.operations(contract)} == {"listKeys"}

    async def test_create_with_every_field(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """Every field of the contract can be given, and is sent."""
        with pytest.raises(REFUSALS):
            await client.keys.create(**NEW, hwids=["A", "B"])
        assert traffic.body().keys() == fields(contract, "post", "/keys")

    async def test_create_with_nulls(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """None is null, in every field that may be null."""
        with pytest.raises(REFUSALS):
            await client.keys.create(**NULLS)
        nulls = {name for name, value in traffic.body().items() if value is None}
        assert nulls == fields(contract, "post", "/keys", nullable=True)

    async def test_create_batch(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """Every field of the contract can be given, and is sent."""
        with pytest.raises(REFUSALS) as caught:
            await client.keys.create_batch(amount=100, **NEW)
        assert traffic.body().keys() == fields(contract, "post", "/keys/batch")
        assert isinstance(caught.value.__cause__, InvalidResponseError)

    async def test_create_batch_with_nulls(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """None is null, in every field that may be null."""
        await client.keys.create_batch(amount=1, **NULLS)
        nulls = {name for name, value in traffic.body().items() if value is None}
        assert nulls == fields(contract, "post", "/keys/batch", nullable=True)

    async def test_create_many(self, client: JunkieClient) -> None:
        """A job of one key, the number that the example has."""
        report = await client.keys.create_many(1, provider_id=42)
        assert report.keys == (EXAMPLE,)

    async def test_update_with_every_field(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """Every field of the contract can be given, and is sent."""
        result = await client.keys.update("JNK-0123-abcd", **CHANGES)
        assert traffic.body().keys() == fields(contract, "put", "/keys/{keyId}")
        assert result == UpdateResult(success=True, message=EXAMPLE, keys_hwid=(EXAMPLE,))

    async def test_update_with_nulls(
        self, client: JunkieClient, traffic: Traffic, contract: Contract
    ) -> None:
        """None is null, in every field that may be null."""
        nullable = fields(contract, "put", "/keys/{keyId}", nullable=True)
        changes: dict[str, Any] = dict.fromkeys(nullable)
        await client.keys.update(1, **changes, hwids=[])
        assert traffic.body() == {**dict.fromkeys(nullable), "hwids": []}

    async def test_invalidate_and_revalidate(self, client: JunkieClient, traffic: Traffic) -> None:
        """They are updates of one field."""
        assert (await client.keys.invalidate(1)).success
        assert traffic.body() == {"is_invalidated": True}
        assert (await client.keys.revalidate(1)).success
        assert traffic.body() == {"is_invalidated": False}

    async def test_delete(self, client: JunkieClient) -> None:
        """The contract declares no body, and none comes."""
        await client.keys.delete("JNK-0123-abcd")

    async def test_bulk_delete(self, client: JunkieClient, traffic: Traffic) -> None:
        """As many IDs and values as the contract allows, each of its own type."""
        refs = [1, "2", *range(3, 1001)]
        await client.keys.bulk_delete(refs)
        assert traffic.body() == {"keys": refs}

    async def test_delete_many(self, client: JunkieClient, traffic: Traffic) -> None:
        """A job's last call is a short one."""
        report = await client.keys.delete_many(range(1, 2002), concurrency=1)
        assert len(traffic.sent) == 3
        assert report.missing == 2001  # the example says that none was deleted

    async def test_reset_hwid(self, client: JunkieClient) -> None:
        """It has no body to send."""
        assert (await client.keys.reset_hwid(1)).success

    async def test_folders(self, client: JunkieClient) -> None:
        """A list."""
        [folder] = await client.keys.folders()
        assert folder.name == EXAMPLE


class TestRefusals:
    """Prism does validate, so that the tests above can fail; and its refusals are told."""

    @pytest.mark.parametrize(
        "query",
        [
            "page=0",
            "page=x",
            "limit=0",
            "limit=101",
            "status=gone",
            "service_id=x",
            "provider_id=1.5",
            "folder_id=x",
            "expires_before=tomorrow",
            "expires_after=2030-01-01",
        ],
    )
    async def test_query(self, prism: str, query: str) -> None:
        """A query that breaks the contract is refused."""
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            assert await _status(session.get(f"{prism}/keys?{query}")) == 422

    @pytest.mark.parametrize(
        ("method", "path", "broken"),
        [
            *(
                (method, path, broken)
                for method, path in (("POST", "/keys"), ("POST", "/keys/batch"), ("PUT", "/keys/1"))
                for broken in (
                    {"folder_id": 0},
                    {"key_name": "x" * 256},
                    {"validity_minutes": -1},
                    {"discord_id": "1" * 16},
                    {"discord_id": 123456789012345678},
                    {"is_premium": None},
                    {"one_time_use": 1},
                    {"expiry_on_first_use": "true"},
                    {"no_hwid": 0},
                    {"hwid_limit": 101},
                )
            ),
            ("POST", "/keys", {"provider_id": 0}),
            ("POST", "/keys", {"provider_id": None}),
            ("POST", "/keys", {"service_id": "1"}),
            ("POST", "/keys", {"hwid": "x" * 256}),
            ("POST", "/keys", {"hwids": [1]}),
            ("POST", "/keys/batch", {"provider_id": 0}),
            ("POST", "/keys/batch", {"service_id": 0}),
            ("POST", "/keys/batch", {"hwid": "x" * 256}),
            ("POST", "/keys/batch", {"amount": 0}),
            ("POST", "/keys/batch", {"amount": 101}),
            ("PUT", "/keys/1", {"expires_at": "tomorrow"}),
            ("PUT", "/keys/1", {"hwids": ["x" * 256]}),
            ("PUT", "/keys/1", {"is_invalidated": None}),
            ("POST", "/keys/bulk-delete", {"keys": []}),
            ("POST", "/keys/bulk-delete", {"keys": [*range(1001)]}),
            ("POST", "/keys/bulk-delete", {"keys": [None]}),
        ],
    )
    async def test_body(self, prism: str, method: str, path: str, broken: dict[str, Any]) -> None:
        """A body is refused for its one field that breaks the contract."""
        good: dict[str, Any] = {"provider_id": 1, "amount": 1, "keys": [1]}
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            assert await _status(session.request(method, prism + path, json=good)) in (200, 201)
            body = good | broken
            assert await _status(session.request(method, prism + path, json=body)) == 422

    async def test_no_api_key(self, prism: str) -> None:
        """A request without a bearer token is refused, so the client sends one."""
        async with aiohttp.ClientSession() as session:
            assert await _status(session.get(f"{prism}/keys")) == 401

    async def test_the_client_tells(self, client: JunkieClient, traffic: Traffic) -> None:
        """A refusal is one request and a `BadRequestError` that says where it hurts."""
        sender: Dispatcher = client._dispatcher
        call: Request[bytes] = Request("POST", "/keys", "/keys", bytes, b"{}", idempotent=False)
        with pytest.raises(BadRequestError) as caught:
            await sender.send(call)
        assert caught.value.status == 422
        assert "request is not valid" in caught.value.message
        assert "provider_id" in (caught.value.body or "")
        assert len(traffic.sent) == 1


async def _call_all(client: JunkieClient) -> None:
    keys = client.keys
    await keys.list()
    with pytest.raises(REFUSALS):
        await keys.create(provider_id=1)
    await keys.create_batch(provider_id=1, amount=1)
    await keys.bulk_delete([1])
    await keys.get(EXAMPLE)
    await keys.update(1, key_name="x")
    await keys.delete(1)
    await keys.reset_hwid(1)
    await keys.folders()


async def _status(request: Any) -> int:
    async with request as response:
        await response.read()
        status: int = response.status
        return status
