"""Which keys a command is about: by value, by ID or from a file, and never by guessing."""

import re
import sys
from pathlib import Path
from typing import Annotated

import attrs
import typer

from ._exits import fail

_STDIN = "-"
_ID = re.compile("[0-9]{1,19}")  # the largest 64-bit integer has 19 digits


@attrs.frozen(kw_only=True)
class KeyValue:
    """One key, by its value."""

    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE|-",
            help="Complete key value; - reads it from stdin, which keeps it out of the shell's "
            "history.",
        ),
    ]

    def read_value(self) -> str:
        """Return the key value."""
        return _read_only_line() if self.value == _STDIN else self.value


@attrs.frozen(kw_only=True)
class OneKey:
    """One key, by its value or its ID."""

    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE|-", help="Key value, even if it is all digits; - reads it from stdin."
        ),
    ] = None
    key_id: Annotated[
        int | None, typer.Option("--id", metavar="ID", help="Key ID, instead of the value.")
    ] = None

    def read_reference(self) -> int | str:
        """Return the key as the SDK takes it: a number is an ID, a string is a value."""
        if self.key_id is not None and self.value is None:
            return self.key_id
        if self.value is None or self.key_id is not None:
            fail("name one key: by its value, or by its ID with --id")
        return _read_only_line() if self.value == _STDIN else self.value


@attrs.frozen(kw_only=True)
class ManyKeys:
    """Any number of keys, by their values or IDs."""

    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE|-", help="Key values, even if all digits; - reads them from stdin."
        ),
    ] = None
    key_ids: Annotated[
        list[int] | None,
        typer.Option("--id", metavar="ID", help="Key ID. May be given several times."),
    ] = None
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE|-", help="File with one key value per line."),
    ] = None
    ids: Annotated[
        bool, typer.Option("--ids", help="The lines of the file, or of stdin, are IDs.")
    ] = False

    def read_references(self) -> list[int | str]:
        """Return all keys as the SDK takes them, without duplicates."""
        values = self.values or []
        sources = [self.source] if self.source else []
        sources += [value for value in values if value == _STDIN]
        if len(sources) > 1:
            fail("keys can be read from one place only: --from FILE, or -")
        if self.ids and not sources:
            fail("--ids applies to --from FILE or -; for an ID on the command line use --id")
        references: list[int | str] = [value for value in values if value != _STDIN]
        references += self.key_ids or []
        references += [key for source in sources for key in _read_keys(source, ids=self.ids)]
        if not references:
            fail("no keys: pass VALUE, --id or --from")
        # A duplicate would be counted as a key that is not found.
        return list(dict.fromkeys(references))


def suggest_id(key: int | str) -> str | None:
    """Say what to do if no key has a value that looks like an ID; None for any other value."""
    if isinstance(key, str) and _ID.fullmatch(key):
        return f"no key has this value: for the key with the ID {int(key)} pass --id {int(key)}"
    return None


def _read_only_line() -> str:
    lines = _read_lines(_STDIN)
    if len(lines) != 1:
        fail(f"stdin must have one key value, got {len(lines):,}")
    return lines[0]


def _read_keys(source: str, *, ids: bool) -> list[int] | list[str]:
    # All before the first request: a typo in line 900 must not leave 899 keys changed.
    lines = _read_lines(source)
    if not ids:
        return lines
    wrong = next((line for line in lines if not _ID.fullmatch(line)), None)
    if wrong is not None:
        # The line may be a key value, so it is numbered and not quoted.
        fail(f"{source}: key {lines.index(wrong) + 1} is not an ID, which --ids requires")
    return [int(line) for line in lines]


def _read_lines(source: str) -> list[str]:
    """Return the lines that are not blank, stripped."""
    try:
        text = sys.stdin.read() if source == _STDIN else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{source}: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"{'stdin' if source == _STDIN else source} is not UTF-8 text")
    # `splitlines` would also split at U+2028 and form feeds, which key values may contain.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.strip() for line in lines if line.strip()]
