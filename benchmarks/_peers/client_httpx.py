"""A hand-written loop over httpx, or httpx2: one request after the other, ``response.json()``."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from typing import Any

from .child import chunks
from .server import API_KEY, BATCH, BULK, PAGE, PROVIDER

FIELDS = {"provider_id": PROVIDER, "amount": BATCH, "validity_minutes": 60, "hwid_limit": 1}


class Httpx:
    """One request after the other."""

    library = "httpx"  # not a dependency of the project

    def __init__(self) -> None:
        self._library: Any = importlib.import_module(self.library)

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the dicts of all pages."""
        count, page = 0, 1
        async with self._client(url) as client:
            while page <= pages:
                body = (await client.get("/keys", params={"page": page, "limit": PAGE})).json()
                for _ in body["keys"]:
                    count += 1
                pages = body["pagination"]["totalPages"]
                page += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Post batches."""
        count = 0
        async with self._client(url) as client:
            for _ in range(calls):
                count += len((await client.post("/keys/batch", json=FIELDS)).json()["keys"])
        return count

    async def delete(self, url: str, ids: range) -> int:
        """Post lists of IDs."""
        count = 0
        async with self._client(url) as client:
            for first in range(0, len(ids), BULK):
                count += await _delete(client, list(ids[first : first + BULK]))
        return count

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Post lists of IDs from a stream."""
        count = 0
        async with self._client(url) as client:
            async for chunk in chunks(ids):
                count += await _delete(client, chunk)
        return count

    def _client(self, url: str) -> Any:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return self._library.AsyncClient(base_url=url, headers=headers)


class Httpx2(Httpx):
    """The same by its successor."""

    library = "httpx2"


async def _delete(client: Any, ids: list[int]) -> int:
    body = (await client.post("/keys/bulk-delete", json={"keys": ids})).json()
    return int(body["deleted"])
