"""`python -m tests.readme.update` updates the help that pages quote, and the API reference."""

from __future__ import annotations

from .document import PAGES, with_help
from .reference import render_pages

if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_help(path.read_text("utf-8")), "utf-8")
    for path, text in render_pages().items():
        path.write_text(text, "utf-8")
