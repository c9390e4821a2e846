"""Type-check the Python blocks of README.md and `.docs`: `python -m tests.readme.check_types`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .document import read_blocks

SETTINGS = '[tool.pyright]\ntypeCheckingMode = "strict"\n[tool.mypy]\nstrict = true\n'
CHECKERS = (["mypy", "."], ["pyright"])


def main() -> int:
    """Check every block as a module of its own; return 1 if a checker fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(SETTINGS, "utf-8")
        for block in read_blocks("python"):
            name = block.name.replace("-", "_")
            (Path(folder) / f"{name}.py").write_text(block.text, "utf-8")
        # The two run side by side, each on a core.
        running = [
            subprocess.Popen([sys.executable, "-m", *command], cwd=folder) for command in CHECKERS
        ]
        codes = [checker.wait() for checker in running]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
