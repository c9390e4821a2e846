"""Keys to a file: CSV for people and spreadsheets, JSON Lines for programs; any number of them.

async with JunkieClient() as junkie:
    written = await export_keys(junkie.keys.list(status="active"), "keys.csv")

A file appears whole or not at all. It is written beside its place under another name, and takes it
at the end; until then, and after a failure or a cancellation, the old file is there, or none. It
has mode 0600, whatever the old one's was: key values are secrets. Memory stays flat, and the event
loop free: a page at a time is encoded and written in a thread.

**JSON Lines** has an object a line, with the API's own names and types, nulls included, always in
the same order. Nothing is changed in it.

**CSV** is that of RFC 4180, in UTF-8, with `COLUMNS` for its header in every file. Timestamps are
RFC 3339 in UTC, booleans ``true`` and ``false``, and nothing is an empty cell. ``keys_hwid`` has
the identifiers with ``;`` between them; ``hwids``, whose objects say more, is JSON, and so is
``discord_redemption``, which only keys from ``keys.get`` have. Discord IDs have more digits than a
spreadsheet's numbers: import those columns as text. Excel takes UTF-8 for what it is only with a
byte order mark, which ``bom=True`` gives, and most other readers would find in the first column's
name; Python's is ``utf-8-sig``.

No cell is a formula. Text that begins with ``=``, ``+``, ``-``, ``@``, or with their full-width
twins, a tab, a line break or NUL, gets an apostrophe before it, as OWASP advises. So does what
follows a ``;``, a tab or a line break within a text: half of the world's spreadsheets split cells
there. Text that has such apostrophes already gets one more, so that `unmark` gives back exactly
what was there.

`export_values` writes the values of new keys, and nothing else, a line each: what a shop imports.
`json_line` is for programs that write lines of their own.
"""

from __future__ import annotations

import csv
import enum
import io
import os
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeAlias, TypeVar

import attrs

from .._errors import InvalidRequestError
from .._jobs.job import OnProgress, check_progress
from .._models import DiscordRedemption, Key, KeyBatch, KeyDetailed
from .._pagination.pager import KeyPager
from .._protocol.codec import encode_lines, encode_text, in_utc_throughout
from .._validation import check_boolean, safe_repr
from .atomic_file import File, Stream, Worker

__all__ = ["COLUMNS", "Format", "export_keys", "export_values", "json_line", "unmark"]

T = TypeVar("T")

COLUMNS: Final = tuple(field.name for field in attrs.fields(KeyDetailed))
"""The header of a CSV file: the API's fields, in the models' order."""

_BLOCK: Final = 500
"""Keys that are written at once where they do not come in pages."""

_BOM: Final = "\ufeff".encode()


class Format(enum.StrEnum):
    """What a file of keys can be."""

    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}

_Block: TypeAlias = tuple[Sequence[Key], int | None]
"""Some keys, and how many there are in all where that is known."""


async def export_keys(
    keys: KeyPager | AsyncIterable[Key],
    to: str | os.PathLike[str] | TextIO,
    *,
    format: Format | Literal["csv", "jsonl"] | None = None,  # noqa: A002 - the word for it
    bom: bool = False,
    on_progress: OnProgress | None = None,
) -> int:
    """Write keys, with all their fields, to a CSV or JSON Lines file.

    Args:
        keys: What ``keys.list()`` gives, or any async iterable of `Key`s.
        to: A path, whose file appears, or is replaced, at the end; or an open text file, such as
            stdout, which is written to as it goes, flushed and not closed. For CSV it should have
            been opened with ``newline=""``, and for any text with ``encoding="utf-8"``.
        format: ``"csv"`` or ``"jsonl"``; by the suffix of a path (``.csv``, ``.jsonl``,
            ``.ndjson``) if it is not given.
        bom: Whether a CSV file begins with a byte order mark, for Excel.
        on_progress: Called with the keys written so far, and how many there are or None, after
            each page.

    Returns:
        How many keys were written.

    Raises:
        InvalidRequestError: An argument can't be; nothing was sent.
        OSError: The file can't be written; where that can be known, nothing was sent.
        JunkieError: A page can't be had.
    """
    chosen = _format(format, to)
    header, encode = _encoding(chosen, bom=_checked_bom(bom, chosen))
    progress = check_progress(on_progress)
    target = _target(to)

    written = 0
    async with aclosing(_blocks(keys)) as blocks, Worker(target) as worker:
        await worker.run(target.write, header)
        async for block, total in blocks:
            await worker.run(_put, target, encode, block)
            written += len(block)
            if progress is not None:
                progress(written, total)
            del block  # or it would live on until the next one is there
    return written


