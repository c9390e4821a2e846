"""Arguments are checked against the published contract: what it allows, and nothing else.

The fields and their limits are read from `openapi.json`, so that nothing of the code under test
says what is right; openapi-schema-validator validates the bodies.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from junkie_async import (
    UNSET,
    BatchFields,
    CreateFields,
    Filters,
    InvalidRequestError,
    KeyStatus,
    UpdateFields,
)
from junkie_async._protocol import requests
from junkie_async._protocol.fields import (
    CreateBatchBody,
    CreateKeyBody,
    check_key_list,
    declared_fields,
    validate_fields,
)
from junkie_async._protocol.json_documents import encode_json

from .conftest import CONTRACT, body_schema
from .odd_values import HUGE, SAFE, Array, Index, Markup, assert_refusal, type_name

QUERY: dict[str, dict[str, Any]] = {
    parameter["name"]: parameter["schema"]
    for parameter in CONTRACT["paths"]["/keys"]["get"]["parameters"]
    if parameter["name"] not in ("page", "limit")
}
SCHEMAS: dict[Any, dict[str, dict[str, Any]]] = {
    CreateKeyBody: body_schema("/keys", "post")["properties"],
    CreateBatchBody: body_schema("/keys/batch", "post")["properties"],
    UpdateFields: body_schema("/keys/{keyId}", "put")["properties"],
    Filters: QUERY,
}
REQUIRED: dict[Any, dict[str, Any]] = {
    CreateKeyBody: {"provider_id": 1},
    CreateBatchBody: {"provider_id": 1, "amount": 1},
    UpdateFields: {},
    Filters: {},
}
FIELDS = [(request, name) for request, schemas in SCHEMAS.items() for name in schemas]


class NoOffset(tzinfo):
    """A zone that knows no offset, so that its datetimes are naive in spite of their tzinfo."""

    def _unknown(self, _: datetime | None) -> None:
        return None

    utcoffset = dst = tzname = _unknown


def validate(declaration: Any, name: str, value: Any) -> dict[str, Any]:
    """Validate a request that is complete but for one field, which gets the value."""
    return validate_fields(declaration, "call", REQUIRED[declaration] | {name: value})


def sent(declaration: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Read what the given fields are sent as: a JSON body, or a query."""
    validated = validate_fields(declaration, "call", given)
    if declaration is Filters:
        return dict(parse_qsl(requests.filter_query(validated), keep_blank_values=True))
    body: dict[str, Any] = json.loads(encode_json(validated))
    return body


def kind_of(name: str, schema: dict[str, Any]) -> str:
    """Sort a field by what its schema asks for."""
    if "pattern" in schema or name == "discord_id":
        return "discord"
    text = schema.get("format", "enum" if "enum" in schema else "string")
    return text if schema["type"] == "string" else str(schema["type"])


def limits(schema: dict[str, Any]) -> tuple[int, int]:
    """Give a number's limits; where the contract has none, what any JSON reader keeps exactly."""
    return schema.get("minimum", -SAFE), schema.get("maximum", SAFE)


def good(name: str, schema: dict[str, Any], *, query: bool) -> Iterator[tuple[Any, Any]]:
    """Give values up to the limits, each with what is to be sent for it."""
    low, high = limits(schema)
    match kind_of(name, schema):
        case "integer":
            yield from ((low, low), (high, high), (Index(high), high), (Index(low), low))
            if name == "validity_minutes":
                yield from ((timedelta(0), 0), (timedelta(days=2, minutes=5), 2885))
        case "boolean":
            yield from ((True, True), (False, False))
        case "string":
            longest = schema.get("maxLength", 300)
            for text in ("a" * longest, "é" * longest, "😀" * longest, " &=#?/%+\"'\\ "):
                yield text, text
            yield Markup("marked"), "marked"
            if not query:
                yield "", ""
        case "discord":
            for digits in ("1" * 17, "0" * 18, "9" * 19):
                yield digits, digits
            yield from ((10**16, str(10**16)), (10**19 - 1, "9" * 19))
            yield from ((Index(10**17), str(10**17)), (Markup("1" * 17), "1" * 17))
        case "date-time":
            offset = timezone(timedelta(hours=2))
            yield datetime(2024, 5, 17, 12, tzinfo=UTC), "2024-05-17T12:00:00Z"
            yield datetime(2024, 5, 17, 12, 0, 0, 7, offset), "2024-05-17T10:00:00.000007Z"
            yield datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00Z"
            yield datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999Z"
            yield datetime.max.replace(tzinfo=offset), "9999-12-31T21:59:59.999999Z"
        case "array":
            one = ["a" * 255]
            yield from (([], []), (one, one), (tuple(one), one), ({"a"}, ["a"]))
            yield from (((hwid for hwid in "ab"), ["a", "b"]), ([Markup("a")], ["a"]))
        case "enum":
            for word in schema["enum"]:
                yield from ((word, word), (KeyStatus(word), word))
    if schema.get("nullable"):
        yield None, None


