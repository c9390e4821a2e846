"""What users see, and how the house is laid out: read from the sources, held as DESIGN.md says."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import junkie_async
import junkie_async.export
import junkie_async.provisioning
from junkie_async import (
    BatchFields,
    CreateFields,
    Filters,
    JunkieClient,
    KeyPager,
    Keys,
    RateLimit,
    RetryPolicy,
    UpdateFields,
)

from .conftest import CONTRACT, body_schema

ROOT = Path(junkie_async.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))

LAYERS = {
    **dict.fromkeys(("_errors", "_models", "_version"), 0),
    **dict.fromkeys(
        (
            "_checks",
            "_hooks",
            "_params",
            "_codec",
            "_converter",
            "_retry",
            "_throttle",
            "_pace",
            "_seen",
            "_pager",
            "_batch",
            "_create",
            "_verify",
        ),
        1,
    ),
    **dict.fromkeys(("_wire", "_answer", "_secrets"), 2),
    **dict.fromkeys(("_transport", "_dispatcher"), 3),
    "_keys": 4,
    "_client": 5,
    "__init__": 6,
    "__main__": 6,
}
OPT_IN = {
    "emulator",
    "cli",
    "export",
    "_targets",
    "provisioning",
    "_ledger",
    "pytest_plugin",
    "_pytest_entry",
    "ext",
}
CORE = [path for path in FILES if path.parent == ROOT and path.stem not in OPT_IN]


def name_of(path: Path) -> str:
    """Name a file below the package."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Give each module that a file imports from, in full, and the name that it takes of it."""
    package = ["junkie_async", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def inside(path: Path) -> set[str]:
    """Name the parts of the package, just below its root, that a file imports."""
    found = set()
    for module, name in imports(path):
        first, *rest = module.split(".")
        if first == "junkie_async":
            part = rest[0] if rest else name
            is_module = (ROOT / part).is_dir() or (ROOT / f"{part}.py").exists()
            found.add(part if part and is_module else "__init__")
    return found


def outside(path: Path) -> set[str]:
    """Name the libraries that a file imports, but for the standard one."""
    top = {module.split(".")[0] for module, _ in imports(path)}
    return top - {"junkie_async", "__future__"} - sys.stdlib_module_names


# --- names ----------------------------------------------------------------------------------------


def test_all_is_what_there_is() -> None:
    """`__all__` names every public name of the root, and the root has no other."""
    public = {
        name
        for name, value in vars(junkie_async).items()
        if not name.startswith("_")
        and not (isinstance(value, ModuleType) and value.__name__ == f"junkie_async.{name}")
    }
    assert set(junkie_async.__all__) == public | {"__version__"}
    assert len(set(junkie_async.__all__)) == len(junkie_async.__all__)


def test_all_is_explicit_and_sorted() -> None:
    """`__all__` is a list of words, constants before classes before the rest."""
    (words,) = [
        node.value
        for node in tree_of(ROOT / "__init__.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert ast.literal_eval(words) == junkie_async.__all__

    def order(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert junkie_async.__all__ == sorted(junkie_async.__all__, key=order)


def test_import_is_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the package does not bring cattrs, which few answers need, nor an opt-in layer."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # it would bring sqlite3
    code = "import junkie_async, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "msgspec" in loaded
    heavy = {"cattrs", "typer", "rich", "jsonschema_rs", "sqlite3"}
    assert not loaded & (heavy | {f"junkie_async.{layer}" for layer in OPT_IN})


# --- signatures -----------------------------------------------------------------------------------


def signature(function: Any) -> str:
    """Write a signature without its types."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


SIGNATURES = {
    "list": "(self, *, page=1, limit=100, prefetch=4, strict=False, **filters)",
    "get": "(self, key)",
    "find": "(self, key_value)",
    "verify": "(self, key_value, *, hwid=None, discord_id=None, service_id=None, premium=None)",
    "create": "(self, *, provider_id, **fields)",
    "create_batch": "(self, *, provider_id, amount, **fields)",
    "create_many": "(self, amount, *, provider_id, concurrency=8, ledger=None,"
    " reconcile_after=120.0,"
    " marker='jk', on_progress=None, **fields)",
    "update": "(self, key, **changes)",
    "invalidate": "(self, key)",
    "revalidate": "(self, key)",
    "delete": "(self, key)",
    "delete_many": "(self, keys, *, concurrency=4, on_progress=None)",
    "bulk_delete": "(self, keys)",
    "purge": "(self, *, everything=False, on_progress=None, **filters)",
    "reset_hwid": "(self, key)",
    "folders": "(self)",
}


def test_operations() -> None:
    """The operations, their arguments and defaults are those of the design's table."""
    public = {name: value for name, value in vars(Keys).items() if not name.startswith("_")}
    assert {name: signature(value) for name, value in public.items()} == SIGNATURES
    plain = {name for name, value in public.items() if not inspect.iscoroutinefunction(value)}
    assert plain == {"list", "create_many", "delete_many"}


def test_pager() -> None:
    """A pager has the ways to read it that the design names."""
    public = {
        name: value
        for name, value in vars(KeyPager).items()
        if not name.startswith("_") and callable(value)
    }
    assert {name: signature(value) for name, value in public.items()} == {
        "pages": "(self)",
        "first": "(self)",
        "count": "(self)",
        "collect": "(self, limit=None)",
    }
    assert isinstance(inspect.getattr_static(KeyPager, "drift"), property)
    assert {"__await__", "__aiter__"} <= vars(KeyPager).keys()


def test_client() -> None:
    """The client's arguments are keyword-only but for the key, with the design's defaults."""
    _, *parameters = inspect.signature(JunkieClient.__init__).parameters.values()
    assert {parameter.name: parameter.default for parameter in parameters} == {
        "api_key": None,
        "base_url": None,
        "timeout": 30.0,
        "retry": RetryPolicy(),
        "max_in_flight": 16,
        "rate_limit": None,
        "session": None,
        "hooks": (),
    }
    first, *others = parameters
    assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {parameter.kind for parameter in others} == {inspect.Parameter.KEYWORD_ONLY}
    assert {"keys", "closed", "close", "__aenter__", "__aexit__"} <= vars(JunkieClient).keys()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        (CreateFields, body_schema("/keys", "post")["properties"].keys() - {"provider_id"}),
        (
            BatchFields,
            body_schema("/keys/batch", "post")["properties"].keys() - {"provider_id", "amount"},
        ),
        (UpdateFields, body_schema("/keys/{keyId}", "put")["properties"].keys()),
        (
            Filters,
            {one["name"] for one in CONTRACT["paths"]["/keys"]["get"]["parameters"]}
            - {"page", "limit"},
        ),
    ],
)
def test_keyword_arguments(fields: Any, names: set[str]) -> None:
    """What ``**fields`` may be are the contract's fields, none of them required."""
    assert fields.__optional_keys__ == names
    assert fields.__required_keys__ == set()


@pytest.mark.parametrize("policy", [RetryPolicy, RateLimit])
def test_policies_are_values(policy: type[Any]) -> None:
    """Policies are frozen, so that one default can be shared by all clients."""
    value = policy() if policy is RetryPolicy else policy(5)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(policy)[0].name, 1)


# --- the house ------------------------------------------------------------------------------------


def test_every_file_has_its_place() -> None:
    """No file lies about that the design's table does not know, and none of the table is gone."""
    assert {path.stem for path in CORE} == LAYERS.keys()
    parts = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert parts <= LAYERS.keys() | OPT_IN
    assert (ROOT / "py.typed").read_bytes() == b""


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    """A file imports from its own layer, which has no cycles, and from lower ones."""
    below = {name for name, other in LAYERS.items() if other <= LAYERS[path.stem]}
    if path.stem == "__main__":
        below.add("cli")
    if path.stem == "_keys":
        below.add("provisioning")  # inside of `create_many`, when there is a ledger
    assert inside(path) - {path.stem} <= below


def test_imports_have_no_cycles() -> None:
    """The core can be put into an order in which each file needs earlier ones alone."""
    order = list(TopologicalSorter({path.stem: inside(path) for path in CORE}).static_order())
    assert set(order) >= LAYERS.keys()


def test_root_is_names_only() -> None:
    """The root has imports, `__all__` and nothing else."""
    docstring, *body = tree_of(ROOT / "__init__.py").body
    assert isinstance(docstring, ast.Expr)
    assert {type(node) for node in body} == {ast.ImportFrom, ast.Assign}
    assert not any("*" in name for _, name in imports(ROOT / "__init__.py"))


@pytest.mark.parametrize(
    "path", [path for path in FILES if "emulator" in path.relative_to(ROOT).parts], ids=name_of
)
def test_emulator_stands_alone(path: Path) -> None:
    """The emulator shares no code with the client: a mistake can't cancel itself out."""
    assert inside(path) <= {"emulator"}
    assert not outside(path) & {"msgspec", "cattrs", "stamina"}


@pytest.mark.parametrize(
    "path", [path for path in FILES if "cli" in path.relative_to(ROOT).parts], ids=name_of
)
def test_command_line_is_over_the_public_api(path: Path) -> None:
    """The command line uses what users can use: names of the root and of the opt-in layers."""
    from_root, from_emulator, from_export, from_jobs = set(), set(), set(), set()
    for module, name in imports(path):
        if module == "junkie_async":
            from_root.add(name)
        elif module.startswith("junkie_async.emulator"):
            from_emulator.add((module, name))
        elif module == "junkie_async.export":
            from_export.add(name)
        elif module == "junkie_async.provisioning":
            from_jobs.add(name)
        elif module.startswith("junkie_async"):
            assert module.startswith("junkie_async.cli")
    assert from_root <= {*junkie_async.__all__, "emulator"}
    assert from_emulator <= {("junkie_async.emulator", name) for name in ("Emulator", "Faults")}
    assert from_export <= {*junkie_async.export.__all__}
    assert from_jobs <= {*junkie_async.provisioning.__all__}


LIBRARIES = {
    "aiohttp": {"_transport", "_client"},
    "yarl": {"_transport", "_client"},
    "stamina": {"_dispatcher"},
    "aiolimiter": {"_throttle"},
    "msgspec": {"_codec", "_converter", "_models"},
    "cattrs": {"_converter"},
}


def test_each_library_has_its_file() -> None:
    """The core uses its few libraries, each where the design says, and attrs anywhere."""
    users: dict[str, set[str]] = {}
    for path in CORE:
        for library in outside(path):
            users.setdefault(library, set()).add(path.stem)
    assert users.pop("attrs")
    assert users == LIBRARIES


def test_dependencies_are_those_libraries() -> None:
    """What is installed with the core is what it imports (yarl is aiohttp's own)."""
    path = Path(__file__).parents[2] / "pyproject.toml"  # installed or not, the tests lie beside it
    project = tomllib.loads(path.read_text("utf-8"))["project"]
    names = {line.split(">")[0] for line in project["dependencies"]}
    assert names == (LIBRARIES.keys() | {"attrs"}) - {"yarl"}


@pytest.mark.parametrize(("module", "names"), [("_client", {"aiohttp"}), ("_models", {"msgspec"})])
def test_guests_are_for_types_only(module: str, names: set[str]) -> None:
    """`_client` names `aiohttp.ClientSession` alone, `_models` msgspec's `Meta`."""
    used = {
        ast.unparse(node)
        for node in ast.walk(tree_of(ROOT / f"{module}.py"))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in names
    }
    assert used == {{"_client": "aiohttp.ClientSession", "_models": "msgspec.Meta"}[module]}


@pytest.mark.parametrize(
    "path", [path for path in FILES if "emulator" not in path.relative_to(ROOT).parts], ids=name_of
)
def test_nobody_calls_json(path: Path) -> None:
    """JSON is read and written by `_codec`, with msgspec: neither by `json` nor by aiohttp."""
    assert "json" not in {module.split(".")[0] for module, _ in imports(path)}
    called = {
        node.func.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "json" not in called


# --- every file -----------------------------------------------------------------------------------


def undocumented(node: ast.AST, where: str) -> Iterator[str]:
    """Name the public definitions without a docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            accessors = [ast.unparse(one) for one in child.decorator_list]
            if child.name.startswith("_") or f"{child.name}.setter" in accessors:
                continue
            if not ast.get_docstring(child):
                yield f"{where}{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{where}{child.name}.")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_docstrings(path: Path) -> None:
    """Every file, and every public class, function and method in it, says what it is."""
    assert ast.get_docstring(tree_of(path))
    assert list(undocumented(tree_of(path), "")) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_short(path: Path) -> None:
    """Beyond 400 lines, two things live in a file."""
    assert len(path.read_text("utf-8").splitlines()) <= 400
