"""Responses are read by the contract, mended where services err, and described where not.

Bodies are generated from the schemas of `openapi.json`: with fields missing, null, in another
spelling, or wrong.
"""

from __future__ import annotations

import contextlib
import json
import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from junkie_async import (
    HWID,
    ActionResult,
    BulkDeleteResult,
    DiscordRedemption,
    InvalidResponseError,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    Outcome,
    Pagination,
    UpdateResult,
)
from junkie_async._protocol import bodies, codec, lenient
from junkie_async._protocol.error_details import read_error_details
from junkie_async._protocol.fields import format_timestamp
from junkie_async._protocol.json_documents import decode_document
from junkie_async._protocol.utc import keys_in_utc

from ..cpu_time import run_within
from .conftest import component

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
MARK = "S3CRET"  # in every wrong value, so that a leak shows


def dump(document: Any) -> bytes:
    """Write JSON as a service would."""
    return json.dumps(document).encode()


def page_of(*rows: Any, **pagination: Any) -> bytes:
    """Write the response of ``GET /keys``."""
    return dump({"keys": rows, "pagination": pagination or None})


def test_a_key_that_is_written_and_read() -> None:
    """A ledger keeps the key of an order: with all fields, and its moments in UTC."""
    key = Key(id=7, key_value="ä", expires_at=NOON, hwids=(HWID(hwid="PC", bound_at=NOON),))
    assert codec.decode_key(codec.encode_key(key)) == key
    (read,) = (codec.decode_key(b'{"id":7,"key_value":"a","used_at":"2024-05-17T14:00:00+02:00"}'),)
    assert read.used_at == NOON
    assert read.used_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"keys": [], "key": None}, None),
        ({"keys": "oops"}, None),
        ({"keys": "oops", "key": {"key_value": "JNK"}}, ("JNK",)),
        ({"keys": ["JNK", 5, ""]}, ("JNK",)),
        ({"data": {"key_value": "JNK"}}, ("JNK",)),
        ([], None),
    ],
)
def test_keys_that_a_refusal_has(document: Any, found: tuple[str, ...] | None) -> None:
    """They are found wherever an answer without a refusal would have them."""
    assert codec.find_created(document) == found


@pytest.mark.parametrize("row", [5, None, ["JNK"], {"id": "x", "key_value": "JNK"}])
def test_a_row_that_can_not_be_reduced(row: Any) -> None:
    """It has no ID, and is an error that carries the other rows."""
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(page_of({"id": 1, "key_value": "a"}, row), bad_rows="reduce")
    assert [key.id for key in caught.value.rows] == [1]
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("read", "document", "field"),
    [
        (codec.read_page, {}, "keys"),
        (codec.read_page, {"keys": 5}, "keys"),
        (codec.read_page, {"keys": [{"id": 1, "key_value": "a"}] * 101}, "keys"),
        (codec.read_batch, {"keys": 5}, "keys"),
        (codec.read_batch, {"keys": ["a", ""]}, "keys"),
        (partial(codec.read_batch, amount=2, whole=True), {"keys": ["a", "a"]}, "keys"),
        (
            partial(codec.read_batch, sent={"provider_id": 2}),
            {"keys": ["a"], "config": {"provider_id": 1}},
            "config.provider_id",
        ),
        (
            partial(codec.read_key, sent={"discord_id": "1" * 18}),
            {"key": {"id": 1, "key_value": "a", "discord_id": "2" * 18}},
            "key.discord_id",
        ),
        (
            partial(codec.read_detailed, reference="2"),
            {"key": {"id": 1, "key_value": "2"}},
            "key",
        ),
        (partial(codec.read_bulk_delete, requested=1), {"deleted": -1}, "deleted"),
    ],
)
def test_the_field_of_an_error(read: Callable[[bytes], Any], document: Any, field: str) -> None:
    """It is the place in the body."""
    with pytest.raises(InvalidResponseError) as caught:
        read(dump(document))
    assert (caught.value.field, caught.value.outcome) == (field, Outcome.EXECUTED)


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [(0, 0.0), (2.5, 2.5), (10**12 - 1, 1e12 - 1), (10**12, None), (-1, None), (True, None)],
)
def test_the_wait_in_an_error_body(stated: object, seconds: float | None) -> None:
    """It is a number of seconds that makes sense."""
    assert read_error_details(dump({"retry_after": stated})).retry_after == seconds