ANY_BAD: list[Any] = [object(), b"1", Decimal(1), math.nan]
BAD_TEXT: list[Any] = [1, ["a"], "\x00", "a\nb", "\x7f", "\x85", "\u2028", "\ud800", "a\udfff"]


def bad(name: str, schema: dict[str, Any], *, query: bool) -> Iterator[Any]:
    """Give values from just beyond the limits to far from them."""
    low, high = limits(schema)
    yield from ANY_BAD
    if not schema.get("nullable"):
        yield None
    match kind_of(name, schema):
        case "integer":
            yield from (low - 1, high + 1, HUGE, -HUGE, Index(high + 1), Index(HUGE), Array(), int)
            yield from (True, False, 1.0, math.inf, "1", "", [1])
            if name == "validity_minutes":
                yield from (timedelta(seconds=61), timedelta(microseconds=1), timedelta(minutes=-1))
                yield timedelta.max
            else:
                yield timedelta(minutes=1)
        case "boolean":
            yield from (0, 1, 1.0, "true", "", Index(1))
        case "string":
            yield from BAD_TEXT
            if "maxLength" in schema:
                yield "a" * (schema["maxLength"] + 1)
            if query:
                yield ""
        case "discord":
            yield from (-1, 10**19, HUGE, True, 1e17, Array(), "", "\ud800", "1" * 17 + "\n")
            yield from (10**16 - 1, "1" * 16, "1" * 20, "\uff11" * 17, " " + "1" * 17)
            yield "1" * 5000
        case "date-time":
            behind, ahead = timezone(timedelta(hours=-1)), timezone(timedelta(hours=1))
            yield from (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=NoOffset()))  # noqa: DTZ001
            yield from (datetime.max.replace(tzinfo=behind), datetime.min.replace(tzinfo=ahead))
            yield from (date(2024, 1, 1), "2024-01-01T00:00:00Z", 0, HUGE, timedelta(1))
        case "array":
            yield from ("abc", b"abc", {"a": 1}, 5, HUGE, True, [[]], [None], ["a", 5], [b"a"])
            yield from (["a" * 256], ["a", "\x00"], ["\ud800"], [HUGE])
        case "enum":
            yield from ("ACTIVE", "", " active", "unknown", 1, HUGE, ["active"], True)


def cases(values: Callable[..., Iterator[Any]]) -> list[Any]:
    """Spread every field's values into parameters of a test."""
    return [
        pytest.param(request, name, value, id=f"{request.__name__}-{name}-{index}")
        for request, name in FIELDS
        for index, value in enumerate(
            values(name, SCHEMAS[request][name], query=request is Filters)
        )
    ]


@pytest.mark.parametrize("declaration", SCHEMAS, ids=lambda cls: cls.__name__)
def test_fields_are_the_contracts(declaration: Any) -> None:
    """A request has the fields that the contract has, no more and no fewer."""
    assert declared_fields(declaration).keys() == SCHEMAS[declaration].keys()


@pytest.mark.parametrize(("declaration", "name", "case"), cases(good))
def test_accepts(declaration: Any, name: str, case: tuple[Any, Any]) -> None:
    """A value up to its limits is accepted and sent, once its form is made the contract's."""
    value, as_sent = case
    written = str(as_sent) if declaration is Filters else as_sent
    assert sent(declaration, REQUIRED[declaration] | {name: value}) == REQUIRED[declaration] | {
        name: written
    }


