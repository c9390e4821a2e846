"""CSV cells: any text can be read back, and no cell is a formula."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import HWID, Key
from junkie_async.export import unmark

from .exports import raw_cell, rows_of, text_of

SIGNS = ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠"]  # noqa: RUF001 - meant
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@'\";,\t\r\n\0"))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_any_text_can_be_read_back(texts: list[tuple[str, str]]) -> None:
    """Quotes, commas, line breaks, NUL and apostrophes survive both formats."""
    keys = [
        Key(id=i, key_value=a, key_name=b, hwids=(HWID(hwid=b),)) for i, (a, b) in enumerate(texts)
    ]
    rows = asyncio.run(rows_of(*keys))
    assert [(row["key_value"], row["key_name"]) for row in rows] == texts
    devices = [msgspec.json.decode(row["hwids"], type=tuple[HWID, ...]) for row in rows]
    assert devices == [key.hwids for key in keys]
    lines = asyncio.run(text_of(keys, "jsonl"))
    assert msgspec.json.Decoder(Key).decode_lines(lines) == keys


@pytest.mark.parametrize("sign", SIGNS)
def test_formulas_are_disarmed(sign: str) -> None:
    """A text that a spreadsheet would run gets an apostrophe, which `unmark` removes."""
    for text in (f"{sign}1+1", sign, f"'{sign}x", f"''{sign}"):
        assert raw_cell(text) == f"'{text}"
        assert unmark(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "JNK-1", "a=b", "'", "'a", "a, =1", "ключ", "a;b", "🔑", "1"])
def test_other_texts_are_unchanged(text: str) -> None:
    """A text that is not a formula is written unchanged."""
    assert raw_cell(text) == unmark(text) == text


@pytest.mark.parametrize("separator", [";", "\t", "\r", "\n", "\r\n"])
def test_formulas_within_a_text_are_disarmed(separator: str) -> None:
    """Formulas after a character at which spreadsheets split cells are disarmed too."""
    assert raw_cell(f"a{separator}=1;'@b") == f"a{separator}'=1;''@b"


async def test_joined_identifiers_are_disarmed() -> None:
    """Each of the joined device identifiers is disarmed."""
    text = await text_of([Key(id=1, key_value="a", keys_hwid=("a", "=b", "+c"))], "csv")
    assert text.splitlines()[1].endswith(",a;'=b;'+c,")


@given(TEXTS)
def test_no_cell_is_a_formula(text: str) -> None:
    """No part of a cell, split at any separator, begins with a formula sign."""
    cell = raw_cell(text)
    for part in cell.replace("\t", ";").replace("\r", ";").replace("\n", ";").split(";"):
        assert not part.startswith(tuple(sign for sign in SIGNS if not sign.isspace()))
    assert not cell.startswith(tuple(SIGNS))


async def test_unknown_types_are_disarmed_too() -> None:
    """Types that only a caller can put into a key are written as text."""

    class Text(str):
        __slots__ = ()

    odd = Key(id=1, key_value=Text("=1"), key_name=-1.5)  # type: ignore[arg-type]
    text = await text_of([odd], "csv")
    assert text.splitlines()[1].startswith("1,'=1,")
    assert ",'-1.5," in text
