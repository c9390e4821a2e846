"""Bad input of every kind, in every argument of every operation, and nothing of it is sent.

A table: `OPERATIONS` names each operation's arguments and of which kind each is, and a kind gives
the bad values. Each cell must be refused with an `InvalidRequestError` that names the field, the
value and the limit, in a few words that are safe to log. That nothing is sent is read from a
listener that counts connections, and from aiohttp, whose sessions are counted.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import itertools
import json
import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_type_hints
from urllib.parse import unquote

import aiohttp
import attrs
import pytest

from junkie_async import (
    UNSET,
    BatchError,
    BatchFields,
    ConfigurationError,
    CreateFields,
    DeleteReport,
    Filters,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    Key,
    Keys,
    Outcome,
    RateLimit,
    RetryPolicy,
    UpdateFields,
)

from ._echo import DROP, Request, Service, http

SAFE = 2**53 - 1
HUGE = 10**5000
"""Python refuses to write it out: its repr raises a ValueError."""

SECRET = "JNK-8F2C-77A1-93BD-0E4F-SECRET"
SHORT_SECRET = "JNK-7Q2X"
SHOWN = ("77A1", "93BD", "7Q2X")
"""What of the secrets no message may show; masks show their ends."""


# --- values that no one expects -------------------------------------------------------------------


def _raise(*_: object) -> Any:
    raise RuntimeError(SECRET)


class Hostile:
    """Whatever is asked of it raises."""

    __repr__ = __str__ = __len__ = __iter__ = __index__ = __bool__ = __eq__ = __hash__ = _raise
    __getattr__ = _raise


class Verbose:
    """Its repr has 10 MB."""

    def __repr__(self) -> str:
        return "x" * 10_000_000


class VerboseFloat(float):
    """A number whose repr has 10 MB."""

    __repr__ = Verbose.__repr__


class HostileDate(date):
    """A date whose repr raises."""

    __repr__ = __str__ = isoformat = _raise


class Sly(str):
    """A string that says of itself what it is not."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False

    def isascii(self) -> bool:
        """Lie."""
        return True


class Index:
    """A number as numpy has them: no int, but with `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Array:
    """As a numpy array of several numbers: it has `__index__`, which raises."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    ONE = 1
    HUGE = 2**60


class Color(enum.Enum):
    """An enumeration of no numbers, though its values are."""

    ONE = 1
    ACTIVE = "active"


class Nowhere(tzinfo):
    """A zone that knows no offset: its datetimes are naive in spite of it."""

    def _unknown(self, _: datetime | None) -> None:
        return None

    utcoffset = dst = tzname = _unknown


class Broken(tzinfo):
    """A zone that raises."""

    utcoffset = dst = tzname = _raise


@attrs.frozen
class At:
    """A value of which a part is bad, and where that part is."""

    where: str
    value: Any


# --- kinds of arguments, each with its bad values -------------------------------------------------

Cells = dict[str, Any]
Kind = Callable[[], Cells]


def unusable() -> Cells:
    """Give what no argument takes."""
    return {
        "object": object(),
        "hostile": Hostile(),
        "verbose": Verbose(),
        "hostile date": HostileDate(2024, 1, 1),
        "Decimal": Decimal(1),
        "Fraction": Fraction(HUGE),
        "complex": 1j,
        "NaN": math.nan,
        "bytes": b"1",
        "bytearray": bytearray(b"12"),
        "secret bytes": SECRET.encode(),
        "a class": int,
        "a function": len,
        "enum member": Color.ONE,
        "dict": {"a": 1},
        "secret dict": {SECRET: SHORT_SECRET},
        "an exception": ValueError(SECRET),
        "UUID": uuid.UUID(int=1),
        "Nowhere": Nowhere(),
    }


def required(kind: Kind) -> Kind:
    """Make a kind of which None is bad too."""
    return lambda: {"None": None} | kind()


