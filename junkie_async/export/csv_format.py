"""How keys become CSV: columns, cells, and the disarming of cells that would run as formulas."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import attrs

from .._models import DiscordRedemption, Key, KeyDetailed
from .._protocol.codec import all_in_utc, encode_text

COLUMNS: Final = tuple(field.name for field in attrs.fields(KeyDetailed))
"""The header of a CSV file: the API's fields, in the models' order."""

# What makes a spreadsheet run a cell as a formula: OWASP's list ("CSV Injection"), which has the
# full-width forms because some programs take them for the ASCII ones. NUL is there because a
# program that drops it begins the cell with what follows.
_SIGNS: Final = "\0=+\\-@＝＋－＠"  # noqa: RUF001 - the full-width ones are meant

# A formula may begin at the start of the text, and after each character at which a spreadsheet may
# split it. Apostrophes that stand before its sign already count as part of it: they get one more,
# so that `unmark` restores every text.
_FORMULA: Final = rf"(?:\A|(?<=[;\t\r\n])){{}}(?='*[{_SIGNS}])|\A{{}}(?='*[\t\r\n])"
_ARMED: Final = re.compile(_FORMULA.format("", ""))
_DISARMED: Final = re.compile(_FORMULA.format("'", "'"))
_SUSPECT_FIRST_CHARACTERS: Final = frozenset(f"'{_SIGNS}") - {"\\"}

# Only keys from `keys.get` have the last column, the redemption.
_read_listed_fields: Callable[[Key], tuple[object, ...]] = attrgetter(*COLUMNS[:-1])


def encode_header(*, bom: bool) -> bytes:
    """Encode the header line, after a byte order mark if wanted."""
    return codecs.BOM_UTF8 * bom + _encode_lines([COLUMNS])


def encode_rows(keys: Sequence[Key]) -> bytes:
    """Encode keys, a line each."""
    return _encode_lines(map(_make_row, all_in_utc(keys)))


def unmark(text: str) -> str:
    """Remove the apostrophes that an export added to disarm formulas.

    Args:
        text: A cell, as ``csv.reader`` gives it.

    Returns:
        The text as it was before the export.
    """
    return _DISARMED.sub("", text)


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


def _make_row(key: Key) -> list[object]:
    cells: list[object] = [*_read_listed_fields(key), getattr(key, COLUMNS[-1], None)]
    return [
        # Most cells are None or an int, which the csv module writes without a call from here.
        cell if cell is None or type(cell) is int else _CELLS.get(type(cell), _from_unknown)(cell)
        for cell in cells
    ]


def _from_tuple(values: tuple[Any, ...]) -> str:
    if all(isinstance(value, str) for value in values):
        return _disarm_formulas(";".join(values))
    return _disarm_formulas(encode_text(values))


def _from_unknown(value: object) -> str:
    """Write a type that the service never sends, but a caller may have put into a key."""
    return _disarm_formulas(value if isinstance(value, str) else str(value))


_CELLS: Final[dict[type, Callable[[Any], str]]] = {
    str: _disarm_formulas,
    bool: lambda value: "true" if value else "false",
    datetime: lambda moment: moment.isoformat().replace("+00:00", "Z"),
    tuple: _from_tuple,
    DiscordRedemption: lambda redemption: _disarm_formulas(encode_text(redemption)),
}
