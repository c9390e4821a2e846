"""The Discord cog's lifetime and settings, its extension, and the README's bot."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from discord.ext import commands

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient
from junkie_async.emulator import Emulator
from junkie_async.ext.discord import KeyCog

from ._discord import ALICE, EPHEMERAL, OWNER, SHOP
from ._shop import PROVIDER, environment, logged_in, loopback, plain_bot

EXTENSION = "junkie_async.ext.discord"
README = Path(__file__).parents[2] / "README.md"


# --- lifetime -------------------------------------------------------------------------------------


async def test_a_given_client_stays_open() -> None:
    """The cog goes, and its owner's client does not."""
    async with JunkieClient("any") as client, loopback(), logged_in(plain_bot()) as bot:
        await bot.add_cog(KeyCog(client, provider_id=PROVIDER))
        await bot.remove_cog("KeyCog")
        assert not client.closed


async def test_extension() -> None:
    """The environment says all, and the client that was made of it goes with the extension."""
    async with Emulator(api_keys=["a-key"]) as emulator:
        variables = {
            "JUNKIE_API_KEY": "a-key",
            "JUNKIE_BASE_URL": emulator.url,
            "JUNKIE_PROVIDER_ID": str(PROVIDER),
            "JUNKIE_SERVICE_ID": "7",
            "JUNKIE_VALIDITY_MINUTES": "60",
            "JUNKIE_HWID_LIMIT": "2",
            "JUNKIE_ADMIN_GUILD_ID": str(SHOP),
        }
        async with loopback() as discord, logged_in(plain_bot()) as bot:
            with environment(**variables):
                await bot.load_extension(EXTENSION)
            cog: Any = bot.get_cog("KeyCog")
            assert "Your key" in (await discord.call(bot, "key get")).text
            assert "in all" in (await discord.call(bot, "keys stats")).text
            await bot.unload_extension(EXTENSION)
            assert cog._own_client.closed
            assert bot.tree.get_commands() == []
        async with JunkieClient("a-key", base_url=emulator.url) as junkie:
            key = await junkie.keys.list().first()
    assert key is not None
    assert (key.provider_id, key.service_id, key.validity_minutes) == (PROVIDER, 7, 60)
    assert (key.hwid_limit, key.discord_id) == (2, str(ALICE))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"JUNKIE_PROVIDER_ID": "1"}, "JUNKIE_API_KEY"),
        ({"JUNKIE_API_KEY": "any"}, r"set \$JUNKIE_PROVIDER_ID"),
        ({"JUNKIE_API_KEY": "any", "JUNKIE_PROVIDER_ID": "one"}, "a whole number"),
        ({"JUNKIE_API_KEY": "any", "JUNKIE_PROVIDER_ID": "1", "JUNKIE_SERVICE_ID": "-1"}, "whole"),
    ],
)
async def test_extension_misconfigured(variables: dict[str, str], words: str) -> None:
    """What is missing or wrong in the environment is named."""
    async with plain_bot() as bot:
        with environment(**variables), pytest.raises(commands.ExtensionFailed) as caught:
            await bot.load_extension(EXTENSION)
    with pytest.raises(ConfigurationError, match=words):
        raise caught.value.original


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
        ({"admin_guild_id": 0}, "admin_guild_id"),
    ],
)
def test_settings(settings: dict[str, Any], field: str) -> None:
    """A setting that can't be is refused at once, by its name."""
    with pytest.raises(InvalidRequestError) as caught:
        KeyCog(JunkieClient("any"), **{"provider_id": 1} | settings)
    assert caught.value.field == field


def test_client_is_a_client() -> None:
    """An API key is no client."""
    with pytest.raises(InvalidRequestError, match="a JunkieClient"):
        KeyCog("any", provider_id=1)  # type: ignore[arg-type]


def test_missing_extra() -> None:
    """Without discord.py, the error says how to get it."""
    code = f"import sys; sys.modules['discord'] = None; import {EXTENSION}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "junkie_async[discord]"' in done.stderr.splitlines()[-1]


# --- the README -----------------------------------------------------------------------------------


async def test_readme_bot() -> None:
    """The README's bot runs as it stands, in 40 lines, and hands out, lists and resets a key."""
    section = README.read_text("utf-8").split("### In a Discord bot")[1].split("\n### ")[0]
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(script.splitlines()) <= 40
    async with Emulator() as emulator, loopback() as discord:
        with environment(JUNKIE_API_KEY="any", JUNKIE_BASE_URL=emulator.url):
            names: dict[str, Any] = {"__name__": "readme"}
            exec(compile(script, "README.md", "exec"), names)
        async with logged_in(names["bot"]) as bot:
            given = await discord.call(bot, "key get")
            listed = await discord.call(bot, "key mine")
            reset = await discord.call(bot, "key reset")
            counted = await discord.call(bot, "keys stats", by=OWNER)
        assert names["bot"].junkie.closed
        async with JunkieClient("any", base_url=emulator.url) as junkie:
            (key,) = await junkie.keys.list().collect()
    assert {one["name"] for one in discord.synced} == {"key", "keys"}
    assert key.key_value in given.text
    assert key.key_value in listed.text
    assert "No device is bound" in reset.text
    assert "1 in all" in counted.text
    assert given.callback["data"]["flags"] == EPHEMERAL
    assert (key.discord_id, key.validity_minutes) == (str(ALICE), 60)