def _numbers(low: int, high: int) -> Cells:
    return unusable() | {
        "below": low - 1,
        "above": high + 1,
        "2**53": 2**53,
        "-2**53": -(2**53),
        "10**400": 10**400,
        "huge": HUGE,
        "-huge": -HUGE,
        "True": True,
        "False": False,
        "float": 1.0,
        "verbose float": VerboseFloat(1),
        "inf": math.inf,
        "-inf": -math.inf,
        "list": [1],
        "generator": (number for number in [1]),
        "array": Array(),
        "index below": Index(low - 1),
        "index above": Index(high + 1),
        "huge index": Index(HUGE),
        "IntEnum": Level.HUGE,
        "timedelta": timedelta(hours=1, seconds=1),
        "datetime": datetime(2024, 1, 1, tzinfo=UTC),
        "empty": "",
        "digits": "12",
        "digits of others": "\u0661\u0662",
        "hex": "0x10",
        "secret": SECRET,
        "short secret": SHORT_SECRET,
        "surrogate": "\ud800",
        "long string": "1" * 10_000_000,
    }


def numbers(low: int = -SAFE, high: int = SAFE) -> Kind:
    """Make the kind of the integers from ``low`` to ``high``."""
    return functools.partial(_numbers, low, high)


def minutes() -> Cells:
    """Give bad minutes."""
    return _numbers(0, SAFE) | {
        "seconds": timedelta(seconds=90),
        "microseconds": timedelta(minutes=1, microseconds=1),
        "negative timedelta": timedelta(minutes=-1),
        "longest timedelta": timedelta.max,
        "shortest timedelta": timedelta.min,
    }


def discord_id() -> Cells:
    """Give what is not 17 to 19 digits."""
    number = {
        label: value
        for label, value in _numbers(10**16, 10**19 - 1).items()
        if label not in ("digits", "digits of others", "2**53")
    }
    return (
        number
        | _texts()
        | {
            "16 digits": "1" * 16,
            "20 digits": "1" * 20,
            "spaces": " " + "1" * 17,
            "line end": "1" * 17 + "\n",
            "wide digits": "\uff11" * 17,
            "sign": "+" + "1" * 17,
            "IntEnum": Level.ONE,
        }
    )


def booleans() -> Cells:
    """Give what only looks like a truth."""
    return unusable() | {
        "0": 0,
        "1": 1,
        "1.0": 1.0,
        "true": "true",
        "false": "false",
        "empty": "",
        "list": [],
        "Index": Index(1),
        "secret": SECRET,
        "short secret": SHORT_SECRET,
        "huge": HUGE,
    }


def _texts(longest: int | None = None, *, empty: bool = False) -> Cells:
    cells = unusable() | {
        "int": 1,
        "huge": HUGE,
        "True": True,
        "list": ["a"],
        "secret list": [SECRET],
        "generator": (letter for letter in "a"),
        "NUL": f"{SECRET}\x00",
        "line feed": f"{SECRET}\n",
        "carriage return": f"{SHORT_SECRET}\r",
        "tab": "\t",
        "escape": "\x1b[31m",
        "DEL": "a\x7f",
        "C1": "\x85",
        "line separator": "a\u2028",
        "paragraph separator": "\u2029a",
        "high surrogate": f"{SECRET}\ud800",
        "low surrogate": "a\udfff",
        "surrogate pair": "\ud83d\ude00",
        "sly NUL": Sly("a\x00"),
        "sly surrogate": Sly("\ud800"),
    }
    if not empty:
        cells |= {"empty": "", "sly empty": Sly("")}
    if longest:
        cells |= {
            "one over": "a" * (longest + 1),
            "emoji": "\U0001f600" * (longest + 1),
            "10 MB": "a" * 10_000_000,
            "sly length": Sly("a" * (longest + 1)),
            "long secret": SECRET * 10,
        }
    return cells


def texts(longest: int | None = None, *, empty: bool = False) -> Kind:
    """Make the kind of the strings of at most so many characters."""
    return functools.partial(_texts, longest, empty=empty)


def key_parts() -> Cells:
    """Give what can't be a part of a key value or of a device's identifier."""
    return _texts() | {"one over": "a" * 1025, "long string": "1" * 10_000_000}


