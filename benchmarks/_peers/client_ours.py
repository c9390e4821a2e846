"""junkie_async with its defaults."""

from __future__ import annotations

from collections.abc import AsyncIterator

from junkie_async import JunkieClient

from .server import API_KEY, BATCH, PROVIDER


class Ours:
    """4 pages ahead, 8 batches or 4 deletions in flight."""

    async def walk(self, url: str, pages: int) -> int:  # noqa: ARG002 - the pager finds the end
        """Walk all keys."""
        count = 0
        async with JunkieClient(API_KEY, base_url=url) as client:
            async for _ in client.keys.list():
                count += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Create keys."""
        async with JunkieClient(API_KEY, base_url=url) as client:
            report = await client.keys.create_many(
                calls * BATCH, provider_id=PROVIDER, validity_minutes=60, hwid_limit=1
            )
        return len(report.keys)

    async def delete(self, url: str, ids: range) -> int:
        """Delete keys."""
        async with JunkieClient(API_KEY, base_url=url) as client:
            return (await client.keys.delete_many(ids)).deleted

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Delete keys of an async iterator."""
        async with JunkieClient(API_KEY, base_url=url) as client:
            return (await client.keys.delete_many(ids)).deleted
