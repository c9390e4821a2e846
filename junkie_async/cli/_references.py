"""How commands are told which keys: by value, by ID, or in a file, never by a guess."""

import re
import sys
from pathlib import Path
from typing import Annotated, TextIO

import attrs
import typer

from ._output import fail

_STDIN = "-"
_ID = re.compile("[0-9]{1,19}")


@attrs.frozen(kw_only=True)
class ValueOnly:
    """One key, by its value."""

    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE|-",
            help="The whole key value; - reads it from stdin, and keeps it out of the history.",
        ),
    ]

    def text(self) -> str:
        """Give the key value."""
        return _only_line() if self.value == _STDIN else self.value


@attrs.frozen(kw_only=True)
class OneKey:
    """One key, by its value or its ID."""

    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE|-",
            help="The key value, even if it is all digits; - reads it from stdin.",
        ),
    ] = None
    key_id: Annotated[
        int | None, typer.Option("--id", metavar="ID", help="The key's ID, instead of its value.")
    ] = None

    def reference(self) -> int | str:
        """Give what the SDK takes: a number is an ID, text is a value."""
        if self.key_id is not None and self.value is None:
            return self.key_id
        if self.value is None or self.key_id is not None:
            fail("one key is needed: its value, or --id and its ID")
        return _only_line() if self.value == _STDIN else self.value


@attrs.frozen(kw_only=True)
class ManyKeys:
    """Any number of keys, by their values or IDs."""

    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|-",
            help="Key values, even if they are all digits; - reads them from stdin.",
        ),
    ] = None
    key_ids: Annotated[
        list[int] | None,
        typer.Option("--id", metavar="ID", help="A key's ID; give it once for each."),
    ] = None
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE|-", help="A file with a key value a line."),
    ] = None
    ids: Annotated[
        bool, typer.Option("--ids", help="The lines of that file, or of stdin, are IDs.")
    ] = False

    def references(self) -> list[int | str]:
        """Give all keys as the SDK takes them, each once: numbers are IDs, texts are values."""
        values = self.values or []
        sources = [self.source] if self.source else []
        sources += [each for each in values if each == _STDIN]
        if len(sources) > 1:
            fail("keys can be read from one place only: --from FILE, or -")
        if self.ids and not sources:
            fail("--ids tells what --from FILE, or -, has; on the command line it is --id")
        given: list[int | str] = [each for each in values if each != _STDIN]
        given += self.key_ids or []
        given += [each for source in sources for each in _lines(source, ids=self.ids)]
        if not given:
            fail("no key is given: VALUE, --id or --from")
        return list(dict.fromkeys(given))


def _only_line() -> str:
    lines = _read(sys.stdin, "stdin")
    if len(lines) != 1:
        fail(f"stdin must have one key value, not {len(lines):,}")
    return lines[0]


def _lines(source: str, *, ids: bool) -> list[int] | list[str]:
    if source == _STDIN:
        lines = _read(sys.stdin, "stdin")
    else:
        try:
            with Path(source).open(encoding="utf-8") as file:
                lines = _read(file, source)
        except OSError as error:
            fail(f"{source}: {error.strerror or error}")
    if not ids:
        return lines
    wrong = next((line for line in lines if not _ID.fullmatch(line)), None)
    if wrong is not None:  # which may be a key value
        fail(f"{source}: --ids wants a number a line; key {lines.index(wrong) + 1} is none")
    return [int(line) for line in lines]


def _read(file: TextIO, name: str) -> list[str]:
    """Give the lines that are not blank, without the space around them."""
    try:
        text = file.read().removeprefix("\ufeff")
    except UnicodeDecodeError:
        fail(f"{name} is not UTF-8 text")
    return [line.strip() for line in text.split("\n") if line.strip()]
