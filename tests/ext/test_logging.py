"""The logging hooks, for the standard library and for structlog."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger, capture_logs

from junkie_async.ext.logging import LoggingHooks
from junkie_async.ext.structlog import StructlogHooks

from ._traffic import EVENTS, KEY_VALUE, cause_all_events, traffic

WARNINGS = {"retry", "pause"}
FIELDS = {
    "attempt": {"method", "path", "url", "attempt", "seconds", "status", "error", "request_id"},
    "retry": {"method", "path", "attempt", "seconds", "error"},
    "pause": {"seconds", "from_server", "ceiling"},
    "job": {"job", "keys", "done", "total", "waiting"},
}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return the attributes that the hooks add to a record."""
    return {
        name.removeprefix("junkie_"): value
        for name, value in vars(record).items()
        if name.startswith("junkie_")
    }


async def test_records(caplog: pytest.LogCaptureFixture) -> None:
    """Each event is a record with the event's fields; retries and pauses are warnings."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    await cause_all_events(LoggingHooks())
    records = [record for record in caplog.records if record.name == "junkie_async.ext.logging"]
    warnings = [record.levelno == logging.WARNING for record in records]
    assert warnings == [name in WARNINGS for name in EVENTS]
    assert [extras(record).keys() for record in records] == [FIELDS[name] for name in EVENTS]
    lines = [record.getMessage() for record in records]
    assert extras(records[1])["error"] == "ServerError"
    assert KEY_VALUE not in f"{lines}{[vars(record) for record in records]}"


async def test_another_logger_and_level(caplog: pytest.LogCaptureFixture) -> None:
    """Records go to the given logger; those below its level are not created."""
    logger = logging.getLogger("tests.shop")
    caplog.set_level(logging.INFO, "tests.shop")
    await cause_all_events(LoggingHooks(logger, logging.DEBUG))
    named = [record for record in caplog.records if record.name == "tests.shop"]
    assert [record.levelno for record in named] == [logging.WARNING] * 3
    caplog.clear()
    logger.setLevel(logging.ERROR)
    await cause_all_events(LoggingHooks(logger))
    assert not [record for record in caplog.records if record.name == "tests.shop"]


async def test_a_job_without_a_total(caplog: pytest.LogCaptureFixture) -> None:
    """The record of a job over an iterator has no total."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    async with traffic(LoggingHooks()) as (junkie, _):
        await junkie.keys.delete_many(iter([7, 8]))
    assert extras(caplog.records[-1])["total"] is None


async def test_structlog() -> None:
    """Each event is an entry with key-value pairs; retries and pauses are warnings."""
    with capture_logs() as logs:
        await cause_all_events(StructlogHooks())
    entries = [entry for entry in logs if entry["event"].startswith("junkie.")]
    assert [entry.pop("event") for entry in entries] == [f"junkie.{name}" for name in EVENTS]
    levels = ["warning" if name in WARNINGS else "info" for name in EVENTS]
    assert [entry.pop("log_level") for entry in entries] == levels
    renamed = {"request_id": "service_request_id"}  # web apps bind one of their own
    expected = [{renamed.get(field, field) for field in FIELDS[name]} for name in EVENTS]
    assert [entry.keys() for entry in entries] == expected
    assert entries[0]["status"] == 503
    assert entries[1]["error"] == "ServerError"
    assert entries[5]["error"] == "RateLimitError"
    assert entries[8] == {
        "job": "create_many",
        "keys": 100,
        "done": 100,
        "total": 150,
        "waiting": 0.0,
    }
    assert KEY_VALUE not in str(entries)


async def test_structlog_with_the_callers_context() -> None:
    """Context variables of the caller are on the entries of its attempts."""
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
