"""The Discord cog for administrators: `/keys`, and who may use it."""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from junkie_async import CreateReport, DeleteReport, Key, KeyStatus
from junkie_async.emulator import Faults
from junkie_async.ext.discord import admin_commands, texts
from junkie_async.ext.discord.testing import FakeInteraction

from . import _answers
from ._shop import ALICE, BOB, ELSEWHERE, OWNER, PROVIDER, Shop, open_shop, plain_bot, says

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop whose administrator is Alice."""
    async with open_shop() as shop:
        yield shop


def created(count: int) -> str:
    """Return the answer to a create."""
    return f"{texts.describe_report(CreateReport(requested=count, keys=('K',) * count))}."


def deleted(count: int) -> str:
    """Return the answer to a purge."""
    return f"{texts.describe_report(DeleteReport(requested=count, deleted=count))}."


def total(count: int) -> str:
    """Return the last line of the statistics."""
    return _answers.TOTAL_COUNT.format(count=count)


async def status_of(shop: Shop, key: Key) -> KeyStatus:
    """Fetch a key's status."""
    return (await shop.junkie.keys.get(key.id)).status


# --- permissions ----------------------------------------------------------------------------------


async def test_registered_for_administrators(shop: Shop) -> None:
    """Discord shows `/keys` to administrators of servers, and `/key` to everybody."""
    bot = plain_bot()
    await bot.add_cog(shop.cog)
    groups = {one.name: one.to_dict(bot.tree) for one in bot.tree.get_commands()}
    assert groups["keys"]["default_member_permissions"] == 8
    assert groups["keys"]["dm_permission"] is False
    assert groups["key"]["default_member_permissions"] is None
    # 0 is a server: where a command may be used, and who may install it. 1 is a direct message.
    assert (groups["keys"]["contexts"], groups["keys"]["integration_types"]) == ([0], [0])
    assert (groups["key"]["contexts"], groups["key"]["integration_types"]) == ([0, 1], [0])
    names = {name: [one["name"] for one in group["options"]] for name, group in groups.items()}
    assert names == {
        "key": ["get", "mine", "info", "reset"],
        "keys": ["create", "find", "revoke", "restore", "delete", "purge", "export", "stats"],
    }


@pytest.mark.parametrize("where", [ELSEWHERE, None])
async def test_administrators_of_other_servers_are_refused(shop: Shop, where: int | None) -> None:
    """Whoever invites the bot is an administrator of that server, but not of the shop."""
    exchange = await shop.call("keys create", guild=where, amount=1)
    assert exchange.answer.content == _answers.NOT_ALLOWED
    assert await shop.emulator.count() == 0


@pytest.mark.parametrize("by", [ALICE, OWNER])
async def test_user_installs_are_refused(shop: Shop, by: int) -> None:
    """Discord checks no permissions for a user install, not even in the shop's own server."""
    exchange = await shop.call("keys create", by=by, user_install=True, amount=1)
    assert exchange.answer.content == _answers.NOT_ALLOWED
    assert await shop.emulator.count() == 0


async def test_the_owner_is_allowed_anywhere(shop: Shop) -> None:
    """The bot's owner, as registered with Discord, may use the commands in any server."""
    exchange = await shop.call("keys create", by=OWNER, guild=ELSEWHERE, amount=1)
    assert exchange.answer.content == created(1)


async def test_without_a_server_only_the_owner_is_allowed() -> None:
    """Without `admin_guild_id`, only the owner may use the commands, in direct messages too."""
    async with open_shop(admin_guild_id=None) as shop:
        for guild in (ELSEWHERE, None):
            refused = await shop.call("keys stats", guild=guild)
            assert refused.answer.content == _answers.NOT_ALLOWED
        assert total(0) in (await shop.call("keys stats", by=OWNER)).answer.content


# --- single keys ----------------------------------------------------------------------------------


async def test_create(shop: Shop) -> None:
    """The keys have the given fields and arrive as a text file; the message shows none."""
    options: dict[str, Any] = {"minutes": 90, "premium": True, "name": "gift", "user": BOB}
    exchange = await shop.call("keys create", amount=250, **options)
    keys = await shop.keys()
    assert exchange.answer.content == created(250)
    assert exchange.answer.ephemeral
    assert set(exchange.answer.files["keys.txt"].decode().split()) == {
        key.key_value for key in keys
    }
    values = {(key.validity_minutes, key.is_premium, key.key_name, key.discord_id) for key in keys}
    assert values == {(90, True, "gift", str(BOB))}
    assert len(keys) == 250


