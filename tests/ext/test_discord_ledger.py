"""The Discord cog with a ledger: several shards give a user one key, with one cooldown."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from junkie_async import ConfigurationError, JunkieClient, Key
from junkie_async.emulator import Emulator, Faults
from junkie_async.ext.discord import user_commands
from junkie_async.ext.discord.orders import fill_order
from junkie_async.postgres import PostgresLedger
from junkie_async.provisioning import statuses

from . import _answers
from ._shop import ALICE, BOB, NO_RETRIES, PROVIDER, Clock, Shop, make_cog, says

LOST_RESPONSE = Faults(drop_after_rate=1.0, operations="createKey")
LOST_REQUEST = Faults(drop_before_rate=1.0, operations="createKey")
HOUR = timedelta(hours=1)


@pytest.fixture(params=["file", "server"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new ledger: the path of a file, and the DSN of a database."""
    if request.param == "file":
        return str(tmp_path / "bot.db")
    return str(request.getfixturevalue("postgres_database"))


@contextlib.asynccontextmanager
async def open_shards(*cogs: dict[str, Any]) -> AsyncIterator[list[Shop]]:
    """Run a bot for each of the cogs' settings, as processes would: only the ledger is shared."""
    async with (
        Emulator() as emulator,
        JunkieClient("any", base_url=emulator.url) as own,
        contextlib.AsyncExitStack() as stack,
    ):
        shards: list[Shop] = []
        clock = Clock()
        for settings in cogs:
            opened = JunkieClient("any", base_url=emulator.url, retry=NO_RETRIES)
            client = await stack.enter_async_context(opened)
            shards.append(Shop(make_cog(client, **settings), emulator, own, clock))
        yield shards


