"""The client of openapi-generator (``python``, asyncio), used as its README says."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from typing import Any

from .child import chunks
from .environments import OGC
from .server import API_KEY, BATCH, BULK, PAGE, PROVIDER

_package: Any = importlib.import_module(OGC)


class Generated:
    """One request after the other, typed models."""

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the models of all pages."""
        count, page = 0, 1
        async with self._open(url) as client:
            keys = _package.KeysApi(client)
            while page <= pages:
                response = await keys.list_keys(page=page, limit=PAGE)
                for _ in response.keys:
                    count += 1
                pages = response.pagination.total_pages
                page += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Create batches."""
        count = 0
        body = _package.CreateKeyBatchRequest(
            provider_id=PROVIDER, amount=BATCH, validity_minutes=60, hwid_limit=1
        )
        async with self._open(url) as client:
            keys = _package.KeysApi(client)
            for _ in range(calls):
                count += len((await keys.create_key_batch(body)).keys)
        return count

    async def delete(self, url: str, ids: range) -> int:
        """Delete keys."""
        count = 0
        async with self._open(url) as client:
            for first in range(0, len(ids), BULK):
                count += await self._bulk(client, list(ids[first : first + BULK]))
        return count

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Delete keys of a stream."""
        count = 0
        async with self._open(url) as client:
            async for chunk in chunks(ids):
                count += await self._bulk(client, chunk)
        return count

    async def _bulk(self, client: Any, ids: list[int]) -> int:
        rows = [_package.BulkDeleteKeysRequestKeysInner(key_id) for key_id in ids]
        request = _package.BulkDeleteKeysRequest(keys=rows)
        return int((await _package.KeysApi(client).bulk_delete_keys(request)).deleted)

    def _open(self, url: str) -> Any:
        configuration = _package.Configuration(host=url, access_token=API_KEY)
        return _package.ApiClient(configuration)
