"""The Discord cog for everybody: `/key`, with real discord.py and fake interactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from junkie_async import Keys
from junkie_async.emulator import Faults
from junkie_async.ext.discord import texts, user_commands

from . import _answers
from ._shop import ALICE, BOB, ELSEWHERE, PROVIDER, SHOP, Shop, open_shop, says

LOST_RESPONSE = Faults(drop_after_rate=1.0, operations="createKey")
LOST_REQUEST = Faults(drop_before_rate=1.0, operations="createKey")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop whose keys do not expire."""
    async with open_shop() as shop:
        yield shop


# --- get ------------------------------------------------------------------------------------------


async def test_get_gives_a_key() -> None:
    """The key belongs to the caller and has the shop's settings, and the answer shows it."""
    settings: dict[str, Any] = {
        "service_id": 7,
        "validity_minutes": timedelta(hours=1),
        "hwid_limit": 3,
    }
    async with open_shop(**settings, is_premium=True) as shop:
        exchange = await shop.call("key get")
        (key,) = await shop.keys()
    assert (key.provider_id, key.service_id, key.discord_id) == (PROVIDER, 7, str(ALICE))
    assert (key.validity_minutes, key.hwid_limit, key.is_premium) == (60, 3, True)
    assert exchange.answer.content == _answers.YOUR_KEY.format(key=texts.describe_key(key))


async def test_answers_are_deferred_and_ephemeral(shop: Shop) -> None:
    """The first response is an ephemeral deferral; its message becomes the answer."""
    exchange = await shop.call("key get")
    assert [answer.kind for answer in exchange.answers] == ["defer", "edit"]
    assert all(answer.ephemeral for answer in exchange.answers)
    assert exchange.answer.allowed_mentions == {"parse": []}


async def test_get_shows_an_existing_key(shop: Shop) -> None:
    """A user with a working key, used or not, sees it and gets no second one."""
    first = await shop.call("key get")
    (key,) = await shop.keys()
    await shop.emulator.mark_used(key.id)
    second = await shop.call("key get")
    assert key.key_value in first.answer.content
    assert key.key_value in second.answer.content
    assert await shop.keys() == [await shop.junkie.keys.find(key.key_value)]


