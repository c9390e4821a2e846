"""The Discord cog: its lifetime and settings, the extension, and the README's bot."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient
from junkie_async.emulator import Emulator
from junkie_async.ext.discord import KeyCog, Texts
from junkie_async.ext.discord.testing import FakeInteraction
from junkie_async.provisioning import status

from . import _answers
from ._shop import ALICE, OWNER, PROVIDER, SHOP, environment, plain_bot, says

EXTENSION = "junkie_async.ext.discord"
README = Path(__file__).parents[2] / "README.md"


async def call(bot: commands.Bot, command: str, user_id: int = ALICE) -> FakeInteraction:
    """Call a command of a bot's cog in the shop's server."""
    interaction = FakeInteraction(client=bot, user_id=user_id, guild_id=SHOP)
    cog = bot.get_cog("KeyCog")
    assert cog
    await interaction.run(cog, command)
    return interaction


# --- lifetime -------------------------------------------------------------------------------------


async def test_a_given_client_stays_open() -> None:
    """Removing the cog does not close the client that it was given."""
    async with JunkieClient("any") as client, plain_bot() as bot:
        await bot.add_cog(KeyCog(client, provider_id=PROVIDER))
        await bot.remove_cog("KeyCog")
        assert not client.closed


async def test_extension(tmp_path: Path) -> None:
    """The environment configures the extension, and unloading it closes the client."""
    async with Emulator(api_keys=["a-key"]) as emulator:
        variables = {
            "JUNKIE_API_KEY": "a-key",
            "JUNKIE_BASE_URL": emulator.url,
            "JUNKIE_PROVIDER_ID": str(PROVIDER),
            "JUNKIE_SERVICE_ID": "7",
            "JUNKIE_VALIDITY_MINUTES": "60",
            "JUNKIE_HWID_LIMIT": "2",
            "JUNKIE_ADMIN_GUILD_ID": str(SHOP),
            "JUNKIE_LEDGER": str(tmp_path / "bot.db"),
        }
        async with plain_bot() as bot:
            with environment(**variables):
                await bot.load_extension(EXTENSION)
            cog: Any = bot.get_cog("KeyCog")
            given = await call(bot, "key get")
            assert says(given.answer.content, _answers.YOUR_KEY)
            stats = await call(bot, "keys stats")
            assert says(stats.answer.content.splitlines()[-1], _answers.TOTAL_COUNT)
            await bot.unload_extension(EXTENSION)
            assert cog._own_client.closed
            assert bot.tree.get_commands() == []
        async with JunkieClient("a-key", base_url=emulator.url) as junkie:
            key = await junkie.keys.list().first()
    assert key is not None
    assert (key.provider_id, key.service_id, key.validity_minutes) == (PROVIDER, 7, 60)
    assert (key.hwid_limit, key.discord_id) == (2, str(ALICE))
    assert status(tmp_path / "bot.db", f"discord:{PROVIDER}:7:{ALICE}:0").done


def test_from_the_environment_with_arguments() -> None:
    """They replace what the environment says."""
    with environment(JUNKIE_API_KEY="any", JUNKIE_PROVIDER_ID="5", JUNKIE_ADMIN_GUILD_ID="6"):
        cog = KeyCog.from_environment(admin_guild_id=7, shown=["status"])
    assert (cog.provider_id, cog.admin_guild_id, cog.shown) == (5, 7, ("status",))


@pytest.mark.parametrize(
    "variables",
    [
        {"JUNKIE_PROVIDER_ID": "1"},
        {"JUNKIE_API_KEY": "any"},
        {"JUNKIE_API_KEY": "any", "JUNKIE_PROVIDER_ID": "one"},
        {"JUNKIE_API_KEY": "any", "JUNKIE_PROVIDER_ID": "1", "JUNKIE_SERVICE_ID": "-1"},
    ],
)
async def test_misconfigured_extension(variables: dict[str, str]) -> None:
    """A missing or wrong variable is an error of its own when the extension is loaded."""
    async with plain_bot() as bot:
        with environment(**variables), pytest.raises(commands.ExtensionFailed) as caught:
            await bot.load_extension(EXTENSION)
    assert isinstance(caught.value.original, ConfigurationError)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"provider_id": 0}, "provider_id"),
        ({"service_id": "7"}, "service_id"),
        ({"validity_minutes": timedelta(seconds=30)}, "validity_minutes"),
        ({"hwid_limit": 101}, "hwid_limit"),
        ({"is_premium": 1}, "is_premium"),
        ({"cooldown": timedelta(seconds=-1)}, "cooldown"),
        ({"reset_cooldown": 60}, "reset_cooldown"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": timedelta(0)}, "deadline"),
        ({"deadline": "10"}, "deadline"),
        ({"admin_guild_id": 0}, "admin_guild_id"),
        ({"admin_guild_id": 2**64}, "admin_guild_id"),
        ({"admin_guild_id": True}, "admin_guild_id"),
        ({"ledger": 42}, "ledger"),
        ({"may_get_key": True}, "may_get_key"),
        ({"fields_for": {"key_name": "x"}}, "fields_for"),
        ({"shown": "status"}, "shown"),
        ({"shown": ["key_value"]}, "shown"),
        ({"shown": 5}, "shown"),
        ({"texts": {"no_keys": "x"}}, "texts"),
        ({"translations": Texts()}, "translations"),
        ({"translations": {"de": Texts()}}, "translations"),
        ({"translations": {discord.Locale.german: "x"}}, "translations"),
    ],
)
def test_settings(settings: dict[str, Any], field: str) -> None:
    """A wrong setting is refused, by its name, when the cog is created."""
    with pytest.raises(InvalidRequestError) as caught:
        KeyCog(JunkieClient("any"), **{"provider_id": 1} | settings)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("settings", "deadline"),
    [
        ({}, 10.0),
        ({"deadline": 2.5}, 2.5),
        ({"deadline": timedelta(minutes=1)}, 60.0),
        ({"deadline": None}, None),
    ],
)
def test_deadline(settings: dict[str, Any], deadline: float | None) -> None:
    """It is 10 s by default, and the client's other calls keep theirs."""
    client = JunkieClient("any")
    client.keys.deadline = 99
    assert KeyCog(client, provider_id=1, **settings).keys.deadline == deadline
    assert client.keys.deadline == 99.0


