"""Optional libraries: loaded by those who ask for them, and named when they are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("extra", ["fastapi", "opentelemetry", "structlog"])
def test_a_missing_library_names_its_extra(extra: str) -> None:
    """The error says what to install."""
    done = python(f"import sys; sys.modules['{extra}'] = None; import junkie_async.ext.{extra}")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError")
    assert f'pip install "junkie_async[{extra}]"' in last


@pytest.mark.parametrize("name", ["aiohttp", "logging"])
def test_some_need_no_extra(name: str) -> None:
    """The core's own libraries and the standard one are enough for them."""
    missing = ("fastapi", "starlette", "pydantic", "opentelemetry", "structlog", "jsonschema_rs")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({missing}))"
    assert python(f"{blocked}; import junkie_async.ext.{name}").returncode == 0


def test_nothing_is_loaded_unasked() -> None:
    """The root brings none of it."""
    done = python("import junkie_async, sys; print(*sys.modules)")
    loaded = set(done.stdout.split())
    assert "junkie_async._hooks" in loaded
    assert not loaded & {
        "junkie_async.ext",
        "fastapi",
        "opentelemetry",
        "structlog",
        "logging.config",
    }
