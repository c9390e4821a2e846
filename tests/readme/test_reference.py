"""The API reference has every public name, and what it says of them is current."""

from __future__ import annotations

from junkie_async import _errors

from .reference import FOLDER, documented_names, public_names, render_pages


def test_every_public_name_has_a_page() -> None:
    """A new name gets its page in `reference.py`; one that is gone leaves it."""
    assert documented_names() == public_names()


def test_pages_are_current() -> None:
    """`python -m tests.readme.update` updates them."""
    pages = render_pages()
    assert set(FOLDER.glob("*.md")) == set(pages)
    stale = [path.name for path, text in pages.items() if path.read_text("utf-8") != text]
    assert not stale, "run python -m tests.readme.update"


def test_the_tree_of_errors_is_current() -> None:
    """`.docs/errors.md` shows that of the module."""
    tree = str(_errors.__doc__).partition("\n\n")[2].strip()
    assert tree.startswith("JunkieError\n├")
    assert f"```text\n{tree}\n```" in (FOLDER.parent / "errors.md").read_text("utf-8")
