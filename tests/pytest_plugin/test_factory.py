"""The fixtures and their classes, in this run of pytest, which loads the plugin as any other."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from junkie_async import HWID, JunkieClient, KeyStatus, NotFoundError
from junkie_async.emulator import Emulator, Faults
from junkie_async.pytest_plugin import FaultSwitch, KeyFactory, running_emulator

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [*KeyStatus, *map(str, KeyStatus)])
def test_a_key_has_the_given_status(status: KeyStatus | str) -> None:
    """The status can be a member of `KeyStatus` or its value."""
    assert KeyFactory(1).key(status=status).status is KeyStatus(status)


def test_an_unknown_status_or_field() -> None:
    """An unknown status is a ValueError, an unknown field a TypeError; both name it."""
    with pytest.raises(ValueError, match="sold"):
        KeyFactory(1).key(status="sold")
    with pytest.raises(TypeError, match="nonsense"):
        KeyFactory(1).key(nonsense=1)


def test_the_same_seed_creates_the_same_keys() -> None:
    """Another seed creates others, and the keys and folders of a factory differ from each other."""
    one, same, other = map(KeyFactory, (1, 1, 2))
    keys, folder = one.keys(50), one.folder()
    assert (same.keys(50), same.folder()) == (keys, folder)
    assert not {*other.keys(50)} & {*keys}
    assert len({folder.id, *(key.id for key in keys)}) == 51


def test_given_fields_are_kept() -> None:
    """Given fields are kept, and the names and the list of HWIDs are derived from them."""
    at = NOON.replace(microsecond=123_456)
    bound = HWID(hwid="B", bound_at=at)
    key = KeyFactory(1).key(
        service_id=None, provider_id=7, folder_id=3, expires_at=at, hwids=["A", bound, "A"]
    )
    assert (key.service_name, key.provider_name, key.folder_name) == (
        None,
        "Provider 7",
        "Folder 3",
    )
    assert key.keys_hwid == ("A", "B")
    truncated = at.replace(microsecond=123_000)
    assert (key.expires_at, key.hwids[1].bound_at) == (truncated, truncated)
    assert KeyFactory(1).key(provider_name="Mine").provider_name == "Mine"
    assert KeyFactory(1).key(created_at=None, status="used").used_at is not None


def test_given_fields_override_the_status() -> None:
    """The time of the first use can be given."""
    assert KeyFactory(1).key(status="used", used_at=NOON).used_at == NOON


async def test_a_client_finds_the_stored_keys(
    junkie_client: JunkieClient, junkie_factory: KeyFactory
) -> None:
    """A client gets the stored keys with all fields, and their folders."""
    empty, full = junkie_factory.folder("Empty"), junkie_factory.folder("Full")
    keys = [
        *junkie_factory.keys(3, folder_id=full.id, hwids=["A", HWID(hwid="B")]),
        *(junkie_factory.key(status=status) for status in KeyStatus),
        junkie_factory.key(service_name="Mine", expires_at=datetime.now(UTC) + timedelta(days=1)),
    ]
    stored = await junkie_factory.store(*keys)
    assert await junkie_client.keys.folders() == [empty, full]
    assert await junkie_client.keys.list().collect() == stored[::-1]
    assert [key.id for key in stored] == [1, 2, 3, 4, 5, 6, 7, 8]
    expected = [attrs.evolve(key, id=number) for number, key in enumerate(keys, 1)]
    assert stored == [*expected[:-1], attrs.evolve(expected[-1], service_name="Service 7")]


async def test_a_folder_is_stored_once(
    junkie_emulator: Emulator, junkie_factory: KeyFactory
) -> None:
    """Storing more does not store the folders again; storing a key again is an error."""
    folder = junkie_factory.folder()
    [key] = await junkie_factory.store(junkie_factory.key(folder_id=folder.id))
    await junkie_factory.store(junkie_factory.key(folder_id=folder.id))
    with pytest.raises(sqlite3.IntegrityError):
        await junkie_factory.store(key)
    assert await junkie_emulator.count() == 2


async def test_store_needs_the_emulator(junkie_factory: KeyFactory) -> None:
    """Without the fixture `junkie_emulator` there is nowhere to store keys."""
    with pytest.raises(RuntimeError):
        await junkie_factory.store(junkie_factory.key())


def test_nested_faults(junkie_emulator: Emulator) -> None:
    """A block restores the faults before it; the seed is the test's, or the given one."""
    switch = FaultSwitch(junkie_emulator, 7)
    switch.on(error_rate=0.5)
    seen = [junkie_emulator.faults]
    with switch(throttle_rate=0.5, seed=1):
        seen.append(junkie_emulator.faults)
    seen.append(junkie_emulator.faults)
    switch.off()
    seen.append(junkie_emulator.faults)
    outer, inner = Faults(error_rate=0.5, seed=7), Faults(throttle_rate=0.5, seed=1)
    assert seen == [outer, inner, outer, None]
    with pytest.raises(ValueError, match="error_rate"):
        switch.on(error_rate=2)


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the emulator is closed, the environment variables are as before."""
    monkeypatch.setenv("JUNKIE_BASE_URL", "https://example.com")
    monkeypatch.delenv("JUNKIE_API_KEY", raising=False)
    with running_emulator() as emulator:
        assert os.environ["JUNKIE_BASE_URL"] == emulator.url
        assert os.environ["JUNKIE_API_KEY"]
    assert os.environ["JUNKIE_BASE_URL"] == "https://example.com"
    assert "JUNKIE_API_KEY" not in os.environ


async def test_the_emulator_can_be_restarted(junkie_emulator: Emulator) -> None:
    """A test can restart it from its own event loop; without a file the keys are gone."""
    await junkie_emulator.seed(1)
    await junkie_emulator.close()
    with pytest.raises(RuntimeError):
        await junkie_emulator.count()
    await junkie_emulator.start()
    async with JunkieClient(base_url=junkie_emulator.url) as junkie:
        with pytest.raises(NotFoundError):
            await junkie.keys.get(1)


def test_a_synchronous_test_can_use_the_emulator(junkie_emulator: Emulator) -> None:
    """The emulator serves several `asyncio.run` calls of a test that is not async."""

    async def create() -> int:
        async with JunkieClient() as junkie:
            return (await junkie.keys.create(provider_id=1)).id

    assert [asyncio.run(create()), asyncio.run(create())] == [1, 2]
    assert asyncio.run(junkie_emulator.count()) == 2
