"""How keys become CSV: columns, cells, and the disarming of cells that would run as formulas."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

from .._models import DiscordRedemption, Key, KeyDetailed
from .._protocol.json_documents import encode_text
from .._protocol.utc import all_in_utc

COLUMNS: Final = tuple(field.name for field in attrs.fields(KeyDetailed))
"""The header of a CSV file: the API's fields, in the models' order."""

# What makes a spreadsheet run a cell as a formula: OWASP's list ("CSV Injection"), which has the
# full-width forms because some programs take them for the ASCII ones. NUL is there because a
# program that drops it begins the cell with what follows.
_SIGNS: Final = "\0=+\\-@＝＋－＠"  # noqa: RUF001 - the full-width ones are meant

# A formula may begin at the start of the text, and after each character at which a spreadsheet may
# split it. There it drops the quotes before the sign: in a file, the text `x;"=1` is `"x;""=1"`.
# Apostrophes before the sign already count as part of the formula: it gets one more, so that
# `unmark` restores every text.
_LEADING_QUOTES: Final = "[\"']*"
_FORMULA: Final = (
    rf"(?:\A|(?<=[;\t\r\n])){{}}(?={_LEADING_QUOTES}[{_SIGNS}])|\A{{}}(?={_LEADING_QUOTES}[\t\r\n])"
)
_ARMED: Final = re.compile(_FORMULA.format("", ""))
_DISARMED: Final = re.compile(_FORMULA.format("'", "'"))
_SUSPECT_FIRST_CHARACTERS: Final = frozenset(f"\"'{_SIGNS}") - {"\\"}

# A text as a constant formula, which spreadsheets show as it is. What it can't hold is no number:
# a quote would end it, and cells may be split at the others. Excel takes 255 characters in one.
_CONSTANT: Final = re.compile(r'="([^";\0-\x1f\x7f]{1,255})"')

# Only keys from `keys.get` have the last column, the redemption.
_read_listed_fields: Callable[[Key], tuple[object, ...]] = attrgetter(*COLUMNS[:-1])


def encode_header(*, bom: bool) -> bytes:
    """Encode the header line, after a byte order mark if wanted."""
    return codecs.BOM_UTF8 * bom + _encode_lines([COLUMNS])


def encode_rows(keys: Sequence[Key], *, text_cells: bool = False) -> bytes:
    """Encode keys, a line each."""
    converters = _TEXT_CELLS if text_cells else _CELLS
    return _encode_lines(_make_row(key, converters) for key in all_in_utc(keys))


def unmark(text: str) -> str:
    """Remove what an export added to a cell, so that spreadsheets take it as text.

    Args:
        text: A cell, as ``csv.reader`` gives it.

    Returns:
        The text as it was before the export.
    """
    constant = _CONSTANT.fullmatch(text)
    return constant[1] if constant else _DISARMED.sub("", text)


def _disarm_formulas(text: str) -> str:
    """Put an apostrophe before each formula in a text."""
    # Nearly every text passes these tests, in a fifth of the time that the pattern takes.
    if text[:1] not in _SUSPECT_FIRST_CHARACTERS and ";" not in text and text.isprintable():
        return text
    return _ARMED.sub("'", text)


def _encode_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _make_row(key: Key, converters: _Converters) -> list[object]:
    cells: list[object] = [*_read_listed_fields(key), getattr(key, COLUMNS[-1], None)]
    return [
        # Most cells are None or an int, which the csv module writes without a call from here.
        cell
        if cell is None or type(cell) is int
        else converters.get(type(cell), _from_unknown)(cell)
        for cell in cells
    ]


def _from_unknown(value: object) -> str:
    """Write a type that the service never sends, but a caller may have put into a key."""
    return _disarm_formulas(value if isinstance(value, str) else str(value))


def _make_constant(text: str) -> str:
    """Write a text so that a spreadsheet changes nothing of it: it would read 007 as 7."""
    disarmed, constant = _disarm_formulas(text), f'="{text}"'
    return constant if disarmed == text and _CONSTANT.fullmatch(constant) else disarmed


def _join_tuple(values: tuple[Any, ...]) -> str:
    if all(isinstance(value, str) for value in values):
        return ";".join(values)
    return encode_text(values)


def _make_converters(write_text: Callable[[str], str]) -> _Converters:
    return {
        str: write_text,
        bool: lambda value: "true" if value else "false",
        datetime: lambda moment: moment.isoformat().replace("+00:00", "Z"),
        tuple: lambda values: write_text(_join_tuple(values)),
        DiscordRedemption: lambda redemption: write_text(encode_text(redemption)),
    }


_Converters: TypeAlias = dict[type, Callable[[Any], str]]

_CELLS: Final = _make_converters(_disarm_formulas)
_TEXT_CELLS: Final = _make_converters(_make_constant)