async def test_create_with_the_settings_of_the_shop() -> None:
    """Fields that are left out get the shop's settings."""
    async with open_shop(service_id=7, validity_minutes=60, is_premium=True) as shop:
        await shop.call("keys create", amount=1)
        (key,) = await shop.keys()
    assert (key.provider_id, key.service_id, key.hwid_limit) == (PROVIDER, 7, 1)
    assert (key.validity_minutes, key.is_premium, key.discord_id) == (60, True, None)


async def test_create_that_stops_early(shop: Shop) -> None:
    """The answer has the keys that were created, and counts the others."""
    shop.emulator.rate_limit = 0.001
    shop.emulator.rate_limit_burst = 2
    exchange = await shop.call("keys create", amount=1000)
    report = texts.describe_report(CreateReport(requested=1000, keys=("K",) * 200, failed=800))
    template = _answers.STOPPED_EARLY.format(reason=_answers.RATE_LIMITED, report=report)
    assert says(exchange.answer.content, template)
    assert len(exchange.answer.files["keys.txt"].split()) == 200


async def test_create_that_creates_nothing(shop: Shop) -> None:
    """If no key was created, there is no file."""
    shop.emulator.faults = Faults(error_rate=1.0, error_status=400)
    exchange = await shop.call("keys create", amount=5)
    report = texts.describe_report(CreateReport(requested=5, keys=(), failed=5))
    assert exchange.answer.content == _answers.STOPPED_EARLY.format(
        reason=_answers.REJECTED, report=report
    )
    assert exchange.answer.files == {}


async def test_find(shop: Shop) -> None:
    """Find a key by its value or by `#` and its ID, or all keys of a user."""
    key, other = await shop.stock(), await shop.stock(discord_id=BOB)
    for written in (key.key_value, f"#{key.id}"):
        found = await shop.call("keys find", key=written)
        assert key.key_value in found.answer.content
    assert other.key_value in (await shop.call("keys find", user=BOB)).answer.content


@pytest.mark.parametrize("options", [{}, {"key": "JNK", "user": BOB}])
async def test_find_needs_a_key_or_a_user(shop: Shop, options: dict[str, Any]) -> None:
    """Both options or neither are refused."""
    assert (await shop.call("keys find", **options)).answer.content == _answers.KEY_OR_USER


async def test_digits_are_a_key_value(shop: Shop) -> None:
    """Digits without `#` are a key value: the key with that ID is not deleted."""
    key = await shop.stock()
    exchange = await shop.call("keys delete", key=str(key.id))
    assert exchange.answer.content == _answers.NO_SUCH_KEY
    assert await shop.emulator.count() == 1


async def test_revoke_restore_delete(shop: Shop) -> None:
    """A key is revoked, restored and deleted."""
    key = await shop.stock()
    value = texts.quote(key.key_value)
    revoked = await shop.call("keys revoke", key=key.key_value)
    assert revoked.answer.content == _answers.REVOKED.format(key=value)
    assert await status_of(shop, key) is KeyStatus.INVALIDATED
    restored = await shop.call("keys restore", key=f"#{key.id}")
    assert restored.answer.content == _answers.RESTORED.format(key=texts.quote(f"#{key.id}"))
    assert await status_of(shop, key) is KeyStatus.ACTIVE
    gone = await shop.call("keys delete", key=key.key_value)
    assert gone.answer.content == _answers.DELETED.format(key=value)
    assert await shop.emulator.count() == 0


async def test_input_is_not_interpreted_as_markup(shop: Shop) -> None:
    """The answer shows the given key as it was typed."""
    await shop.emulator.seed(1, key_value="a`**b**", provider_id=PROVIDER)
    exchange = await shop.call("keys revoke", key="a`**b**")
    assert exchange.answer.content == _answers.REVOKED.format(key=r"a\`\*\*b\*\*")


# --- purge ----------------------------------------------------------------------------------------


async def call_purge(
    shop: Shop, label: str, by: int = ALICE
) -> tuple[FakeInteraction, FakeInteraction]:
    """Call a purge as Alice, and press a button as a user."""
    await shop.emulator.seed(120, provider_id=PROVIDER, expires_at=PAST)
    await shop.emulator.seed(1, provider_id=1, expires_at=PAST)
    await shop.stock()
    return await confirm_purge(shop, label, by, status="expired")


async def confirm_purge(
    shop: Shop, label: str, by: int = ALICE, **options: Any
) -> tuple[FakeInteraction, FakeInteraction]:
    """Call a purge of some keys as Alice, and press a button as a user."""
    asked = shop.interaction()
    command = asyncio.create_task(asked.run(shop.cog, "keys purge", **options))
    pressed = await asked.press(label, user_id=by)
    await command
    return asked, pressed