def pasted_values() -> Cells:
    """Give what is no key value even without the blanks and line ends around it."""
    ends = ("line feed", "carriage return", "line separator", "paragraph separator")
    return {name: value for name, value in key_parts().items() if name not in ends}


def no_hooks() -> Cells:
    """Give what is neither a hook nor several; an empty list is none of them, which is good."""
    cells = instances(null=False)()
    assert cells.pop("list") == []
    return cells


def no_strings() -> Cells:
    """Give what is no string; any string will do."""
    return {name: value for name, value in texts()().items() if not isinstance(value, str)}


def references() -> Cells:
    """Give what refers to no key."""
    number = _numbers(1, SAFE)
    for label in ("digits", "digits of others", "hex", "secret", "short secret"):
        del number[label]  # key values, all of them
    return (
        number
        | _texts()
        | {
            "int": 0,  # 1 is a good one
            "one over": "a" * 1025,
            "emoji over": "\U0001f600" * 257,
            "dot": ".",
            "dots": "..",
            "sly dots": Sly(".."),
            "blank": "   ",
            "no-break space": "\u00a0",
            "Key without ID": At(".id", Key(id=0, key_value=SECRET)),
            "Key of a huge ID": At(".id", Key(id=HUGE, key_value=SHORT_SECRET)),
            "Key of a string": At(".id", Key(id="5", key_value=SECRET)),  # type: ignore[arg-type]
            "Key of a secret": At(".id", Key(id=SECRET, key_value=SECRET)),  # type: ignore[arg-type]
            "Key of a bool": At(".id", Key(id=True, key_value=SECRET)),
            "Key of None": At(".id", Key(id=None, key_value=SECRET)),  # type: ignore[arg-type]
        }
    )


def _lists() -> Cells:
    """Give what is no list, iterable as some of it is. What an iterable raises is its own."""
    odd = {label: value for label, value in unusable().items() if label != "hostile"}
    return odd | {
        "None": None,
        "int": 5,
        "huge": HUGE,
        "True": True,
        "string": SECRET,
        "short string": SHORT_SECRET,
        "word": "FREEKEY",
        "digits": "123",
        "empty string": "",
        "memoryview": memoryview(b"12"),
        "empty dict": {},
        "empty bytes": b"",
    }


def devices() -> Cells:
    """Give bad lists of devices."""
    elements = {
        f"[{label}]": At(f"[1]{value.where}" if isinstance(value, At) else "[1]", ["a", value])
        for label, value in _texts(255).items()
    }
    return (
        _lists()
        | elements
        | {
            "None in it": At("[0]", [None]),
            "list in it": At("[2]", ["a", "b", ["c"]]),
            "generator of a bad one": At("[1]", (value for value in ("a", 5))),
        }
    )


def _several() -> Cells:
    elements = {
        f"[{label}]": At(f"[1]{value.where}", [5, value.value])
        if isinstance(value, At)
        else At("[1]", [5, value])
        for label, value in references().items()
    }
    single = {"Key": Key(id=5, key_value=SECRET), "a Key's digits": "5"}
    return _lists() | elements | single


def several() -> Cells:
    """Give bad lists of keys for one call."""
    return _several() | {
        "no items": [],
        "no items, from a generator": iter([]),
        "1001 items": list(range(1, 1002)),
        "1001 items, from a generator": (number for number in range(1, 1002)),
        "items without end": _endless(),
        "async generator": _async_keys(),
    }


def _endless() -> Iterator[int]:
    yield from range(1, 5000)
    pytest.fail("pulled without end")


async def _async_keys() -> AsyncIterator[int]:
    yield 5


def status() -> Cells:
    """Give what is no status."""
    return _texts() | {
        "upper case": "ACTIVE",
        "unknown": "alive",
        "spaces": " active",
        "member of another": Color.ACTIVE,
        "secret": SECRET,
        "short secret": SHORT_SECRET,
        "list of it": ["active"],
        "Index": Index(1),
    }


