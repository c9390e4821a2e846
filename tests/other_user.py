"""Files of another user, for tests of what is not ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest

posix = pytest.mark.skipif(sys.platform == "win32", reason="owners and links are POSIX's")
OTHER_USER: Final = 54321


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a file or link to another user; a test that may not do that pretends it."""
    if os.geteuid() == 0:
        os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
        return
    original = Path.lstat

    def lstat(self: Path) -> os.stat_result:
        found = original(self)
        return os.stat_result((*found[:4], OTHER_USER, *found[5:])) if self == path else found

    monkeypatch.setattr(Path, "lstat", lstat)


def share_folder(folder: Path) -> None:
    """Let every user make files in a folder, as in /tmp."""
    folder.chmod(0o1777)
