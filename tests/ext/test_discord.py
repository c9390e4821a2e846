"""The Discord cog, for everybody: `/key`, with real discord.py over a Discord on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from junkie_async import Keys
from junkie_async.emulator import Faults
from junkie_async.ext.discord import _user

from ._discord import ALICE, BOB, DEFERRED, EPHEMERAL
from ._shop import PROVIDER, Shop, open_shop

LOST = Faults(drop_after_rate=1.0, operations="createKey")
LOST_BEFORE = Faults(drop_before_rate=1.0, operations="createKey")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop whose keys have no end."""
    async with open_shop() as shop:
        yield shop


# --- get ------------------------------------------------------------------------------------------


async def test_get_gives_a_key() -> None:
    """The key is the caller's, as the shop makes them, and the answer has it."""
    settings = {"service_id": 7, "validity_minutes": timedelta(hours=1), "hwid_limit": 3}
    async with open_shop(**settings, is_premium=True) as shop:
        exchange = await shop.call("key get")
        (key,) = await shop.keys()
    assert (key.provider_id, key.service_id, key.discord_id) == (PROVIDER, 7, str(ALICE))
    assert (key.validity_minutes, key.hwid_limit, key.is_premium) == (60, 3, True)
    assert f"`{key.key_value}`" in exchange.text
    assert "premium" in exchange.text
    assert key.expires_at is not None
    assert f"until <t:{int(key.expires_at.timestamp())}>" in exchange.text


async def test_answers_are_deferred_and_ephemeral(shop: Shop) -> None:
    """The first word is an ephemeral deferral, its message becomes the answer, and pings nobody."""
    exchange = await shop.call("key get")
    assert exchange.callback == {"type": DEFERRED, "data": {"flags": EPHEMERAL}}
    (edit,) = exchange.edits
    assert edit["allowed_mentions"] == {"parse": []}
    assert exchange.others == []


async def test_get_shows_the_key_that_one_has(shop: Shop) -> None:
    """Whoever has a key that works is shown it, used or not, and gets no second one."""
    first = await shop.call("key get")
    (key,) = await shop.keys()
    await shop.emulator.mark_used(key.id)
    second = await shop.call("key get")
    assert key.key_value in first.text
    assert key.key_value in second.text
    assert await shop.keys() == [await shop.junkie.keys.find(key.key_value)]