def moments() -> Cells:
    """Give what is no moment: naive datetimes first of all."""
    west, east = timezone(timedelta(hours=-1)), timezone(timedelta(hours=1))
    return unusable() | {
        "naive": datetime(2024, 1, 1),  # noqa: DTZ001
        "naive with a zone": datetime(2024, 1, 1, tzinfo=Nowhere()),
        "broken zone": datetime(2024, 1, 1, tzinfo=Broken()),
        "after the year 9999": datetime.max.replace(tzinfo=west),
        "before the year 1": datetime.min.replace(tzinfo=east),
        "date": date(2024, 1, 1),
        "string": "2024-01-01T00:00:00Z",
        "short string": "2024-01-01",
        "timestamp": 1_700_000_000,
        "float timestamp": 1.7e9,
        "huge": HUGE,
        "timedelta": timedelta(days=1),
        "True": True,
        "list": [],
        "secret": SECRET,
        "short secret": SHORT_SECRET,
    }


def _seconds(*, zero: bool) -> Cells:
    cells = unusable() | {
        "None": None,
        "negative": -1,
        "least negative": -math.ulp(0.0),
        "-huge": -HUGE,
        "huge": HUGE,
        "10**400": 10**400,
        "inf": math.inf,
        "-inf": -math.inf,
        "True": True,
        "False": False,
        "digits": "1",
        "secret": SECRET,
        "short secret": SHORT_SECRET,
        "timedelta": timedelta(seconds=1),
        "list": [1],
    }
    return cells if zero else cells | {"0": 0, "0.0": 0.0, "-0.0": -0.0}


def seconds(*, zero: bool = False) -> Kind:
    """Make the kind of the seconds above zero, or from zero on."""
    return functools.partial(_seconds, zero=zero)


def callbacks() -> Cells:
    """Give what can't be called."""
    callable_ones = ("a class", "a function")
    odd = {label: value for label, value in unusable().items() if label not in callable_ones}
    return odd | {"True": True, "0": 0, "empty": "", "secret": SECRET, "list": [print]}


def _instances(*, null: bool) -> Cells:
    cells = unusable() | {
        "0": 0,
        "10": 10,
        "True": True,
        "False": False,
        "empty": "",
        "secret": SECRET,
        "its own class": RetryPolicy,
        "list": [],
        "huge": HUGE,
    }
    return cells if null else cells | {"None": None}


def instances(*, null: bool) -> Kind:
    """Make the kind of the values of a class of ours."""
    return functools.partial(_instances, null=null)


# --- the operations -------------------------------------------------------------------------------

CALLING, AWAITING = "calling", "awaiting"
"""When an operation refuses its arguments."""


@attrs.frozen
class Operation:
    """An operation, good arguments for it, and the kind of each argument."""

    call: Callable[..., Any]
    when: str
    kinds: dict[str, Kind]
    good: dict[str, Any] = attrs.field(factory=dict)
    prefix: str = ""


SETTINGS: dict[str, Kind] = {
    "service_id": numbers(),
    "folder_id": numbers(1),
    "key_name": texts(255, empty=True),
    "validity_minutes": minutes,
    "hwid": texts(255, empty=True),
    "discord_id": discord_id,
    "is_premium": required(booleans),
    "one_time_use": required(booleans),
    "expiry_on_first_use": required(booleans),
    "no_hwid": required(booleans),
    "hwid_limit": numbers(0, 100),
}
NEW = {"provider_id": required(numbers(1))} | SETTINGS
BATCH = NEW | {"service_id": numbers(1)}
CHANGES = {name: kind for name, kind in SETTINGS.items() if name not in ("service_id", "hwid")} | {
    "expires_at": moments,
    "is_invalidated": required(booleans),
    "hwids": devices,
}
FILTERS: dict[str, Kind] = {
    "discord_id": discord_id,
    "key": key_parts,
    "hwid": key_parts,
    "service_id": numbers(),
    "provider_id": numbers(),
    "folder_id": numbers(),
    "status": status,
    "expires_before": moments,
    "expires_after": moments,
}
KEY: dict[str, Kind] = {"key": required(references)}
ONE, ONE_KEY = {"provider_id": 1}, {"key": 5}


