"""Type-check the blocks of README.md and `.docs`, and the package: `-m tests.readme.check_types`.

mypy reads the settings and the cache of the repository. pyright has no cache, so one process
checks the blocks together with the package, which they import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from .document import ROOT, read_blocks

SETTINGS = ROOT / "pyproject.toml"
MYPY = ("mypy", f"--config-file={SETTINGS}", f"--cache-dir={ROOT / '.mypy_cache'}", ".")


def write_blocks(folder: Path) -> None:
    """Write every block as the file that it says it is, or as one of its own."""
    for block in read_blocks("python"):
        path = folder / (block.file_name or f"{block.name}.py")
        with path.open("x", encoding="utf-8") as file:  # no two blocks have a name
            file.write(block.text)


def write_pyright_settings(folder: Path) -> None:
    """Write those of the repository, for its files and the blocks; blocks import each other."""
    settings = tomllib.loads(SETTINGS.read_text("utf-8"))["tool"]["pyright"]
    # pyright ignores absolute paths there.
    root = os.path.relpath(ROOT, folder.resolve())
    include = [*(f"{root}/{name}" for name in settings["include"]), "."]
    text = json.dumps(settings | {"include": include, "extraPaths": ["."]})
    (folder / "pyrightconfig.json").write_text(text, "utf-8")


def main() -> int:
    """Check; return 1 if a checker fails."""
    with tempfile.TemporaryDirectory() as name:
        write_blocks(Path(name))
        write_pyright_settings(Path(name))
        running = [
            subprocess.Popen([sys.executable, "-m", *command], cwd=name)
            for command in (MYPY, ("pyright",))
        ]
        codes = [checker.wait() for checker in running]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
