"""The Discord cog, for administrators: `/keys`, and who may use it."""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from junkie_async import Key, KeyStatus
from junkie_async.emulator import Faults
from junkie_async.ext.discord import _views

from ._discord import ALICE, BOB, DEFERRED_UPDATE, ELSEWHERE, EPHEMERAL, MESSAGE, OWNER, Exchange
from ._shop import PROVIDER, Shop, open_shop

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop, and Alice calls its administrators' commands."""
    async with open_shop() as shop:
        yield shop


async def status_of(shop: Shop, key: Key) -> KeyStatus:
    """Look at what a key is worth now."""
    return (await shop.junkie.keys.get(key.id)).status


# --- who ------------------------------------------------------------------------------------------


async def test_registered_for_administrators(shop: Shop) -> None:
    """Discord is told to show `/keys` to administrators of servers, and `/key` to everybody."""
    await shop.bot.tree.sync()
    groups = {one["name"]: one for one in shop.discord.synced}
    assert groups["keys"]["default_member_permissions"] == 8
    assert groups["keys"]["dm_permission"] is False
    assert groups["key"]["default_member_permissions"] is None
    names = {name: [one["name"] for one in group["options"]] for name, group in groups.items()}
    assert names == {
        "key": ["get", "mine", "info", "reset"],
        "keys": ["create", "find", "revoke", "restore", "delete", "purge", "export", "stats"],
    }


@pytest.mark.parametrize("where", [ELSEWHERE, None])
async def test_other_servers_administrators_are_refused(shop: Shop, where: int | None) -> None:
    """Whoever invites the bot is an administrator there, and none of the shop's."""
    exchange = await shop.call("keys create", guild=where, amount=1)
    assert exchange.text == "This command is not for you."
    assert await shop.emulator.count() == 0


async def test_owner_is_served_anywhere(shop: Shop) -> None:
    """The bot's owner, as Discord knows them, may use it in any server."""
    exchange = await shop.call("keys create", by=OWNER, guild=ELSEWHERE, amount=1)
    assert exchange.text == "1 created."


async def test_without_a_server_it_is_the_owners() -> None:
    """While no server is named, nobody but the owner gets in, not even without a server."""
    async with open_shop(admin_guild_id=None) as shop:
        for guild in (ELSEWHERE, None):
            refused = await shop.call("keys stats", guild=guild)
            assert refused.text == "This command is not for you."
        assert "in all" in (await shop.call("keys stats", by=OWNER)).text


# --- one key after the other ----------------------------------------------------------------------


async def test_create(shop: Shop) -> None:
    """Keys are made as asked, and come as a text file; the message has none of them."""
    options: dict[str, Any] = {"minutes": 90, "premium": True, "name": "gift", "user": (BOB,)}
    exchange = await shop.call("keys create", amount=250, **options)
    keys = await shop.keys()
    assert exchange.text == "250 created."
    assert exchange.callback["data"]["flags"] == EPHEMERAL
    assert set(exchange.files["keys.txt"].decode().split()) == {key.key_value for key in keys}
    made = {(key.validity_minutes, key.is_premium, key.key_name, key.discord_id) for key in keys}
    assert made == {(90, True, "gift", str(BOB))}
    assert len(keys) == 250


async def test_create_as_the_shop_does() -> None:
    """What is not asked for is as the shop's keys are."""
    async with open_shop(service_id=7, validity_minutes=60, is_premium=True) as shop:
        await shop.call("keys create", amount=1)
        (key,) = await shop.keys()
    assert (key.provider_id, key.service_id, key.hwid_limit) == (PROVIDER, 7, 1)
    assert (key.validity_minutes, key.is_premium, key.discord_id) == (60, True, None)


async def test_create_that_ends_early(shop: Shop) -> None:
    """The keys that were created are handed over, and the rest is told."""
    shop.emulator.rate_limit = 0.001
    shop.emulator.rate_limit_burst = 2
    exchange = await shop.call("keys create", amount=1000)
    assert "busy" in exchange.text
    assert "200 created, 800 not created." in exchange.text
    assert len(exchange.files["keys.txt"].split()) == 200


async def test_create_without_any(shop: Shop) -> None:
    """Where none was created there is no file."""
    shop.emulator.faults = Faults(error_rate=1.0, error_status=400)
    exchange = await shop.call("keys create", amount=5)
    assert "0 created, 5 not created." in exchange.text
    assert exchange.files == {}


async def test_find(shop: Shop) -> None:
    """A key is found by its value, or by its ID with `#`; a user's keys all at once."""
    key, other = await shop.stock(), await shop.stock(discord_id=BOB)
    for written in (key.key_value, f"#{key.id}"):
        found = await shop.call("keys find", key=written)
        assert key.key_value in found.text
    assert other.key_value in (await shop.call("keys find", user=(BOB,))).text


@pytest.mark.parametrize("options", [{}, {"key": "JNK", "user": (BOB,)}])
async def test_find_takes_one_of_two(shop: Shop, options: dict[str, Any]) -> None:
    """What to look for has to be plain."""
    assert (await shop.call("keys find", **options)).text == "Name either a key or a user."


async def test_digits_are_a_value(shop: Shop) -> None:
    """Digits without `#` are a key value: nothing happens to the key with that ID."""
    key = await shop.stock()
    exchange = await shop.call("keys delete", key=str(key.id))
    assert exchange.text == "There is no such key."
    assert await shop.emulator.count() == 1


