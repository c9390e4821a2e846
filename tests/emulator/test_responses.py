"""The emulator's responses, validated against the contract by another library."""

from typing import Any

import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from junkie_async.emulator import Emulator
from junkie_async.emulator.request_validation import load_contract

from .conftest import Api

CONTRACT = OpenAPI.from_dict(load_contract())
SCHEMAS = load_contract()["components"]["schemas"]


def _errors(method: str, path: str, status: int, body: bytes) -> list[Exception]:
    request = MockRequest(
        "https://api.jnkie.com", method.lower(), f"/api/v2{path.partition('?')[0]}"
    )
    result = CONTRACT.unmarshal_response(request, MockResponse(body, status))
    return list(result.errors)


@pytest.fixture
def send_valid(api: Api) -> Any:
    """Send a request and validate the response against the contract."""

    async def send(method: str, path: str, json: Any = None, status: int = 200) -> Any:
        async with api.session.request(method, api.url + path, json=json) as response:
            raw = await response.read()
            assert response.status == status
            assert _errors(method, path, response.status, raw) == []
            return await response.json()

    return send


def test_the_validator_finds_errors() -> None:
    """Otherwise its silence would prove nothing."""
    assert _errors("GET", "/keys/1", 200, b'{"key": {"id": "1"}}')
    assert _errors("GET", "/keys/1", 200, b'{"key": {"expires_at": "soon"}}')
    assert _errors("GET", "/keys", 200, b'{"pagination": {"total": -1}}')
    assert _errors("POST", "/keys", 200, b'{"key": {}}')


FULL = {
    "provider_id": 1,
    "service_id": 2,
    "folder_id": 3,
    "key_name": "n",
    "validity_minutes": 5,
    "hwids": ["A", "B"],
    "discord_id": "1" * 18,
    "hwid_limit": 2,
}


@pytest.mark.parametrize("fields", [{"provider_id": 1}, FULL], ids=["bare", "full"])
async def test_every_response_obeys_the_contract(
    send_valid: Any, emulator: Emulator, fields: dict[str, Any]
) -> None:
    """All nine operations, with the fewest and with all fields of a key."""
    key = (await send_valid("POST", "/keys", fields, status=201))["key"]
    assert key.keys() == SCHEMAS["Key"]["properties"].keys()
    batch = {name: value for name, value in fields.items() if name != "hwids"}
    made = await send_valid("POST", "/keys/batch", {**batch, "amount": 2}, status=201)
    await emulator.mark_used(key["id"])
    listed = await send_valid("GET", "/keys?limit=1")
    assert listed["keys"][0].keys() == SCHEMAS["Key"]["properties"].keys()
    assert listed["pagination"].keys() == SCHEMAS["Pagination"]["properties"].keys()
    detailed = (await send_valid("GET", f"/keys/{key['id']}"))["key"]
    assert detailed.keys() == SCHEMAS["Key"]["properties"].keys() | {"discord_redemption"}
    for folder in (await send_valid("GET", "/keys/folders"))["folders"]:
        assert folder.keys() == SCHEMAS["KeyFolder"]["properties"].keys()
    await send_valid("PUT", f"/keys/{key['key_value']}", {"expires_at": "2030-01-01T00:00:00Z"})
    await send_valid("POST", f"/keys/{key['id']}/reset-hwid")
    await send_valid("DELETE", f"/keys/{key['id']}")
    await send_valid("POST", "/keys/bulk-delete", {"keys": made["keys"]})
    assert set(emulator.calls) == {one["operationId"] for one in _declared()}


def _declared() -> list[Any]:
    return [one for path in load_contract()["paths"].values() for one in path.values()]