def method(name: str) -> Callable[..., Any]:
    """Give a function that calls an operation of a client's `keys`."""
    return lambda client, **arguments: getattr(client.keys, name)(**arguments)


OPERATIONS: dict[str, Operation] = {
    "list": Operation(
        method("list"),
        CALLING,
        {
            "page": required(numbers(1)),
            "limit": required(numbers(1, 100)),
            "prefetch": required(numbers(1, 64)),
            "strict": required(booleans),
            "skip_bad_rows": required(booleans),
        }
        | FILTERS,
    ),
    "stats": Operation(
        method("stats"),
        AWAITING,
        {"days": required(numbers(1, 366)), "strict": required(booleans), "on_progress": callbacks}
        | FILTERS,
    ),
    "get": Operation(method("get"), AWAITING, KEY),
    "find": Operation(method("find"), AWAITING, {"key_value": required(pasted_values)}),
    "verify": Operation(
        method("verify"),
        AWAITING,
        {
            "key_value": required(no_strings),
            "hwid": texts(255),
            "discord_id": discord_id,
            "service_id": numbers(),
            "premium": booleans,
            "max_age": required(seconds(zero=True)),
            "stale_if_error": required(seconds(zero=True)),
        },
        {"key_value": "k"},
    ),
    "create": Operation(method("create"), AWAITING, NEW | {"hwids": devices}, ONE),
    "create_batch": Operation(
        method("create_batch"),
        AWAITING,
        BATCH | {"amount": required(numbers(1, 100))},
        ONE | {"amount": 1},
    ),
    "create_many": Operation(
        method("create_many"),
        CALLING,
        BATCH
        | {
            "amount": required(numbers(1)),
            "concurrency": required(numbers(1, 1000)),
            "on_progress": callbacks,
        },
        ONE | {"amount": 1},
    ),
    "update": Operation(method("update"), AWAITING, KEY | CHANGES, ONE_KEY | {"is_premium": True}),
    "update_many": Operation(
        method("update_many"),
        CALLING,
        {"keys": _several, "concurrency": required(numbers(1, 1000)), "on_progress": callbacks}
        | CHANGES,
        {"keys": [5], "is_premium": True},
    ),
    "update_many of pairs": Operation(
        lambda client, **fields: client.keys.update_many([(5, fields)]),
        CALLING,
        CHANGES,
        {"is_premium": True},
        prefix="keys[0].",
    ),
    "invalidate": Operation(method("invalidate"), AWAITING, KEY),
    "revalidate": Operation(method("revalidate"), AWAITING, KEY),
    "delete": Operation(method("delete"), AWAITING, KEY),
    "delete_many": Operation(
        method("delete_many"),
        CALLING,
        {"keys": _several, "concurrency": required(numbers(1, 1000)), "on_progress": callbacks},
        {"keys": [5]},
    ),
    "bulk_delete": Operation(method("bulk_delete"), AWAITING, {"keys": several}),
    "purge": Operation(
        method("purge"),
        AWAITING,
        {name: required(kind) for name, kind in FILTERS.items()}
        | {"everything": required(booleans), "on_progress": callbacks},
        {"provider_id": 1},
    ),
    "reset_hwid": Operation(method("reset_hwid"), AWAITING, KEY),
    "reset_hwid_many": Operation(
        method("reset_hwid_many"),
        CALLING,
        {"keys": _several, "concurrency": required(numbers(1, 1000)), "on_progress": callbacks},
        {"keys": [5]},
    ),
    "folders": Operation(method("folders"), AWAITING, {}),
    "collect": Operation(
        lambda client, **arguments: client.keys.list().collect(**arguments),
        AWAITING,
        {"limit": numbers(0)},
    ),
    "JunkieClient": Operation(
        lambda client, **arguments: JunkieClient("k", base_url=client.base_url, **arguments),
        CALLING,
        {
            "timeout": seconds(),
            "max_in_flight": required(numbers(1, 10_000)),
            "retry": instances(null=False),
            "rate_limit": instances(null=True),
            "session": instances(null=True),
            "throttle": instances(null=True),
            "trust_env": booleans,
            "hooks": no_hooks,
        },
    ),
    "RetryPolicy": Operation(
        lambda _, **arguments: RetryPolicy(**arguments),
        CALLING,
        {"attempts": required(numbers(1, 100))}
        | dict.fromkeys(
            ("wait_initial", "wait_max", "wait_jitter", "retry_after_cap", "deadline", "outage"),
            seconds(zero=True),
        ),
        prefix="RetryPolicy.",
    ),
    "RateLimit": Operation(
        lambda _, **arguments: RateLimit(**arguments),
        CALLING,
        {"requests": seconds(), "per": seconds()},
        {"requests": 1},
        prefix="RateLimit.",
    ),
}
ARGUMENTS = [
    pytest.param(operation, field, id=f"{name}-{field}")
    for name, operation in OPERATIONS.items()
    for field in operation.kinds
]