@pytest.mark.parametrize(("declaration", "name", "value"), cases(bad))
def test_refuses(declaration: Any, name: str, value: Any) -> None:
    """A value beyond its limits is refused, with a message that names field, value and limit."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(declaration, name, value)
    assert_refusal(caught.value, name)


@pytest.mark.parametrize(
    "value", [HUGE, [HUGE], {HUGE: HUGE}, Fraction(HUGE), Index(HUGE)], ids=type_name
)
def test_refuses_what_python_wont_write_out(value: Any) -> None:
    """A number too long for Python to print is refused like any other, wherever it hides."""
    for name in ("key_name", "hwid_limit", "is_premium", "expires_at", "discord_id", "hwids"):
        with pytest.raises(InvalidRequestError) as caught:
            validate(UpdateFields, name, value)
        assert_refusal(caught.value, name)


@pytest.mark.parametrize(("declaration", "name"), FIELDS)
def test_unset(declaration: Any, name: str) -> None:
    """UNSET is as good as left out: nothing is sent, unless the contract requires the field."""
    if name in REQUIRED[declaration]:
        with pytest.raises(InvalidRequestError) as caught:
            validate(declaration, name, UNSET)
        assert_refusal(caught.value, name)
    else:
        assert validate(declaration, name, UNSET) == validate_fields(
            declaration, "call", REQUIRED[declaration]
        )
        assert sent(declaration, REQUIRED[declaration] | {name: UNSET}) == REQUIRED[declaration]


def test_element_is_named() -> None:
    """Of a list, the error names the element that is wrong."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(UpdateFields, "hwids", ["a", "b", "c" * 256])
    assert (caught.value.field, caught.value.value) == ("hwids[2]", "one of 256 characters")


class Moment(datetime):
    """A subclass of datetime, such as pendulum's."""


def test_datetime_subclass() -> None:
    """Other libraries' datetimes are written like Python's own."""
    at = Moment(2024, 5, 17, tzinfo=UTC)
    assert sent(UpdateFields, {"expires_at": at}) == {"expires_at": "2024-05-17T00:00:00Z"}
    assert sent(Filters, {"expires_after": at}) == {"expires_after": "2024-05-17T00:00:00Z"}


# --- whatever is accepted obeys the schema --------------------------------------------------------