async def test_revoke_restore_delete(shop: Shop) -> None:
    """A key is revoked, restored and deleted."""
    key = await shop.stock()
    assert "is revoked" in (await shop.call("keys revoke", key=key.key_value)).text
    assert await status_of(shop, key) is KeyStatus.INVALIDATED
    assert "not revoked any more" in (await shop.call("keys restore", key=f"#{key.id}")).text
    assert await status_of(shop, key) is KeyStatus.ACTIVE
    assert "is deleted" in (await shop.call("keys delete", key=key.key_value)).text
    assert await shop.emulator.count() == 0


async def test_what_is_written_is_no_markup(shop: Shop) -> None:
    """A text that was typed in comes back as it is, whatever Discord would make of it."""
    await shop.emulator.seed(1, key_value="a`**b**", provider_id=PROVIDER)
    exchange = await shop.call("keys revoke", key="a`**b**")
    assert exchange.text == r"a\`\*\*b\*\* is revoked."


# --- purge ----------------------------------------------------------------------------------------


async def purging(shop: Shop, label: str, by: int = ALICE) -> tuple[Exchange, Exchange]:
    """Have Alice ask for a purge, and somebody press a button."""
    await shop.emulator.seed(120, provider_id=PROVIDER, expires_at=PAST)
    await shop.emulator.seed(1, provider_id=1, expires_at=PAST)
    await shop.stock()
    return await asyncio.gather(
        shop.call("keys purge", status="expired"), shop.discord.press(shop.bot, label, by)
    )


async def test_purge_confirmed(shop: Shop) -> None:
    """The button names the count; when it is pressed the shop's keys of that status are gone."""
    asked, pressed = await purging(shop, "Delete 120")
    assert "expired: 120" in asked.edits[0]["content"]
    assert asked.text == "120 deleted."
    assert asked.buttons == []
    assert pressed.callback["type"] == DEFERRED_UPDATE
    assert await shop.emulator.count() == 2


async def test_purge_cancelled(shop: Shop) -> None:
    """The other button leaves everything as it is."""
    asked, _ = await purging(shop, "Cancel")
    assert asked.text == "Nothing was deleted."
    assert asked.buttons == []
    assert await shop.emulator.count() == 122


async def test_purge_confirmed_by_another(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but the one who has asked can press; without a press in time nothing happens."""
    monkeypatch.setattr(_views, "_SECONDS", 0.3)
    asked, pressed = await purging(shop, "Delete", by=BOB)
    assert pressed.callback["type"] == MESSAGE
    assert pressed.callback["data"]["flags"] == EPHEMERAL
    assert pressed.callback["data"]["content"] == "This is not yours to confirm."
    assert asked.text == "Nothing was deleted."
    assert asked.buttons == []
    assert await shop.emulator.count() == 122


async def test_purge_of_a_user(shop: Shop) -> None:
    """A purge can be of one user's keys."""
    await shop.stock(), await shop.stock(discord_id=BOB)
    asked, _ = await asyncio.gather(
        shop.call("keys purge", status="active", user=(BOB,)),
        shop.discord.press(shop.bot, "Delete 1"),
    )
    assert asked.text == "1 deleted."
    assert [key.discord_id for key in await shop.keys()] == [str(ALICE)]


async def test_purge_of_nothing(shop: Shop) -> None:
    """Where there is nothing to delete, nothing has to be confirmed."""
    exchange = await shop.call("keys purge", status="used")
    assert exchange.text == "There is no such key."
    assert exchange.buttons == []


async def test_purge_that_ends_early(shop: Shop) -> None:
    """How far it came is told."""
    shop.emulator.faults = Faults(error_rate=1.0, error_status=400, operations="bulkDeleteKeys")
    asked, _ = await purging(shop, "Delete")
    assert "0 deleted, 120 not deleted." in asked.text


# --- export and stats -----------------------------------------------------------------------------


async def test_export(shop: Shop) -> None:
    """The shop's keys, or those of a status, come as a CSV file."""
    active, revoked = await shop.stock(), await shop.stock()
    await shop.junkie.keys.invalidate(revoked)
    await shop.stock(provider_id=1)
    cases: list[tuple[dict[str, Any], list[Key]]] = [
        ({}, [active, revoked]),
        ({"status": "active"}, [active]),
    ]
    for options, expected in cases:
        exchange = await shop.call("keys export", **options)
        rows = list(csv.DictReader(io.StringIO(exchange.files["keys.csv"].decode())))
        assert {row["key_value"] for row in rows} == {key.key_value for key in expected}
        assert exchange.text == f"{len(expected)} in the file."


async def test_large_export_is_zipped(shop: Shop) -> None:
    """A file that Discord would not take comes as a ZIP archive."""
    await shop.emulator.seed(500, provider_id=PROVIDER)
    exchange = await shop.call("keys export", limit=40_000)
    with zipfile.ZipFile(io.BytesIO(exchange.files["keys.zip"])) as archive:
        rows = archive.read("keys.csv").decode().splitlines()
    assert len(rows) == 501
    assert len("\n".join(rows)) > 40_000


async def test_export_too_large(shop: Shop) -> None:
    """What is too large even so is told, with a way to have it."""
    await shop.emulator.seed(500, provider_id=PROVIDER)
    exchange = await shop.call("keys export", limit=1000)
    assert "too large for Discord" in exchange.text
    assert "junkie export" in exchange.text
    assert exchange.files == {}


async def test_stats(shop: Shop) -> None:
    """The shop's keys are counted by status."""
    used, revoked = await shop.stock(), await shop.stock()
    await shop.emulator.mark_used(used.id)
    await shop.junkie.keys.invalidate(revoked)
    await shop.emulator.seed(1200, provider_id=PROVIDER, expires_at=PAST)
    await shop.stock(provider_id=1)
    assert (await shop.call("keys stats")).text.splitlines() == [
        "active: 0",
        "used: 1",
        "expired: 1,200",
        "invalidated: 1",
        "**1,202 in all**",
    ]