async def expire(shop: Shop) -> Key:
    """Let the only working key of the shop expire."""
    (key,) = await shop.keys(status="active")
    await shop.junkie.keys.update(key, expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    return key


# --- one key --------------------------------------------------------------------------------------


async def test_shards_create_one_key(ledger: str) -> None:
    """However many shards a user calls at the same time, all of them answer with one key."""
    async with open_shards(*[{"ledger": ledger}] * 3) as shards:
        shards[0].emulator.latency = 0.05
        callers = [(shard, by) for shard in shards for by in (ALICE, ALICE, BOB)]
        answers = await asyncio.gather(*(shard.call("key get", by=by) for shard, by in callers))
        values = {int(str(key.discord_id)): key.key_value for key in await shards[0].keys()}
        assert len(values) == await shards[0].emulator.count() == 2
    for (_, by), answer in zip(callers, answers, strict=True):
        assert values[by] in answer.answer.content


async def test_without_a_ledger_shards_create_two_keys() -> None:
    """What the test above would see if the orders were not shared."""
    async with open_shards({}, {}) as shards:
        shards[0].emulator.latency = 0.05
        await asyncio.gather(*(shard.call("key get") for shard in shards))
        assert await shards[0].emulator.count() == 2


async def test_shards_replace_an_expired_key_once(ledger: str) -> None:
    """A key that has expired is followed by one new key, and that by another one."""
    async with open_shards({"ledger": ledger}, {"ledger": ledger}) as shards:
        await shards[0].call("key get")
        for count in (2, 3):
            old = await expire(shards[0])
            answers = await asyncio.gather(*(shard.call("key get") for shard in shards))
            (new,) = await shards[0].keys(status="active")
            assert await shards[0].emulator.count() == count
            assert new.id > old.id
            assert all(new.key_value in answer.answer.content for answer in answers)


async def test_shards_do_not_undo_a_revocation(ledger: str) -> None:
    """A user whose key was revoked on one shard gets no new one on another."""
    async with open_shards({"ledger": ledger}, {"ledger": ledger}) as (one, other):
        await one.call("key get")
        (key,) = await one.keys()
        await one.call("keys revoke", key=f"#{key.id}")
        refused = await other.call("key get")
        assert refused.answer.content == _answers.NO_KEY_AFTER_REVOCATION.format(id=key.id)
        assert await one.emulator.count() == 1


async def test_deleted_keys_are_replaced(ledger: str) -> None:
    """The orders of keys that are deleted since do not bring them back."""
    async with open_shards({"ledger": ledger}, {"ledger": ledger}) as (one, other):
        given: set[str] = set()
        for _ in range(4):
            answers = await asyncio.gather(one.call("key get"), other.call("key get"))
            (key,) = await one.keys()
            assert all(key.key_value in answer.answer.content for answer in answers)
            given.add(key.key_value)
            await one.junkie.keys.delete(key)
            one.clock.now += timedelta(minutes=3)
        assert len(given) == 4


async def test_services_and_providers_have_orders_of_their_own(ledger: str) -> None:
    """Two shops may share a ledger."""
    cogs = [{"ledger": ledger, "service_id": service} for service in (7, 8)]
    async with open_shards(*cogs, {"ledger": ledger, "provider_id": 1}) as shards:
        answers = [await shard.call("key get") for shard in shards]
        assert await shards[0].emulator.count() == 3
    assert all(says(answer.answer.content, _answers.YOUR_KEY) for answer in answers)


async def test_a_ledger_as_an_object(postgres_database: str) -> None:
    """A ledger that was made by the program stays open when the cog is removed."""
    async with PostgresLedger(postgres_database) as ledger:
        async with open_shards({"ledger": ledger}) as (shop,):
            await shop.call("key get")
            await shop.cog.cog_unload()
        (order,) = [status async for status in ledger.statuses()]
    assert (order.name, order.done) == (f"discord:{PROVIDER}:0:{ALICE}:0", True)


# --- cooldowns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_the_cooldown_holds_over_shards(ledger: str, is_deleted: bool) -> None:
    """It is counted from the creation of the latest key, even if that is deleted since."""
    cog = {"ledger": ledger, "cooldown": HOUR}
    async with open_shards(cog, cog) as (one, other):
        assert says((await one.call("key get")).answer.content, _answers.YOUR_KEY)
        key = await expire(one)
        if is_deleted:
            await one.junkie.keys.delete(key)
        before = await one.emulator.count()
        for passed in (timedelta(0), timedelta(minutes=59)):
            one.clock.now += passed
            assert says((await other.call("key get")).answer.content, _answers.ON_COOLDOWN)
        assert says((await other.call("key get", by=BOB)).answer.content, _answers.YOUR_KEY)
        one.clock.now += timedelta(minutes=2)
        assert says((await other.call("key get")).answer.content, _answers.YOUR_KEY)
        assert await one.emulator.count() == before + 2


async def test_the_cooldown_holds_over_restarts(tmp_path: Path) -> None:
    """A new process counts from the latest key, too."""
    cog: dict[str, Any] = {"ledger": tmp_path / "bot.db", "cooldown": HOUR}
    async with open_shards(cog) as (shop,):
        await shop.call("key get")
        await expire(shop)
        await shop.cog.cog_unload()
        async with JunkieClient("any", base_url=shop.emulator.url) as client:
            restarted = attrs.evolve(shop, cog=make_cog(client, **cog))
            assert says((await restarted.call("key get")).answer.content, _answers.ON_COOLDOWN)
            assert await shop.emulator.count() == 1


async def test_a_wait_is_never_longer_than_the_cooldown(tmp_path: Path) -> None:
    """Not even if the service's clock is ahead of Discord's."""
    cog = {"ledger": tmp_path / "bot.db", "cooldown": HOUR}
    async with open_shards(cog) as (shop,):
        await shop.call("key get")
        await expire(shop)
        shop.clock.now -= timedelta(hours=14)
        text = (await shop.call("key get")).answer.content
    assert says(text, _answers.ON_COOLDOWN)
    left = int(text.split(":")[1]) - datetime.now(UTC).timestamp()
    assert left == pytest.approx(3600, abs=30)


async def test_a_key_that_is_not_listed_is_not_followed_by_another(tmp_path: Path) -> None:
    """Without a cooldown, too: the list may be late."""
    async with open_shards({"ledger": tmp_path / "bot.db"}) as (shop,):
        await shop.call("key get")
        await shop.junkie.keys.purge(discord_id=ALICE)  # as if it was not listed yet
        shop.clock.now += timedelta(minutes=1)
        assert says((await shop.call("key get")).answer.content, _answers.ON_COOLDOWN)
        assert shop.emulator.calls["createKey"] == 1


async def test_a_key_of_unknown_age_is_not_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that leaves the time of creation out, and lists late, does not get a call more."""
    filled: list[Key] = []

    async def fill_without_time(*args: Any, **fields: Any) -> Key:
        assert len(filled) < 3
        filled.append(attrs.evolve(await fill_order(*args, **fields), created_at=None))
        return filled[-1]

    monkeypatch.setattr(user_commands, "fill_order", fill_without_time)
    async with open_shards({"ledger": tmp_path / "bot.db"}) as (shop,):
        await shop.call("key get")
        await shop.junkie.keys.purge(discord_id=ALICE)  # as if it was not listed yet
        shop.clock.now += timedelta(minutes=1)
        assert says((await shop.call("key get")).answer.content, _answers.ON_COOLDOWN)
        assert shop.emulator.calls["createKey"] == 1


# --- failures -------------------------------------------------------------------------------------


async def test_a_lost_response_is_looked_up(ledger: str) -> None:
    """A key whose response was lost is found and shown."""
    async with open_shards({"ledger": ledger}) as (shop,):
        shop.emulator.faults = LOST_RESPONSE
        exchange = await shop.call("key get")
        (key,) = await shop.keys()
    assert key.key_value in exchange.answer.content


async def test_an_unknown_outcome_is_settled_by_the_next_call(
    ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the service can't create the first key any more, no shard creates a second one."""
    cog = {"ledger": ledger}
    async with open_shards(cog, cog) as (one, other):
        one.emulator.faults = LOST_REQUEST
        unknown = await one.call("key get")
        one.emulator.faults = None
        one.cog.keys.deadline = other.cog.keys.deadline = 0.3  # the wait of the next calls
        again = [(await shard.call("key get")).answer.content for shard in (one, other)]
        assert await one.emulator.count() == 0
        assert unknown.answer.content == _answers.OUTCOME_UNKNOWN
        assert again == [_answers.UNAVAILABLE] * 2
        monkeypatch.setattr(user_commands, "_UNKNOWN_OUTCOME_WAIT", 0.0)
        other.cog.keys.deadline = None
        settled = await other.call("key get")
        (key,) = await one.keys()
        assert key.key_value in settled.answer.content


async def test_a_key_that_comes_late_is_the_users(ledger: str) -> None:
    """While the outcome is unknown, the key may appear: then it is shown, and no other created."""
    async with open_shards({"ledger": ledger}) as (shop,):
        shop.emulator.faults = LOST_REQUEST
        await shop.call("key get")
        shop.emulator.faults = None
        late = await shop.stock()
        assert late.key_value in (await shop.call("key get")).answer.content
        assert await shop.emulator.count() == 1


async def test_a_rejected_create_starts_no_wait(ledger: str) -> None:
    """A create that was not carried out is repeated by the next call."""
    async with open_shards({"ledger": ledger, "cooldown": HOUR}) as (shop,):
        shop.emulator.faults = Faults(error_rate=1.0, error_status=429, operations="createKey")
        refused = await shop.call("key get")
        shop.emulator.faults = None
        given = await shop.call("key get")
    assert says(refused.answer.content, _answers.RATE_LIMITED)
    assert says(given.answer.content, _answers.YOUR_KEY)


async def test_shards_with_other_settings(ledger: str) -> None:
    """During an update of the bot, an order is filled as it was begun, by old and new shards."""
    cogs = [{"ledger": ledger, "validity_minutes": minutes} for minutes in (60, 120)]
    async with open_shards(*cogs) as shards:
        shards[0].emulator.latency = 0.05
        answers = await asyncio.gather(*(shard.call("key get") for shard in shards))
        (key,) = await shards[0].keys()
        assert all(key.key_value in answer.answer.content for answer in answers)
        shards[0].emulator.latency = 0.0
        for number, minutes in ((1, 120), (0, 60)):  # later keys have the settings of their shard
            await expire(shards[0])
            await shards[number].call("key get")
            (key,) = await shards[0].keys(status="active")
            assert key.validity_minutes == minutes


async def test_a_ledger_of_another_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that belongs to another address is the operator's mistake, and not explained."""
    cog = {"ledger": tmp_path / "bot.db"}
    async with open_shards(cog) as (shop,):
        await shop.call("key get")
    async with open_shards(cog) as (shop,):
        assert (await shop.call("key get")).answer.content == _answers.MISCONFIGURED
        assert await shop.emulator.count() == 0
    assert "ConfigurationError: the ledger can't be used: base_url must be" in caplog.text


@pytest.mark.parametrize("name", ["missing/bot.db", "", "file/bot.db"])
async def test_a_ledger_that_can_not_be_there(tmp_path: Path, name: str) -> None:
    """It is refused when the cog is made, and no file is left."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path))):
        make_cog(JunkieClient("any"), ledger=tmp_path / name)
    make_cog(JunkieClient("any"), ledger=tmp_path / "bot.db")
    assert not (tmp_path / "bot.db").exists()


async def test_a_ledger_that_can_not_be_used(tmp_path: Path) -> None:
    """Without its ledger, the bot creates nothing, and still shows the key that works."""
    (tmp_path / "bot.db").write_text("not a ledger")
    async with open_shards({"ledger": tmp_path / "bot.db"}) as (shop,):
        assert (await shop.call("key get")).answer.content == _answers.MISCONFIGURED
        key = await shop.stock()
        assert key.key_value in (await shop.call("key get")).answer.content


async def test_orders_are_kept_in_the_ledger(tmp_path: Path) -> None:
    """One order for each key, with the caller and the key before."""
    async with open_shards({"ledger": tmp_path / "bot.db", "service_id": 7}) as (shop,):
        await shop.call("key get")
        key = await expire(shop)
        await shop.call("key get")
    names = [order.name for order in statuses(tmp_path / "bot.db")]
    assert names == [f"discord:{PROVIDER}:7:{ALICE}:{after}" for after in (0, key.id)]


# --- resets ---------------------------------------------------------------------------------------


async def test_the_wait_between_two_resets_holds_over_all_shards(ledger: str) -> None:
    """A reset that fails costs no wait."""
    settings = {"ledger": ledger, "reset_cooldown": HOUR}
    async with open_shards(settings, settings) as (one, other):
        await one.call("key get")
        await one.call("key get", by=BOB)
        one.emulator.faults = Faults(error_rate=1.0, operations="resetKeyHwid")
        await one.call("key reset")
        one.emulator.faults = Faults()
        await other.call("key reset")
        for shard in (one, other):
            assert says((await shard.call("key reset")).answer.content, _answers.ON_COOLDOWN)
        assert one.emulator.calls["resetKeyHwid"] == 1
        await one.call("key reset", by=BOB)
        assert one.emulator.calls["resetKeyHwid"] == 2
