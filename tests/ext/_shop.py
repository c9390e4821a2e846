"""A bot with the cog, logged in to the loopback Discord, whose keys are the emulator's."""

from __future__ import annotations

import contextlib
import os
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

PROVIDER = 8969
NO_RETRIES = RetryPolicy(attempts=1)


@attrs.frozen
class Shop:
    """All that a test works with.

    Attributes:
        discord: Where the bot's answers go.
        bot: The bot.
        emulator: Where its keys are.
        junkie: A client of the test's own.
    """

    discord: Discord
    bot: commands.Bot
    emulator: Emulator
    junkie: JunkieClient

    async def call(self, command: str, by: int = ALICE, **options: Any) -> Exchange:
        """Have somebody call a command."""
        return await self.discord.call(self.bot, command, by=by, **options)

    async def keys(self, **filters: Any) -> list[Key]:
        """List the keys that there are."""
        return await self.junkie.keys.list(**filters).collect()

    async def stock(self, **fields: Any) -> Key:
        """Create a key that somebody has, by the way."""
        given = {"provider_id": PROVIDER, "discord_id": ALICE} | fields
        return await self.junkie.keys.create(**given)


@contextlib.asynccontextmanager
async def loopback() -> AsyncIterator[Discord]:
    """Have discord.py talk to a Discord on loopback."""
    stand_in = Discord()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discord.http.Route, "BASE", await stand_in.start())
        try:
            yield stand_in
        finally:
            await stand_in.close()


@contextlib.asynccontextmanager
async def logged_in(bot: commands.Bot) -> AsyncIterator[commands.Bot]:
    """Log a bot in; there is no gateway that it could connect to."""
    async with bot:
        await bot.login("a token")
        yield bot


def plain_bot() -> commands.Bot:
    """Make a bot without anything."""
    return commands.Bot(commands.when_mentioned, intents=discord.Intents.none())


@contextlib.asynccontextmanager
async def open_shop(**settings: Any) -> AsyncIterator[Shop]:
    """Open a shop, with the cog set up like this."""
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
        await bot.add_cog(KeyCog(client, **defaults | {"cooldown": timedelta(0)} | settings))
        yield Shop(stand_in, bot, emulator, own)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these environment variables, and none of the package's else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("JUNKIE_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
