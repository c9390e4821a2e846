"""Request validation: what is accepted, what is refused, and which field is named."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from multidict import MultiDict

from junkie_async.emulator import request_validation
from junkie_async.emulator.request_validation import (
    BadRequestError,
    Operation,
    load_contract,
    load_operations,
    to_json_schema,
)

OPERATIONS = {operation.operation_id: operation for operation in load_operations()}
CREATE = OPERATIONS["createKey"]
LIST = OPERATIONS["listKeys"]


def _body(body: Any, operation: Operation = CREATE) -> dict[str, Any]:
    return operation.validate_body("application/json", json.dumps(body).encode())


def _query(**parameters: str) -> dict[str, Any]:
    return LIST.validate_parameters(MultiDict(parameters), {})


def test_the_document_has_nine_operations() -> None:
    """Each has its own method and path."""
    assert len(OPERATIONS) == 9
    assert len({(one.method, one.path) for one in OPERATIONS.values()}) == 9


def test_the_bundled_contract_is_the_published_one() -> None:
    """The whole document is bundled, with its servers."""
    document = load_contract()
    assert document["openapi"].startswith("3.0")
    assert document["servers"] == [{"url": "https://api.jnkie.com/api/v2"}]
    assert Path(request_validation.__file__).with_name("openapi.json").is_file()


def test_only_path_parameters_are_required() -> None:
    """The router guarantees them, so the validators don't check for them."""
    declared = [one for item in load_contract()["paths"].values() for one in item.values()]
    parameters = [one for operation in declared for one in operation.get("parameters", [])]
    assert {one["in"] for one in parameters if one.get("required")} == {"path"}


def test_nullable_becomes_a_second_type() -> None:
    """At every depth, and null joins an enum; the given schema is not changed."""
    schema = {
        "type": "object",
        "properties": {
            "nullable": {"type": "boolean"},
            "name": {"type": "string", "nullable": True, "enum": ["a"]},
            "list": {"type": "array", "items": {"type": "string", "nullable": True}},
            "one": {"oneOf": [{"type": "string", "nullable": True}]},
        },
    }
    before = json.dumps(schema)
    validator = jsonschema_rs.Draft4Validator(to_json_schema(schema))
    assert json.dumps(schema) == before
    for value in ({"name": None}, {"name": "a"}, {"list": [None]}, {"one": None}):
        assert validator.is_valid(value)
    for wrong in ({"name": "b"}, {"list": None}, {"nullable": None}, None):
        assert not validator.is_valid(wrong)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "provider_id"),
        ([], "body"),
        (None, "body"),
        ({"provider_id": 0}, "provider_id"),
        ({"provider_id": True}, "provider_id"),
        ({"provider_id": 1.0}, "provider_id"),
        ({"provider_id": "1"}, "provider_id"),
        ({"provider_id": 2**63}, "provider_id"),
        ({"provider_id": 1, "service_id": -(2**63) - 1}, "service_id"),
        ({"provider_id": 1, "is_premium": 1}, "is_premium"),
        ({"provider_id": 1, "is_premium": None}, "is_premium"),
        ({"provider_id": 1, "key_name": "x" * 256}, "key_name"),
        ({"provider_id": 1, "validity_minutes": -1}, "validity_minutes"),
        ({"provider_id": 1, "hwid_limit": 101}, "hwid_limit"),
        ({"provider_id": 1, "hwids": ["ok", 5]}, "hwids.1"),
        ({"provider_id": 1, "hwids": None}, "hwids"),
        ({"provider_id": 1, "discord_id": "1" * 16}, "discord_id"),
        ({"provider_id": 1, "discord_id": "1" * 20}, "discord_id"),
        ({"provider_id": 1, "discord_id": "1" * 17 + "\n"}, "discord_id"),
        ({"provider_id": 1, "discord_id": "\n" + "1" * 17}, "discord_id"),
        ({"provider_id": 1, "discord_id": "\u0661" * 17}, "discord_id"),
        ({"provider_id": 1, "discord_id": 10**17}, "discord_id"),
    ],
)
def test_an_invalid_body_is_refused_with_its_field(body: Any, field: str) -> None:
    """The field is a dotted path and begins the message."""
    with pytest.raises(BadRequestError) as caught:
        _body(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_messages_do_not_repeat_values() -> None:
    """Key values stay out of messages and logs."""
    with pytest.raises(BadRequestError) as caught:
        _body({"provider_id": 1, "discord_id": "very-secret"})
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"service_id": None, "folder_id": None, "key_name": None, "validity_minutes": None},
        {"hwid": None, "hwids": [], "discord_id": None, "hwid_limit": None},
        {"service_id": -1, "validity_minutes": 0, "hwid_limit": 100, "discord_id": "1" * 19},
        {"key_name": "\U0001f511" * 255, "hwid": "x" * 255},
    ],
)
def test_a_valid_body_is_returned_unchanged(fields: dict[str, Any]) -> None:
    """Values at their limits are valid."""
    assert _body({"provider_id": 1, **fields}) == {"provider_id": 1, **fields}


