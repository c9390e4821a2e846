"""The links of README.md and `.docs` lead somewhere, on any forge that shows the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .document import PAGES, ROOT

_CODE = re.compile(r"(?ms)^```.*?^```$|`[^`\n]+`")
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"(?m)^#+ (.+)$")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges and mkdocs name them."""
    headings = _HEADING.findall(re.sub(r"(?ms)^```.*?^```$", "", path.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """The file exists, and has the heading."""
    for target, anchor in _LINK.findall(_CODE.sub("`code`", page.read_text("utf-8"))):
        path = page.parent / target if target else page
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_all_pages_are_linked() -> None:
    """README.md leads to each page that is no part of the reference, and the reference's index."""
    linked = {(ROOT / target).resolve() for target, _ in _LINK.findall(PAGES[0].read_text("utf-8"))}
    pages = {path for path in PAGES[1:] if path.parent.name != "reference"}
    assert {path.name for path in pages - linked} == {"index.md"}
