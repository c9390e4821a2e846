"""A bot with the cog, connected to a Discord on loopback and to the emulator."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import attrs
import discord.http
import pytest
from discord.ext import commands

from junkie_async import JunkieClient, Key, RetryPolicy
from junkie_async.emulator import Emulator
from junkie_async.ext.discord import KeyCog

from ._discord import ALICE, SHOP, Discord, Exchange

PROVIDER = 42
# Without a Retry-After, a 429 pauses the client as long as a first retry would wait.
NO_RETRIES = RetryPolicy(attempts=1, wait_initial=0.001, wait_jitter=0.0)


@attrs.frozen
class Shop:
    """Everything that a test works with.

    Attributes:
        discord: The stand-in for Discord, which records the bot's answers.
        bot: The bot.
        emulator: The key service.
        junkie: The test's own client.
    """

    discord: Discord
    bot: commands.Bot
    emulator: Emulator
    junkie: JunkieClient

    async def call(self, command: str, by: int = ALICE, **options: Any) -> Exchange:
        """Call a command as a user."""
        return await self.discord.call(self.bot, command, by=by, **options)

    async def keys(self, **filters: Any) -> list[Key]:
        """List the keys of the service."""
        return await self.junkie.keys.list(**filters).collect()

    async def stock(self, **fields: Any) -> Key:
        """Create a key, for Alice by default."""
        given = {"provider_id": PROVIDER, "discord_id": ALICE} | fields
        return await self.junkie.keys.create(**given)


@contextlib.asynccontextmanager
async def loopback() -> AsyncIterator[Discord]:
    """Connect discord.py to a Discord on loopback."""
    stand_in = Discord()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discord.http.Route, "BASE", await stand_in.start())
        try:
            yield stand_in
        finally:
            await stand_in.close()


@contextlib.asynccontextmanager
async def logged_in(bot: commands.Bot) -> AsyncIterator[commands.Bot]:
    """Log a bot in, without a gateway connection."""
    async with bot:
        await bot.login("a token")
        yield bot


def plain_bot() -> commands.Bot:
    """Create a bot without commands."""
    return commands.Bot(commands.when_mentioned, intents=discord.Intents.none())


@contextlib.asynccontextmanager
async def open_shop(**settings: Any) -> AsyncIterator[Shop]:
    """Run a bot whose cog has these settings."""
    defaults: dict[str, Any] = {
        "provider_id": PROVIDER,
        "admin_guild_id": SHOP,
        "cooldown": timedelta(0),
    }
    async with (
        Emulator() as emulator,
        JunkieClient("any", base_url=emulator.url) as own,
        JunkieClient("any", base_url=emulator.url, retry=NO_RETRIES) as client,
        loopback() as stand_in,
        logged_in(plain_bot()) as bot,
    ):
        await bot.add_cog(KeyCog(client, **defaults | settings))
        yield Shop(stand_in, bot, emulator, own)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these environment variables, and unset all others of the package."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("JUNKIE_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def says(text: str, template: str) -> bool:
    """Tell whether a text was formatted from a template, such as one of `_answers`."""
    parts = re.split(r"\{.*?\}", template)
    return re.fullmatch(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None
