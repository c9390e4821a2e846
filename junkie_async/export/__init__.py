"""Exports keys to files: CSV for people and spreadsheets, JSON Lines for programs.

    async with JunkieClient() as junkie:
        written = await export_keys(junkie.keys.list(status="active"), "keys.csv")

A file appears whole or not at all. It is written under a temporary name in the same directory, and
renamed at the end. Until then, and after a failure or a cancellation, the old file stays as it was.
The file has mode 0600, whatever the old one had, because key values are secrets. Any number of keys
takes the memory of one page. A thread encodes and writes them, so the event loop stays free.

**JSON Lines**: one object a line, with the API's names and types, nulls included, always in the
same order. Texts are written unchanged.

**CSV**: RFC 4180 in UTF-8. The header is always `COLUMNS`. Timestamps are RFC 3339 in UTC, booleans
are ``true`` and ``false``, and None is written as an empty cell. ``keys_hwid`` holds the device
identifiers, joined with ``;``. ``hwids`` and ``discord_redemption`` are JSON; the latter is empty
unless the key came from ``keys.get``. Excel reads UTF-8 correctly only with a byte order mark, so
pass ``bom=True`` for it. Most other readers would take the mark for a part of the first column's
name; Python's codec for such files is ``utf-8-sig``.

**Numbers**: a spreadsheet reads a text such as ``007``, ``1E5`` or ``3-4`` as a number or a date,
and keeps 15 digits of a number. So Discord IDs, and key values of digits, lose some. Import these
columns as text, or pass ``text_cells=True``: then a text is written as ``="007"``, which is shown
as 007 and stays a text. Texts with ``;``, ``"`` or control characters, which are no numbers, and
texts of more than 255 characters are written as without it.

**Formulas**: no CSV cell is one, except for these constants. A text that begins with ``=``, ``+``,
``-``, ``@`` or their full-width forms, with a tab, a line break or NUL, gets an apostrophe in
front, as OWASP advises. So does a formula after a ``;``, a tab or a line break within a text,
because many spreadsheets split cells there; quotes before its sign don't hide it. A text that has
such apostrophes already gets one more, so `unmark` always restores the text.

`export_values` writes only the values of new keys, one a line, as shops import them. `json_line` is
for programs that write JSON Lines of their own.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeVar

from .._errors import InvalidRequestError
from .._http.coroutines import LazyCoroutine
from .._jobs.job import OnProgress, check_progress, report_progress
from .._masking import error_boundary
from .._models import Key, KeyBatch
from .._pagination.pager import KeyPager, complete_pages
from .._protocol.codec import encode_lines
from .._protocol.json_documents import encode_text
from .._validation import check_boolean, safe_repr
from .atomic_file import check_target, is_stream, open_target
from .csv_format import COLUMNS, encode_header, encode_rows, unmark

__all__ = ["COLUMNS", "Format", "export_keys", "export_values", "json_line", "unmark"]

T = TypeVar("T")
EncodedT = TypeVar("EncodedT")


class Format(enum.StrEnum):
    """The format of a file of keys."""

    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}

_CHUNK_SIZE = 500  # keys that are written together when they do not come in pages


@error_boundary
async def export_keys(
    keys: KeyPager | AsyncIterable[Key],
    to: str | os.PathLike[str] | TextIO,
    *,
    format: Format | Literal["csv", "jsonl"] | None = None,  # noqa: A002 - the usual name
    bom: bool = False,
    text_cells: bool = False,
    on_progress: OnProgress | None = None,
) -> int:
    """Write keys, with all their fields, to a CSV or JSON Lines file.

    Args:
        keys: What ``keys.list()`` returns, or any async iterable of `Key`s.
        to: A path, whose file is created or replaced at the end. Or an open text file, such as
            stdout: keys are written to it as they come, it is flushed, and it stays open. Open it
            with ``encoding="utf-8"``, and for CSV with ``newline=""``.
        format: ``"csv"`` or ``"jsonl"``. None takes it from the path's suffix: ``.csv``,
            ``.jsonl`` or ``.ndjson``.
        bom: Whether a CSV file begins with a byte order mark, for Excel.
        text_cells: Whether the texts of a CSV file are written as ``="007"``, from which a
            spreadsheet makes the text 007, not the number 7.
        on_progress: Called after each page with the keys written so far, and how many there are,
            or None where that is unknown. What a coroutine function returns is awaited.

    Returns:
        How many keys were written.

    Raises:
        InvalidRequestError: An argument is invalid. Nothing was sent.
        OSError: The file can't be written. Where that is known beforehand, nothing was sent.
        JunkieError: A page could not be fetched.
    """
    _take_source("keys", keys, "what keys.list() returns, or an async iterable of Keys")
    chosen = _choose_format(format, to)
    header = _make_header(chosen, bom=bom, text_cells=text_cells)
    encode = encode_lines if chosen is Format.JSONL else partial(encode_rows, text_cells=text_cells)
    progress = check_progress(on_progress)

    written = 0
    async with aclosing(_iterate_chunks(keys)) as chunks, open_target(to) as (run, write):
        await run(write, header)
        async for chunk, total in chunks:
            await run(_write_encoded, write, encode, chunk)
            written += len(chunk)
            if progress is not None:
                await report_progress(progress, written, total)
            del chunk  # or it would stay in memory until the next one has come
    return written


@error_boundary
async def export_values(
    batches: AsyncIterable[KeyBatch], to: str | os.PathLike[str] | TextIO
) -> int:
    """Write the values of new keys, one a line.

    Args:
        batches: What ``keys.create_many()`` returns, or any async iterable of `KeyBatch`es. A job
            that is run again with its ledger gives its earlier keys too, so the file has all keys.
        to: A path, whose file is created or replaced at the end, with mode 0600. Or an open text
            file, such as stdout: values are written to it as they come, it is flushed, and it stays
            open.

    Returns:
        How many values were written.

    Raises:
        InvalidRequestError: An argument is invalid. Nothing was sent.
        OSError: The file can't be written. Where that is known beforehand, nothing was sent.
        JunkieError: The job failed. No file was written.
    """
    limit = "what keys.create_many() returns, or an async iterable of KeyBatches"
    _take_source("batches", batches, limit)
    check_target(to)
    written = 0
    async with open_target(to) as (run, write), _closing(aiter(batches)) as source:
        async for batch in source:
            await run(_write_encoded, write, _encode_values, batch.keys)
            written += len(batch.keys)
    return written


@error_boundary
def json_line(record: Any) -> str:
    """Encode a value as a line of a JSON Lines file, without the line break.

    Args:
        record: A `Key` or another model of this package, or dicts, lists and plain values of them.

    Raises:
        InvalidRequestError: A text in it is not valid Unicode.
    """
    return _encode(encode_text, record)


def _choose_format(given: Any, to: Any) -> Format:
    """Take the format from the argument or the path's suffix."""
    check_target(to)
    if given is None:
        found = None if is_stream(to) else _SUFFIXES.get(Path(to).suffix.lower())
        if found is None:
            limit = "'csv' or 'jsonl', unless the path ends in .csv, .jsonl or .ndjson"
            raise InvalidRequestError("format", "None", limit)
        return found
    if not isinstance(given, str) or given not in list(Format):
        raise InvalidRequestError("format", safe_repr(given), "'csv' or 'jsonl'")
    return Format(given)


