"""Public names appear under public modules, and everything that resolves names still works."""

from __future__ import annotations

import importlib
import inspect
import pickle
import traceback
import typing
from types import ModuleType
from typing import Any

import attrs
import cattrs
import msgspec
import pytest

import junkie_async
from junkie_async import (
    HWID,
    ActionResult,
    BulkDeleteResult,
    DiscordRedemption,
    InvalidRequestError,
    JunkieError,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    NotFoundError,
    Pagination,
    UpdateResult,
)

MODULES = [
    importlib.import_module(name)
    for name in (
        "junkie_async",
        "junkie_async.emulator",
        "junkie_async.export",
        "junkie_async.postgres",
        "junkie_async.provisioning",
        "junkie_async.redis",
    )
]
DEFINED = [
    pytest.param(module, name, id=f"{module.__name__}.{name}")
    for module in MODULES
    for name in module.__all__
    if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name))
]
CLASSES = [
    getattr(junkie_async, name)
    for name in junkie_async.__all__
    if inspect.isclass(getattr(junkie_async, name))
]
MODELS = [cls for cls in CLASSES if attrs.has(cls)]
ERRORS = [cls for cls in CLASSES if issubclass(cls, JunkieError)]


@pytest.mark.parametrize(("module", "name"), DEFINED)
def test_names_are_public(module: ModuleType, name: str) -> None:
    """No part of the module that a class or function names is private, and it can be imported."""
    value = getattr(module, name)
    assert not any(part.startswith("_") for part in value.__module__.split("."))
    assert getattr(importlib.import_module(value.__module__), value.__qualname__) is value
    if module is junkie_async:
        assert f"{value.__module__}.{value.__qualname__}" == f"junkie_async.{name}"


def test_tracebacks_name_the_public_class() -> None:
    """A traceback shows the name that an `except` clause needs."""
    lines = traceback.format_exception_only(NotFoundError("no such key", status=404))
    assert lines == ["junkie_async.NotFoundError: no such key [404]\n"]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_type_hints_resolve(cls: type[Any]) -> None:
    """Whoever reads the annotations of a public class finds what they name."""
    typing.get_type_hints(cls, include_extras=True)


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_errors_pickle(cls: type[JunkieError]) -> None:
    """An error comes back from another process as the same class, with its attributes."""
    error = cls("field", "value", "limit") if cls is InvalidRequestError else cls("message")
    error.method, error.attempts = "GET", 3
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is cls
    assert (str(twin), vars(twin)) == (str(error), vars(error))


FILLERS: dict[Any, Any] = {int: 1, float: 1.0, str: "text", bool: True}


def required_values(cls: type[Any]) -> dict[str, Any]:
    """Make a value for each field of a model that has no default."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: FILLERS.get(hints[field.name], ())
        for field in attrs.fields(cls)
        if field.default is attrs.NOTHING and field.init
    }


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_models_pickle(cls: type[Any]) -> None:
    """A model comes back from another process as an equal value of the same class."""
    value = cls(**required_values(cls))
    twin = pickle.loads(pickle.dumps(value))
    assert type(twin) is cls
    assert twin == value


@pytest.mark.parametrize(
    "cls",
    [
        *(HWID, DiscordRedemption, KeyFolder, Key, KeyDetailed, Pagination, KeyPage, KeyBatch),
        *(BulkDeleteResult, ActionResult, UpdateResult),
    ],
)
def test_models_decode(cls: type[Any]) -> None:
    """Users' own msgspec and cattrs, in their default set-up, read the models."""
    plain = {name: list(one) if one == () else one for name, one in required_values(cls).items()}
    assert (
        msgspec.convert(plain, cls) == cattrs.structure(plain, cls) == cls(**required_values(cls))
    )


def test_nested_models_decode() -> None:
    """The models inside of models are found too."""
    row = {"id": 1, "key_value": "v", "hwids": [{"hwid": "PC"}], "discord_redemption": {}}
    key = msgspec.convert(row, KeyDetailed)
    assert key == cattrs.structure(row, KeyDetailed)
    assert key.hwids[0].hwid == "PC"
    assert isinstance(key, Key)
