"""Build the pages of `.docs` as a website: `python -m tests.readme.build_site FOLDER`.

A warning, such as one about a link that leads nowhere, is an error. So is a public name that the
website's inventory lacks: mkdocstrings then skipped what the pages of the reference ask for.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mkdocstrings import Inventory

from .document import ROOT
from .reference import public_names

# Not with `--quiet`: what mkdocs does not log, it does not count either.
COMMAND = ("mkdocs", "build", "--strict", "--config-file", str(ROOT / ".mkdocs.yml"))


def main(folder: str) -> int:
    """Build into a folder; return 1 after a warning, or if a public name is missing."""
    built = subprocess.run(
        [sys.executable, "-m", *COMMAND, "--site-dir", folder],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if built.returncode:
        print(built.stdout)
        return built.returncode
    with (Path(folder) / "objects.inv").open("rb") as file:
        missing = public_names() - Inventory.parse_sphinx(file).keys()
    if missing:
        print("no page has:", *sorted(missing), file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
