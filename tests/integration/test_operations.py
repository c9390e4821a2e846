"""Every operation of the client against the emulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from junkie_async import (
    UNSET,
    AuthenticationError,
    BadRequestError,
    DeleteReport,
    InvalidRequestError,
    JunkieClient,
    Key,
    KeyStatus,
    NotFoundError,
)
from junkie_async._protocol import codec, requests
from junkie_async.emulator import Emulator

USER = 123456789012345678


async def test_create_and_get(junkie: JunkieClient) -> None:
    """A created key has the given fields, and can be fetched by ID, by value and by `Key`."""
    before = datetime.now(UTC)
    key = await junkie.keys.create(
        provider_id=42,
        service_id=7,
        folder_id=3,
        key_name="for a friend",
        validity_minutes=timedelta(hours=1),
        hwid="first",
        hwids=["second"],
        discord_id=USER,
        is_premium=True,
        one_time_use=True,
        no_hwid=False,
        hwid_limit=2,
    )
    assert (key.provider_id, key.service_id, key.folder_id) == (42, 7, 3)
    assert (key.key_name, key.validity_minutes, key.hwid_limit) == ("for a friend", 60, 2)
    assert (key.discord_id, key.is_premium, key.one_time_use) == (str(USER), True, True)
    assert key.keys_hwid == ("first", "second")
    assert [hwid.hwid for hwid in key.hwids] == ["first", "second"]
    assert key.expires_at is not None
    assert abs(key.expires_at - before - timedelta(hours=1)) < timedelta(minutes=1)
    assert key.status is KeyStatus.ACTIVE
    for reference in (key.id, key.key_value, key):
        detailed = await junkie.keys.get(reference)
        assert (detailed.id, detailed.key_value) == (key.id, key.key_value)
        assert detailed.discord_redemption is None


async def test_update_distinguishes_null_from_unset(junkie: JunkieClient) -> None:
    """None sends null, an omitted or UNSET field is unchanged, an empty list unbinds."""
    key = await junkie.keys.create(provider_id=1, folder_id=3, key_name="x", hwids=["a"])
    result = await junkie.keys.update(key, folder_id=None, hwids=[], key_name=UNSET)
    assert (result.success, result.keys_hwid) == (True, ())
    after = await junkie.keys.get(key)
    assert (after.folder_id, after.key_name, after.keys_hwid) == (None, "x", ())
    expires_at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    await junkie.keys.update(key.key_value, expires_at=expires_at, discord_id=str(USER))
    after = await junkie.keys.get(key)
    assert (after.expires_at, after.discord_id) == (expires_at, str(USER))


async def test_invalidate_revalidate_reset(junkie: JunkieClient) -> None:
    """A key can be invalidated and revalidated, and its devices unbound."""
    key = await junkie.keys.create(provider_id=1, hwids=["a", "b"])
    await junkie.keys.invalidate(key)
    assert (await junkie.keys.get(key)).status is KeyStatus.INVALIDATED
    await junkie.keys.revalidate(key)
    assert (await junkie.keys.get(key)).status is KeyStatus.ACTIVE
    assert (await junkie.keys.reset_hwid(key)).success
    assert (await junkie.keys.get(key)).hwids == ()


async def test_redemption(emulator: Emulator, junkie: JunkieClient) -> None:
    """A used key with an owner has a redemption, with its time in UTC."""
    key = await junkie.keys.create(provider_id=1, discord_id=USER)
    await emulator.mark_used(key.id)
    detailed = await junkie.keys.get(key)
    assert detailed.status is KeyStatus.USED
    redemption = detailed.discord_redemption
    assert redemption is not None
    assert redemption.discord_user_id == str(USER)
    assert redemption.redeemed_at == detailed.used_at


async def test_delete(junkie: JunkieClient) -> None:
    """Any call for a deleted key raises NotFoundError."""
    key = await junkie.keys.create(provider_id=1)
    await junkie.keys.delete(key)
    for call in (
        junkie.keys.get,
        junkie.keys.delete,
        junkie.keys.reset_hwid,
        junkie.keys.invalidate,
    ):
        with pytest.raises(NotFoundError) as caught:
            await call(key.id)
        assert caught.value.status == 404


async def test_digits_only_values_are_never_taken_for_ids(
    emulator: Emulator, junkie: JunkieClient
) -> None:
    """A key value of digits refers to that key, even if another key has this number as its ID."""
    first, second = await emulator.seed(
        2, provider_id=1, key_value=lambda row: f"{2 - row}", hwids=["a"]
    )
    assert (await junkie.keys.get("2")).id == first
    assert (await junkie.keys.get(2)).id == second
    await junkie.keys.update("2", key_name="by value")
    await junkie.keys.reset_hwid("2")
    by_value, by_id = await junkie.keys.get(first), await junkie.keys.get(second)
    assert (by_value.key_name, by_value.hwids) == ("by value", ())
    assert (by_id.key_name, len(by_id.hwids)) == (None, 1)
    assert (await junkie.keys.bulk_delete(["2"])).deleted == 1
    assert (await junkie.keys.get(second)).key_value == "1"
    await junkie.keys.delete("1")
    assert await emulator.count() == 0
    with pytest.raises(NotFoundError):
        await junkie.keys.delete("1")


@pytest.mark.parametrize(
    "value", ["folders", "batch", "bulk-delete", "1e3", "0x10", "a/b?c#d", "ü %2e"]
)
async def test_unusual_values_reach_their_key(
    emulator: Emulator, junkie: JunkieClient, value: str
) -> None:
    """Values that are path names, read as numbers or need quoting still refer to their key."""
    await emulator.seed(3, provider_id=1, key_value=lambda row: f"{value}{'x' * row}")
    key = await junkie.keys.get(value)
    assert key.key_value == value
    assert await junkie.keys.find(value) == await junkie.keys.find(key.key_value)
    await junkie.keys.delete(value)
    assert await junkie.keys.find(value) is None
    assert await emulator.count() == 2


async def test_find_ignores_partial_matches(emulator: Emulator, junkie: JunkieClient) -> None:
    """The service's filter matches parts of values; `find` returns exact matches only."""
    await emulator.seed(250, provider_id=1, key_value=lambda row: f"JNK-{row:03}")
    found = await junkie.keys.find("JNK-007")
    assert found is not None
    assert found.key_value == "JNK-007"
    assert await junkie.keys.find("JNK-00") is None
    oldest = await junkie.keys.find("JNK-000")  # on page 3 of what "JNK-0" would match
    assert oldest is not None
    assert await junkie.keys.find("jnk-007") is None


