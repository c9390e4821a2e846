"""``/key``: what everybody can do, with their own keys alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from junkie_async import BatchFields, Filters, JunkieError, Key, KeyStatus, Outcome
from junkie_async.ext import needs_extra

from ._commands import Commands, answer
from ._words import Refusal, described, listed

with needs_extra("discord"):
    import discord
    from discord import app_commands

_WHICH: Final = "The whole key; left out, the one that you can use now"
_SETTLE: Final = 120.0  # seconds in which a create without an answer may still be carried out


class UserCommands(Commands):
    """The commands for everybody."""

    key = app_commands.Group(name="key", description="Your keys")

    @key.command()
    async def get(self, interaction: discord.Interaction) -> None:
        """Get a key, or see the one that you have."""
        async with self.turn_of(interaction.user):
            key = await self._current(interaction.user) or await self._create(interaction.user)
        await answer(interaction, f"Your key:\n{described(key)}")

    @key.command()
    async def mine(self, interaction: discord.Interaction) -> None:
        """List your keys."""
        keys = await self._keys_of(interaction.user)
        await answer(interaction, listed("Your keys:" if keys else "You have no key.", keys))

    @key.command()
    @app_commands.describe(key=_WHICH)
    async def info(self, interaction: discord.Interaction, key: str | None = None) -> None:
        """Look up a key of yours."""
        await answer(interaction, described(await self._owned(interaction.user, key)))

    @key.command()
    @app_commands.describe(key=_WHICH)
    async def reset(self, interaction: discord.Interaction, key: str | None = None) -> None:
        """Unbind your key from its devices, so that you can use it on another one."""
        user = interaction.user
        async with self.turn_of(user):
            found = await self._owned(user, key)
            self.resets.check(user)
            await self.keys.reset_hwid(found)
            self.resets.begin(user)
        await answer(interaction, f"No device is bound to your key #{found.id} any more.")

    async def _create(self, user: discord.abc.User) -> Key:
        """Create a user's key; where no answer tells whether there is one now, look for it."""
        self.new_keys.check(user)
        self.new_keys.begin(user, at_least=_SETTLE)
        fields: BatchFields = {"discord_id": user.id}
        try:
            key = await self.keys.create(provider_id=self.provider_id, **self.fields | fields)
        except JunkieError as error:
            if error.outcome is Outcome.NOT_EXECUTED:
                self.new_keys.forgive(user)
                raise
            with suppress(JunkieError):  # the first one says what matters
                if found := await self._current(user):
                    return found
            raise
        self.new_keys.begin(user)
        return key

    async def _current(self, user: discord.abc.User) -> Key | None:
        """Find a key of this shop that works: a used one does, unless it was good for one use."""
        for status in (KeyStatus.ACTIVE, KeyStatus.USED):
            for key in await self._keys_of(user, self.scope | {"status": status}):
                if not (key.one_time_use and key.used_at):
                    return key
        return None

    async def _owned(self, user: discord.abc.User, value: str | None) -> Key:
        """Find a user's key. Whether there is one of somebody else is never looked up."""
        if value is None:
            found = await self._current(user)
        else:
            keys = await self._keys_of(user, {"key": value})
            found = next((key for key in keys if key.key_value == value), None)
        if found is None:
            raise Refusal("You have no such key." if value else "You have no key that works.")
        return found

    async def _keys_of(self, user: discord.abc.User, filters: Filters | None = None) -> list[Key]:
        """List a user's keys. Were the filter ever ignored, others' keys would not be shown."""
        owned: Filters = {**(filters or {}), "discord_id": user.id}
        keys = await self.keys.list(**owned).collect()
        return [key for key in keys if key.discord_id == str(user.id)]
