"""What all commands share: the shop's settings, how they answer, and how they handle errors."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

import discord
from discord import app_commands
from discord.ext import commands

from junkie_async import (
    BatchFields,
    Filters,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    Key,
    Keys,
)

from .. import DEADLINE, check_deadline
from . import texts
from .orders import LedgerOption

_log = logging.getLogger("junkie_async.ext.discord")

_SNOWFLAKES = range(1, 2**64)

# A user install brings the commands to servers that never installed the bot, and there Discord
# does not check the permissions that they require.
GUILD_INSTALLS = app_commands.AppInstallationType(guild=True, user=False)


class BaseCommands(commands.Cog):
    """The base of both groups of commands. `KeyCog` documents the arguments."""

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
        deadline: float | timedelta | None = DEADLINE,
        ledger: LedgerOption | None = None,
    ) -> None:
        _check_setting("client", client, "a JunkieClient", JunkieClient)
        self.keys: Keys = copy.copy(client.keys)  # the bot's other calls keep theirs
        self.keys.deadline = check_deadline(deadline)
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
        # A mistake shows when the bot starts, not when somebody calls the first command. The job
        # checks its arguments when it is created, and sends nothing until it is awaited.
        self.keys.create_many(1, provider_id=provider_id, ledger=ledger, **self.fields).close()
        self.ledger = ledger
        self.new_keys: Cooldowns = Cooldowns("cooldown", cooldown)
        self.resets: Cooldowns = Cooldowns("reset_cooldown", reset_cooldown)
        if admin_guild_id is not None:
            limit = f"an integer from 1 to {_SNOWFLAKES[-1]}"
            _check_setting("admin_guild_id", admin_guild_id, limit, int, _SNOWFLAKES.__contains__)
        self.admin_guild_id = admin_guild_id
        # Weak, so that a lock lives no longer than the commands of its user.
        self._user_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def lock_for(self, user: discord.abc.User) -> asyncio.Lock:
        """Return the lock that makes a user's commands run one after the other."""
        return self._user_locks.setdefault(user.id, asyncio.Lock())

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Defer the answer, visible only to the caller, and check who may call the command."""
        try:
            # Discord drops an interaction without a response after 3 s, and one request to the key
            # service may take longer. The answer replaces this message, so it is ephemeral too.
            await interaction.response.defer(ephemeral=True)
            # Commands that were synced before they said so may still come from user installs.
            if interaction.is_user_integration() and not interaction.is_guild_integration():
                return False
            is_admin_command = _command_name(interaction).startswith("keys ")
            return not is_admin_command or await self._is_admin(interaction)
        except discord.HTTPException as error:
            # discord.py passes only an AppCommandError of a check to the error handler below.
            raise texts.Refusal("Discord did not respond. Please try again.") from error

    async def _is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        # In the shop's own server, Discord has checked the command's permissions already.
        # Elsewhere they prove nothing: whoever invites a bot is an administrator there.
        if self.admin_guild_id is not None and interaction.guild_id == self.admin_guild_id:
            return True
        return bool(await interaction.client.is_owner(interaction.user))

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Tell the caller what went wrong, and log it for the operator."""
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        log_error(interaction, cause)
        try:
            await send_answer(interaction, texts.describe_error(cause))
        except Exception as lost:  # no other handler would report it
            name = _command_name(interaction)
            _log.warning("/%s: could not send the answer: %s", name, type(lost).__name__)


class Cooldowns:
    """The time that each user must wait before the next call.

    discord.py's own cooldowns start with the call. These start when a key was really created, so
    that a failed attempt costs no wait.
    """

    def __init__(self, setting: str, length: timedelta) -> None:
        _check_setting(setting, length, "a timedelta >= 0", timedelta, timedelta().__le__)
        self.seconds: float = length.total_seconds()
        self._ends: dict[int, float] = {}

    def check(self, user: discord.abc.User) -> None:
        """Raise a CommandOnCooldown if a user must still wait."""
        left = self._ends.get(user.id, 0.0) - time.monotonic()
        if left > 0:
            raise _on_cooldown(self.seconds, left)

    def start(self, user: discord.abc.User, at_least: float = 0.0) -> None:
        """Start a user's wait, of ``at_least`` that many seconds."""
        now = time.monotonic()
        # Without this, the dict would grow by every user who ever called the command.
        self._ends = {other: end for other, end in self._ends.items() if end > now}
        self._ends[user.id] = now + max(self.seconds, at_least)

    def cancel(self, user: discord.abc.User) -> None:
        """End a user's wait."""
        self._ends.pop(user.id, None)


def check_age(interaction: discord.Interaction[Any], key: Key, seconds: float) -> None:
    """Raise a CommandOnCooldown if a key was created less than these seconds before a call.

    The clocks are those of the key service and of Discord, so those of shards don't matter.
    """
    if key.created_at is None:
        return
    age = (interaction.created_at - key.created_at).total_seconds()
    left = seconds - max(age, 0.0)  # of clocks that differ, the key's may be ahead
    if left > 0:
        raise _on_cooldown(seconds, left)


def _on_cooldown(seconds: float, left: float) -> app_commands.CommandOnCooldown:
    return app_commands.CommandOnCooldown(app_commands.Cooldown(1, seconds), left)


async def send_answer(
    interaction: discord.Interaction[Any],
    text: str,
    *,
    file: discord.File | None = None,
    view: discord.ui.View | None = None,
) -> None:
    """Replace the deferred message, or an earlier answer."""
    await interaction.edit_original_response(
        content=text[: texts.MAX_MESSAGE],
        attachments=[file] if file else [],
        view=view,
        # A key's name can be any text, `@everyone` included.
        allowed_mentions=discord.AllowedMentions.none(),
    )


def log_error(interaction: discord.Interaction[Any], error: Exception) -> None:
    """Log an error of the SDK with its message, and an unexpected one with its traceback."""
    if isinstance(error, JunkieError):
        _log.warning("/%s: %s: %s", _command_name(interaction), type(error).__name__, error)
    elif not isinstance(error, texts.Refusal | app_commands.CheckFailure):
        # Without the message: that of an unexpected error may contain a key value.
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("/%s: %s\n%s", _command_name(interaction), type(error).__name__, frames)


def _check_setting(
    setting: str,
    value: object,
    limit: str,
    kind: type,
    accepts: Callable[[Any], bool] = lambda _: True,
) -> None:
    # A bool is an int, but never a meant one.
    if not isinstance(value, kind) or isinstance(value, bool) or not accepts(value):
        # Of other types only the name: a client that is a string is most likely an API key.
        shown = str(value) if isinstance(value, int | timedelta) else f"a {type(value).__name__}"
        raise InvalidRequestError(setting, shown, limit)


def _command_name(interaction: discord.Interaction[Any]) -> str:
    return interaction.command.qualified_name if interaction.command else ""
