"""Optional libraries: loaded by those who ask for them, and named when they are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("library", "module", "extra"),
    [
        ("discord", "ext.discord", "discord"),
        ("fastapi", "ext.fastapi", "fastapi"),
        ("opentelemetry", "ext.opentelemetry", "opentelemetry"),
        ("structlog", "ext.structlog", "structlog"),
        ("jsonschema_rs", "emulator", "emulator"),
        ("pytest", "pytest_plugin", "pytest"),
        ("jsonschema_rs", "pytest_plugin", "pytest"),
        ("typer", "__main__", "cli"),
        ("rich", "__main__", "cli"),
    ],
)
def test_a_missing_library_names_its_extra(library: str, module: str, extra: str) -> None:
    """The error says what to install."""
    start = f"from junkie_async.{module} import main; main()"
    do = start if module == "__main__" else f"import junkie_async.{module}"
    done = python(f"import sys; sys.modules['{library}'] = None; {do}")
    assert done.returncode == 1
    assert f'pip install "junkie_async[{extra}]"' in done.stderr.strip().splitlines()[-1]


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