def _make_header(chosen: Format, *, bom: bool, text_cells: bool) -> bytes:
    """Return what comes before the keys."""
    check_boolean("bom", bom)
    check_boolean("text_cells", text_cells)
    if chosen is Format.CSV:
        return encode_header(bom=bom)
    if bom:
        raise InvalidRequestError("bom", "True", "False for JSON Lines (RFC 8259, section 8.1)")
    if text_cells:
        raise InvalidRequestError(
            "text_cells", "True", "False for JSON Lines, which keep texts as they are"
        )
    return b""


def _take_source(name: str, source: Any, limit: str) -> None:
    if not isinstance(source, AsyncIterable):
        raise InvalidRequestError(name, safe_repr(source), limit)
    if isinstance(source, LazyCoroutine):
        source.close()  # where an error keeps it from being read, that error is enough


async def _iterate_chunks(keys: Any) -> AsyncGenerator[tuple[Sequence[Key], int | None], None]:
    """Give many keys at a time, and how many there are in all, or None where that is unknown."""
    if isinstance(keys, KeyPager):
        async with aclosing(complete_pages(keys)) as pages:
            async for page in pages:
                yield page.keys, page.pagination.total
                del page  # or it would stay in memory until the next one has come
        return
    chunk: list[Key] = []
    async with _closing(aiter(keys)) as source:
        async for key in source:
            if not isinstance(key, Key):
                raise InvalidRequestError("keys", safe_repr(key), "Key objects only")
            chunk.append(key)
            if len(chunk) == _CHUNK_SIZE:
                yield chunk, None
                chunk = []
    if chunk:
        yield chunk, None


@asynccontextmanager
async def _closing(source: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close an async generator at the end. A caller's own iterator may have no ``aclose``."""
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


def _write_encoded(write: Callable[[bytes], None], encode: Callable[[T], bytes], items: T) -> None:
    """Encode and write in one step: both belong in the thread."""
    write(_encode(encode, items))


def _encode(encode: Callable[[T], EncodedT], value: T) -> EncodedT:
    with suppress(UnicodeEncodeError):
        return encode(value)
    # Out here, or Python's error would be chained. It holds the whole text, maybe a key value.
    raise InvalidRequestError("keys", "text with a lone surrogate", "valid Unicode") from None


def _encode_values(values: Sequence[str]) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()
