"""The emulator's texts: what provokes each, and the whole text."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import MultiDict

from junkie_async.emulator import Emulator, Faults
from junkie_async.emulator.request_validation import BadRequestError, load_operations
from junkie_async.emulator.store import Store

OPERATIONS = {operation.operation_id: operation for operation in load_operations()}
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the defect

RATE = "must be a number from 0 to 1, got"
STATUSES = "error_status must be one or more statuses from 400 to 599, got"
RETRY_AFTER = "retry_after must be an integer >= 0 (seconds), or None, got"
LATENCY = "latency must be a finite number of seconds >= 0, or a (least, most) pair of them, got"
OPERATION_IDS = "operations must be operationIds of the contract, got"
COLUMNS = [
    "created_at",
    "discord_id",
    "expires_at",
    "expiry_on_first_use",
    "folder_id",
    "hwid_limit",
    "hwids",
    "is_invalidated",
    "is_premium",
    "key_name",
    "key_value",
    "no_hwid",
    "one_time_use",
    "provider_id",
    "service_id",
    "used_at",
    "user_id",
    "validity_minutes",
]
SUM = "error_rate + drop_before_rate + drop_after_rate + throttle_rate must be at most 1, got 1.25"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"error_rate": 1.1}, f"error_rate {RATE} 1.1"),
        ({"drop_before_rate": -0.1}, f"drop_before_rate {RATE} -0.1"),
        ({"drop_after_rate": math.nan}, f"drop_after_rate {RATE} nan"),
        ({"throttle_rate": math.inf}, f"throttle_rate {RATE} inf"),
        ({"error_rate": 0.5, "throttle_rate": 0.75}, SUM),
        ({"error_status": 399}, f"{STATUSES} (399,)"),
        ({"error_status": [500, 600]}, f"{STATUSES} (500, 600)"),
        ({"error_status": ()}, f"{STATUSES} ()"),
        ({"throttle_burst": 0}, "throttle_burst must be an integer >= 1, got 0"),
        ({"throttle_burst": 1.5}, "throttle_burst must be an integer >= 1, got 1.5"),
        ({"retry_after": -1}, f"{RETRY_AFTER} -1"),
        ({"retry_after": 0.5}, f"{RETRY_AFTER} 0.5"),
        ({"latency": -1}, f"{LATENCY} (-1, -1)"),
        ({"latency": math.inf}, f"{LATENCY} (inf, inf)"),
        ({"latency": (0, math.nan)}, f"{LATENCY} (0, nan)"),
        ({"latency": (2, 1)}, f"{LATENCY} (2, 1)"),
        ({"latency": (1, 2, 3)}, f"{LATENCY} (1, 2, 3)"),
        ({"operations": ["createKeys"]}, f"{OPERATION_IDS} frozenset({{'createKeys'}})"),
        ({"operations": "createKeys"}, f"{OPERATION_IDS} frozenset({{'createKeys'}})"),
    ],
)
def test_invalid_faults(options: dict[str, Any], text: str) -> None:
    """The text names the field, its limit and the value."""
    with pytest.raises(ValueError) as caught:
        Faults(**options)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("provoke", "text"),
    [
        (lambda: Emulator(rate_limit=0), "rate_limit must be a finite number > 0, got 0"),
        (lambda: Emulator(rate_limit=math.nan), "rate_limit must be a finite number > 0, got nan"),
        (
            lambda: Emulator(rate_limit=1, rate_limit_burst=0.99),
            "rate_limit_burst must be a finite number >= 1, got 0.99",
        ),
        (
            lambda: Emulator(rate_limit_burst=0),
            "rate_limit_burst must be a finite number >= 1, got 0",
        ),
        (
            lambda: Emulator(api_keys={"secret": 0}),
            "the rate limit of an API key must be a finite number > 0, got 0",
        ),
        (
            lambda: Emulator(latency=-1),
            "latency must be a finite number of seconds >= 0, got -1",
        ),
        (
            lambda: Emulator(host="junkie"),
            "host must be an IP address, got 'junkie'",
        ),
        (
            lambda: Emulator(host="0.0.0.0"),
            (
                "0.0.0.0 can be reached by others, so an API key is required: one that begins with"
                " test-, such as test-ci"
            ),
        ),
        (
            lambda: Emulator(host="0.0.0.0", api_keys={"real"}),
            (
                "0.0.0.0 can be reached by others, so API keys must begin with test-, as no key of"
                " the service does: test-ci, for example"
            ),
        ),
    ],
)
def test_invalid_settings(provoke: Callable[[], object], text: str) -> None:
    """The text names the setting, its limit and the value."""
    with pytest.raises(ValueError) as caught:
        provoke()
    assert str(caught.value) == text


async def test_lifetime() -> None:
    """The text says what to do."""
    not_running = "the emulator is not running: use `async with Emulator()`"
    emulator = Emulator()
    with pytest.raises(RuntimeError) as caught:
        _ = emulator.url
    assert str(caught.value) == not_running
    with pytest.raises(RuntimeError) as caught:
        await emulator.count()
    assert str(caught.value) == not_running
    async with emulator:
        with pytest.raises(RuntimeError) as caught:
            await emulator.start()
        assert str(caught.value) == "the emulator is already running"


@pytest.mark.parametrize(
    ("amount", "columns", "text"),
    [
        (-1, {}, "amount must be an integer >= 0, got -1"),
        (
            1,
            {"nonsense": 1},
            f"unknown columns nonsense: choose from {COLUMNS}",
        ),
        (1, {"expires_at": NAIVE}, "a moment must have a UTC offset, such as datetime.UTC"),
    ],
)
async def test_invalid_seeds(amount: int, columns: dict[str, Any], text: str) -> None:
    """The text names the amount, the column or the moment."""
    async with Emulator() as emulator:
        with pytest.raises((TypeError, ValueError)) as caught:
            await emulator.seed(amount, **columns)
    assert str(caught.value) == text


async def test_use_of_an_unknown_key() -> None:
    """The key value is not repeated."""
    async with Emulator() as emulator:
        with pytest.raises(LookupError) as caught:
            await emulator.mark_used("JNK-NONE")
    assert str(caught.value) == "there is no such key"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """Another program's database, and a file that another store has open."""
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE ledger (x)")
    other.close()
    with pytest.raises(ValueError) as refused:
        Store(str(tmp_path / "other.db"))
    assert str(refused.value) == "db is not a database of this version of the emulator"
    first = Store(str(tmp_path / "keys.db"))
    with pytest.raises(sqlite3.OperationalError) as locked:
        Store(str(tmp_path / "keys.db"))
    assert str(locked.value) == "database is locked"
    first.close()


