"""Commands for a Discord bot: users get their keys, administrators run the shop (discord.py 2.7).

In your bot, with your client, which stays open when the cog is removed:

    await bot.add_cog(KeyCog(client, provider_id=42, validity_minutes=timedelta(hours=1)))

Or configured by environment variables, with a client of the cog's own:

    await bot.load_extension("junkie_async.ext.discord")

The extension requires ``$JUNKIE_API_KEY`` and ``$JUNKIE_PROVIDER_ID``. ``$JUNKIE_SERVICE_ID``,
``$JUNKIE_VALIDITY_MINUTES``, ``$JUNKIE_HWID_LIMIT`` and ``$JUNKIE_ADMIN_GUILD_ID`` are optional
integers for the arguments of `KeyCog`, and ``$JUNKIE_LEDGER`` is its ``ledger``, a path or a DSN.

Every user has ``/key get``, ``mine``, ``info`` and ``reset``. Administrators have ``/keys create``,
``find``, ``revoke``, ``restore``, ``delete``, ``purge``, ``export`` and ``stats``. Every answer is
ephemeral and mentions nobody, and nothing in a key's name works as a link or as other markup. No
key value is logged. Only servers can install the commands: user installs are refused.

Arguments and overridden methods make the cog your own: who gets a key, its fields, the texts, and
what is shown. See `KeyCog`. A shop for customers, in two languages:

    import discord

    from junkie_async import BatchFields, JunkieClient
    from junkie_async.ext.discord import KeyCog, Texts

    CUSTOMER = 123456789012345678  # the ID of a role
    GERMAN = Texts(your_key="Dein Schlüssel:", no_keys="Du hast keine Schlüssel.")


    def customers_only(interaction: discord.Interaction) -> bool | str:
        member = interaction.user  # without roles in direct messages
        if isinstance(member, discord.Member) and member.get_role(CUSTOMER):
            return True
        return "Only customers get a key. Please open a ticket."


    class ShopCog(KeyCog):
        async def fields_for(self, interaction: discord.Interaction) -> BatchFields:
            return {"key_name": interaction.user.name}


    def make_cog(client: JunkieClient) -> ShopCog:
        return ShopCog(
            client,
            provider_id=42,
            may_get_key=customers_only,
            translations={discord.Locale.german: GERMAN},
        )

`junkie_async.ext.discord.testing` has the test for it.

Each command is in `user_commands` or `admin_commands`. `base` has what commands share, `wording`
the texts, `texts` how keys and errors are put into them, and `orders` what shards share.
"""

from __future__ import annotations

import os
from typing import Any, Self

from junkie_async import ConfigurationError, JunkieClient
from junkie_async.ext import needs_extra

# The modules of this package need the library too, but this one is always imported first.
with needs_extra("discord"):
    from discord.ext import commands

    from .admin_commands import AdminCommands
    from .base import KeyFields, KeyGate
    from .texts import Refusal, describe_key, escape_markup, list_keys
    from .user_commands import UserCommands
    from .wording import Texts

__all__ = [
    "KeyCog",
    "KeyFields",
    "KeyGate",
    "Refusal",
    "Texts",
    "describe_key",
    "escape_markup",
    "list_keys",
    "setup",
]


class KeyCog(UserCommands, AdminCommands):
    """The ``/key`` and ``/keys`` commands.

    No user gets a second key while the first one works, even if a response of the service is lost,
    and none after a key was revoked, until it is restored or deleted. An administrator can still
    create one for the user.

    With a ``ledger`` this holds over all shards and restarts, and so does ``cooldown``: it is
    counted from the creation of the user's latest key, by the clocks of the key service and of
    Discord. ``reset_cooldown`` is kept in the ledger. Without one, run the commands in one process
    only.

    Args:
        client: The client to use. The cog does not close it.
        provider_id: The provider to issue the keys under, 1 or more.
        service_id: The service that the keys unlock, or None.
        validity_minutes: Whole minutes until a new key expires, or a `timedelta` of them; None for
            a key that does not expire.
        hwid_limit: The number of devices that a new key can be bound to, up to 100. 0 or None is
            unlimited.
        is_premium: Whether new keys are premium.
        cooldown: The wait between two new keys of a user.
        reset_cooldown: The wait between two resets of a user.
        admin_guild_id: The server whose administrators can use ``/keys``. That server's settings,
            under "Integrations", can grant the commands to others. On all other servers only the
            bot's owners can use them, because whoever invites a bot is an administrator there.
        deadline: Seconds, or a `timedelta`, that one call of the service may take before the
            caller is told that it is not available: see `Keys.deadline`. None for no such limit.
        ledger: What records the orders of keys: the path of a file, the DSN of a PostgreSQL
            database, or a `junkie_async.postgres.PostgresLedger`, which the cog does not close. All
            shards need the same one. Keys then have a marker at the end of ``key_name``: see
            `junkie_async.provisioning`. A user whose key was deleted waits for two minutes at
            least. So does one whose key was not confirmed: the next call then settles that.
        may_get_key: Decides who gets a new key: a function, async or not, that takes the
            interaction, and returns True, or False, or the text of a refusal. To override instead:
            `may_get_key`.
        fields_for: Fields of a user's new key, such as ``key_name``: a function, async or not, that
            takes the interaction, and returns `BatchFields`. To override instead: `fields_for`.
        shown: What users see of a key beside its value, in this order. ``id``, which always comes
            first, ``status``, ``is_premium``, ``expires_at``, ``hwids`` and ``key_name``; all by
            default. To override instead: `show_keys`.
        texts: What the cog says, in English by default.
        translations: What it says to users of other languages, by their `discord.Locale`. To
            override instead: `texts_for`.

    Raises:
        InvalidRequestError: An argument is outside its limits.
        ConfigurationError: What the ledger needs is not installed, or its file can't be used. A
            database is not asked before the first order.
    """

    _own_client: JunkieClient | None = None

    @classmethod
    def from_environment(cls, **settings: Any) -> Self:
        """Create a cog from environment variables, with a client that is closed with the cog.

        Args:
            **settings: Further arguments of the cog, which replace those of the environment.

        Raises:
            ConfigurationError: A variable is missing or is not an integer.
            InvalidRequestError: An argument is outside its limits.
        """
        provider_id = _read_integer("JUNKIE_PROVIDER_ID")
        if provider_id is None:
            raise ConfigurationError("no provider ID: set $JUNKIE_PROVIDER_ID")
        found: dict[str, Any] = {
            "provider_id": provider_id,
            "service_id": _read_integer("JUNKIE_SERVICE_ID"),
            "validity_minutes": _read_integer("JUNKIE_VALIDITY_MINUTES"),
            "hwid_limit": _read_integer("JUNKIE_HWID_LIMIT", 1),
            "admin_guild_id": _read_integer("JUNKIE_ADMIN_GUILD_ID"),
            "ledger": os.environ.get("JUNKIE_LEDGER") or None,
        }
        client = JunkieClient()
        cog = cls(client, **found | settings)
        cog._own_client = client
        return cog

    async def cog_unload(self) -> None:
        """Close the client if the cog created it."""
        if self._own_client is not None:
            await self._own_client.close()


async def setup(bot: commands.Bot) -> None:
    """Add a cog configured by environment variables; `load_extension` calls this."""
    await bot.add_cog(KeyCog.from_environment())


def _read_integer(name: str, default: int | None = None) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        # Without the text: a secret is easily assigned to the wrong variable.
        raise ConfigurationError(f"${name} must be an integer >= 0")
    return int(text)