async def test_get_replaces_keys_that_do_not_work(shop: Shop) -> None:
    """Expired and spent keys, keys of others and of other shops don't count."""
    await shop.emulator.seed(
        1, discord_id=str(ALICE), provider_id=PROVIDER, expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    spent = await shop.stock(one_time_use=True)
    await shop.emulator.mark_used(spent.id)
    await shop.junkie.keys.invalidate(await shop.stock(discord_id=BOB))
    await shop.junkie.keys.invalidate(await shop.stock(provider_id=1))
    before = {key.key_value for key in await shop.keys()}
    exchange = await shop.call("key get")
    (new,) = {key.key_value for key in await shop.keys()} - before
    assert len(before) == 4
    assert new in exchange.answer.content


async def test_get_does_not_undo_a_revocation(shop: Shop) -> None:
    """A user whose key is revoked gets no new one until it is restored, but may be given one."""
    await shop.call("key get")
    (key,) = await shop.keys()
    await shop.call("keys revoke", key=f"#{key.id}")
    refused = await shop.call("key get")
    assert refused.answer.content == _answers.NO_KEY_AFTER_REVOCATION.format(id=key.id)
    assert await shop.emulator.count() == 1
    given = await shop.stock()
    assert given.key_value in (await shop.call("key get")).answer.content
    await shop.junkie.keys.delete(given)
    await shop.call("keys restore", key=f"#{key.id}")
    assert key.key_value in (await shop.call("key get")).answer.content


async def test_two_concurrent_gets_create_one_key(shop: Shop) -> None:
    """Calls of one user run one after the other; those of other users don't wait for them."""
    shop.emulator.latency = 0.05
    answers = await asyncio.gather(*(shop.call("key get", by=by) for by in (ALICE, ALICE, BOB)))
    values = {int(str(key.discord_id)): key.key_value for key in await shop.keys()}
    assert len(values) == await shop.emulator.count() == 2
    for by, answer in zip((ALICE, ALICE, BOB), answers, strict=True):
        assert values[by] in answer.answer.content


async def test_cooldown() -> None:
    """A user must wait for the next new key; other users need not."""
    async with open_shop(cooldown=timedelta(hours=1)) as shop:
        await shop.call("key get")
        await shop.junkie.keys.purge(discord_id=ALICE)
        refused = await shop.call("key get")
        other = await shop.call("key get", by=BOB)
        assert await shop.emulator.count() == 1
    assert says(refused.answer.content, _answers.ON_COOLDOWN)
    assert says(other.answer.content, _answers.YOUR_KEY)


async def test_no_cooldown_after_a_rejected_create() -> None:
    """A create that was not carried out starts no wait."""
    async with open_shop(cooldown=timedelta(hours=1)) as shop:
        shop.emulator.faults = Faults(error_rate=1.0, error_status=429, operations="createKey")
        refused = await shop.call("key get")
        shop.emulator.faults = None
        given = await shop.call("key get")
    assert says(refused.answer.content, _answers.RATE_LIMITED)
    assert says(given.answer.content, _answers.YOUR_KEY)


async def test_a_lost_response_is_looked_up(shop: Shop) -> None:
    """A key whose response was lost is found and shown."""
    shop.emulator.faults = LOST_RESPONSE
    exchange = await shop.call("key get")
    (key,) = await shop.keys()
    assert key.key_value in exchange.answer.content
    assert shop.emulator.calls["createKey"] == 1


async def test_an_unknown_outcome_is_not_retried(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service may still create the first key, the user gets no second one."""
    shop.emulator.faults = LOST_REQUEST
    unknown = await shop.call("key get")
    shop.emulator.faults = None
    again = await shop.call("key get")
    assert await shop.emulator.count() == 0
    assert unknown.answer.content == _answers.OUTCOME_UNKNOWN
    assert says(again.answer.content, _answers.ON_COOLDOWN)
    late = await shop.stock()
    assert late.key_value in (await shop.call("key get")).answer.content
    monkeypatch.setattr(user_commands, "_UNKNOWN_OUTCOME_WAIT", 0.0)
    shop.emulator.faults = LOST_REQUEST
    await shop.call("key get", by=BOB)
    shop.emulator.faults = None
    assert says((await shop.call("key get", by=BOB)).answer.content, _answers.YOUR_KEY)


async def test_an_unknown_outcome_in_an_outage(shop: Shop) -> None:
    """If the look-up fails too, the answer is still about the unknown outcome."""
    shop.emulator.faults = Faults(drop_before_rate=1.0, latency=0.1, operations="createKey")
    call = asyncio.create_task(shop.call("key get"))
    while not shop.emulator.faults_injected["latency"]:
        await asyncio.sleep(0.005)
    shop.emulator.faults = Faults(error_rate=1.0, operations="listKeys")
    assert (await call).answer.content == _answers.OUTCOME_UNKNOWN


# --- mine, info, reset ----------------------------------------------------------------------------


async def test_mine(shop: Shop) -> None:
    """The list has all keys of the caller, working ones first, and no other keys."""
    revoked, active = await shop.stock(), await shop.stock(key_name="my *own*")
    await shop.junkie.keys.invalidate(revoked)
    other = await shop.stock(discord_id=BOB)
    text = (await shop.call("key mine")).answer.content
    assert text.index(active.key_value) < text.index(revoked.key_value)
    assert r"my \*own\*" in text
    assert other.key_value not in text


async def test_mine_is_truncated(shop: Shop) -> None:
    """Keys that do not fit into a message are counted."""
    await shop.emulator.seed(250, discord_id=str(ALICE), provider_id=PROVIDER)
    text = (await shop.call("key mine")).answer.content
    assert len(text) <= 2000
    assert 10 < text.count("(#") < 250


async def test_mine_without_keys(shop: Shop) -> None:
    """A user without keys is told so."""
    assert (await shop.call("key mine")).answer.content == _answers.NO_KEYS


async def test_info(shop: Shop) -> None:
    """The answer describes the given key of the caller, or the one that works."""
    working = await shop.stock(hwids=["a", "b"], hwid_limit=5)
    named = await shop.stock(discord_id=ALICE, provider_id=1)
    assert (await shop.call("key info")).answer.content == texts.describe_key(working)
    assert f"(#{named.id})" in (await shop.call("key info", key=named.key_value)).answer.content


@pytest.mark.parametrize("command", ["key info", "key reset"])
async def test_other_users_keys_are_hidden(shop: Shop, command: str) -> None:
    """The answer is the same for another user's key, a part of one's own and no key at all."""
    mine, others = await shop.stock(), await shop.stock(discord_id=BOB, hwids=["a"])
    asked = [others.key_value, mine.key_value[:-1], "nothing"]
    answers = [await shop.call(command, key=value) for value in asked]
    assert [answer.answer.content for answer in answers] == [_answers.NOT_YOUR_KEY] * 3
    assert (await shop.junkie.keys.get(others.id)).keys_hwid == ("a",)


async def test_other_users_keys_are_hidden_without_the_filter(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the service ignores the filter by owner, no user sees others' keys."""
    others = await shop.stock(discord_id=BOB)
    original = Keys.list
    monkeypatch.setattr(Keys, "list", lambda keys, **_: original(keys))
    assert (await shop.call("key mine")).answer.content == _answers.NO_KEYS
    assert others.key_value not in (await shop.call("key get")).answer.content


async def test_info_without_a_working_key(shop: Shop) -> None:
    """Without a working key, `/key info` has nothing to describe."""
    await shop.junkie.keys.invalidate(await shop.stock())
    assert (await shop.call("key info")).answer.content == _answers.NO_WORKING_KEY


async def test_reset(shop: Shop) -> None:
    """The key's devices are unbound, once per cooldown."""
    key = await shop.stock(hwids=["a"])
    done = await shop.call("key reset")
    assert done.answer.content == _answers.UNBOUND.format(id=key.id)
    assert (await shop.junkie.keys.get(key.id)).keys_hwid == ()
    assert says((await shop.call("key reset")).answer.content, _answers.ON_COOLDOWN)
    assert shop.emulator.calls["resetKeyHwid"] == 1


async def test_a_user_install_is_refused(shop: Shop) -> None:
    """The bot serves the servers that installed it, and their members' direct messages."""
    for guild in (SHOP, ELSEWHERE, None):
        exchange = await shop.call("key get", guild=guild, user_install=True)
        assert exchange.answer.content == _answers.NOT_ALLOWED
    assert shop.emulator.requests == 0


async def test_direct_messages(shop: Shop) -> None:
    """`/key` works in direct messages too."""
    assert says((await shop.call("key get", guild=None)).answer.content, _answers.YOUR_KEY)