# --- the tests ------------------------------------------------------------------------------------


@pytest.fixture
async def listener() -> AsyncIterator[Service]:
    """A service that hangs up on whoever comes."""
    async with Service(lambda _: DROP) as listener:
        yield listener


@pytest.fixture
async def client(listener: Service) -> AsyncIterator[JunkieClient]:
    """A client of it that never tries twice."""
    retry = RetryPolicy(attempts=1)
    async with JunkieClient("k", base_url=listener.url, retry=retry, timeout=0.3) as client:
        yield client


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the aiohttp sessions that are opened."""
    opened: Counter[str] = Counter()
    initialise = aiohttp.ClientSession.__init__

    def count(*args: Any, **options: Any) -> None:
        opened["sessions"] += 1
        initialise(*args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", count)
    return opened


async def outcome(call: Callable[[], Any]) -> tuple[str, Exception | None]:
    """Make a call, and tell when it raised what."""
    try:
        made = call()
    except Exception as error:
        return CALLING, error
    if not hasattr(made, "__await__"):
        return "never", None
    try:
        await asyncio.wait_for(made, 5)
    except Exception as error:
        return AWAITING, error
    return "never", None


def faults(error: Exception | None, field: str) -> Iterator[str]:
    """Say what is wrong with a refusal of ``field``."""
    if type(error) is not InvalidRequestError:
        yield f"not refused, but {type(error).__name__}"
        return
    text = str(error)
    if error.field != field:
        yield f"names the field {error.field}, not {field}"
    if not (error.value and error.limit and error.value in text and error.limit in text):
        yield "does not name the value and the limit"
    if not text.startswith(f"{field} must be "):
        yield "does not begin with the field"
    if len(text) >= 300:
        yield f"has {len(text)} characters"
    if not (text.replace("…", "").isascii() and text.isprintable()):
        yield "is neither printable ASCII nor the mask"
    if any(part in text + repr(error) for part in SHOWN):
        yield "shows a key value"
    if (error.outcome, error.attempts, error.transient) != (Outcome.NOT_EXECUTED, 0, False):
        yield "claims that something was sent"
    if error.__cause__ or error.__context__:
        yield "has an error hanging on it"


@pytest.mark.parametrize(("operation", "field"), ARGUMENTS)
async def test_refused_before_anything_is_sent(
    listener: Service,
    client: JunkieClient,
    sessions: Counter[str],
    operation: Operation,
    field: str,
) -> None:
    """Each bad value of each argument is refused, at the moment stated, without any I/O."""
    wrong = []
    for label, cell in operation.kinds[field]().items():
        where, value = (cell.where, cell.value) if isinstance(cell, At) else ("", cell)
        call = functools.partial(operation.call, client, **operation.good | {field: value})
        when, error = await outcome(call)
        wrong += [f"{label}: {what}" for what in faults(error, operation.prefix + field + where)]
        if isinstance(error, InvalidRequestError) and when != operation.when:
            wrong.append(f"{label}: raised when {when}")
    assert not wrong, "\n".join(wrong)
    assert (listener.connections, sessions.total()) == (0, 0)


async def test_what_is_sent_would_be_seen(
    listener: Service, client: JunkieClient, sessions: Counter[str]
) -> None:
    """A good call opens a session and a connection, which the tests above would have counted."""
    with pytest.raises(JunkieError):
        await client.keys.get(5)
    assert (listener.connections, sessions.total()) == (1, 1)


def test_every_argument_is_in_the_table() -> None:
    """Whatever the operations and constructors take has its kind in the table."""
    variable = {
        "list": Filters,
        "stats": Filters,
        "purge": Filters,
        "create": CreateFields,
        "create_batch": BatchFields,
        "create_many": BatchFields,
        "update": UpdateFields,
        "update_many": UpdateFields,
    }
    public = {name for name in vars(Keys) if not name.startswith("_")}
    others = {"collect", "update_many of pairs", "JunkieClient", "RetryPolicy", "RateLimit"}
    assert public | others == OPERATIONS.keys()
    targets: dict[str, Any] = {name: getattr(Keys, name) for name in public}
    targets |= {"JunkieClient": JunkieClient, "RetryPolicy": RetryPolicy, "RateLimit": RateLimit}
    for name, target in targets.items():
        names = set(inspect.signature(target).parameters) - {
            *("self", "fields", "filters", "changes"),
            *("api_key", "base_url"),  # ConfigurationError
            *("app", "proxy", "ssl"),  # test_user_agent.py, test_proxy.py, test_tls.py
            # tested with the ledger
            *("ledger", "reconcile_after", "marker", "job", "idempotency_key"),
        }
        if name in variable:
            names |= get_type_hints(variable[name]).keys()
        assert names == OPERATIONS[name].kinds.keys(), name


@pytest.mark.parametrize("name", ["create", "create_batch", "create_many", "list", "purge"])
@pytest.mark.parametrize("field", ["provider_id", "service_id", "folder_id"])
async def test_digits_where_an_id_is_meant(client: JunkieClient, name: str, field: str) -> None:
    """A string of digits is no ID, and the limit says how to make one of it."""
    operation = OPERATIONS[name]
    call = functools.partial(operation.call, client, **operation.good | {field: "42"})
    _, error = await outcome(call)
    assert isinstance(error, InvalidRequestError)
    assert (error.field, error.value) == (field, "the string '42'")
    assert error.limit == "an integer, such as 123 or int(os.environ[...])"


@pytest.mark.parametrize("value", [0, 2**53, 5.0, b"5", None], ids=repr)
async def test_references_say_how_to_pass_each(client: JunkieClient, value: Any) -> None:
    """The limit of a bad reference says how an ID is passed, and how a key value."""
    with pytest.raises(InvalidRequestError) as caught:
        await client.keys.get(value)
    limit = "a key's ID (an int from 1 to 9007199254740991), its value (a str) or a Key"
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda keys: keys.bulk_delete(list(range(1, 1002))), "1 to 1000"),
        (lambda keys: keys.bulk_delete([]), "1 to 1000"),
        (lambda keys: keys.create_batch(provider_id=1, amount=101), "1 to 100"),
        (lambda keys: keys.list(limit=101), "1 to 100"),
        (lambda keys: keys.list(prefetch=65), "1 to 64"),
        (lambda keys: keys.delete_many([], concurrency=1001), "1 to 1000"),
        (lambda keys: keys.create(provider_id=1, hwids=["a" * 256]), "at most 255 characters"),
    ],
)
async def test_limits_are_named(client: JunkieClient, call: Any, words: str) -> None:
    """One too many, and the message says how many there may be."""
    _, error = await outcome(functools.partial(call, client.keys))
    assert isinstance(error, InvalidRequestError)
    assert words in error.limit.replace("from ", "")


@pytest.mark.parametrize(
    "name", ["list", "create", "create_batch", "create_many", "update", "purge"]
)
@pytest.mark.parametrize("value", [1, None, UNSET], ids=repr)
async def test_unknown_arguments(
    listener: Service, client: JunkieClient, name: str, value: object
) -> None:
    """A misspelt argument is a TypeError, as with any function, and is not sent."""
    operation = OPERATIONS[name]
    arguments = operation.good | {"folder_idd": value}
    _, error = await outcome(functools.partial(operation.call, client, **arguments))
    text = f"{name}() got an unexpected keyword argument 'folder_idd': did you mean folder_id?"
    assert str(error) == text
    assert type(error) is TypeError
    assert listener.connections == 0


async def test_nothing_to_do(listener: Service, client: JunkieClient) -> None:
    """An update of nothing and a purge of no one knows what are refused; no keys are no work."""
    for call in (
        functools.partial(client.keys.update, 5),
        functools.partial(client.keys.update, 5, is_premium=UNSET),
        client.keys.purge,
        functools.partial(client.keys.purge, status=UNSET),
        functools.partial(client.keys.purge, status="expired", everything=True),
    ):
        _, error = await outcome(call)
        assert type(error) is InvalidRequestError
    assert await client.keys.delete_many([]) == DeleteReport(requested=0)
    assert listener.connections == 0


@pytest.mark.parametrize(
    "arguments",
    [
        *({"api_key": key} for key in ("", 5, True, b"key", "a b", "k\n", "é", "\ud800", ["k"])),
        *(
            {"api_key": "k", "base_url": url}
            for url in ("", 5, b"https://a", "a.b", "ftp://a", "http://a")
        ),
        *(
            {"api_key": "k", "base_url": url}
            for url in ("https://u:p@a", "https://a/?k=v", "https://")
        ),
    ],
    ids=repr,
)
def test_bad_configuration(arguments: Any) -> None:
    """A bad API key or base URL is a ConfigurationError, which shows neither."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient(**arguments)
    assert len(str(caught.value)) < 300
    assert "u:p" not in str(caught.value)


