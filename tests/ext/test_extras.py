"""Optional libraries: loaded only on request, and named when they are missing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import junkie_async.__main__
import junkie_async.cli
import junkie_async.emulator
import junkie_async.pytest_plugin

OPTIONAL = (
    *("discord", "fastapi", "opentelemetry", "structlog", "jsonschema_rs", "typer", "rich"),
    *("redis", "asyncpg", "sqlite3"),
)


class Missing:
    """Fails to find a library as Python does when it is not installed.

    None in `sys.modules` is another error for ``from library.part import name``: "not a package".
    """

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, *_: object) -> None:
        """Raise for the library; leave other modules to the next finder."""
        if name == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, library: str, module: str) -> str:
    """Remove a library, and forget the module that imports it; both come back after the test."""
    name = f"junkie_async.{module}"
    for loaded in list(sys.modules):
        if f"{loaded}.".startswith((f"{name}.", f"{library}.")):
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Missing(library), *sys.meta_path])
    return name


@pytest.mark.parametrize(
    ("library", "module", "extra"),
    [
        ("discord", "ext.discord", "discord"),
        ("fastapi", "ext.fastapi", "fastapi"),
        ("opentelemetry", "ext.opentelemetry", "opentelemetry"),
        ("structlog", "ext.structlog", "structlog"),
        ("jsonschema_rs", "emulator", "emulator"),
        ("pytest", "pytest_plugin", "pytest"),
        ("asyncpg", "postgres", "postgres"),
    ],
)
def test_a_missing_library_names_its_extra(without: str, library: str, extra: str) -> None:
    """The error of the import says what to install."""
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(without)
    assert caught.value.name == library
    assert f'pip install "junkie_async[{extra}]"' in str(caught.value)


@pytest.mark.parametrize(("library", "module"), [("jsonschema_rs", "emulator")])
def test_the_plugin_names_its_own_extra(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin needs the emulator, and names the extra that brings both."""
    monkeypatch.delitem(sys.modules, "junkie_async.pytest_plugin")
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("junkie_async.pytest_plugin")
    assert 'pip install "junkie_async[pytest]"' in str(caught.value)
    assert "junkie_async[emulator]" not in str(caught.value)


@pytest.mark.parametrize(("library", "module"), [("typer", "cli"), ("rich", "cli")])
def test_the_command_line_names_its_extra(without: str) -> None:
    """The command `junkie` exits with a message instead of a traceback."""
    with pytest.raises(SystemExit) as caught:
        junkie_async.__main__.main()
    assert 'pip install "junkie_async[cli]"' in str(caught.value.code)


def test_optional_libraries_are_not_loaded() -> None:
    """Neither the root nor the integrations without an extra need an optional library."""
    code = f"""
import sys, junkie_async
junkie_async.JunkieClient
print(*sys.modules)
sys.modules.update(dict.fromkeys({OPTIONAL}))
import junkie_async.ext.aiohttp, junkie_async.ext.logging
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert "junkie_async._hooks" in loaded
    assert not loaded & {*OPTIONAL, "junkie_async.ext", "starlette", "pydantic", "logging.config"}