def test_client_must_be_a_client() -> None:
    """An API key in place of the client is refused, and not shown."""
    with pytest.raises(InvalidRequestError) as caught:
        KeyCog("any-api-key", provider_id=1)  # type: ignore[arg-type]  # the mistake under test
    assert caught.value.field == "client"
    assert "any-api-key" not in str(caught.value)


# --- the README -----------------------------------------------------------------------------------


async def test_readme_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's bot has at most 40 lines, and creates, lists and resets a key."""
    section = README.read_text("utf-8").split("## In a Discord bot")[1].split("\n## ")[0]
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(script.splitlines()) <= 40
    sync = AsyncMock()
    monkeypatch.setattr(app_commands.CommandTree, "sync", sync)
    async with Emulator() as emulator:
        with environment(JUNKIE_API_KEY="any", JUNKIE_BASE_URL=emulator.url):
            names: dict[str, Any] = {"__name__": "readme"}
            exec(compile(script, "README.md", "exec"), names)
            bot = names["KeyBot"]()
        async with bot:
            bot.owner_id = OWNER
            await bot.setup_hook()
            given = await call(bot, "key get")
            listed = await call(bot, "key mine")
            reset = await call(bot, "key reset")
            counted = await call(bot, "keys stats", user_id=OWNER)
        assert bot.junkie.closed
        async with JunkieClient("any", base_url=emulator.url) as junkie:
            (key,) = await junkie.keys.list().collect()
    sync.assert_awaited_once_with()
    assert key.key_value in given.answer.content
    assert key.key_value in listed.answer.content
    assert reset.answer.content == _answers.UNBOUND.format(id=key.id)
    assert _answers.TOTAL_COUNT.format(count=1) in counted.answer.content
    assert given.answer.ephemeral
    assert (key.discord_id, key.validity_minutes) == (str(ALICE), 60)
