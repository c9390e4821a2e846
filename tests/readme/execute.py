"""Executes a block of the README: the text from stdin, its first line as the argument."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from types import ModuleType


def main(line: int, text: str) -> None:
    """Execute a block as a module, with `await` at the top level.

    Args:
        line: Its first line in the README, for tracebacks.
        text: The block.
    """
    module = ModuleType("readme")
    sys.modules[module.__name__] = module  # annotations are looked up there
    source = "\n" * (line - 1) + text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    coroutine = eval(compile(source, "README.md", "exec", flags, dont_inherit=True), vars(module))
    if inspect.iscoroutine(coroutine):
        asyncio.run(coroutine)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.stdin.read())
