"""Rules about the sources that no linter checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import junkie_async

PACKAGE = Path(junkie_async.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
CLIENT_FILES = [name for name in FILES if not name.startswith("emulator/")]


def parse(name: str) -> ast.Module:
    """Parse a file of the package."""
    return ast.parse(FILES[name].read_text("utf-8"))


def attributes_of(module: str, name: str) -> set[str]:
    """Return every ``name.attribute`` that a file mentions."""
    return {
        ast.unparse(node)
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


def test_root_is_names_only() -> None:
    """The root's names have explicit imports, `__all__`, and a loop that makes them public.

    The root itself has `__all__`, and a function that loads them all.
    """
    root = parse("__init__.py").body
    allowed = {ast.Expr, ast.ImportFrom, ast.Assign, ast.If}
    assert {type(node) for node in root} == allowed
    docstring, *body, loop = parse("_names.py").body
    assert isinstance(docstring, ast.Expr)
    assert {type(node) for node in body} == {ast.ImportFrom, ast.Assign}
    assert isinstance(loop, ast.For)
    names = [
        alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert "*" not in names


@pytest.mark.parametrize(
    ("file", "library", "attribute"),
    [("_client.py", "aiohttp", "ClientSession"), ("_models/key.py", "msgspec", "Meta")],
)
def test_libraries_used_for_annotations_only(file: str, library: str, attribute: str) -> None:
    """The client and the models name one type of a library that otherwise has its own file."""
    assert attributes_of(file, library) == {f"{library}.{attribute}"}


@pytest.mark.parametrize("name", CLIENT_FILES)
def test_json_goes_through_the_codec(name: str) -> None:
    """No file calls `response.json()`: msgspec decodes the bytes straight into models."""
    called = {
        node.func.attr
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "json" not in called


def undocumented(node: ast.AST, where: str) -> Iterator[str]:
    """Yield the public definitions without a docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(one) for one in child.decorator_list]
            if child.name.startswith("_") or f"{child.name}.setter" in decorators:
                continue
            if not ast.get_docstring(child):
                yield f"{where}{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{where}{child.name}.")


@pytest.mark.parametrize("name", ["_models/key.py", "_models/results.py", "_protocol/fields.py"])
def test_fields_have_docs_that_editors_show(name: str) -> None:
    """A string below each field is what editors show for it."""
    classes = [node for node in parse(name).body if isinstance(node, ast.ClassDef)]
    public = [one for one in classes if not one.name.endswith(("Body", "Claims"))]
    bare = [
        f"{one.name}.{ast.unparse(field.target)}"
        for one in public
        for field, below in pairwise([*one.body, ast.Pass()])
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation)
        if not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant))
    ]
    assert (bool(public), bare) == (True, [])


@pytest.mark.parametrize("name", FILES)
def test_public_definitions_have_docstrings(name: str) -> None:
    """Ruff's D rules skip private modules; this test covers their public classes and functions."""
    tree = parse(name)
    assert ast.get_docstring(tree)
    assert list(undocumented(tree, "")) == []