async def test_filters(emulator: Emulator, junkie: JunkieClient) -> None:
    """Each filter selects the keys that the contract says."""
    now = datetime.now(UTC)
    await emulator.seed(5, provider_id=1, service_id=7, hwids=["device-a"])
    await emulator.seed(4, provider_id=2, folder_id=9, expires_at=now + timedelta(days=1))
    await emulator.seed(3, provider_id=2, discord_id=str(USER), expires_at=now - timedelta(days=1))
    await emulator.seed(2, provider_id=2, used_at=now)
    await emulator.seed(1, provider_id=2, is_invalidated=True)
    keys = junkie.keys
    assert await keys.list(provider_id=2).count() == 10
    assert await keys.list(service_id=7).count() == 5
    assert await keys.list(folder_id=9).count() == 4
    assert await keys.list(discord_id=USER).count() == 3
    assert await keys.list(hwid="device").count() == 5
    assert await keys.list(expires_after=now).count() == 4
    assert await keys.list(expires_before=now).count() == 3
    by_status = {status: await keys.list(status=status).count() for status in KeyStatus}
    assert by_status == {
        KeyStatus.ACTIVE: 9,
        KeyStatus.USED: 2,
        KeyStatus.EXPIRED: 3,
        KeyStatus.INVALIDATED: 1,
    }
    async for key in keys.list():
        assert key.status in by_status
    assert await keys.list(provider_id=2, status="expired", folder_id=None).count() == 3


async def test_folders(emulator: Emulator, junkie: JunkieClient) -> None:
    """Folders have aware datetimes."""
    folder_id = await emulator.add_folder("VIP")
    [folder] = await junkie.keys.folders()
    assert (folder.id, folder.name) == (folder_id, "VIP")
    assert folder.created_at is not None
    assert folder.created_at.utcoffset() == timedelta()


async def test_a_wrong_api_key(emulator: Emulator) -> None:
    """A 401 raises AuthenticationError; `find` does not return None for it."""
    async with (
        Emulator(api_keys=["right"]) as strict,
        JunkieClient("wrong", base_url=strict.url) as junkie,
    ):
        with pytest.raises(AuthenticationError):
            await junkie.keys.find("JNK-1")


