"""The client of openapi-python-client, used as its README says."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from typing import Any

from .child import chunks
from .environments import OPC
from .server import API_KEY, BATCH, BULK, PAGE, PROVIDER


def _load(name: str) -> Any:
    return importlib.import_module(f"{OPC}.{name}")


_client, _models = _load("client"), _load("models")
_list, _create = _load("api.keys.list_keys"), _load("api.keys.create_key_batch")
_delete = _load("api.keys.bulk_delete_keys")


class Generated:
    """One request after the other, typed models."""

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the models of all pages."""
        count, page = 0, 1
        async with self._open(url) as client:
            while page <= pages:
                response = await _list.asyncio(client=client, page=page, limit=PAGE)
                for _ in response.keys:
                    count += 1
                pages = response.pagination.total_pages
                page += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Create batches."""
        count = 0
        body = _models.CreateKeyBatchBody(
            provider_id=PROVIDER, amount=BATCH, validity_minutes=60, hwid_limit=1
        )
        async with self._open(url) as client:
            for _ in range(calls):
                count += len((await _create.asyncio(client=client, body=body)).keys)
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
        body = _models.BulkDeleteKeysBody(keys=ids)
        return int((await _delete.asyncio(client=client, body=body)).deleted)

    def _open(self, url: str) -> Any:
        return _client.AuthenticatedClient(base_url=url, token=API_KEY)
