"""What all commands rest on: the shop's settings, one way to answer, and one to apologise."""

from __future__ import annotations

import asyncio
import logging
import traceback
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from junkie_async import (
    BatchFields,
    Filters,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    KeyPager,
    KeyStatus,
)
from junkie_async._protocol.fields import CreateBatchBody, validate_fields
from junkie_async._validation import check_integer, safe_repr
from junkie_async.ext import needs_extra

from ._words import MESSAGE, Refusal, apology

with needs_extra("discord"):
    import discord
    from discord import app_commands
    from discord.ext import commands

_log = logging.getLogger("junkie_async.ext.discord")


class Commands(commands.Cog):
    """The base of both groups of commands; `KeyCog` tells of the arguments."""

    def __init__(
        self,
        client: JunkieClient,
        *,
        provider_id: int,
        service_id: int | None = None,
        validity_minutes: int | timedelta | None = None,
        hwid_limit: int | None = 1,
        is_premium: bool = False,
        cooldown: timedelta = timedelta(minutes=1),
        reset_cooldown: timedelta = timedelta(hours=1),
        admin_guild_id: int | None = None,
    ) -> None:
        if not isinstance(client, JunkieClient):
            raise InvalidRequestError("client", safe_repr(client), "a JunkieClient")
        self.keys = client.keys
        self.provider_id = provider_id
        self.scope: Filters = {"provider_id": provider_id}
        if service_id is not None:
            self.scope["service_id"] = service_id
        self.fields: BatchFields = {
            "service_id": service_id,
            "validity_minutes": validity_minutes,
            "hwid_limit": hwid_limit,
            "is_premium": is_premium,
        }
        # Better now than at the first command.
        given = {"provider_id": provider_id, "amount": 1, **self.fields}
        validate_fields(CreateBatchBody, "KeyCog", given)
        self.new_keys = Cooldowns("cooldown", cooldown)
        self.resets = Cooldowns("reset_cooldown", reset_cooldown)
        if admin_guild_id is not None:
            check_integer("admin_guild_id", admin_guild_id, 1, 2**64 - 1)
        self.admin_guild_id = admin_guild_id
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def turn_of(self, user: discord.abc.User) -> asyncio.Lock:
        """Give the lock that has a user's commands come one after the other."""
        return self._turns.setdefault(user.id, asyncio.Lock())

    def shop_keys(self, status: KeyStatus | None = None) -> KeyPager:
        """List the keys of this shop, or those of one status."""
        filters: Filters = self.scope | {"status": status}
        return self.keys.list(**filters)

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Defer, for the caller's eyes alone, before anything that could outlast Discord's 3 s.

        Every command's answer takes this message's place, so that none is ever public.
        """
        try:
            await interaction.response.defer(ephemeral=True)
            return not _name(interaction).startswith("keys ") or await self._is_admin(interaction)
        except discord.HTTPException as error:  # raised here it would reach no error handler
            raise Refusal("Discord did not answer. Please try again.") from error

    async def _is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        """In the shop's own server Discord has seen to it; anywhere else it is the owner's."""
        if self.admin_guild_id is not None and interaction.guild_id == self.admin_guild_id:
            return True
        return bool(await interaction.client.is_owner(interaction.user))

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Tell the caller what went wrong, and the log what its reader has to know."""
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        note(interaction, cause)
        try:
            await answer(interaction, apology(cause))
        except Exception as lost:  # nobody is left to tell but the log
            _log.warning("/%s: no answer went out: %s", _name(interaction), type(lost).__name__)


class Cooldowns:
    """How long each user has still to wait.

    Args:
        name: The argument that says how long, for its error.
        length: How long a wait is.
    """

    def __init__(self, name: str, length: timedelta) -> None:
        if not isinstance(length, timedelta) or length < timedelta():
            raise InvalidRequestError(name, safe_repr(length), "a timedelta, 0 or more")
        self._seconds = length.total_seconds()
        self._ends: dict[int, float] = {}

    def check(self, user: discord.abc.User) -> None:
        """Refuse whoever has still to wait.

        Raises:
            CommandOnCooldown: With the seconds that are left.
        """
        left = self._ends.get(user.id, 0.0) - _now()
        if left > 0:
            raise app_commands.CommandOnCooldown(app_commands.Cooldown(1, self._seconds), left)

    def begin(self, user: discord.abc.User, at_least: float = 0.0) -> None:
        """Have a user wait from now on, and forget those who need not any more."""
        now = _now()
        self._ends = {other: end for other, end in self._ends.items() if end > now}
        self._ends[user.id] = now + max(self._seconds, at_least)

    def forgive(self, user: discord.abc.User) -> None:
        """Let a user off."""
        self._ends.pop(user.id, None)


async def answer(
    interaction: discord.Interaction[Any],
    text: str,
    *,
    file: discord.File | None = None,
    view: discord.ui.View | None = None,
) -> None:
    """Put an answer in the deferral's place, or in that of an earlier answer."""
    await interaction.edit_original_response(
        content=text[:MESSAGE],
        attachments=[file] if file else [],
        view=view,
        allowed_mentions=discord.AllowedMentions.none(),
    )


def note(interaction: discord.Interaction[Any], error: Exception) -> None:
    """Log an error: an unforeseen one without its message, which might have a key value in it."""
    if isinstance(error, JunkieError):
        _log.warning("/%s: %s: %s", _name(interaction), type(error).__name__, error)
    elif not isinstance(error, Refusal | app_commands.CheckFailure):
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("/%s: %s\n%s", _name(interaction), type(error).__name__, frames)


def _name(interaction: discord.Interaction[Any]) -> str:
    return interaction.command.qualified_name if interaction.command else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
