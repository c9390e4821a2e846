"""What the logging hooks write, to the standard library's logging and to structlog."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger, capture_logs

from junkie_async.ext.logging import LoggingHooks
from junkie_async.ext.structlog import StructlogHooks

from ._traffic import EVERYTHING, KEY_VALUE, everything, traffic

LOUD = {"retry", "pause"}
FIELDS = {
    "attempt": {"method", "path", "url", "attempt", "seconds", "status", "error"},
    "retry": {"method", "path", "attempt", "seconds", "error"},
    "pause": {"seconds", "from_server", "ceiling"},
    "job": {"job", "keys", "done", "total"},
}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Give the fields that are a record's beyond those of all records."""
    return {
        name.removeprefix("junkie_"): value
        for name, value in vars(record).items()
        if name.startswith("junkie_")
    }


async def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each event is a line with the event's fields; retries and pauses are warnings."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    await everything(LoggingHooks())
    records = [record for record in caplog.records if record.name == "junkie_async.ext.logging"]
    warnings = [record.levelno == logging.WARNING for record in records]
    assert warnings == [name in LOUD for name in EVERYTHING]
    assert [extras(record).keys() for record in records] == [FIELDS[name] for name in EVERYTHING]
    words = [record.getMessage() for record in records]
    assert words[0].startswith("GET /keys/{keyId}: 503, attempt 1, ")
    assert words[1].startswith("GET /keys/{keyId}: sent again after ServerError, attempt 2, ")
    assert words[4].startswith("too many requests: all wait for 0.")
    assert words[4].endswith(" s, then 1 at once")
    assert words[8] == "create_many: 100 keys of 150"
    assert words[12] == "delete_many: 151 keys of 151"
    assert extras(records[1])["error"] == "ServerError"
    assert KEY_VALUE not in f"{words}{[vars(record) for record in records]}"


async def test_a_logger_and_a_level_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    """What is not wanted is not made."""
    logger = logging.getLogger("tests.shop")
    caplog.set_level(logging.INFO, "tests.shop")
    await everything(LoggingHooks(logger, logging.DEBUG))
    named = [record for record in caplog.records if record.name == "tests.shop"]
    assert [record.levelno for record in named] == [logging.WARNING] * 3
    caplog.clear()
    logger.setLevel(logging.ERROR)
    await everything(LoggingHooks(logger))
    assert not [record for record in caplog.records if record.name == "tests.shop"]


async def test_a_job_without_an_end_in_sight(caplog: pytest.LogCaptureFixture) -> None:
    """A job over an iterator says how far it is, but not of how much."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    async with traffic(LoggingHooks()) as (junkie, _):
        await junkie.keys.delete_many(iter([7, 8]))
    assert caplog.messages[-1] == "delete_many: 2 keys"


async def test_structured() -> None:
    """Each event is an entry of key-value pairs; retries and pauses are warnings."""
    with capture_logs() as logs:
        await everything(StructlogHooks())
    entries = [entry for entry in logs if entry["event"].startswith("junkie.")]
    assert [entry.pop("event") for entry in entries] == [f"junkie.{name}" for name in EVERYTHING]
    levels = ["warning" if name in LOUD else "info" for name in EVERYTHING]
    assert [entry.pop("log_level") for entry in entries] == levels
    assert [entry.keys() for entry in entries] == [FIELDS[name] for name in EVERYTHING]
    assert entries[0]["status"] == 503
    assert entries[1]["error"] == "ServerError"
    assert entries[5]["error"] == "RateLimitError"
    assert entries[8] == {"job": "create_many", "keys": 100, "done": 100, "total": 150}
    assert KEY_VALUE not in str(entries)


async def test_structured_with_the_callers_context() -> None:
    """What a handler has bound for its request is on the attempts that it causes."""
    written = CapturingLogger()
    logger = structlog.wrap_logger(
        written,
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.KeyValueRenderer(),
        ],
    )
    async with traffic(StructlogHooks(logger)) as (junkie, _):
        with structlog.contextvars.bound_contextvars(request_id="r-1"):
            await junkie.keys.get(KEY_VALUE)
        await junkie.keys.get(KEY_VALUE)
    assert ["r-1" in call.args[0] for call in written.calls] == [True, False]
