"""Type-check the README's Python blocks: `python -m tests.readme.check_types`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import indent

from .document import PATH, Block, blocks

CHECKERS = (["mypy", "--strict", "."], ["pyright"])


def to_module(block: Block) -> str:
    """Return a block as a module, with top-level ``await`` moved into a coroutine."""
    if not block.awaits:
        return block.text
    return f"async def main() -> None:\n{indent(block.text, '    ')}"


def main() -> int:
    """Check every block; print what the checkers say and return 1 if one of them fails."""
    with tempfile.TemporaryDirectory() as folder:
        for block in blocks(PATH.read_text("utf-8"), "python"):
            (Path(folder) / f"readme_line_{block.line}.py").write_text(to_module(block), "utf-8")
        codes = [
            subprocess.run([sys.executable, "-m", *command], cwd=folder, check=False).returncode
            for command in CHECKERS
        ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
