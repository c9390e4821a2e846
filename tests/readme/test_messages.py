"""The messages that the pages explain are those of the package."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from .document import ROOT

_PAGE = (ROOT / ".docs" / "many-processes.md").read_text("utf-8")
MESSAGES = re.findall(r"(?m)^\| `(.*?)` \|", _PAGE.partition("\n## Messages\n")[2])
# What `…` stands for, names of errors and arguments, and what InvalidRequestError joins.
_VARIABLE = re.compile(
    r"…|: [A-Z]\w+Error|\w+ must be|, got .*| must be|can't be opened: |redis:\S*"
)
_SHORT = 10  # characters: a shorter part of a message is found anywhere


@cache
def texts() -> str:
    """Return all string constants of the package, also those between the fields of an f-string."""
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "junkie_async").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_current(message: str) -> None:
    """What stands between its variable parts is in the source."""
    parts = [part.strip() for part in _VARIABLE.split(message)]
    fixed = [part for part in parts if len(part) >= _SHORT]
    assert fixed
    assert not [part for part in fixed if part not in texts()]


def test_there_are_messages() -> None:
    """The page's table is found."""
    assert len(MESSAGES) >= 10
