"""Commands for a Discord bot: people get their keys, administrators keep the shop (discord.py 2.7).

In a bot of yours, with a client of yours, which stays open when the cog goes:

    await bot.add_cog(KeyCog(client, provider_id=8969, validity_minutes=timedelta(hours=1)))

Or from the environment, with a client of the cog's own:

    await bot.load_extension("junkie_async.ext.discord")

It reads ``$JUNKIE_API_KEY`` and ``$JUNKIE_PROVIDER_ID``, and where they are set
``$JUNKIE_SERVICE_ID``, ``$JUNKIE_VALIDITY_MINUTES``, ``$JUNKIE_HWID_LIMIT`` (all numbers) and
``$JUNKIE_ADMIN_GUILD_ID``, which are arguments of `KeyCog`.

Everybody has ``/key get``, ``mine``, ``info`` and ``reset``; administrators have ``/keys create``,
``find``, ``revoke``, ``restore``, ``delete``, ``purge``, ``export`` and ``stats``. Every answer is
ephemeral, pings nobody, and no key value is logged.

The files are meant to be read: `_user` and `_admin` have the commands, a few lines each, and
`_commands` what they rest on.
"""

from __future__ import annotations

import os
from typing import Self

from junkie_async import ConfigurationError, JunkieClient
from junkie_async.ext import needs_extra

with needs_extra("discord"):
    from discord.ext import commands

from ._admin import AdminCommands
from ._user import UserCommands

__all__ = ["KeyCog", "setup"]


class KeyCog(UserCommands, AdminCommands):
    """The ``/key`` and ``/keys`` commands.

    Nobody gets a second key while the first one works, whatever becomes of an answer on its way.
    That, and the cooldowns, are kept in memory: have one process do the commands.

    Args:
        client: The client to use. It is not closed.
        provider_id: The provider that hands the keys out, 1 or more.
        service_id: The service that they unlock, or None.
        validity_minutes: Whole minutes until a new key expires, or a `timedelta` of them; None for
            a key that does not.
        hwid_limit: How many devices a new key may be bound to, 0 to 100, or None.
        is_premium: Whether new keys are premium.
        cooldown: How long after a new key somebody waits for the next one.
        reset_cooldown: How long after a reset somebody waits for the next one.
        admin_guild_id: The server whose administrators have ``/keys``; its settings, under
            "Integrations", can grant the commands to others. Anywhere else they are for the bot's
            owners alone, since whoever invites a bot is an administrator there.

    Raises:
        InvalidRequestError: An argument is out of its limits.
    """

    _own_client: JunkieClient | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Make a cog as the environment says, with a client that is closed with it.

        Raises:
            ConfigurationError: A variable is missing, or is no number.
            InvalidRequestError: A number is out of its limits.
        """
        provider_id = _number("JUNKIE_PROVIDER_ID")
        if provider_id is None:
            raise ConfigurationError("no provider: set $JUNKIE_PROVIDER_ID")
        client = JunkieClient()
        cog = cls(
            client,
            provider_id=provider_id,
            service_id=_number("JUNKIE_SERVICE_ID"),
            validity_minutes=_number("JUNKIE_VALIDITY_MINUTES"),
            hwid_limit=_number("JUNKIE_HWID_LIMIT", 1),
            admin_guild_id=_number("JUNKIE_ADMIN_GUILD_ID"),
        )
        cog._own_client = client
        return cog

    async def cog_unload(self) -> None:
        """Close the client, if it is the cog's own."""
        if self._own_client is not None:
            await self._own_client.close()


async def setup(bot: commands.Bot) -> None:
    """Add the cog to a bot, as the environment says; `load_extension` calls this."""
    await bot.add_cog(KeyCog.from_environment())


def _number(name: str, default: int | None = None) -> int | None:
    written = os.environ.get(name, "").strip()
    if not written:
        return default
    if not (written.isascii() and written.isdigit()):
        raise ConfigurationError(f"${name} must be a whole number")
    return int(written)
