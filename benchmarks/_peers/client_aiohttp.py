"""Hand-written aiohttp loops: serial, concurrent, a session per call, and bytes only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp

from .child import chunks
from .server import API_KEY, BATCH, BULK, PAGE, PROVIDER

HEADERS = {"Authorization": f"Bearer {API_KEY}"}
FIELDS = {"provider_id": PROVIDER, "amount": BATCH, "validity_minutes": 60, "hwid_limit": 1}
WALKING, CREATING, DELETING = 4, 8, 4
"""Requests in flight, as many as junkie_async has."""


def slices(ids: range) -> Iterator[list[int]]:
    """Split IDs into one list per call."""
    return (list(ids[first : first + BULK]) for first in range(0, len(ids), BULK))


class Serial:
    """One request after the other on one session, and ``await response.json()``."""

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the dicts of all pages."""
        count, page = 0, 1
        async with self._session() as session:
            while page <= pages:
                async with session.get(f"{url}/keys?page={page}&limit={PAGE}") as response:
                    body = await response.json()
                for _ in body["keys"]:
                    count += 1
                pages = body["pagination"]["totalPages"]
                page += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Post batches."""
        count = 0
        async with self._session() as session:
            for _ in range(calls):
                count += len((await _post(session, f"{url}/keys/batch", FIELDS))["keys"])
        return count

    async def delete(self, url: str, ids: range) -> int:
        """Post lists of IDs."""
        count = 0
        async with self._session() as session:
            for chunk in slices(ids):
                count += (await _delete(session, url, chunk))["deleted"]
        return count

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Post lists of IDs from a stream."""
        count = 0
        async with self._session() as session:
            async for chunk in chunks(ids):
                count += (await _delete(session, url, chunk))["deleted"]
        return count

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(headers=HEADERS)


async def _post(session: aiohttp.ClientSession, url: str, body: object) -> Any:
    async with session.post(url, json=body) as response:
        return await response.json()


async def _delete(session: aiohttp.ClientSession, url: str, ids: list[int]) -> Any:
    return await _post(session, f"{url}/keys/bulk-delete", {"keys": ids})


class SessionPerCall:
    """A new session, and so a new connection, for each call: what many bots do."""

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the dicts of all pages."""
        count, page = 0, 1
        while page <= pages:
            async with (
                aiohttp.ClientSession(headers=HEADERS) as session,
                session.get(f"{url}/keys?page={page}&limit={PAGE}") as response,
            ):
                body = await response.json()
            for _ in body["keys"]:
                count += 1
            pages = body["pagination"]["totalPages"]
            page += 1
        return count

    async def create(self, url: str, calls: int) -> int:
        """Post batches."""
        count = 0
        for _ in range(calls):
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                count += len((await _post(session, f"{url}/keys/batch", FIELDS))["keys"])
        return count

    async def delete(self, url: str, ids: range) -> int:
        """Post lists of IDs."""
        count = 0
        for chunk in slices(ids):
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                count += (await _delete(session, url, chunk))["deleted"]
        return count

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Post lists of IDs from a stream."""
        count = 0
        async for chunk in chunks(ids):
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                count += (await _delete(session, url, chunk))["deleted"]
        return count


class Concurrent:
    """Workers that share one session and its iterator of requests, and ``await response.json()``.

    Of the ways to bound what is in flight it is the one with the least tasks.
    """

    async def walk(self, url: str, pages: int) -> int:
        """Iterate over the dicts of all pages."""
        urls = (f"{url}/keys?page={page}&limit={PAGE}" for page in range(1, pages + 1))
        count = 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal count
            for address in urls:
                async with session.get(address) as response:
                    body = await response.json()
                for _ in body["keys"]:
                    count += 1

        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(WALKING)))
        return count

    async def create(self, url: str, calls: int) -> int:
        """Post batches."""
        left, count = iter(range(calls)), 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal count
            for _ in left:
                body = await _post(session, f"{url}/keys/batch", FIELDS)
                count += len(body["keys"])

        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(CREATING)))
        return count

    async def delete(self, url: str, ids: range) -> int:
        """Post lists of IDs."""
        left, count = slices(ids), 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal count
            for chunk in left:
                body = await _delete(session, url, chunk)
                count += body["deleted"]

        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(DELETING)))
        return count

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Post lists of IDs from a stream."""
        left, turn, count = chunks(ids), asyncio.Lock(), 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal count
            while True:
                async with turn:
                    chunk = await anext(left, None)
                if chunk is None:
                    return
                body = await _delete(session, url, chunk)
                count += body["deleted"]

        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(DELETING)))
        return count


class Bytes:
    """The floor: as many requests in flight, prepared bodies, responses read and discarded.

    What it counts is taken from the bytes without decoding them.
    """

    async def walk(self, url: str, pages: int) -> int:
        """Read the bytes of all pages."""
        urls = (f"{url}/keys?page={page}&limit={PAGE}" for page in range(1, pages + 1))
        count = 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal count
            for address in urls:
                async with session.get(address) as response:
                    count += PAGE if len(await response.read()) > PAGE * PAGE else 0

        async with aiohttp.ClientSession(headers=HEADERS) as session:
            await asyncio.gather(*(work(session) for _ in range(WALKING)))
        return count

    async def create(self, url: str, calls: int) -> int:
        """Post batches."""
        body = json.dumps(FIELDS).encode()
        responses = await _exchange(f"{url}/keys/batch", (body for _ in range(calls)), CREATING)
        return responses * BATCH

    async def delete(self, url: str, ids: range) -> int:
        """Post lists of IDs."""
        bodies = [json.dumps({"keys": chunk}).encode() for chunk in slices(ids)]
        return await _exchange(f"{url}/keys/bulk-delete", iter(bodies), DELETING) * BULK

    async def delete_stream(self, url: str, ids: AsyncIterator[int]) -> int:
        """Not implemented: with a stream it would not be the floor."""
        raise NotImplementedError


async def _exchange(url: str, bodies: Iterator[bytes], in_flight: int) -> int:
    responses = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal responses
        for body in bodies:
            async with session.post(url, data=body) as response:
                await response.read()
                responses += response.ok

    headers = HEADERS | {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
    return responses
