"""``/key``: the commands for everybody. Each user reaches only their own keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, Unpack

import attrs
import discord
from discord import app_commands

from junkie_async import Filters, JunkieError, Key, KeyStatus, Outcome

from . import texts
from .base import GUILD_INSTALLS, BaseCommands, log_error
from .cooldowns import check_age
from .orders import (
    LedgerOption,
    claim_name,
    fill_order,
    name_announcement,
    name_order,
    name_reset,
    release_name,
)

# A request that timed out here may still be queued at the service. No second key is created
# until it is safe to say that the first one never appears.
_UNKNOWN_OUTCOME_WAIT: Final = 120.0  # seconds; the default of `create_many(reconcile_after=)`

# Longer than any command of another shard that may find the same key: Discord ends them.
_ANNOUNCED_FOR: Final = 3600.0  # seconds

_KEY_OPTION: Final = "The whole key; leave it out for the one that works now"


class UserCommands(BaseCommands):
    """The commands for everybody."""

    key: app_commands.Group = app_commands.Group(
        name="key",
        description="Your keys",
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True),
        allowed_installs=GUILD_INSTALLS,
    )

    @key.command(description="Get a key, or show the one you have")
    async def get(self, interaction: discord.Interaction) -> None:
        """Answer with the caller's working key, or a new one."""
        # Without the lock, two quick calls would both find no key and both create one.
        async with self.lock_for(interaction.user):
            known = await self._find_working_key(interaction.user)
            key = known or await self._get_new_key(interaction)
        words = await self._find_words(interaction)
        try:
            await self._show(interaction, words.your_key, [key])
        except Exception:  # the user has the key all the same
            if known is None:
                await self._announce(interaction, key)
            raise
        if known is None:
            await self._announce(interaction, key)

    @key.command(description="List your keys")
    async def mine(self, interaction: discord.Interaction) -> None:
        """Answer with all keys of the caller."""
        keys = await self._list_keys_of(interaction.user)
        words = await self._find_words(interaction)
        await self._show(interaction, words.your_keys if keys else words.no_keys, keys)

    @key.command(description="Show one of your keys")
    @app_commands.describe(key=_KEY_OPTION)
    async def info(self, interaction: discord.Interaction, key: str | None = None) -> None:
        """Answer with one key of the caller."""
        await self._show(interaction, "", [await self._find_own_key(interaction, key)])

    @key.command(description="Unbind your key from its devices, so that you can use another one")
    @app_commands.describe(key=_KEY_OPTION)
    async def reset(self, interaction: discord.Interaction, key: str | None = None) -> None:
        """Unbind a key of the caller from its devices."""
        user = interaction.user
        async with self.lock_for(user):
            found = await self._find_own_key(interaction, key)
            async with self._start_reset(user):
                await self.keys.reset_hwid(found)
        words = await self._find_words(interaction)
        await self.answer(interaction, words.own_key_reset.format(id=found.id))

    @asynccontextmanager
    async def _start_reset(self, user: discord.abc.User) -> AsyncGenerator[None, None]:
        """Start a user's wait between two resets, in all shards. A failed one costs no wait."""
        self.resets.check(user)
        if self.ledger is None or not self.resets.seconds:
            yield
            self.resets.start(user)
            return
        name = name_reset(self.scope, user.id)
        self.resets.check_left(await claim_name(self.ledger, name, self.resets.seconds))
        try:
            yield
        except BaseException:
            with suppress(JunkieError):
                await release_name(self.ledger, name)
            raise

    async def _announce(self, interaction: discord.Interaction, key: Key) -> None:
        """Call `on_new_key`, by one of the shards that gave the user this key."""
        if not self._overrides("on_new_key"):
            return
        if self.ledger is not None:
            name = name_announcement(self.scope, interaction.user.id, key)
            try:
                if await claim_name(self.ledger, name, _ANNOUNCED_FOR):
                    return
            except JunkieError as error:
                log_error(interaction, error, "on_new_key: ")
                return
        await self._report_new_key(interaction, key)

    async def _get_new_key(self, interaction: discord.Interaction) -> Key:
        await self._check_gate(interaction)
        if self.ledger is not None:
            return await self._order_key(interaction, self.ledger)
        return await self._create_key(interaction)

    async def _create_key(self, interaction: discord.Interaction) -> Key:
        """Create a key; if its outcome is unknown, look whether the service created it."""
        user = interaction.user
        await self._refuse_if_revoked(interaction)
        self.new_keys.check(user)
        fields = await self._collect_fields(interaction)
        # Started before the request, so that the wait holds even if the bot never hears back.
        self.new_keys.start(user, at_least=_UNKNOWN_OUTCOME_WAIT)
        try:
            key = await self.keys.create(provider_id=self.provider_id, **fields)
        except JunkieError as error:
            if error.outcome is Outcome.NOT_EXECUTED:
                self.new_keys.cancel(user)
                raise
            with suppress(JunkieError):  # the first error is the one that the user must know of
                if found := await self._find_working_key(user):
                    return found
            raise
        self.new_keys.start(user)
        return key

    async def _order_key(self, interaction: discord.Interaction, ledger: LedgerOption) -> Key:
        """Create a key by an order that all shards share.

        The order is named by the user's previous key. It may be filled already: by another shard,
        or for a key that is deleted since. Then that key is the previous one.
        """
        user, wait = interaction.user, self.new_keys.seconds
        # Before the next look for a working key. Otherwise this might be the key that another shard
        # creates in between, and the order that follows it would bring a second one.
        previous = max(await self._list_keys_of(user, **self.scope), key=_id_of, default=None)
        while (found := await self._find_working_key(user)) is None:
            await self._refuse_if_revoked(interaction)
            if previous is not None:
                check_age(interaction, previous, wait)
            filled = await self._fill_order(interaction, previous, ledger)
            # Of unknown age, it counts as new. Otherwise this could create keys without end.
            created_at = filled.created_at or interaction.created_at
            previous = attrs.evolve(filled, created_at=created_at)
            # What is not listed may only be late, and must not be followed by another at once.
            wait = max(wait, _UNKNOWN_OUTCOME_WAIT)
        return found

    async def _fill_order(
        self, interaction: discord.Interaction, previous: Key | None, ledger: LedgerOption
    ) -> Key:
        user = interaction.user
        name = name_order(self.scope, user.id, previous)
        fields = await self._collect_fields(interaction)
        try:
            return await fill_order(
                self.keys,
                name,
                ledger,
                _UNKNOWN_OUTCOME_WAIT,
                provider_id=self.provider_id,
                **fields,
            )
        except JunkieError as error:
            if error.outcome is not Outcome.NOT_EXECUTED:
                with suppress(JunkieError):
                    if found := await self._find_working_key(user):
                        return found
            raise

    async def _refuse_if_revoked(self, interaction: discord.Interaction) -> None:
        # A new key would undo `/keys revoke`.
        revoked: Filters = {**self.scope, "status": KeyStatus.INVALIDATED}
        for key in await self._list_keys_of(interaction.user, **revoked):
            words = await self._find_words(interaction)
            raise texts.Refusal(words.own_key_revoked.format(id=key.id))

    async def _find_working_key(self, user: discord.abc.User) -> Key | None:
        # A used key still works, unless it was good for one use.
        for status in (KeyStatus.ACTIVE, KeyStatus.USED):
            for key in await self._list_keys_of(user, **self.scope | {"status": status}):
                if not (key.one_time_use and key.used_at):
                    return key
        return None

    async def _find_own_key(self, interaction: discord.Interaction, value: str | None) -> Key:
        # `keys.get(value)` would tell a user whether a guessed key of somebody else exists.
        if value is None:
            found = await self._find_working_key(interaction.user)
        else:
            keys = await self._list_keys_of(interaction.user, key=value)
            found = next((key for key in keys if key.key_value == value), None)
        if found is None:
            words = await self._find_words(interaction)
            raise texts.Refusal(words.no_such_own_key if value else words.no_working_key)
        return found

    async def _list_keys_of(self, user: discord.abc.User, **filters: Unpack[Filters]) -> list[Key]:
        filters["discord_id"] = user.id
        keys = await self.keys.list(**filters).collect()
        # The service filters already. If it ever ignored the filter, this would leak other
        # users' keys: `test_other_users_keys_are_hidden_without_the_filter`.
        return [key for key in keys if key.discord_id == str(user.id)]


def _id_of(key: Key) -> int:
    return key.id