def test_missing_extra() -> None:
    """Without jsonschema-rs, the import error names the extra."""
    program = """
        import sys
        sys.modules["jsonschema_rs"] = None
        try:
            import junkie_async.emulator
        except ImportError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = 'The emulator needs jsonschema-rs: pip install "junkie_async[emulator]"\n'
    assert done.stdout == expected


@pytest.mark.parametrize(
    ("operation", "content_type", "body", "text"),
    [
        ("createKey", "text/plain", b"{}", "body: must be sent as application/json"),
        ("createKey", "application/json", b"{", "body: is not valid JSON"),
        ("createKey", "application/json", b'{"provider_id": NaN}', "body: is not valid JSON"),
        (
            "createKey",
            "application/json",
            b'{"provider_id": 1, "hwids": ["a", 5]}',
            'hwids.1: value is not of type "string"',
        ),
    ],
)
def test_invalid_bodies(operation: str, content_type: str, body: bytes, text: str) -> None:
    """The text begins with the field and does not repeat the value."""
    with pytest.raises(BadRequestError) as caught:
        OPERATIONS[operation].validate_body(content_type, body)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ([("limit", "1"), ("limit", "2")], "limit: must not be repeated"),
        ([("limit", "101")], "limit: value is greater than the maximum of 100"),
    ],
)
def test_invalid_parameters(query: list[tuple[str, str]], text: str) -> None:
    """The text begins with the parameter."""
    with pytest.raises(BadRequestError) as caught:
        OPERATIONS["listKeys"].validate_parameters(MultiDict(query), {})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("settings", "method", "path", "headers", "status", "text"),
    [
        ({}, "GET", "/keys/99", {}, 404, "Key not found"),
        ({}, "GET", "/nothing", {}, 404, "Not found"),
        ({}, "DELETE", "/keys", {}, 405, "Method not allowed"),
        ({}, "GET", "/keys", {"Authorization": "Basic x"}, 401, "Invalid API key"),
        (
            {},
            "POST",
            "/keys",
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            400,
            "The request's body can't be read",
        ),
        ({"faults": Faults(error_rate=1)}, "GET", "/keys", {}, 503, "Injected fault"),
        ({"faults": Faults(throttle_rate=1)}, "GET", "/keys", {}, 429, "Injected fault"),
    ],
)
async def test_error_responses(
    settings: dict[str, Any],
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    text: str,
) -> None:
    """The body is ``{"error": ...}``, whatever refused the request."""
    sent = {"Authorization": "Bearer x", **headers}
    async with (
        Emulator(**settings) as emulator,
        aiohttp.ClientSession() as session,
        session.request(method, emulator.url + path, headers=sent, data=b"{}") as response,
    ):
        assert response.status == status
        assert json.loads(await response.read()) == {"error": text}


async def test_rate_limited_response() -> None:
    """A request beyond the limit is told so."""
    headers = {"Authorization": "Bearer x"}
    async with (
        Emulator(rate_limit=0.01) as emulator,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        for _ in range(2):
            async with session.get(emulator.url + "/keys") as response:
                body = json.loads(await response.read())
    assert (response.status, body) == (429, {"error": "Too many requests"})
