"""Typed uses of the Discord cog, which mypy reads: a mistake in the public types fails here."""

from __future__ import annotations

import discord
from discord.ext import commands

from junkie_async import BatchFields, JunkieClient, Key
from junkie_async.ext.discord import KeyCog, KeyFields, KeyGate, Texts, describe_key, list_keys
from junkie_async.ext.discord.testing import Answer, FakeInteraction


class MyBot(commands.Bot):
    """A bot with methods of its own."""

    async def knows(self, user_id: int) -> bool:
        """Tell whether a user is known."""
        return user_id > 5


async def known(interaction: discord.Interaction[MyBot]) -> bool:
    """Ask the bot."""
    return await interaction.client.knows(interaction.user.id)


async def fields(interaction: discord.Interaction) -> BatchFields:
    """Return fields."""
    return {"key_name": interaction.user.name}


gate: KeyGate = known
per_user: KeyFields = fields


def make(client: JunkieClient) -> list[KeyCog]:
    """Create cogs with functions, coroutines and lambdas."""
    return [
        KeyCog(client, provider_id=1, may_get_key=known, fields_for=fields),
        KeyCog(
            client,
            provider_id=1,
            may_get_key=lambda i: i.user.id == 5,
            fields_for=lambda i: {"key_name": i.user.name},
        ),
        KeyCog(client, provider_id=1, may_get_key=lambda i: i.user.id == 5 or "No."),
    ]


async def check(cog: KeyCog) -> Answer:
    """Use the fake interaction as an interaction."""
    interaction = FakeInteraction(roles=["a", 5])
    decision = await cog.may_get_key(interaction)
    assert decision is True
    await interaction.run(cog, "key get")
    return interaction.answer


def lines(keys: list[Key]) -> list[str]:
    """Put keys into words."""
    german = Texts(no_keys="Keine.")
    return [describe_key(keys[0], german, ["status"]), list_keys("", keys, facts=("id", "status"))]
