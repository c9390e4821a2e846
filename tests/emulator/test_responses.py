"""What the emulator answers, before the same contract, in the hands of another library."""

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
def judged(api: Api) -> Any:
    """Sends a request and holds the answer against the contract."""

    async def send(method: str, path: str, json: Any = None, status: int = 200) -> Any:
        async with api.session.request(method, api.url + path, json=json) as response:
            raw = await response.read()
            assert response.status == status
            assert _errors(method, path, response.status, raw) == []
            return await response.json()

    return send


def test_the_judge_refuses_what_is_wrong() -> None:
    """Else its silence would mean nothing."""
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
async def test_every_operation_answers_as_the_contract_says(
    judged: Any, emulator: Emulator, fields: dict[str, Any]
) -> None:
    """All nine of them, with little in a key and with all of it."""
    key = (await judged("POST", "/keys", fields, status=201))["key"]
    assert key.keys() == SCHEMAS["Key"]["properties"].keys()
    batch = {name: value for name, value in fields.items() if name != "hwids"}
    made = await judged("POST", "/keys/batch", {**batch, "amount": 2}, status=201)
    await emulator.mark_used(key["id"])
    listed = await judged("GET", "/keys?limit=1")
    assert listed["keys"][0].keys() == SCHEMAS["Key"]["properties"].keys()
    assert listed["pagination"].keys() == SCHEMAS["Pagination"]["properties"].keys()
    detailed = (await judged("GET", f"/keys/{key['id']}"))["key"]
    assert detailed.keys() == SCHEMAS["Key"]["properties"].keys() | {"discord_redemption"}
    for folder in (await judged("GET", "/keys/folders"))["folders"]:
        assert folder.keys() == SCHEMAS["KeyFolder"]["properties"].keys()
    await judged("PUT", f"/keys/{key['key_value']}", {"expires_at": "2030-01-01T00:00:00Z"})
    await judged("POST", f"/keys/{key['id']}/reset-hwid")
    await judged("DELETE", f"/keys/{key['id']}")
    await judged("POST", "/keys/bulk-delete", {"keys": made["keys"]})
    assert set(emulator.calls) == {one["operationId"] for one in _declared()}


def _declared() -> list[Any]:
    return [one for path in load_contract()["paths"].values() for one in path.values()]