async def export_values(
    batches: AsyncIterable[KeyBatch], to: str | os.PathLike[str] | TextIO
) -> int:
    """Write key values, one a line.

    Args:
        batches: What ``keys.create_many()`` gives, or any async iterable of `KeyBatch`es. With a
            ledger, a job that is run again gives its earlier keys too, so the file has all of them.
        to: A path, whose file appears, or is replaced, at the end, with mode 0600; or an open text
            file, such as stdout, which is written to as it goes, flushed and not closed.

    Returns:
        How many values were written.

    Raises:
        InvalidRequestError: An argument can't be; nothing was sent.
        OSError: The file can't be written; where that can be known, nothing was sent.
        JunkieError: The job failed; no file appears.
    """
    _check_batches(batches)
    _check_target(to)
    target, encode = _target(to), _reporting_surrogates(_value_lines)
    written = 0
    async with Worker(target) as worker, _closing(aiter(batches)) as source:
        async for batch in source:
            await worker.run(_put, target, encode, batch.keys)
            written += len(batch.keys)
    return written


def json_line(record: Any) -> str:
    """Write a value as JSON, as the lines of a JSON Lines file are, without the line's end.

    Args:
        record: A `Key` or another model of this package, or dicts, lists and plain values of them.

    Raises:
        InvalidRequestError: A text in it is no valid Unicode.
    """
    encode = _reporting_surrogates(lambda one: encode_text(one).encode())
    return encode(record).decode()


def unmark(text: str) -> str:
    """Give back a CSV cell's text as it was, without the apostrophes that disarm formulas.

    Args:
        text: The cell, as ``csv.reader`` gives it.
    """
    return _MARKED.sub("", text)


# --- arguments ------------------------------------------------------------------------------------


def _is_stream(to: Any) -> bool:
    return hasattr(to, "write")


def _target(to: Any) -> File | Stream:
    return Stream(to) if _is_stream(to) else File(Path(to))


def _check_target(to: Any) -> None:
    """Refuse what is neither a path nor a text file."""
    if isinstance(to, io.RawIOBase | io.BufferedIOBase):
        raise InvalidRequestError("to", "a binary file", "a path or an open text file")
    if not _is_stream(to) and not isinstance(to, str | os.PathLike):
        raise InvalidRequestError("to", safe_repr(to), "a path or an open text file")


def _check_batches(batches: Any) -> None:
    if not isinstance(batches, AsyncIterable):
        limit = "what keys.create_many() gives, or an async iterable of KeyBatches"
        raise InvalidRequestError("batches", safe_repr(batches), limit)


def _format(given: Any, to: Any) -> Format:
    """Find the format, and refuse what is neither a path nor a text file."""
    _check_target(to)
    if given is None:
        found = None if _is_stream(to) else _SUFFIXES.get(Path(to).suffix.lower())
        if found is None:
            limit = "'csv' or 'jsonl' where no suffix .csv, .jsonl or .ndjson tells it"
            raise InvalidRequestError("format", "None", limit)
        return found
    if not isinstance(given, str) or given not in list(Format):
        raise InvalidRequestError("format", safe_repr(given), "'csv' or 'jsonl'")
    return Format(given)


def _checked_bom(bom: bool, chosen: Format) -> bool:
    if check_boolean("bom", bom) and chosen is not Format.CSV:
        raise InvalidRequestError("bom", "True", "False for JSON (RFC 8259, section 8.1)")
    return bom


