"""CSV cells: any text can be read back, and no cell is a formula."""

from __future__ import annotations

import asyncio
import csv
import io
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import HWID, Key
from junkie_async.export import unmark

from .exports import AT, raw_cell, rows_of, text_of

SIGNS = ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠"]  # noqa: RUF001 - meant
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@'\";,\t\r\n\0"))


@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS), max_size=5), st.booleans())
def test_any_text_can_be_read_back(texts: list[tuple[str, str]], text_cells: bool) -> None:
    """Quotes, commas, line breaks, NUL and apostrophes survive both formats."""
    keys = [
        Key(id=i, key_value=a, key_name=b, hwids=(HWID(hwid=b),)) for i, (a, b) in enumerate(texts)
    ]
    rows = asyncio.run(rows_of(*keys, text_cells=text_cells))
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


def _split_cells(text: str, separator: str) -> list[str]:
    """Read a file as a spreadsheet does whose cells end at a separator."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [cell for row in rows for cell in row]


@given(TEXTS, TEXTS, st.sampled_from(",;\t"), st.booleans())
def test_no_cell_is_a_formula(first: str, second: str, separator: str, text_cells: bool) -> None:
    """Wherever a spreadsheet splits cells, none begins with a sign, but for the constants."""
    keys = [Key(id=1, key_value="a", key_name=first, service_name=second)] * 2
    text = asyncio.run(text_of(keys, "csv", text_cells=text_cells))
    signs = tuple(sign for sign in SIGNS if not sign.isspace())
    for cell in _split_cells(text, separator):
        assert not cell.startswith(signs) or (text_cells and re.fullmatch('="[^";]+"', cell))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("x;\"=cmd|' /C calc'!A0;y", "x;'\"=cmd|' /C calc'!A0;y"),
        ('x;""+1', 'x;\'""+1'),
        ("x;'\"'=1", "x;''\"'=1"),
        ('"=1', "'\"=1"),
        ('x\n"@1', "x\n'\"@1"),
        ('"a";"b"', '"a";"b"'),
        ('x"=1', 'x"=1'),
    ],
)
def test_quotes_do_not_hide_a_formula(text: str, cell: str) -> None:
    """A spreadsheet that splits cells at `;` drops the quotes with which the next one begins."""
    assert raw_cell(text) == cell
    assert unmark(cell) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("007", '="007"'),
        ("1E5", '="1E5"'),
        ("12345678901234567890", '="12345678901234567890"'),
        ("3-4", '="3-4"'),
        ("JNK-1", '="JNK-1"'),
        ("'1", '="\'1"'),
        ("9" * 255, f'="{"9" * 255}"'),
        ("9" * 256, "9" * 256),
        ("", ""),
        ("-7", "'-7"),
        ("=1", "'=1"),
        ('="1"', '\'="1"'),
        ('7"', '7"'),
        ("7;8", "7;8"),
        ("7\n", "7\n"),
    ],
)
def test_text_cells(text: str, cell: str) -> None:
    """A text is a constant formula, unless it could end one; a sign still gets an apostrophe."""
    assert raw_cell(text, text_cells=True) == cell
    assert unmark(cell) == text


async def test_numbers_and_dates_of_the_api_are_no_texts() -> None:
    """With text cells, IDs, booleans and timestamps are written as without them."""
    key = Key(id=1, key_value="2", created_at=AT, keys_hwid=("3",), no_hwid=True)
    with_texts = await text_of([key], "csv", text_cells=True)
    assert with_texts.replace('"=""2"""', "2").replace('"=""3"""', "3") == (
        await text_of([key], "csv")
    )
    assert with_texts.count('"=""') == 2


async def test_unknown_types_are_disarmed_too() -> None:
    """Types that only a caller can put into a key are written as text."""

    class Text(str):
        __slots__ = ()

    odd = Key(id=1, key_value=Text("=1"), key_name=-1.5)  # type: ignore[arg-type]
    text = await text_of([odd], "csv")
    assert text.splitlines()[1].startswith("1,'=1,")
    assert ",'-1.5," in text
