"""Where an export's keys come from: a walk, page by page, or any async iterable, in chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from .._errors import InvalidRequestError
from .._models import Key
from .._pagination.pager import KeyPager
from .._validation import safe_repr

T = TypeVar("T")

CHUNK_SIZE = 500
"""Keys that are written together when they do not come in pages."""

Chunk: TypeAlias = tuple[Sequence[Key], int | None]
"""Some keys, and how many there are in all, or None where that is unknown."""


def iterate_chunks(keys: Any) -> AsyncGenerator[Chunk, None]:
    """Give the keys of a walk or of an async iterable, many at a time.

    Raises:
        InvalidRequestError: ``keys`` is something else, or what it gives is not a `Key`.
    """
    if isinstance(keys, KeyPager):
        return _iterate_pages(keys)
    if not isinstance(keys, AsyncIterable):
        limit = "what keys.list() returns, or an async iterable of Keys"
        raise InvalidRequestError("keys", safe_repr(keys), limit)
    return _iterate_keys(keys)  # pyright: ignore[reportUnknownArgumentType] - checked one by one


def check_batches(batches: Any) -> None:
    """Refuse what can't give batches, before a job is started."""
    if not isinstance(batches, AsyncIterable):
        limit = "what keys.create_many() returns, or an async iterable of KeyBatches"
        raise InvalidRequestError("batches", safe_repr(batches), limit)


@asynccontextmanager
async def closing(source: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close an async generator at the end. A caller's own iterator may have no ``aclose``."""
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _iterate_pages(pager: KeyPager) -> AsyncGenerator[Chunk, None]:
    async with aclosing(pager.pages()) as pages:
        async for page in pages:
            yield page.keys, page.pagination.total
            del page  # or it would stay in memory until the next one has come


async def _iterate_keys(keys: AsyncIterable[Any]) -> AsyncGenerator[Chunk, None]:
    chunk: list[Key] = []
    async with closing(aiter(keys)) as source:
        async for key in source:
            if not isinstance(key, Key):
                raise InvalidRequestError("keys", safe_repr(key), "Key objects only")
            chunk.append(key)
            if len(chunk) == CHUNK_SIZE:
                yield chunk, None
                chunk = []
    if chunk:
        yield chunk, None