def _blocks(keys: Any) -> AsyncGenerator[_Block, None]:
    if isinstance(keys, KeyPager):
        return _pages(keys)
    if not isinstance(keys, AsyncIterable):
        limit = "what keys.list() gives, or an async iterable of Keys"
        raise InvalidRequestError("keys", safe_repr(keys), limit)
    return _gathered(keys)


async def _pages(keys: KeyPager) -> AsyncGenerator[_Block, None]:
    async with aclosing(keys.pages()) as pages:
        async for page in pages:
            yield page.keys, page.pagination.total
            del page


async def _gathered(keys: AsyncIterable[Key]) -> AsyncGenerator[_Block, None]:
    block: list[Key] = []
    async with _closing(aiter(keys)) as source:
        async for key in source:
            if not isinstance(key, Key):
                raise InvalidRequestError("keys", safe_repr(key), "Keys, all of them")
            block.append(key)
            if len(block) == _BLOCK:
                yield block, None
                block = []
    if block:
        yield block, None


def _closing(source: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Close what can be closed; a caller's own iterator may have nothing to."""
    return aclosing(source) if isinstance(source, AsyncGenerator) else nullcontext(source)


# --- keys to bytes --------------------------------------------------------------------------------

_Encode: TypeAlias = Callable[[T], bytes]

_SIGN = "\0=+\\-@＝＋－＠"  # noqa: RUF001 - the full-width ones are meant
_START = rf"(?:\A|(?<=[;\t\r\n])){{}}(?='*[{_SIGN}])|\A{{}}(?='*[\t\r\n])"
_UNMARKED = re.compile(_START.format("", ""))
_MARKED = re.compile(_START.format("'", "'"))
_FIRSTS = frozenset(f"'{_SIGN}") - {"\\"}


def _encoding(chosen: Format, *, bom: bool) -> tuple[bytes, _Encode[Sequence[Key]]]:
    """Give what precedes the keys, and what writes a block of them."""
    if chosen is Format.JSONL:
        return b"", _reporting_surrogates(encode_lines)
    header = _BOM * bom + _csv([COLUMNS])
    return header, _reporting_surrogates(lambda keys: _csv(map(_row, in_utc_throughout(keys))))


def _put(target: File | Stream, encode: _Encode[T], some: T) -> None:
    target.write(encode(some))


def _reporting_surrogates(encode: _Encode[T]) -> _Encode[T]:
    def reporting(some: T) -> bytes:
        try:
            return encode(some)
        except UnicodeEncodeError:  # it has the text, which may be a key value, in it
            shown, limit = "one with a lone surrogate", "Keys of valid Unicode"
            raise InvalidRequestError("keys", shown, limit) from None

    return reporting


def _value_lines(values: Sequence[str]) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()


def _csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


_read_key = attrgetter(*(field.name for field in attrs.fields(Key)))
_read_detailed = attrgetter(*COLUMNS)


def _row(key: Key) -> list[Any]:
    detailed = isinstance(key, KeyDetailed)
    values = _read_detailed(key) if detailed else (*_read_key(key), None)
    return [
        value if value is None or type(value) is int else _CELLS.get(type(value), _other)(value)
        for value in values
    ]


def _mark(text: str) -> str:
    if text[:1] not in _FIRSTS and ";" not in text and text.isprintable():
        return text  # nearly always, in a fifth of the time that the pattern takes
    return _UNMARKED.sub("'", text)


def _joined(values: tuple[Any, ...]) -> str:
    if all(isinstance(value, str) for value in values):
        return _mark(";".join(values))
    return _mark(encode_text(values))


def _other(value: Any) -> str:
    """Write what the service does not send, but a caller may have put into a key."""
    return _mark(value if isinstance(value, str) else str(value))


_CELLS: Final[dict[type, Callable[[Any], str]]] = {
    str: _mark,
    bool: lambda value: "true" if value else "false",
    datetime: lambda at: at.isoformat().replace("+00:00", "Z"),
    tuple: _joined,
    DiscordRedemption: lambda redemption: _mark(encode_text(redemption)),
}