async def test_a_refusal_by_the_service(emulator: Emulator, junkie: JunkieClient) -> None:
    """An argument that only the service refuses raises BadRequestError with its reason."""
    with pytest.raises(BadRequestError) as caught:
        # The contract of POST /keys has no limit for it, but the emulator stores 64 bits.
        await junkie._dispatcher.send(_too_large())
    assert "service_id" in caught.value.message


def _too_large() -> requests.Request[Key]:
    body = b'{"provider_id": 1, "service_id": 99999999999999999999}'
    return requests.Request("POST", "/keys", "/keys", codec.read_key, body, idempotent=False)


async def test_bad_arguments_send_nothing(emulator: Emulator, junkie: JunkieClient) -> None:
    """InvalidRequestError is raised before any request."""
    for call in (
        junkie.keys.create(provider_id=0),
        junkie.keys.create_batch(provider_id=1, amount=101),
        junkie.keys.bulk_delete(list(range(1, 1002))),
        junkie.keys.bulk_delete([]),
        junkie.keys.update(1),
        junkie.keys.update(1, discord_id="123"),
        junkie.keys.get(".."),
        junkie.keys.get(True),
        junkie.keys.find(""),
        junkie.keys.purge(),
        junkie.keys.purge(status="expired", everything=True),
        junkie.keys.purge(status="expired", folder_id=None),
    ):
        with pytest.raises(InvalidRequestError):
            await call
    with pytest.raises(TypeError):
        junkie.keys.create_many(1, provider_id=1, hwids=["a"])  # type: ignore[call-arg]
    assert emulator.requests == 0


async def test_large_jobs(emulator: Emulator, junkie: JunkieClient) -> None:
    """Create 3,050 keys, walk them, purge some and delete the rest; all counts are right."""
    report = await junkie.keys.create_many(3050, provider_id=5, service_id=6)
    assert (report.created, len(set(report.keys))) == (3050, 3050)
    assert emulator.calls["createKeyBatch"] == 31
    walked = [key async for key in junkie.keys.list(service_id=6)]
    assert sorted(key.key_value for key in walked) == sorted(report.keys)
    assert len({key.id for key in walked}) == 3050
    expired = [key.id for key in walked[:120]]
    for key_id in expired:
        await junkie.keys.update(key_id, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    purged = await junkie.keys.purge(status=KeyStatus.EXPIRED, service_id=6)
    assert (purged.requested, purged.deleted, purged.missing, purged.failed) == (120, 120, 0, 0)
    mixed: list[int | str | Key] = [key.id for key in walked[:1000]]  # 120 of them are gone
    mixed += [key.key_value for key in walked[1000:2000]]
    mixed += walked[2000:]
    deleted = await junkie.keys.delete_many(iter(mixed))
    assert (deleted.requested, deleted.deleted, deleted.missing) == (3050, 2930, 120)
    assert await emulator.count() == 0
    assert await junkie.keys.purge(everything=True) == DeleteReport(requested=0)


async def test_delete_many_of_a_pager_skips_no_key(
    emulator: Emulator, junkie: JunkieClient
) -> None:
    """Deleting during the walk would move later keys onto pages already read."""
    await emulator.seed(5000, provider_id=1)
    report = await junkie.keys.delete_many(junkie.keys.list(provider_id=1))
    assert report == DeleteReport(requested=5000, deleted=5000)
    assert await emulator.count() == 0


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_walk_while_keys_are_created(newest_first: bool) -> None:
    """Keys created during a walk cause no repeats and hide no other key."""
    async with (
        Emulator(newest_first=newest_first) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        ids = set(await emulator.seed(1500, provider_id=1))
        got: list[int] = []
        async for key in junkie.keys.list(limit=50):
            got.append(key.id)
            if len(got) % 40 == 0:
                await emulator.seed(7, provider_id=1)
        assert len(got) == len(set(got))
        assert ids <= set(got)


async def test_a_page_is_an_argument(emulator: Emulator, junkie: JunkieClient) -> None:
    """Whatever takes keys takes a page of them, and acts on that page alone."""
    await emulator.seed(9)
    page = await junkie.keys.list(limit=3)
    assert len(page) == 3
    assert (await junkie.keys.update_many(page, is_premium=True)).done == 3
    assert (await junkie.keys.reset_hwid_many(page)).done == 3
    assert (await junkie.keys.bulk_delete(page[:1])).deleted == 1
    assert (await junkie.keys.bulk_delete(page)).deleted == 2
    assert (await junkie.keys.delete_many(await junkie.keys.list(limit=4))).deleted == 4
    assert await emulator.count() == 2