@pytest.mark.parametrize(
    ("moment", "in_utc"),
    [
        ("9999-12-31T23:59:59-01:00", lenient.LAST_MOMENT),
        ("12024-05-17T12:00:00Z", lenient.LAST_MOMENT),
        ("0001-01-01T00:00:00+01:00", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
        ("20240517t140000+02:00", NOON),
        ("20240517t120000z", NOON),
        ("2024-05-17 12:00:00", NOON),
        ("infinity", None),
        (1715947200, None),
    ],
)
@pytest.mark.usefixtures("in_tokyo")
def test_a_moment_anywhere(moment: Any, in_utc: datetime | None) -> None:
    """It is read alike in every time zone, as UTC if it states none."""
    page = codec.read_page(page_of({"id": 1, "key_value": "a", "expires_at": moment}))
    assert page.keys[0].expires_at == in_utc


def test_both_readers_round_alike() -> None:
    """A page with one field to mend has the same moments as one without."""
    for fraction in ("", ".1", ".0000004", ".0000005", ".0000009", ".9999999"):
        row = {"key_value": "a", "expires_at": f"2024-05-17T12:00:00{fraction}Z"}
        (strict, mended) = (codec.read_page(page_of({"id": id_, **row})) for id_ in (1, "1"))
        assert strict.keys == mended.keys


@pytest.mark.usefixtures("in_tokyo")
def test_a_moment_that_is_sent() -> None:
    """It is in UTC."""
    tokyo = timezone(timedelta(hours=9))
    assert format_timestamp(NOON.astimezone(tokyo)) == "2024-05-17T12:00:00Z"


# --- what a service may send, by schema -----------------------------------------------------------

offsets = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+02:00", "-11:30", "+14:00", "-23:59"])
dates = st.builds(
    lambda at, t, fraction, offset: at.strftime(f"%Y-%m-%d{t}%H:%M:%S") + fraction + offset,
    st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - written by hand
    st.sampled_from("Tt "),
    st.just("") | st.from_regex(r"\A\.[0-9]{1,9}\Z"),
    offsets,
)
loose_dates = dates.map(lambda text: re.sub(r"([Zz]|[+-]\d\d:\d\d)$", "", text)) | st.just(
    "2024-05-17"
)
words = st.text(max_size=8) | st.from_regex(r"\A[0-9]{17,19}\Z")
numbers = st.integers(-5, 300) | st.integers(1 - 2**53, 2**53 - 1)


def valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Give values that the schema allows."""
    if "$ref" in schema:
        return rows(component(schema["$ref"].rpartition("/")[2]))
    match schema["type"]:
        case "integer":
            values: st.SearchStrategy[Any] = numbers
        case "boolean":
            values = st.booleans()
        case "array":
            values = st.lists(valid(schema["items"]), max_size=2)
        case "object":
            values = rows(schema)
        case _:
            values = dates if schema.get("format") == "date-time" else words
    return values | st.none() if schema.get("nullable") else values


def mendable(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Generate what services send instead and the reader mends: null, 1.0, an ID as a number."""
    match schema.get("type"):
        case "integer":
            other: st.SearchStrategy[Any] = st.integers(-5, 300).map(float)
        case "boolean":
            other = st.sampled_from([0, 1])
        case "string":
            other = loose_dates if schema.get("format") == "date-time" else numbers
        case _:
            other = st.none()
    return other | st.none()


def wrong(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Generate values that can't be mended, with `MARK` in those that hold text."""
    everything: dict[str, Any] = {
        "boolean": True,
        "number": 1.5,
        "string": MARK,
        "array": [MARK],
        "object": {MARK: MARK},
    }
    kind = schema.get("type", "object")
    kept = {"integer": "", "boolean": "", "object": "object", "array": "array"}.get(kind, kind)
    if kind == "boolean" or schema.get("format") == "date-time":
        kept = ""
    everything.pop("boolean" if kind == "boolean" else kept, None)
    if schema.get("format") == "date-time":  # odd dates are unknown
        del everything["number"], everything["string"]
    return st.sampled_from(list(everything.values()))


REQUIRED = {"id", "key_value", "hwid"}


def rows(
    schema: dict[str, Any],
    value: Callable[[dict[str, Any]], st.SearchStrategy[Any]] = valid,
) -> st.SearchStrategy[dict[str, Any]]:
    """Give objects of a schema, any of their optional fields left out."""
    properties = schema["properties"]
    return st.fixed_dictionaries(
        {
            name: st.text(min_size=1, max_size=9) if name == "key_value" else valid(one)
            for name, one in properties.items()
            if name in REQUIRED
        },
        optional={
            **{name: value(one) for name, one in properties.items() if name not in REQUIRED},
            "x_new": st.none() | st.integers() | st.text(max_size=3),
        },
    )


KEY = component("Key")
valid_rows = rows(KEY)
mixed_rows = rows(KEY, lambda schema: valid(schema) | mendable(schema))
paginations = st.none() | rows(component("Pagination"), lambda one: valid(one) | mendable(one))


@st.composite
def page_bodies(draw: st.DrawFn, of: st.SearchStrategy[dict[str, Any]]) -> tuple[list[Any], bytes]:
    """Give rows, and a page that has them."""
    keys = draw(st.lists(of, max_size=4))
    answer: dict[str, Any] = {"keys": keys}
    if draw(st.booleans()):
        answer["pagination"] = draw(paginations)
    return keys, json.dumps(answer, ensure_ascii=draw(st.booleans())).encode()


def datetimes(value: Any) -> list[datetime]:
    """Find all datetimes in a model."""
    if isinstance(value, datetime):
        return [value]
    if attrs.has(type(value)):
        value = tuple(getattr(value, field.name) for field in attrs.fields(type(value)))
    return [at for one in value for at in datetimes(one)] if isinstance(value, list | tuple) else []


def as_written(name: str, value: Any) -> Any:
    """Compute what a mendable value means, by other means than the codec's."""
    schema = KEY["properties"][name]
    if value is None or "items" in schema:
        return [] if value is None else value
    if schema.get("format") == "date-time":
        text = re.sub(r"[Zz]$", "+00:00", value.upper())
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return {"integer": int, "boolean": bool, "string": str}[schema["type"]](value)


@given(page_bodies(mixed_rows))
def test_mends_what_is_clear(page: tuple[list[dict[str, Any]], bytes]) -> None:
    """Strictly or leniently read, rows with an ID and a value give keys, and all dates are UTC."""
    sent, body = page
    read = codec.read_page(body)
    assert [(key.id, key.key_value) for key in read.keys] == [
        (row["id"], row["key_value"]) for row in sent
    ]
    assert all(at.tzinfo is UTC for at in datetimes(read))
    for key, row in zip(read.keys, sent, strict=True):
        default = Key(id=key.id, key_value=key.key_value)
        for name in KEY["properties"].keys() - {"hwids"}:
            got = getattr(key, name)
            if row.get(name) is None:
                assert got == getattr(default, name)
            elif isinstance(got, datetime):  # beyond microseconds, either neighbour is right
                assert abs((got - as_written(name, row[name])).total_seconds()) <= 1e-6
            else:
                assert got == (
                    tuple(row[name]) if name == "keys_hwid" else as_written(name, row[name])
                )
        assert [hwid.hwid for hwid in key.hwids] == [
            hwid["hwid"] for hwid in row.get("hwids") or ()
        ]


@given(page_bodies(valid_rows))
@example(([], page_of({"id": 1, "key_value": "v", "created_at": "2024-05-17t12:00:00z"})))
@example(([], page_of({"id": 1, "key_value": "v", "created_at": "2024-05-17T12:00:00.1234567Z"})))
@example(([], page_of({"id": 1, "key_value": "v", "used_at": "2024-05-17T12:00:00.999999999Z"})))
def test_readers_agree(page: tuple[list[Any], bytes]) -> None:
    """What the strict reader takes, the lenient one takes too, and reads the same."""
    _, body = page
    strict = codec._decode_strict(body, bodies.PageRows)
    assume(strict is not None)
    assert strict is not None
    lenient = codec._structure_page(decode_document(body), 100, "raise", [])
    assert keys_in_utc(lenient.keys) == codec.read_page(body).keys
    assert lenient.pagination == strict.pagination


SHAPES = {
    bodies.KeyBody: {"key": {"id": 1, "key_value": "v", "created_at": "2024-05-17T12:00:00Z"}},
    bodies.DetailedKeyBody: {
        "key": {
            "id": 1,
            "key_value": "v",
            "hwids": [{"hwid": "PC", "bound_at": "2024-05-17T12:00:00Z"}],
            "discord_redemption": {"redeemed_at": "2024-05-17T12:00:00Z"},
        }
    },
    bodies.FoldersBody: {"folders": [{"id": 1, "name": "f"}]},
    bodies.BatchBody: {"keys": ["a", "b"], "count": 2, "config": {"a": [1, None, {}]}},
    bodies.BulkDeleteBody: {"deleted": 1, "requested": 2},
    bodies.ActionBody: {"success": True, "message": "m", "keys_hwid": ["PC"]},
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_readers_agree_on_every_shape(shape: Any) -> None:
    """The two readers agree on each of the other responses, and the strict one accepts it."""
    body = dump(SHAPES[shape])
    strict = codec._decode_strict(body, shape)
    assert strict is not None
    assert strict == lenient.structure(decode_document(body), shape)


# --- each response --------------------------------------------------------------------------------


def test_page() -> None:
    """A whole page comes out as models, the pagination under Python's names."""
    moment = "2024-05-17T12:00:00Z"
    row: dict[str, Any] = {}
    asked: dict[str, Any] = {}
    for index, (name, schema) in enumerate(KEY["properties"].items()):
        samples = {"integer": 100 + index, "boolean": True, "string": f"text {index}"}
        row[name] = asked[name] = samples.get(schema["type"])
        if schema.get("format") == "date-time":
            row[name], asked[name] = moment, NOON
    row["keys_hwid"], asked["keys_hwid"] = ["PC", "Mac"], ("PC", "Mac")
    device = {"hwid": "PC", "executor_user_id": "e", "bound_by": "b"}
    row["hwids"], asked["hwids"] = [device | {"bound_at": moment}], (HWID(**device, bound_at=NOON),)
    assert codec.read_page(page_of(row, page=2, limit=50, total=101, totalPages=3)) == KeyPage(
        keys=(Key(**asked),),
        pagination=Pagination(page=2, limit=50, total=101, total_pages=3),
    )


LATER = "2024-05-17T14:00:00+02:00"
REDEMPTION = {"discord_user_id": "1", "redemption_status": "done", "redeemed_at": LATER}
BARE: dict[str, Any] = {"id": 7, "key_value": "JNK"}


@pytest.mark.parametrize(
    ("read", "document", "value"),
    [
        (codec.read_page, {"keys": []}, KeyPage()),
        (codec.read_page, {"keys": None, "pagination": None}, KeyPage()),
        (codec.read_page, {"keys": [BARE], "more": 1}, KeyPage(keys=(Key(**BARE),))),
        (
            codec.read_page,
            {"keys": [], "pagination": {"page": 1.0, "total": None, "totalPages": 2}},
            KeyPage(pagination=Pagination(page=1, total_pages=2)),
        ),
        (codec.read_key, {"key": BARE}, Key(**BARE)),
        (codec.read_key, {"key": BARE | {"discord_id": 123}}, Key(**BARE, discord_id="123")),
        (codec.read_detailed, {"key": BARE}, KeyDetailed(**BARE)),
        (codec.read_detailed, {"key": BARE | {"discord_redemption": None}}, KeyDetailed(**BARE)),
        (
            codec.read_detailed,
            {"key": BARE | {"discord_redemption": REDEMPTION}},
            KeyDetailed(
                **BARE,
                discord_redemption=DiscordRedemption(
                    discord_user_id="1", redemption_status="done", redeemed_at=NOON
                ),
            ),
        ),
        (codec.read_folders, {"folders": []}, []),
        (
            codec.read_folders,
            {"folders": [{"id": 1}, {"id": 2, "name": "f", "created_at": LATER}]},
            [KeyFolder(id=1), KeyFolder(id=2, name="f", created_at=NOON)],
        ),
        (
            codec.read_batch,
            {"keys": ["a", "b"], "count": 2, "config": {"provider_id": 1}},
            KeyBatch(keys=("a", "b"), count=2, config={"provider_id": 1}),
        ),
        (
            codec.read_batch,
            {"keys": [{"key_value": "a", "id": 1}, "b"]},
            KeyBatch(keys=("a", "b"), count=2),
        ),
        (
            codec.read_batch,
            {"keys": [{"key_value": "a"}], "count": 1.0, "config": None},
            KeyBatch(keys=("a",), count=1),
        ),
        (codec.read_batch, {"keys": ["a"], "count": 3}, KeyBatch(keys=("a",), count=3)),
        (codec.read_update, {}, UpdateResult()),
        (
            codec.read_update,
            {"success": True, "message": None, "keys_hwid": ["PC"]},
            UpdateResult(keys_hwid=("PC",)),
        ),
        (
            codec.read_action,
            {"success": 1, "message": "m"},
            ActionResult(message="m"),
        ),
    ],
)
def test_reads(read: Callable[[bytes], Any], document: Any, value: Any) -> None:
    """Each response is read as its model, however sparse or sloppy."""
    got = read(dump(document))
    assert got == value
    assert type(got) is type(value)
    assert all(at.tzinfo is UTC for at in datetimes(got))


@pytest.mark.parametrize(
    ("document", "deleted", "requested"),
    [
        ({"deleted": 2, "requested": 3}, 2, 3),
        ({"deleted": 2}, 2, 9),
        ({"deleted": 2.0, "requested": None}, 2, 9),
        ({"deleted": 0, "requested": 0}, 0, 0),
    ],
)
def test_bulk_delete(document: Any, deleted: int, requested: int) -> None:
    """Where the service states no number of requested keys, the client's counts."""
    result = codec.read_bulk_delete(dump(document), requested=9)
    assert result == BulkDeleteResult(deleted=deleted, requested=requested)


def test_only_id_and_key_value_are_required() -> None:
    """The contract requires no field of a response, so a device without its name is no bad row."""
    bound = {"bound_by": "b", "bound_at": "2024-05-17T12:00:00Z"}
    (key,) = codec.read_page(page_of(BARE | {"hwids": [bound]})).keys
    assert (key.id, key.hwids[0].bound_by) == (7, "b")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-05-17T12:00:00Z", NOON),
        ("2024-05-17T12:00:00", NOON),
        ("2024-05-17 12:00:00", NOON),
        ("2024-05-17 12:00:00Z", NOON),
        ("2024-05-17t12:00:00z", NOON),
        ("2024-05-17T14:00:00+02:00", NOON),
        ("2024-05-17 00:30:00-11:30", NOON),
        ("2024-05-17T12:00:00.000Z", NOON),
        ("2024-05-17", NOON.replace(hour=0)),
        ("2024-05-17T12:00:00.000001", NOON.replace(microsecond=1)),
    ],
)
def test_dates(written: str, read: datetime) -> None:
    """A date is read in any usual spelling, without an offset as UTC, and given in UTC."""
    device = {"hwid": "PC", "bound_at": written}
    for name in ("created_at", "used_at", "expires_at", "hwids"):
        row = BARE | {name: [device] if name == "hwids" else written}
        # A null where none is allowed makes the whole row go the lenient way.
        for one in (row, row | {"is_premium": None}):
            got = datetimes(codec.read_page(page_of(one)).keys)
            assert got == [read]
            assert got[0].tzinfo is UTC


# --- what can't be mended -------------------------------------------------------------------------


def assert_clean(error: InvalidResponseError) -> None:
    """Assert that an error quotes no value, and that no other error hangs on it."""
    assert MARK not in f"{error!r} {error} {error.field}"
    assert (error.__cause__, error.__context__) == (None, None)


@given(
    good=st.lists(mixed_rows, max_size=4),
    name=st.sampled_from(sorted(KEY["properties"])),
    data=st.data(),
)
def test_names_the_bad_row(good: list[dict[str, Any]], name: str, data: st.DataObject) -> None:
    """A bad row is named with its field, and the others are in the error."""
    at = data.draw(st.integers(0, len(good)))
    value = data.draw(wrong(KEY["properties"][name]))
    sent = [*good[:at], BARE | {name: value}, *good[at:]]
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(page_of(*sent))
    error = caught.value
    assert_clean(error)
    assert (error.row, error.outcome, error.transient) == (at, Outcome.EXECUTED, False)
    assert error.field is not None
    assert re.fullmatch(rf"keys\[{at}\]\.{name}", error.field)
    assert error.message.startswith(error.field)
    assert [(key.id, key.key_value) for key in error.rows] == [
        (row["id"], row["key_value"]) for row in good
    ]
    assert all(moment.tzinfo is UTC for moment in datetimes(error.rows))


def test_further_bad_rows() -> None:
    """Of many bad rows the first is named; the good ones are in the error."""
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(page_of(1, BARE, MARK, 3))
    assert_clean(caught.value)
    assert (caught.value.field, caught.value.row) == ("keys[0]", 0)
    assert [key.id for key in caught.value.rows] == [7]


READERS: dict[str, tuple[Callable[[bytes], Any], type[Any]]] = {
    "page": (codec.read_page, KeyPage),
    "key": (codec.read_key, Key),
    "detailed": (codec.read_detailed, KeyDetailed),
    "folders": (codec.read_folders, list),
    "batch": (codec.read_batch, KeyBatch),
    "bulk_delete": (lambda body: codec.read_bulk_delete(body, requested=1), BulkDeleteResult),
    "update": (codec.read_update, UpdateResult),
    "action": (codec.read_action, ActionResult),
}


@pytest.mark.parametrize(
    ("reader", "document", "field"),
    [
        ("page", {}, "keys"),
        ("page", {"keys": MARK}, "keys"),
        ("page", {"keys": {}}, "keys"),
        ("page", {"keys": False}, "keys"),
        ("page", {"keys": 0}, "keys"),
        ("page", {"keys": ""}, "keys"),
        ("page", {"keys": [], "pagination": MARK}, "pagination"),
        ("page", {"keys": [], "pagination": {"total": MARK}}, "pagination.total"),
        ("key", {}, "key"),
        ("key", {"key": None}, "key"),
        ("key", {"key": BARE | {"id": MARK}}, "key.id"),
        ("detailed", {"key": BARE | {"discord_redemption": MARK}}, "key.discord_redemption"),
        ("folders", {"folders": {MARK: 1}}, "folders"),
        ("folders", {"folders": [{"id": 1}, {"name": MARK}]}, "folders[1].id"),
        ("batch", {"keys": MARK}, "keys"),
        ("batch", {"keys": ["a", 5]}, "keys[1]"),
        ("batch", {"keys": ["a", None]}, "keys[1]"),
        ("batch", {"keys": [{"id": MARK}]}, "keys[0]"),
        ("batch", {"keys": [], "count": MARK}, "count"),
        ("batch", {"keys": [], "config": [MARK]}, "config"),
        ("bulk_delete", {"requested": 1}, "deleted"),
        ("bulk_delete", {"deleted": MARK}, "deleted"),
        ("update", {"keys_hwid": MARK}, "keys_hwid"),
        ("update", [MARK], None),
        ("action", {"message": [MARK]}, "message"),
        ("action", None, None),
    ],
)
def test_wrong_shapes(reader: str, document: Any, field: str | None) -> None:
    """A response of another shape is refused, with the field; the call was executed."""
    with pytest.raises(InvalidResponseError) as caught:
        READERS[reader][0](dump(document))
    assert_clean(caught.value)
    assert caught.value.field == field
    assert (caught.value.outcome, caught.value.transient) == (Outcome.EXECUTED, False)


def outcome_of(reader: str, body: bytes) -> Any:
    """Read a body: a value of the right class, or the only error that may come."""
    read, cls = READERS[reader]
    try:
        value = read(body)
    except InvalidResponseError as error:
        assert_clean(error)
        return error
    except bodies.RefusedError as refusal:
        return refusal
    assert isinstance(value, cls)
    return value


def everywhere(value: str) -> bytes:
    """Put a piece of JSON where each of the responses has a date."""
    row = f'{{"id":1,"key_value":"v","created_at":{value}}}'
    key = f'{{"id":1,"key_value":"v","discord_redemption":{{"redeemed_at":{value}}}}}'
    return f'{{"keys":[{row}],"key":{key},"folders":[{row}]}}'.encode()


def number(digits: bytes) -> bytes:
    """Put a number where the responses have one, or a text."""
    row = b'{"id":%b,"key_value":%b}' % (digits, digits)
    return b'{"keys":[%b],"key":%b,"folders":[%b],"deleted":%b}' % (row, row, row, digits)


NASTY = {
    "empty": b"",
    "cut": b'{"keys": [{"id": 1, "key_',
    "nan": number(b"NaN"),
    "infinity": number(b"-Infinity"),
    "huge_int": number(b"1" + b"0" * 400),
    "huger_int": number(b"1" + b"0" * 5000),
    "huge_float": number(b"1e999"),
    "surrogate": b'{"keys":["\\ud800"],"key":{"id":1,"key_value":"\\udfff"},"message":"\\ud800"}',
    "surrogate_name": b'{"keys":[],"\\ud800":1}',
    "not_utf8": b'{"keys":["\xff"],"message":"\xff"}',
    "utf16": '{"keys":[]}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"keys":[]}',
    "duplicates": b'{"keys":[1],"keys":[],"key":1,"key":{"id":1,"id":2,"key_value":"v"}}',
    "trailing": b'{"keys":[]} {"keys":[]}',
    "nul": b"\0",
    "late": everywhere('"9999-12-31T23:59:59-01:00"'),
    "early": everywhere('"0001-01-01T00:00:00+01:00"'),
    "no_such_day": everywhere('"2023-02-29T00:00:00Z"'),
    "leap_second": everywhere('"2016-12-31T23:59:60Z"'),
    "late_device": dump(
        {
            "key": {
                "id": 1,
                "key_value": "v",
                "hwids": [{"hwid": "a", "bound_at": "9999-12-31T23:59:59-01:00"}],
            }
        }
    ),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep_and_cut": b"[" * 100_000,
    "deep_objects": b'{"keys":' * 5000 + b"1" + b"}" * 5000,
    "deep_config": b'{"keys":[],"config":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "deep_elsewhere": b'{"keys":[],"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_bodies(name: str) -> None:
    """Any body gives a value or our error, and never another exception."""
    for reader in READERS:
        outcome_of(reader, NASTY[name])
    assert isinstance(read_error_details(NASTY[name]).message, str)


def test_last_duplicate_counts() -> None:
    """Of a name that comes twice the last counts, as for most readers."""
    assert codec.read_page(NASTY["duplicates"]) == KeyPage()
    assert codec.read_key(NASTY["duplicates"]).id == 2


NAMES = [
    *KEY["properties"],
    *("keys", "key", "pagination", "page", "total", "totalPages", "folders", "name", "count"),
    *("config", "deleted", "requested", "success", "message", "error", "hwid", "bound_at"),
    *("discord_redemption", "redeemed_at", "detail", "title"),
]
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | dates
    | st.sampled_from([10**400, -(10**30), 1e300, "\ud800", "0001-01-01T00:00:00+10:00", ""])
)
jsons = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "keys": st.lists(valid_rows | jsons, max_size=3) | jsons,
        "key": mixed_rows.map(lambda row: {**row, "discord_redemption": None}) | jsons,
        "folders": st.lists(rows(component("KeyFolder")) | jsons, max_size=3) | jsons,
        "pagination": jsons,
        "deleted": leaves,
        "config": jsons,
    },
)


@given(answers | jsons)
@settings(max_examples=200)
def test_arbitrary_json(document: Any) -> None:
    """Any JSON gives a value or our error, and an error message or none."""
    body = dump(document)
    for reader in READERS:
        outcome_of(reader, body)
    assert isinstance(read_error_details(body).message, str)


@given(
    st.binary(max_size=60)
    | st.builds(
        lambda body, at, damage: body[: at % len(body)] + damage + body[at % len(body) + 1 :],
        answers.map(dump),
        st.integers(0, 10_000),
        st.binary(max_size=2) | st.sampled_from([b'"', b"]", b"{", b"null", b"\\ud800"]),
    )
)
def test_arbitrary_bytes(body: bytes) -> None:
    """Any bytes, and any damage to good ones, give a value or our error."""
    for reader in READERS:
        outcome_of(reader, body)
    assert isinstance(read_error_details(body).message, str)


def test_broken_json_is_transient() -> None:
    """A body that is not JSON at all may be one that was cut short: worth another try."""
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_page(NASTY["cut"])
    assert caught.value.transient
    assert caught.value.outcome is Outcome.UNKNOWN
    assert_clean(caught.value)


# --- bodies that cost more than they weigh --------------------------------------------------------

ROW = '{"id":1,"key_value":"a"},'
SURPLUS: dict[str, tuple[str, Any]] = {
    "page of 1": ('{"keys":[' + ROW * 2 + "0]}", lambda body: codec.read_page(body, limit=1)),
    "page": ('{"keys":[' + ROW * 101 + ROW[:-1] + "]}", codec.read_page),
    "page of bad rows": ('{"keys":[' + "{}," * 100 + "{}]}", codec.read_page),
    "batch": ('{"keys":[' + '"a",' * 100 + '"a"]}', codec.read_batch),
    "batch of 2": (
        '{"keys":[' + '{"key_value":"a"},' * 2 + "5]}",
        lambda body: codec.read_batch(body, amount=2),
    ),
}


@pytest.mark.parametrize(("document", "read"), SURPLUS.values(), ids=SURPLUS)
def test_more_rows_than_requested(document: str, read: Callable[[bytes], object]) -> None:
    """They are refused before they are read; those that were asked for are kept if they were."""
    with pytest.raises(InvalidResponseError) as caught:
        read(document.encode())
    error = caught.value
    assert (error.field, error.row, error.transient) == ("keys", None, False)
    assert error.outcome is Outcome.EXECUTED
    assert len(error.rows) in (0, 100)


@pytest.mark.parametrize(
    "unit", ["{},", "[],", "0,", '"",', '{"id":1},', ROW, '{"a":' * 900 + "0" + "}" * 900 + ","]
)
@pytest.mark.parametrize("size", [2**17, 2**23])
def test_many_small_values(unit: str, size: int) -> None:
    """8 MiB of them, 8 KB when compressed, took a minute and 3 GB: now 50 ms and 16 MiB."""
    body = b'{"keys":[' + unit.encode() * (size // len(unit)) + b"0]}"
    for read in (codec.read_page, codec.read_key):
        tracemalloc.start()
        with pytest.raises(InvalidResponseError):
            read(body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**24
        assert_quick(read, body)


@pytest.mark.parametrize(
    "unit", ["0", '{"bound_at":5}', "{}", '{"bound_at":"2024-01-01T00:00:00"}']
)
def test_many_devices(unit: str) -> None:
    """Nor do 11,000 bad devices of one key cost an error for each."""
    devices = ",".join([unit] * 11_000)
    body = f'{{"key":{{"id":"x","key_value":"a","hwids":[{devices}]}}}}'.encode()
    assert_quick(codec.read_key, body)
    with pytest.raises(InvalidResponseError) as caught:
        codec.read_key(body)
    assert caught.value.field == "key.id"


def test_too_many_rows_cost_no_models() -> None:
    """Of 15,000 small rows the strict reader made models, for 55 ms, before they were counted."""
    body = b'{"keys":[' + b'{"id":1,"key_value":"a"},' * 15_000 + b"0]}"
    tracemalloc.start()
    with pytest.raises(InvalidResponseError):
        codec.read_page(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_full_page_with_all_devices_is_read() -> None:
    """100 keys with 100 devices each are far from the limit."""
    device = {"hwid": "a" * 36, "executor_user_id": "5", "bound_at": "2024-01-01T00:00:00Z"}
    row = BARE | {"hwids": [device | {"bound_by": "api"}] * 100, "keys_hwid": ["a" * 36] * 100}
    found = codec.read_page(json.dumps({"keys": [row] * 100}).encode())
    assert sum(len(key.hwids) for key in found.keys) == 10_000


@pytest.mark.parametrize(
    ("one", "most"), [(b"111", 100_000), (b"[1]", 50_000), (b'{"a":"%b"}' % (b"b" * 20), 12_000)]
)
def test_the_limits_of_a_large_response(one: bytes, most: int) -> None:
    """Values and objects are counted exactly."""
    assert len(decode_document(b"[%b]" % b",".join([one] * most))) == most
    with pytest.raises(InvalidResponseError, match="more than 100000 values or 12000 objects"):
        decode_document(b"[%b]" % b",".join([one] * (most + 1)))


def assert_quick(read: Callable[[bytes], object], body: bytes) -> None:
    """Read a body within 100 ms of CPU, twice what it takes."""

    def work() -> None:
        with contextlib.suppress(InvalidResponseError):
            read(body)

    run_within(0.1, work)


@pytest.mark.parametrize("big", [2**53, -(2**53), 2**61 - 1, 2**63, 10**30, 10**400])
def test_ids_beyond_53_bits(big: int) -> None:
    """They can't be sent back, and may have been rounded to that of another key already."""
    for document, read, field in (
        ({"keys": [{"id": big, "key_value": "a"}, BARE]}, codec.read_page, "keys[0].id"),
        ({"key": BARE | {"id": big}}, codec.read_key, "key.id"),
        ({"folders": [{"id": big}]}, codec.read_folders, "folders[0].id"),
    ):
        with pytest.raises(InvalidResponseError) as caught:
            read(json.dumps(document).encode())
        assert caught.value.field == field
    small = codec.read_key(json.dumps({"key": BARE | {"id": 2**53 - 1, "user_id": 2**60}}).encode())
    assert (small.id, small.user_id) == (2**53 - 1, 2**60)
