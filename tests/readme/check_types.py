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
    """Check every block as the file that it says it is, or one of its own; 1 if a checker fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(SETTINGS, "utf-8")
        for block in read_blocks("python"):
            path = Path(folder) / (block.file_name or f"{block.name}.py")
            with path.open("x", encoding="utf-8") as file:  # no two blocks have a name
                file.write(block.text)
        # The two run side by side, each on a core.
        running = [
            subprocess.Popen([sys.executable, "-m", *command], cwd=folder) for command in CHECKERS
        ]
        codes = [checker.wait() for checker in running]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