anything: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.from_regex(r"[0-9]{15,21}")
    | st.integers(10**15, 10**20)
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.datetimes().map(lambda at: at.replace(tzinfo=timezone(timedelta(hours=14))))
    | st.timedeltas()
    | st.timedeltas().map(lambda span: timedelta(minutes=span // timedelta(minutes=1)))
    | st.lists(st.text(max_size=260) | st.integers() | st.none(), max_size=3)
    | st.sampled_from([*KeyStatus, "active", "", "\ud800", "a" * 255, "a" * 256, 100, 101, UNSET])
)


def validator(schema: dict[str, Any]) -> OAS30Validator:
    """Give a validator that is not ours, and that checks formats too."""
    return OAS30Validator(schema, format_checker=oas30_format_checker)


def body_validator(path: str, method: str) -> OAS30Validator:
    """Make a validator of a request body, with what the schema does not name forbidden."""
    return validator(body_schema(path, method) | {"additionalProperties": False})


BODIES = [
    (CreateKeyBody, body_validator("/keys", "post")),
    (CreateBatchBody, body_validator("/keys/batch", "post")),
    (UpdateFields, body_validator("/keys/{keyId}", "put")),
]


@pytest.mark.parametrize(("declaration", "schema_validator"), BODIES)
@given(data=st.data())
def test_what_is_accepted_obeys_the_schema(
    declaration: Any, schema_validator: OAS30Validator, data: st.DataObject
) -> None:
    """Whatever a request takes, the contract's validator takes; what that refuses is refused."""
    names = data.draw(st.sets(st.sampled_from(sorted(SCHEMAS[declaration])), min_size=1))
    accepted = dict(REQUIRED[declaration])
    for name in sorted(names):
        value = data.draw(anything, label=name)
        as_json = isinstance(value, str | int | float | list | None)
        schema = validator(SCHEMAS[declaration][name])
        try:
            body = sent(declaration, REQUIRED[declaration] | {name: value})
        except InvalidRequestError as error:
            assert_refusal(error, name)
            continue
        accepted[name] = value
        if name not in body:
            assert value is UNSET
        elif as_json and not schema.is_valid(value):
            # The one wrong JSON value that is mended: a Discord ID as a number.
            assert (name, type(value), body[name]) == ("discord_id", int, str(value))
        elif as_json:
            assert body[name] == value
    whole = sent(declaration, accepted)
    assert schema_validator.is_valid(whole), list(schema_validator.iter_errors(whole))


@given(data=st.data())
def test_query_obeys_the_schema(data: st.DataObject) -> None:
    """Whatever a filter takes is a value that the contract takes, and comes back from the URL."""
    name = data.draw(st.sampled_from(sorted(QUERY)))
    value = data.draw(anything)
    try:
        query = requests.filter_query(validate(Filters, name, value))
    except InvalidRequestError as error:
        assert_refusal(error, name)
        return
    if value is UNSET:
        assert query == ""
        return
    assert query.isascii()
    written = sent(Filters, {name: value})[name]
    assert written
    assert validator(QUERY[name]).is_valid(
        int(written) if QUERY[name]["type"] == "integer" else written
    )
    if not isinstance(value, datetime):
        assert written == str(value)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_datetimes_keep_their_moment(at: datetime) -> None:
    """The moment that is sent is the moment that was given, in whatever zone."""
    try:
        body = sent(UpdateFields, {"expires_at": at})
    except InvalidRequestError:
        assert at.year in (1, 9999)
        return
    assert body["expires_at"].endswith("Z")
    assert datetime.fromisoformat(body["expires_at"]) == at


# --- arguments as a whole -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["provider_id", "service_id", "folder_id"])
def test_digits_are_no_id(name: str) -> None:
    """Where an ID is meant, a string of digits is refused: it would be a key value."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(CreateKeyBody, name, "123")
    assert_refusal(caught.value, name)


def test_an_unknown_argument_is_a_type_error() -> None:
    """A misspelt argument is a TypeError, as with any function."""
    with pytest.raises(TypeError):
        validate_fields(CreateKeyBody, "create", {"provider_id": 1, "is_premum": True})
    assert validate_fields(CreateKeyBody, "create", {"provider_id": 1}) == {"provider_id": 1}


def test_a_missing_required_field_is_refused() -> None:
    """The signatures require them already; a request built by hand can't do without either."""
    with pytest.raises(InvalidRequestError) as caught:
        validate_fields(CreateBatchBody, "create_batch", {"provider_id": 1})
    assert_refusal(caught.value, "amount")


def test_the_result_is_in_the_order_of_the_declaration() -> None:
    """The same arguments give the same bytes, in whatever order they are written."""
    fields = {"hwid": "PC", "provider_id": 1, "is_premium": True, "amount": 5, "key_name": "n"}
    orders = [fields, dict(reversed(fields.items()))]
    first, second = (validate_fields(CreateBatchBody, "call", given) for given in orders)
    assert list(first.items()) == list(second.items())


@pytest.mark.parametrize(
    "declaration", [BatchFields, CreateFields, UpdateFields, Filters], ids=lambda cls: cls.__name__
)
def test_every_option_has_help(declaration: Any) -> None:
    """Beside its check, each field that is an option of the command line has a sentence of help."""
    hints = get_type_hints(declaration, include_extras=True)
    texts = {name: hint.__metadata__[1] for name, hint in hints.items()}
    assert all(text.endswith(".") for text in texts.values())


def test_a_list_of_keys_has_its_limits() -> None:
    """1,000 are the most; of what is endless no more is taken than shows that."""
    assert check_key_list("keys", range(1, 1001)) == [*range(1, 1001)]
    endless = itertools.count(1)
    with pytest.raises(InvalidRequestError):
        check_key_list("keys", endless)
    assert next(endless) == 1002