async def test_get_replaces_what_does_not_work(shop: Shop) -> None:
    """Revoked, expired and spent keys, and those of others or of another shop, don't count."""
    revoked = await shop.stock()
    await shop.junkie.keys.invalidate(revoked)
    await shop.emulator.seed(
        1, discord_id=str(ALICE), provider_id=PROVIDER, expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    spent = await shop.stock(one_time_use=True)
    await shop.emulator.mark_used(spent.id)
    await shop.stock(discord_id=BOB)
    await shop.stock(provider_id=1)
    before = {key.key_value for key in await shop.keys()}
    exchange = await shop.call("key get")
    (new,) = {key.key_value for key in await shop.keys()} - before
    assert len(before) == 5
    assert new in exchange.text


async def test_two_quick_gets_make_one_key(shop: Shop) -> None:
    """Calls of one user come one after the other; those of others don't wait for them."""
    shop.emulator.latency = 0.05
    answers = await asyncio.gather(*(shop.call("key get", by=by) for by in (ALICE, ALICE, BOB)))
    values = {int(str(key.discord_id)): key.key_value for key in await shop.keys()}
    assert len(values) == await shop.emulator.count() == 2
    for by, answer in zip((ALICE, ALICE, BOB), answers, strict=True):
        assert values[by] in answer.text


async def test_cooldown() -> None:
    """The next new key has to be waited for, by its user alone."""
    async with open_shop(cooldown=timedelta(hours=1)) as shop:
        await shop.call("key get")
        await shop.junkie.keys.purge(discord_id=ALICE)
        refused = await shop.call("key get")
        other = await shop.call("key get", by=BOB)
        assert await shop.emulator.count() == 1
    assert "You can do that again <t:" in refused.text
    assert "Your key" in other.text


async def test_no_cooldown_for_nothing() -> None:
    """A create that was not carried out costs no waiting."""
    async with open_shop(cooldown=timedelta(hours=1)) as shop:
        shop.emulator.faults = Faults(error_rate=1.0, error_status=429, operations="createKey")
        refused = await shop.call("key get")
        shop.emulator.faults = None
        given = await shop.call("key get")
    assert "busy" in refused.text
    assert "Your key" in given.text


async def test_lost_answer_is_looked_for(shop: Shop) -> None:
    """A key whose answer was lost is found, and given."""
    shop.emulator.faults = LOST
    exchange = await shop.call("key get")
    (key,) = await shop.keys()
    assert key.key_value in exchange.text
    assert shop.emulator.calls["createKey"] == 1


async def test_unknown_outcome_is_not_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no key is found, the user is told so, and none is created while it may yet come."""
    shop.emulator.faults = LOST_BEFORE
    unknown = await shop.call("key get")
    shop.emulator.faults = None
    again = await shop.call("key get")
    assert await shop.emulator.count() == 0
    assert "did not say whether" in unknown.text
    assert "You can do that again <t:" in again.text
    late = await shop.stock()
    assert late.key_value in (await shop.call("key get")).text
    monkeypatch.setattr(_user, "_SETTLE", 0.0)
    shop.emulator.faults = LOST_BEFORE
    await shop.call("key get", by=BOB)
    shop.emulator.faults = None
    assert "Your key" in (await shop.call("key get", by=BOB)).text


async def test_unknown_outcome_in_an_outage(shop: Shop) -> None:
    """Where the look fails too, it is still the unknown outcome that the user is told of."""
    shop.emulator.faults = Faults(drop_before_rate=1.0, latency=0.1, operations="createKey")
    call = asyncio.create_task(shop.call("key get"))
    while not shop.emulator.faults_injected["latency"]:
        await asyncio.sleep(0.005)
    shop.emulator.faults = Faults(error_rate=1.0, operations="listKeys")
    assert "did not say whether" in (await call).text


# --- mine, info, reset ----------------------------------------------------------------------------


async def test_mine(shop: Shop) -> None:
    """All keys of the caller are listed, those that work first, and nobody else's."""
    revoked, active = await shop.stock(), await shop.stock(key_name="my *own*")
    await shop.junkie.keys.invalidate(revoked)
    other = await shop.stock(discord_id=BOB)
    text = (await shop.call("key mine")).text
    assert text.index(active.key_value) < text.index(revoked.key_value)
    assert r"my \*own\*" in text
    assert other.key_value not in text


async def test_mine_is_cut(shop: Shop) -> None:
    """More keys than a message has room for are counted."""
    await shop.emulator.seed(250, discord_id=str(ALICE), provider_id=PROVIDER)
    text = (await shop.call("key mine")).text
    shown = text.count("(#")
    assert len(text) <= 2000
    assert text.endswith(f"… and {250 - shown} more")
    assert shown > 10


async def test_mine_without_keys(shop: Shop) -> None:
    """Having no key is told as that."""
    assert (await shop.call("key mine")).text == "You have no key."


async def test_info(shop: Shop) -> None:
    """A key of the caller's is described, the one that works if none is named."""
    await shop.stock(hwids=["a", "b"], hwid_limit=5)
    named = await shop.stock(discord_id=ALICE, provider_id=1)
    assert "2 of 5 devices" in (await shop.call("key info")).text
    assert f"(#{named.id})" in (await shop.call("key info", key=named.key_value)).text


@pytest.mark.parametrize("command", ["key info", "key reset"])
async def test_others_keys_are_none(shop: Shop, command: str) -> None:
    """A stranger's key, a part of one's own and no key at all are answered alike."""
    mine, others = await shop.stock(), await shop.stock(discord_id=BOB, hwids=["a"])
    asked = [others.key_value, mine.key_value[:-1], "nothing"]
    answers = [await shop.call(command, key=value) for value in asked]
    assert [answer.text for answer in answers] == ["You have no such key."] * 3
    assert (await shop.junkie.keys.get(others.id)).keys_hwid == ("a",)


async def test_others_keys_are_not_shown_by_mistake(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the service ignored the filter by owner, nobody would see others' keys."""
    others = await shop.stock(discord_id=BOB)
    honest = Keys.list
    monkeypatch.setattr(Keys, "list", lambda keys, **_: honest(keys))
    assert (await shop.call("key mine")).text == "You have no key."
    assert others.key_value not in (await shop.call("key get")).text


async def test_nothing_that_works(shop: Shop) -> None:
    """Without a key that works there is none to describe."""
    await shop.junkie.keys.invalidate(await shop.stock())
    assert (await shop.call("key info")).text == "You have no key that works."


async def test_reset(shop: Shop) -> None:
    """The key's devices are unbound, once in a while."""
    key = await shop.stock(hwids=["a"])
    done = await shop.call("key reset")
    assert f"your key #{key.id}" in done.text
    assert (await shop.junkie.keys.get(key.id)).keys_hwid == ()
    assert "You can do that again <t:" in (await shop.call("key reset")).text
    assert shop.emulator.calls["resetKeyHwid"] == 1


async def test_direct_messages(shop: Shop) -> None:
    """`/key` works in direct messages too."""
    assert "Your key" in (await shop.call("key get", guild=None)).text
