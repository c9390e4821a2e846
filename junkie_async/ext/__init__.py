"""Integrations for other libraries. Import each one by its path."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def needs_extra(name: str) -> Generator[None]:
    """Name the extra to install when an import within the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        # Not its message: the emulator's one names the extra `emulator`, and two hints confuse.
        message = f'No module named {error.name!r}: run `pip install "junkie_async[{name}]"`'
        raise ModuleNotFoundError(message, name=error.name) from None
