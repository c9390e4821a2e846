"""Arguments are checked against the published contract: what it allows, and nothing else.

The fields and their limits are read from `openapi.json`, so that nothing of the code under test
says what is right; its bodies are judged by openapi-schema-validator.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from junkie_async import UNSET, InvalidRequestError, Key, KeyStatus, Outcome, _validation
from junkie_async._protocol import codec, fields
from junkie_async._protocol.fields import CreateBatch, CreateKey, ListFilters, UpdateKey

from .conftest import CONTRACT, body_schema

SAFE = 2**53 - 1
HUGE = 10**5000
"""More digits than Python writes out: int-to-str conversion refuses it with a bare ValueError."""

QUERY: dict[str, dict[str, Any]] = {
    parameter["name"]: parameter["schema"]
    for parameter in CONTRACT["paths"]["/keys"]["get"]["parameters"]
    if parameter["name"] not in ("page", "limit")
}
SCHEMAS: dict[Any, dict[str, dict[str, Any]]] = {
    CreateKey: body_schema("/keys", "post")["properties"],
    CreateBatch: body_schema("/keys/batch", "post")["properties"],
    UpdateKey: body_schema("/keys/{keyId}", "put")["properties"],
    ListFilters: QUERY,
}
REQUIRED: dict[Any, dict[str, Any]] = {
    CreateKey: {"provider_id": 1},
    CreateBatch: {"provider_id": 1, "amount": 1},
    UpdateKey: {},
    ListFilters: {},
}
FIELDS = [(request, name) for request, schemas in SCHEMAS.items() for name in schemas]


class Index:
    """A number as numpy has them: no int, but with `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Array:
    """As a numpy array of several numbers: has `__index__`, and it raises."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")


class Markup(str):
    """A subclass of str, such as markupsafe's."""

    __slots__ = ()


class Nowhere(tzinfo):
    """A zone that knows no offset, so that its datetimes are naive in spite of their tzinfo."""

    def _unknown(self, _: datetime | None) -> None:
        return None

    utcoffset = dst = tzname = _unknown


def make(request: Any, name: str, value: Any) -> Any:
    """Make a request that is complete but for one field, which gets the value."""
    return request(**REQUIRED[request] | {name: value})


def sent(request: Any) -> dict[str, Any]:
    """Read what the request is sent as: its JSON body, or its query."""
    if isinstance(request, ListFilters):
        return dict(parse_qsl(request.query(), keep_blank_values=True, strict_parsing=False))
    body: dict[str, Any] = json.loads(codec.encode(request))
    return body


def kind(name: str, schema: dict[str, Any]) -> str:
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
    match kind(name, schema):
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
    match kind(name, schema):
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
            if not query:
                yield from (
                    10**16 - 1,
                    "1" * 16,
                    "1" * 20,
                    "\uff11" * 17,
                    " " + "1" * 17,
                    "1" * 5000,
                )
        case "date-time":
            behind, ahead = timezone(timedelta(hours=-1)), timezone(timedelta(hours=1))
            yield from (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=Nowhere()))  # noqa: DTZ001
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
            values(name, SCHEMAS[request][name], query=request is ListFilters)
        )
    ]


def type_name(value: object) -> str:
    """Name a parameter: pytest's own names would write out 5000 digits."""
    return type(value).__name__


def assert_refusal(error: InvalidRequestError, name: str) -> None:
    """Assert that a refusal says what was wrong, and is short and safe to log."""
    assert isinstance(error, ValueError)
    assert error.field == name or error.field.startswith((f"{name}[", f"{name}."))
    assert error.value
    assert error.limit
    text = str(error)
    assert text == f"{error.field} must be {error.limit}, got {error.value}"
    assert len(text) < 300
    assert text.replace("…", "").isascii()
    assert text.isprintable()
    assert "0" * 41 not in text
    assert (error.outcome, error.attempts, error.method) == (Outcome.NOT_EXECUTED, 0, None)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("request_class", SCHEMAS, ids=lambda cls: cls.__name__)
def test_fields_are_the_contracts(request_class: type[attrs.AttrsInstance]) -> None:
    """A request has the fields that the contract has, no more and no fewer."""
    assert attrs.fields_dict(request_class).keys() == SCHEMAS[request_class].keys()


@pytest.mark.parametrize(("request_class", "name", "case"), cases(good))
def test_accepts(request_class: Any, name: str, case: tuple[Any, Any]) -> None:
    """A value up to its limits is accepted and sent, once its form is made the contract's."""
    value, as_sent = case
    written = str(as_sent) if request_class is ListFilters else as_sent
    assert sent(make(request_class, name, value)) == REQUIRED[request_class] | {name: written}


@pytest.mark.parametrize(("request_class", "name", "value"), cases(bad))
def test_refuses(request_class: Any, name: str, value: Any) -> None:
    """A value beyond its limits is refused, with a message that names field, value and limit."""
    with pytest.raises(InvalidRequestError) as caught:
        make(request_class, name, value)
    assert_refusal(caught.value, name)


@pytest.mark.parametrize(
    "value", [HUGE, [HUGE], {HUGE: HUGE}, Fraction(HUGE), Index(HUGE)], ids=type_name
)
def test_refuses_what_python_wont_write_out(value: Any) -> None:
    """A number too long for Python to print is refused like any other, wherever it hides."""
    for name in ("key_name", "hwid_limit", "is_premium", "expires_at", "discord_id", "hwids"):
        with pytest.raises(InvalidRequestError) as caught:
            make(UpdateKey, name, value)
        assert_refusal(caught.value, name)


@pytest.mark.parametrize(("request_class", "name"), FIELDS)
def test_unset(request_class: Any, name: str) -> None:
    """UNSET is as good as left out: nothing is sent, unless the contract requires the field."""
    if name in REQUIRED[request_class]:
        with pytest.raises(InvalidRequestError) as caught:
            make(request_class, name, UNSET)
        assert_refusal(caught.value, name)
    else:
        assert make(request_class, name, UNSET) == request_class(**REQUIRED[request_class])
        assert sent(make(request_class, name, UNSET)) == REQUIRED[request_class]


def test_element_is_named() -> None:
    """Of a list, the error names the element that is wrong."""
    with pytest.raises(InvalidRequestError) as caught:
        UpdateKey(hwids=["a", "b", "c" * 256])
    assert (caught.value.field, caught.value.value) == ("hwids[2]", "one of 256 characters")


class Moment(datetime):
    """A subclass of datetime, such as pendulum's."""


def test_datetime_subclass() -> None:
    """Other libraries' datetimes are written like Python's own."""
    at = Moment(2024, 5, 17, tzinfo=UTC)
    assert sent(UpdateKey(expires_at=at)) == {"expires_at": "2024-05-17T00:00:00Z"}
    assert sent(ListFilters(expires_after=at)) == {"expires_after": "2024-05-17T00:00:00Z"}


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


BODIES = [
    (CreateKey, validator(body_schema("/keys", "post") | {"additionalProperties": False})),
    (CreateBatch, validator(body_schema("/keys/batch", "post") | {"additionalProperties": False})),
    (UpdateKey, validator(body_schema("/keys/{keyId}", "put") | {"additionalProperties": False})),
]


@pytest.mark.parametrize(("request_class", "judge"), BODIES)
@given(data=st.data())
def test_what_is_accepted_obeys_the_schema(
    request_class: Any, judge: OAS30Validator, data: st.DataObject
) -> None:
    """Whatever a request takes, the contract's validator takes; what that refuses is refused."""
    names = data.draw(st.sets(st.sampled_from(sorted(SCHEMAS[request_class])), min_size=1))
    accepted = dict(REQUIRED[request_class])
    for name in sorted(names):
        value = data.draw(anything, label=name)
        as_json = isinstance(value, str | int | float | list | None)
        schema = validator(SCHEMAS[request_class][name])
        try:
            body = sent(make(request_class, name, value))
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
    whole = sent(request_class(**accepted))
    assert judge.is_valid(whole), list(judge.iter_errors(whole))


@given(data=st.data())
def test_query_obeys_the_schema(data: st.DataObject) -> None:
    """Whatever a filter takes is a value that the contract takes, and comes back from the URL."""
    name = data.draw(st.sampled_from(sorted(QUERY)))
    value = data.draw(anything)
    try:
        query = ListFilters(**{name: value})
    except InvalidRequestError as error:
        assert_refusal(error, name)
        return
    if value is UNSET:
        assert query.query() == ""
        return
    assert query.query().isascii()
    written = sent(query)[name]
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
        body = sent(UpdateKey(expires_at=at))
    except InvalidRequestError:
        assert at.year in (1, 9999)
        return
    assert body["expires_at"].endswith("Z")
    assert datetime.fromisoformat(body["expires_at"]) == at


# --- checks outside of request bodies -------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 0.001, 1.5, math.ulp(0.0), 1e308, 10**300])
def test_seconds_accepts(value: float) -> None:
    """A finite number above zero is a time, and comes back as a float."""
    given_back = _validation.check_seconds("timeout", value)
    assert (given_back, type(given_back)) == (float(value), float)


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.0, -1, math.nan, math.inf, -math.inf, True, None, "1", HUGE, -HUGE, 10**400],
    ids=type_name,
)
def test_seconds_refuses(value: Any) -> None:
    """Anything else is refused, integers beyond all floats among it."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_seconds("timeout", value)
    assert_refusal(caught.value, "timeout")


def test_zero_seconds() -> None:
    """Zero is a time only where it makes sense."""
    assert _validation.check_seconds("wait", 0, zero=True) == 0.0
    with pytest.raises(InvalidRequestError):
        _validation.check_seconds("wait", -math.ulp(0.0), zero=True)


@pytest.mark.parametrize(
    ("value", "checked"),
    [
        (1, 1),
        (SAFE, SAFE),
        (Index(5), 5),
        ("JNK-1", "JNK-1"),
        ("5", "5"),
        ("...", "..."),
        ("a/../b?c#d", "a/../b?c#d"),
        (Markup("5"), "5"),
        (Key(id=5, key_value="JNK-1"), 5),
    ],
)
def test_reference_accepts(value: Any, checked: int | str) -> None:
    """A number stays an ID, a string stays a key value, and a Key gives its ID."""
    reference = _validation.check_reference("key", value)
    assert (reference, type(reference)) == (checked, type(checked))


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, SAFE + 1, HUGE, -HUGE, Index(0), Array(), int, True, False, 1.0, None, b"5", [5]),
        *("", ".", "..", "\ud800", "a\x00", "a\nb", "\u2029", object(), [HUGE], KeyStatus),
        *(" ", "\u00a0\u3000", Markup(".."), bytearray(b"5")),
        Key(id=0, key_value="JNK-1"),
        Key(id=HUGE, key_value="JNK-1"),
    ],
    ids=type_name,
)
def test_reference_refuses(value: Any) -> None:
    """What names no key, or would lead elsewhere in a path, is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_reference("key", value)
    assert_refusal(caught.value, "key")


SECRET = "JNK-8F2C-77A1-93BD-0E4F-SECRET"


@pytest.mark.parametrize(
    "value",
    [
        *(SECRET, SECRET + "\n", SECRET.encode(), [SECRET], (SECRET,), {SECRET: 1}),
        *(Key(id=0, key_value=SECRET), [Key(id=0, key_value=SECRET)]),
    ],
    ids=["string", "line", "bytes", "list", "tuple", "dict", "key", "keys"],
)
@pytest.mark.parametrize(
    "check",
    [
        _validation.check_integer,
        _validation.check_seconds,
        _validation.check_datetime,
        _validation.check_reference,
        _validation.check_boolean,
        fields._status,
    ],
)
def test_refusals_mask_key_values(check: Callable[[str, Any], object], value: Any) -> None:
    """A key value that was put in the wrong place does not end up in a log."""
    if (check, value) == (_validation.check_reference, SECRET):
        value = {SECRET}  # the string itself is a good reference
    with pytest.raises(InvalidRequestError) as caught:
        check("field", value)
    assert SECRET[6:-6] not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("short", ["JNK-7Q2X", "ABCD1234", "a1", "{free}", "\u00e9\u00e9", "1-2"])
def test_picture_masks_short_key_values(short: str) -> None:
    """Only a short word or number is shown, since a key value may be short too."""
    assert _validation.safe_repr(short) == f"a string of {len(short)} characters"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *(("ACTIVE", "'ACTIVE'"), ("8969", "'8969'"), (" 12", "' 12'"), ("-1.5", "'-1.5'")),
        *(("", "''"), (".", "'.'"), (Markup("true"), "'true'"), (True, "True"), (None, "None")),
        *((5, "5"), (Index(5), "5"), (HUGE, "an integer of 16610 bits"), (1.5, "1.5")),
        *((b"abc", "a bytes of 3"), ([HUGE], "a list of 1"), (object(), "a object")),
        (date(2024, 5, 17), "datetime.date(2024, 5, 17)"),
        (datetime(2024, 5, 17), "the naive 2024-05-17T00:00:00"),  # noqa: DTZ001
        (timedelta(seconds=-90), "a timedelta of -90.0 seconds"),
    ],
    ids=type_name,
)
def test_picture(value: object, shown: str) -> None:
    """A refused value is shown in a few words."""
    assert _validation.safe_repr(value) == shown


def _raise(*_: object) -> Any:
    raise RuntimeError("no")


class Hostile(float):
    """A number whose repr raises."""

    __slots__ = ()
    __repr__ = __str__ = _raise


class Verbose(float):
    """A number with a repr of 10 MB."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "x" * 10_000_000


class Lengthless(tuple[int, ...]):
    """A collection whose length raises."""

    __slots__ = ()
    __len__ = _raise


@pytest.mark.parametrize("value", [Hostile(1), Verbose(1), Lengthless((1,))], ids=type_name)
def test_picture_outlives_the_value(value: object) -> None:
    """A repr or a length that raises, or never ends, gives way to the class's name."""
    assert _validation.safe_repr(value) == f"a {type(value).__name__}"


def test_picture_of_a_long_class_name() -> None:
    """The name of a class may be as long, and as odd, as it likes."""
    odd = type("\u00e9\n" + "x" * 10_000, (), {})()
    assert _validation.safe_repr(odd) == "a \\xe9\\n" + "x" * 34


@pytest.mark.parametrize("value", ["123", "abc", b"1", bytearray(b"1"), memoryview(b"1"), {}, 5])
def test_elements_refuses(value: Any) -> None:
    """Text, bytes and mappings are iterable, but no list of anything; and none is shown."""
    with pytest.raises(InvalidRequestError) as caught:
        _validation.check_iterable("keys", value, "a list")
    assert caught.value.value in ("a single string", "5", _validation.safe_repr(value))
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("value", [[], (), {1}, range(3), iter("a"), {1: 2}.keys()], ids=type_name)
def test_elements_accepts(value: Any) -> None:
    """Any other iterable is given back as it is."""
    assert _validation.check_iterable("keys", value, "a list") is value


@pytest.mark.parametrize("name", ["provider_id", "service_id", "folder_id"])
def test_digits_are_no_id(name: str) -> None:
    """Where an ID is meant, a string of digits is told how IDs are passed, and what strings are."""
    with pytest.raises(InvalidRequestError, match=r"an ID as an int, .* got '123'"):
        make(CreateKey, name, "123")


def test_check_names_the_unknown_argument() -> None:
    """A misspelt argument is a TypeError as of any function, and names the call."""
    with pytest.raises(TypeError, match=r"create\(\) got an unexpected .* 'is_premum'"):
        fields.check(CreateKey, "create", {"provider_id": 1, "is_premum": True})
    with pytest.raises(TypeError, match="provider_id"):
        fields.check(CreateKey, "create", {})
    assert fields.check(CreateKey, "create", {"provider_id": 1}) == CreateKey(provider_id=1)