def test_unknown_fields_of_a_body_are_dropped() -> None:
    """The service ignores them too."""
    assert _body({"provider_id": 1, "nonsense": 5}) == {"provider_id": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b'{"provider_id": NaN}',
        b'{"provider_id": 1, "key_name": "\\ud800"}',
        b'{"provider_id": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_invalid_json_is_refused(raw: bytes) -> None:
    """Python's reader accepts more than JSON; SQLite can't store a lone surrogate."""
    with pytest.raises(BadRequestError) as caught:
        CREATE.validate_body("application/json", raw)
    assert caught.value.field == "body"


def test_an_escaped_surrogate_pair_is_accepted() -> None:
    """Only a lone half is refused."""
    raw = b'{"provider_id": 1, "key_name": "\\ud83d\\udd11"}'
    assert CREATE.validate_body("application/json", raw)["key_name"] == "\U0001f511"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(content_type: str) -> None:
    """Whatever the body contains."""
    with pytest.raises(BadRequestError):
        CREATE.validate_body(content_type, b'{"provider_id": 1}')


def test_an_operation_without_a_body_reads_none() -> None:
    """The contract declares no body for a HWID reset."""
    assert OPERATIONS["resetKeyHwid"].validate_body("text/plain", b"whatever") == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "0"),
        ("page", "abc"),
        ("page", ""),
        ("page", "1.0"),
        ("page", " 1"),
        ("page", "\u0661"),
        ("page", "1\n"),
        ("page", "9" * 101),
        ("page", str(2**63)),
        ("limit", "0"),
        ("limit", "101"),
        ("service_id", "true"),
        ("provider_id", "null"),
        ("status", "foo"),
        ("status", "Active"),
        ("expires_before", "tomorrow"),
        ("expires_before", "2026-01-01"),
        ("expires_after", "2026-01-01T00:00:00"),
        ("expires_after", "2026-02-30T00:00:00Z"),
    ],
)
def test_an_invalid_parameter_is_refused_by_name(name: str, value: str) -> None:
    """Parameters are parsed strictly by their schema."""
    with pytest.raises(BadRequestError) as caught:
        _query(**{name: value})
    assert caught.value.field == name


def test_parameters_get_their_types_and_defaults() -> None:
    """Strings of digits stay strings; unknown parameters are ignored."""
    given = _query(service_id="-7", key="123", limit="100", nonsense="1", discord_id="5")
    assert given == {"page": 1, "limit": 100, "service_id": -7, "key": "123", "discord_id": "5"}
    assert _query() == {"page": 1, "limit": 50}


def test_a_repeated_parameter_is_refused() -> None:
    """An unknown one may be repeated."""
    twice = MultiDict([("x", "1"), ("x", "2"), ("limit", "5"), ("limit", "5")])
    with pytest.raises(BadRequestError) as caught:
        LIST.validate_parameters(twice, {})
    assert caught.value.field == "limit"


def test_a_query_parameter_does_not_override_the_path() -> None:
    """A placeholder's name in the query is an unknown parameter."""
    get = OPERATIONS["getKey"]
    assert get.validate_parameters(MultiDict(keyId="2"), {"keyId": "1"}) == {"keyId": "1"}


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ([], "keys"),
        ([1] * 1001, "keys"),
        ([1, "a", 2, None], "keys.3"),
        ([True], "keys.0"),
        (["a", 1.5], "keys.1"),
        ("1", "keys"),
    ],
)
def test_a_bulk_delete_accepts_1_to_1000_ids_or_values(keys: Any, field: str) -> None:
    """The error names the position of the first invalid one."""
    with pytest.raises(BadRequestError) as caught:
        _body({"keys": keys}, OPERATIONS["bulkDeleteKeys"])
    assert caught.value.field == field


def test_a_full_bulk_delete_passes() -> None:
    """A thousand IDs and key values are accepted."""
    body = {"keys": [1, "1"] * 500}
    assert _body(body, OPERATIONS["bulkDeleteKeys"]) == body


@pytest.mark.parametrize("amount", [0, 101, None])
def test_a_batch_has_1_to_100_keys(amount: int | None) -> None:
    """Null is not an amount."""
    with pytest.raises(BadRequestError) as caught:
        _body({"provider_id": 1, "amount": amount}, OPERATIONS["createKeyBatch"])
    assert caught.value.field == "amount"


def test_an_update_may_be_empty_but_not_malformed() -> None:
    """The date-time format is enforced in bodies too."""
    update = OPERATIONS["updateKey"]
    assert _body({}, update) == {}
    assert _body({"expires_at": None}, update) == {"expires_at": None}
    with pytest.raises(BadRequestError) as caught:
        _body({"expires_at": "2026-13-01T00:00:00Z"}, update)
    assert caught.value.field == "expires_at"