async def test_purge_confirmed(shop: Shop) -> None:
    """The button shows the count; pressing it deletes the shop's keys with that status."""
    asked, pressed = await call_purge(shop, "Delete 120")
    assert asked.answers[1].content == _answers.CONFIRM_PURGE.format(count=120, status="expired")
    assert asked.answer.content == deleted(120)
    assert asked.answer.buttons == ()
    assert pressed.deferred
    assert await shop.emulator.count() == 2


async def test_purge_cancelled(shop: Shop) -> None:
    """The other button deletes nothing."""
    asked, _ = await call_purge(shop, "Cancel")
    assert asked.answer.content == _answers.NOTHING_DELETED
    assert asked.answer.buttons == ()
    assert await shop.emulator.count() == 122


async def test_purge_confirmed_by_another_user(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the caller can press the buttons; without a press in time nothing is deleted."""
    monkeypatch.setattr(admin_commands, "_CONFIRM_TIMEOUT", 0.3)
    asked, pressed = await call_purge(shop, "Delete", by=BOB)
    assert pressed.answer.kind == "message"
    assert pressed.answer.ephemeral
    assert pressed.answer.content == _answers.NOT_YOURS_TO_CONFIRM
    assert asked.answer.content == _answers.NOTHING_DELETED
    assert asked.answer.buttons == ()
    assert await shop.emulator.count() == 122


async def test_purge_of_a_user(shop: Shop) -> None:
    """A purge can be limited to one user's keys."""
    await shop.stock(), await shop.stock(discord_id=BOB)
    asked, _ = await confirm_purge(shop, "Delete 1", status="active", user=BOB)
    assert asked.answer.content == deleted(1)
    assert [key.discord_id for key in await shop.keys()] == [str(ALICE)]


async def test_purge_of_nothing(shop: Shop) -> None:
    """Without a matching key there is nothing to confirm."""
    exchange = await shop.call("keys purge", status="used")
    assert exchange.answer.content == _answers.NO_SUCH_KEY
    assert exchange.answer.buttons == ()


async def test_purge_that_stops_early(shop: Shop) -> None:
    """The answer counts the keys that were and were not deleted."""
    shop.emulator.faults = Faults(error_rate=1.0, error_status=400, operations="bulkDeleteKeys")
    asked, _ = await call_purge(shop, "Delete")
    report = texts.describe_report(DeleteReport(requested=120, failed=120))
    assert asked.answer.content == _answers.STOPPED_EARLY.format(
        reason=_answers.REJECTED, report=report
    )


# --- export and stats -----------------------------------------------------------------------------


async def test_export(shop: Shop) -> None:
    """The shop's keys, or those with a status, arrive as a CSV file."""
    active, revoked = await shop.stock(), await shop.stock()
    await shop.junkie.keys.invalidate(revoked)
    await shop.stock(provider_id=1)
    cases: list[tuple[dict[str, Any], list[Key]]] = [
        ({}, [active, revoked]),
        ({"status": "active"}, [active]),
    ]
    for options, expected in cases:
        exchange = await shop.call("keys export", **options)
        rows = list(csv.DictReader(io.StringIO(exchange.answer.files["keys.csv"].decode())))
        assert {row["key_value"] for row in rows} == {key.key_value for key in expected}
        assert exchange.answer.content == _answers.EXPORTED.format(count=len(expected))


async def test_large_export_is_zipped(shop: Shop) -> None:
    """A file that is too large for Discord arrives as a ZIP archive."""
    await shop.emulator.seed(500, provider_id=PROVIDER)
    exchange = await shop.call("keys export", limit=40_000)
    with zipfile.ZipFile(io.BytesIO(exchange.answer.files["keys.zip"])) as archive:
        rows = archive.read("keys.csv").decode().splitlines()
    assert len(rows) == 501
    assert len("\n".join(rows)) > 40_000


async def test_export_too_large(shop: Shop) -> None:
    """If the archive is too large as well, the answer says what to do."""
    await shop.emulator.seed(500, provider_id=PROVIDER)
    exchange = await shop.call("keys export", limit=1000)
    assert exchange.answer.content == _answers.EXPORT_TOO_LARGE
    assert exchange.answer.files == {}


async def test_stats(shop: Shop) -> None:
    """The shop's keys are counted by status."""
    used, revoked = await shop.stock(), await shop.stock()
    await shop.emulator.mark_used(used.id)
    await shop.junkie.keys.invalidate(revoked)
    await shop.emulator.seed(1200, provider_id=PROVIDER, expires_at=PAST)
    await shop.stock(provider_id=1)
    assert (await shop.call("keys stats")).answer.content.splitlines() == [
        "active: 0",
        "used: 1",
        "expired: 1,200",
        "invalidated: 1",
        total(1202),
    ]
