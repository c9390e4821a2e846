"""What the unit tests share: the published contract, and how hypothesis runs."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from .job_service import Service

# The same examples in every run; no deadline, since CI machines stall.
settings.register_profile(
    "unit",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("unit")

CONTRACT: Final[dict[str, Any]] = json.loads(
    (importlib.resources.files("junkie_async") / "emulator" / "openapi.json").read_text("utf-8")
)
"""The published contract, read from the package without importing the emulator."""


def body_schema(path: str, method: str) -> dict[str, Any]:
    """Give the schema of a request's JSON body."""
    operation = CONTRACT["paths"][path][method]
    schema: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


def component(name: str) -> dict[str, Any]:
    """Give a schema of the contract by its name."""
    schema: dict[str, Any] = CONTRACT["components"]["schemas"][name]
    return schema


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Create a service for jobs; no task may be left running after the test."""
    yield Service()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the process's time zone; CI machines are in UTC."""
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of a process is not its own")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()
