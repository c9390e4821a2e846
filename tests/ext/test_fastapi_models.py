"""Models as FastAPI's responses and bodies, and in its OpenAPI document."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI
from openapi_spec_validator import validate
from pydantic import BaseModel, TypeAdapter, ValidationError

import junkie_async.ext.fastapi  # noqa: F401 - endpoints without annotations need it
from junkie_async import (
    HWID,
    ActionResult,
    BulkDeleteResult,
    CreateReport,
    DeleteReport,
    DiscordRedemption,
    Drift,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyOutcome,
    KeyPage,
    KeyStats,
    KeyStatus,
    NotFoundError,
    OutcomeStatus,
    Pagination,
    UpdateReport,
    UpdateResult,
    Verdict,
    VerdictReason,
)

NOON = datetime(2024, 5, 17, 12, 0, 0, 7, UTC)
KEY = Key(
    id=7,
    key_value="JNK-0123456789abcdef",
    created_at=NOON,
    hwids=(HWID(hwid="PC", bound_at=NOON),),
    keys_hwid=("PC",),
)
DETAILED = KeyDetailed(
    id=7, key_value="JNK", discord_redemption=DiscordRedemption(redeemed_at=NOON)
)

VALUES: list[Any] = [
    KEY,
    DETAILED,
    KeyFolder(id=1, name="f", created_at=NOON),
    KeyPage(keys=(KEY,), pagination=Pagination(total=1)),
    KeyBatch(keys=("a",), count=1, config={"provider_id": 1}),
    BulkDeleteResult(deleted=1, requested=2),
    ActionResult(message="no"),
    UpdateResult(keys_hwid=("PC",)),
    CreateReport(requested=1, keys=("a",)),
    DeleteReport(requested=1, deleted=1),
    Verdict(reason=VerdictReason.EXPIRED, key=KEY, looked_for="JNK"),
    Verdict(),
    KeyStats(as_of=NOON, by_status={KeyStatus.USED: 1}, expiring={NOON.date(): 2}),
    Drift(changes=1),
]


def make_app() -> FastAPI:
    """Make an app that returns and takes keys in each way."""
    app = FastAPI()

    @app.get("/key")
    async def key() -> Key:
        return DETAILED

    @app.get("/keys")
    async def keys() -> list[Key]:
        return [KEY, KEY]

    @app.get("/page")
    async def page() -> KeyPage:
        return KeyPage(keys=(KEY,))

    @app.get("/plain")
    async def plain():  # type: ignore[no-untyped-def]
        return {"found": KEY, "page": KeyPage(keys=(DETAILED,))}

    @app.post("/echo")
    async def echo(key: Annotated[Key, Body()]) -> Key:
        assert type(key) is Key
        return key

    return app


async def call(app: FastAPI, method: str, path: str, document: object = None) -> tuple[int, Any]:
    """Call an app without a server, and read its JSON."""
    sent: list[Any] = []
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    scope["headers"] = [(b"content-type", b"application/json")]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": json.dumps(document).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    return start["status"], json.loads(b"".join(part["body"] for part in bodies))


async def test_responses() -> None:
    """An endpoint returns keys as `to_dict` writes them, with the fields of its annotation."""
    app = make_app()
    assert await call(app, "GET", "/keys") == (200, [KEY.to_dict(), KEY.to_dict()])
    assert await call(app, "GET", "/page") == (200, KeyPage(keys=(KEY,)).to_dict())
    fields = DETAILED.to_dict()
    del fields["discord_redemption"]
    assert await call(app, "GET", "/key") == (200, fields)


async def test_responses_without_an_annotation() -> None:
    """A key anywhere in what an endpoint returns is encoded."""
    status, document = await call(make_app(), "GET", "/plain")
    assert (status, document["found"]) == (200, KEY.to_dict())
    assert document["page"]["keys"] == [DETAILED.to_dict()]


async def test_bodies() -> None:
    """A body becomes a `Key`, or is refused with the name of the field."""
    assert await call(make_app(), "POST", "/echo", KEY.to_dict()) == (200, KEY.to_dict())
    status, problem = await call(make_app(), "POST", "/echo", {"id": 7})
    assert (status, problem["detail"][0]["loc"]) == (422, ["body", "key_value"])


def test_the_openapi_document() -> None:
    """It is valid; a response has all fields, and `created_at` is a date-time."""
    document = make_app().openapi()
    validate(document)
    schemas = document["components"]["schemas"]
    assert schemas["Key-Input"]["required"] == ["id", "key_value"]
    output = schemas["Key-Output"]
    assert output["required"] == [*KEY.to_dict()]
    assert output["properties"]["created_at"] == {
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
        "title": "Created At",
    }
    response = document["paths"]["/keys"]["get"]["responses"]["200"]
    assert response["content"]["application/json"]["schema"]["items"] == {
        "$ref": "#/components/schemas/Key-Output"
    }


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_pydantic_writes_what_to_dict_returns(value: Any) -> None:
    """Pydantic writes a model as `to_dict` does, and reads an equal one."""
    adapter = TypeAdapter[Any](type(value))
    written = adapter.dump_json(value)
    assert json.loads(written) == value.to_dict()
    assert adapter.validate_json(written) == value
    assert adapter.validate_python(value) is value
    assert [*adapter.json_schema(mode="serialization")["properties"]] == [*value.to_dict()]


def test_reports_with_errors() -> None:
    """An error inside of a report is a string, and is read as an error with this text."""
    failed = KeyOutcome(
        key=9, status=OutcomeStatus.NOT_FOUND, error=NotFoundError("no", status=404)
    )
    done = KeyOutcome(key="JNK", status=OutcomeStatus.DONE, result=ActionResult(message="yes"))
    report = UpdateReport(requested=2, done=1, not_found=1, outcomes=(failed, done))
    adapter = TypeAdapter(UpdateReport)
    written = adapter.dump_json(report)
    assert json.loads(written) == report.to_dict()
    assert adapter.validate_python(report) is report
    read = adapter.validate_json(written)
    assert (read.requested, read.outcomes[1]) == (2, done)
    assert str(read.outcomes[0].error) == str(failed.error)


async def test_a_report_as_a_response() -> None:
    """FastAPI takes a report as a return type, with an OpenAPI schema."""
    app = FastAPI()

    @app.post("/update")
    async def update() -> UpdateReport:
        return UpdateReport(requested=1, done=1)

    assert await call(app, "POST", "/update") == (200, UpdateReport(requested=1, done=1).to_dict())
    validate(app.openapi())


def test_a_field_of_a_users_model() -> None:
    """A model of the user's own has a key as a field."""

    class Order(BaseModel):
        key: Key
        others: list[Key] = []

    order = Order(key=KEY)
    assert order.key is KEY
    assert order.model_dump()["key"]["created_at"] == NOON
    assert Order.model_validate_json(order.model_dump_json()) == order
    assert order.model_dump(exclude={"key": {"key_value"}})["key"].keys() == (
        KEY.to_dict().keys() - {"key_value"}
    )
    with pytest.raises(ValidationError):
        Order(key=5)  # type: ignore[arg-type]


def test_other_offsets() -> None:
    """Pydantic keeps the offset of a datetime that a caller made: the moment is the same."""
    abroad = timezone(timedelta(hours=2))
    key = Key(id=1, key_value="v", created_at=NOON.astimezone(abroad))
    assert TypeAdapter(Key).validate_json(TypeAdapter(Key).dump_json(key)) == key
