"""A client that was made has loaded all that its calls need.

A program may be upgraded in place, so that files are gone while it runs, or run out of file
descriptors, so that no file can be opened. An import would then fail in the middle of a call.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import late_calls


@pytest.mark.parametrize("arguments", [[], ["descriptors"]], ids=["no files", "no descriptors"])
def test_no_call_imports_anything(arguments: list[str]) -> None:
    """Whatever the service answers: a call gives a value, or an error of this package."""
    command = [sys.executable, "-m", late_calls.__name__, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "", "")
