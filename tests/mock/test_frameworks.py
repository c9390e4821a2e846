"""All nine operations work against Fastify and Express, whose default body parsers are strict."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from junkie_async import JunkieClient

VALUE = "JNK &=+#ä/?%25"


@pytest.fixture(params=["own session", "given session", "given session that sends JSON"])
async def client(framework: str, request: pytest.FixtureRequest) -> AsyncIterator[JunkieClient]:
    """A client over each kind of session."""
    if request.param == "own session":
        async with JunkieClient("a-key", base_url=framework) as junkie:
            yield junkie
        return
    headers = {"Content-Type": "application/json"} if "JSON" in request.param else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        JunkieClient("a-key", base_url=framework, session=session) as junkie,
    ):
        yield junkie


class TestOperations:
    """Each request is read as it was meant, and each response is read."""

    async def test_list(self, client: JunkieClient) -> None:
        """A filter arrives as it was given."""
        page = await client.keys.list(key=VALUE)
        assert [key.key_value for key in page.keys] == [VALUE]

    async def test_get(self, client: JunkieClient) -> None:
        """So does a key value in a path."""
        assert (await client.keys.get(VALUE)).key_value == VALUE

    async def test_folders(self, client: JunkieClient) -> None:
        """It is not taken for a key."""
        assert [folder.name for folder in await client.keys.folders()] == ["folder"]

    async def test_create(self, client: JunkieClient) -> None:
        """A body is read as JSON."""
        assert (await client.keys.create(provider_id=42, key_name=VALUE)).key_name == VALUE

    async def test_create_batch(self, client: JunkieClient) -> None:
        """So is that of a batch."""
        batch = await client.keys.create_batch(provider_id=42, amount=2, key_name=VALUE)
        assert batch.keys == (f"{VALUE}0", f"{VALUE}1")

    async def test_update(self, client: JunkieClient) -> None:
        """So is that of a PUT."""
        assert (await client.keys.update(1, key_name=VALUE)).message == VALUE

    async def test_bulk_delete(self, client: JunkieClient) -> None:
        """So is a large one."""
        assert (await client.keys.bulk_delete(range(1, 1001))).deleted == 1000

    async def test_delete(self, client: JunkieClient) -> None:
        """A DELETE has no body, nor does its response."""
        await client.keys.delete(VALUE)

    async def test_reset_hwid(self, client: JunkieClient) -> None:
        """A POST without a body has no content type, which these servers would check."""
        assert (await client.keys.reset_hwid(VALUE)).message == VALUE


@pytest.mark.parametrize("framework", ["fastify"], indirect=True)
@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/octet-stream", 415), ("application/json", 400)],
)
async def test_they_are_strict(framework: str, content_type: str, status: int) -> None:
    """An empty body with a content type is refused, so `test_reset_hwid` can fail."""
    url, headers = f"{framework}/keys/1/reset-hwid", {"Content-Type": content_type}
    async with aiohttp.ClientSession() as session, session.post(url, headers=headers) as response:
        assert response.status == status


@pytest.mark.parametrize("framework", ["fastify"], indirect=True)
async def test_what_aiohttp_sends_by_itself(framework: str) -> None:
    """It adds application/octet-stream to a POST without a body."""
    url = f"{framework}/keys/1/reset-hwid"
    async with aiohttp.ClientSession() as session, session.post(url) as response:
        assert response.status == 415
