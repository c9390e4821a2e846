"""The import-linter contracts of ``pyproject.toml`` hold, and the dependencies match them."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import junkie_async

PACKAGE = Path(junkie_async.__file__).parent
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
OPT_IN = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] in {"cli", "ext", "pytest_plugin.py"}
]


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each ``from module import name`` in a file."""
    package = ".".join(["junkie_async", *path.relative_to(PACKAGE).parts[:-1]])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = resolve_name(relative, package) if node.level else relative
            yield from ((module, alias.name) for alias in node.names)


def test_import_contracts_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lint-imports` passes."""
    # It would disable all loggers that exist, and so break later tests of log lines.
    monkeypatch.setattr("importlinter.cli._configure_logging", lambda verbose: None)
    status = lint_imports(str(PYPROJECT), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", OPT_IN, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_opt_in_surfaces_import_documented_names(path: Path) -> None:
    """Beyond its own room, an opt-in module imports only what some `__all__` lists."""
    room = f"junkie_async.{path.relative_to(PACKAGE).parts[0].removesuffix('.py')}"
    for module, name in imported_names(path):
        if module.startswith("junkie_async") and not f"{module}.".startswith(f"{room}."):
            found = importlib.import_module(module)
            is_submodule = f"{module}.{name}" == getattr(getattr(found, name), "__name__", "")
            listed = name in getattr(found, "__all__", [name])  # the contracts forbid private ones
            assert listed or is_submodule, f"{module}.{name}"


def test_dependencies_are_the_libraries_in_use() -> None:
    """The core installs exactly the libraries that the contract assigns to its files, and attrs."""
    pyproject = tomllib.loads(PYPROJECT.read_text("utf-8"))
    [assigned] = [
        contract["ignore_imports"]
        for contract in pyproject["tool"]["importlinter"]["contracts"]
        if contract["name"] == "Each library has its files"
    ]
    core = (line.split(" -> ") for line in assigned if line.startswith("junkie_async._"))
    used = {library for _, library in core} - {
        "yarl",  # comes with aiohttp
        "asyncpg",  # an extra
        "pydantic",  # is there if it asks
        "pydantic_core",
    }
    declared = {line.split(">")[0] for line in pyproject["project"]["dependencies"]}
    assert declared == used | {"attrs"}
