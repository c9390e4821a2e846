"""Ready-made parts for programs that use the SDK. Each is imported by its path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Have a missing library's error say which extra brings it.

    Raises:
        ModuleNotFoundError: An import within failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error
    else:
        return
    words = f'{missing}: this needs `pip install "junkie_async[{name}]"`'
    raise ModuleNotFoundError(words, name=missing.name)