# --- an iterator that turns bad on the way --------------------------------------------------------


def type_name(value: object) -> str:
    """Name a parameter: pytest's own names would write out 5000 digits."""
    return type(value).__name__


def deletes(request: Request) -> bytes:
    """Answer a bulk-delete: every key was there."""
    count = len(json.loads(request.body)["keys"])
    return http(200, json.dumps({"deleted": count, "requested": count}).encode())


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("bad", ["..", "", 0, True, None, f"{SECRET}\n", HUGE], ids=type_name)
async def test_bad_key_in_an_iterator(bad: Any, asynchronous: bool) -> None:
    """A job tells what it had done when a bad key came, and which key that was."""
    keys = itertools.chain(range(1, 1501), [bad], range(2000, 9000))

    async def walk() -> AsyncIterator[Any]:
        for key in keys:
            yield key

    async with Service(deletes) as service, JunkieClient("k", base_url=service.url) as client:
        with pytest.raises(BatchError) as caught:
            await client.keys.delete_many(walk() if asynchronous else keys)
    error = caught.value
    assert error.report == DeleteReport(requested=1500, deleted=1000, failed=500)
    assert isinstance(error.__cause__, InvalidRequestError)
    assert not list(faults(error.__cause__, "keys[1500]"))
    assert str(error.__cause__) in str(error)
    assert len(service.requests) == 1
    assert json.loads(service.requests[0].body) == {"keys": list(range(1, 1001))}


# --- odd, but good --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        *((Index(5), "5"), (Level.ONE, "1"), (SAFE, str(SAFE)), (Key(id=5, key_value="."), "5")),
        *((value, value) for value in ("%2e%2e", "%2E", "a/../b", "/", "...", " x", "a?b#c", "+%")),
        *(
            (Sly("JNK-1"), "JNK-1"),
            ("\u00e9\U0001f600", "\u00e9\U0001f600"),
            ("x" * 1024, "x" * 1024),
        ),
    ],
    ids=type_name,
)
async def test_odd_references_arrive_as_they_are(given: Any, taken: str) -> None:
    """A reference is one segment of the path, whatever it is made of."""
    key = {"id": int(taken) if taken.isdigit() else 5, "key_value": taken}
    answer = http(200, json.dumps({"key": key}).encode())
    async with Service(lambda _: answer) as service, JunkieClient("k", base_url=service.url) as it:
        await it.keys.get(given)
    assert [request.target.count("/") for request in service.requests] == [2]
    assert unquote(service.requests[0].target) == f"/keys/{taken}"
