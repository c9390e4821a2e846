"""`python -m tests.readme.update` updates the help that README.md quotes."""

from __future__ import annotations

from .document import PATH, with_help

if __name__ == "__main__":
    PATH.write_text(with_help(PATH.read_text("utf-8")), "utf-8")
