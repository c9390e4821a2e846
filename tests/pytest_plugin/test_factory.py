"""What the fixtures give, in this very run of pytest, which has them like any user's."""

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
def test_a_key_has_the_status_that_is_asked_for(status: KeyStatus | str) -> None:
    """As a member or a word of `KeyStatus`."""
    assert KeyFactory(1).key(status=status).status is KeyStatus(status)


def test_a_status_that_is_not() -> None:
    """It is said, and so is a field that is not."""
    with pytest.raises(ValueError, match="sold"):
        KeyFactory(1).key(status="sold")
    with pytest.raises(TypeError, match="nonsense"):
        KeyFactory(1).key(nonsense=1)


def test_a_seed_makes_the_same_keys() -> None:
    """Another one makes others, and a factory's keys and folders differ among themselves."""
    one, same, other = map(KeyFactory, (1, 1, 2))
    keys, folder = one.keys(50), one.folder()
    assert (same.keys(50), same.folder()) == (keys, folder)
    assert not {*other.keys(50)} & {*keys}
    assert len({folder.id, *(key.id for key in keys)}) == 51


def test_given_fields_are_kept() -> None:
    """What the service derives of them is derived: names, and the list of HWIDs."""
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
    cut = at.replace(microsecond=123_000)
    assert (key.expires_at, key.hwids[1].bound_at) == (cut, cut)
    assert KeyFactory(1).key(provider_name="Mine").provider_name == "Mine"
    assert KeyFactory(1).key(created_at=None, status="used").used_at is not None


def test_what_is_given_beats_the_status() -> None:
    """The moment of a first use can be chosen."""
    assert KeyFactory(1).key(status="used", used_at=NOON).used_at == NOON


async def test_stored_keys_are_what_a_client_finds(
    junkie_client: JunkieClient, junkie_factory: KeyFactory
) -> None:
    """To the last field, with their folders."""
    empty, full = junkie_factory.folder("Empty"), junkie_factory.folder("Full")
    made = [
        *junkie_factory.keys(3, folder_id=full.id, hwids=["A", HWID(hwid="B")]),
        *(junkie_factory.key(status=status) for status in KeyStatus),
        junkie_factory.key(service_name="Mine", expires_at=datetime.now(UTC) + timedelta(days=1)),
    ]
    stored = await junkie_factory.store(*made)
    assert await junkie_client.keys.folders() == [empty, full]
    assert await junkie_client.keys.list().collect() == stored[::-1]
    assert [key.id for key in stored] == [1, 2, 3, 4, 5, 6, 7, 8]
    expected = [attrs.evolve(key, id=number) for number, key in enumerate(made, 1)]
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


async def test_storing_takes_an_emulator(junkie_factory: KeyFactory) -> None:
    """A test without one gets no emulator, and is told so."""
    with pytest.raises(RuntimeError, match="junkie_emulator"):
        await junkie_factory.store(junkie_factory.key())


def test_faults_within_faults(junkie_emulator: Emulator) -> None:
    """After a `with` there is what was before it; the seed is the test's, or the one given."""
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


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once an emulator is gone, `JunkieClient()` is what it was."""
    monkeypatch.setenv("JUNKIE_BASE_URL", "https://example.com")
    monkeypatch.delenv("JUNKIE_API_KEY", raising=False)
    with running_emulator() as emulator:
        assert os.environ["JUNKIE_BASE_URL"] == emulator.url
        assert os.environ["JUNKIE_API_KEY"]
    assert os.environ["JUNKIE_BASE_URL"] == "https://example.com"
    assert "JUNKIE_API_KEY" not in os.environ


async def test_it_can_be_stopped_and_started_again(junkie_emulator: Emulator) -> None:
    """From the test's loop, though it runs in another one; without a file the keys are gone."""
    await junkie_emulator.seed(1)
    await junkie_emulator.close()
    with pytest.raises(RuntimeError, match="not running"):
        await junkie_emulator.count()
    await junkie_emulator.start()
    async with JunkieClient(base_url=junkie_emulator.url) as junkie:
        with pytest.raises(NotFoundError):
            await junkie.keys.get(1)


def test_it_answers_while_a_test_blocks(junkie_emulator: Emulator) -> None:
    """Also a test that is not async: each `asyncio.run` finds it."""

    async def create() -> int:
        async with JunkieClient() as junkie:
            return (await junkie.keys.create(provider_id=1)).id

    assert [asyncio.run(create()), asyncio.run(create())] == [1, 2]
    assert asyncio.run(junkie_emulator.count()) == 2
