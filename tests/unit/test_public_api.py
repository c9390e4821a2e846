"""What users see: the names, the signatures and their defaults."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import junkie_async
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
    _names,
)

from .conftest import CONTRACT, body_schema

ROOT = Path(junkie_async.__file__).parent
OPT_IN = ("cli", "emulator", "export", "ext", "provisioning", "pytest_plugin")

# --- names ----------------------------------------------------------------------------------------


def test_all_is_what_there_is() -> None:
    """`__all__` lists every public name of the root and nothing else."""
    assert junkie_async.__all__ == _names.__all__
    public = {
        name
        for name, value in vars(_names).items()
        if not name.startswith("_")
        and not (isinstance(value, ModuleType) and value.__name__ == f"junkie_async.{name}")
    }
    assert set(junkie_async.__all__) == public | {"__version__"}
    assert len(set(junkie_async.__all__)) == len(junkie_async.__all__)


def test_all_is_explicit_and_sorted() -> None:
    """`__all__` is a literal list: constants, then classes, then the rest, each sorted."""
    (names,) = [
        node.value
        for node in ast.parse((ROOT / "__init__.py").read_text("utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert ast.literal_eval(names) == junkie_async.__all__

    def order(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert junkie_async.__all__ == sorted(junkie_async.__all__, key=order)


def test_import_is_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the package loads neither cattrs, which is rarely used, nor an opt-in module."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage would load sqlite3
    code = "from junkie_async import Key; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "msgspec" in loaded
    heavy = {"cachetools", "cattrs", "typer", "rich", "jsonschema_rs", "sqlite3", "pydantic"}
    heavy.add("pydantic_core")
    assert not loaded & (heavy | {f"junkie_async.{module}" for module in OPT_IN})


def test_package_is_typed() -> None:
    """The marker of PEP 561 is there, so that users' checkers read the annotations."""
    assert (ROOT / "py.typed").read_bytes() == b""


# --- signatures -----------------------------------------------------------------------------------


def signature(function: Any) -> str:
    """Return a signature without its annotations."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


SIGNATURES = {
    "list": "(self, *, page=1, limit=100, prefetch=4, strict=False, skip_bad_rows=False,"
    " **filters)",
    "stats": "(self, *, days=30, strict=False, on_progress=None, **filters)",
    "get": "(self, key)",
    "find": "(self, key_value)",
    "verify": "(self, key_value, *, hwid=None, discord_id=None, service_id=None, premium=None,"
    " max_age=0.0, stale_if_error=0.0)",
    "create": "(self, *, provider_id, idempotency_key=None, ledger=None, reconcile_after=120.0,"
    " **fields)",
    "create_batch": "(self, *, provider_id, amount, **fields)",
    "create_many": "(self, amount, *, provider_id, concurrency=8, ledger=None,"
    " job=None, idempotency_key=None, reconcile_after=120.0,"
    " marker='jk', on_progress=None, **fields)",
    "update": "(self, key, **changes)",
    "update_many": "(self, keys, *, concurrency=8, on_progress=None, **fields)",
    "invalidate": "(self, key)",
    "revalidate": "(self, key)",
    "delete": "(self, key)",
    "delete_many": "(self, keys, *, concurrency=4, on_progress=None)",
    "bulk_delete": "(self, keys)",
    "purge": "(self, *, everything=False, on_progress=None, **filters)",
    "reset_hwid": "(self, key)",
    "reset_hwid_many": "(self, keys, *, concurrency=8, on_progress=None)",
    "folders": "(self)",
}


def test_operations() -> None:
    """The operations, their arguments and their defaults are fixed."""
    public = {name: value for name, value in vars(Keys).items() if not name.startswith("_")}
    assert {name: signature(value) for name, value in public.items()} == SIGNATURES
    plain = {name for name, value in public.items() if not inspect.iscoroutinefunction(value)}
    jobs = {"create_many", "delete_many", "update_many", "reset_hwid_many"}
    assert plain == {"list", *jobs}


def test_pager() -> None:
    """A pager can be awaited, iterated, and read by its four methods."""
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
    """Every argument of the client but the API key is keyword-only; the defaults are fixed."""
    _, *parameters = inspect.signature(JunkieClient.__init__).parameters.values()
    assert {parameter.name: parameter.default for parameter in parameters} == {
        "api_key": None,
        "base_url": None,
        "timeout": 30.0,
        "retry": RetryPolicy(),
        "max_in_flight": 16,
        "rate_limit": None,
        "throttle": None,
        "session": None,
        "proxy": None,
        "ssl": None,
        "trust_env": False,
        "app": None,
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
    """``**fields`` accepts the contract's fields, none of them required."""
    assert fields.__optional_keys__ == names
    assert fields.__required_keys__ == set()


@pytest.mark.parametrize("policy", [RetryPolicy, RateLimit])
def test_policies_are_values(policy: type[Any]) -> None:
    """Policies are frozen, so that all clients can share one default."""
    value = policy() if policy is RetryPolicy else policy(5)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(policy)[0].name, 1)
