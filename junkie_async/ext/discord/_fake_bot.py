"""The bot of a fake interaction: one without network, or one that a test brings."""

from __future__ import annotations

from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import discord
from discord import app_commands
from discord.ext import commands

from ._fake_payloads import FakeServers

AnyBot: TypeAlias = "commands.Bot | commands.AutoShardedBot"

ERROR: Final = "junkie_async.error"
"""Where the extras of an interaction have the error of its command."""

_servers: WeakKeyDictionary[AnyBot, FakeServers] = WeakKeyDictionary()


def servers_of(client: AnyBot) -> FakeServers:
    """Return what the interactions of a bot told it of servers."""
    return _servers.setdefault(client, FakeServers())


def offline_bot(owner_id: int) -> commands.Bot:
    """Create a bot that can send nothing."""
    # All intents, so that the bot keeps members and their presences.
    bot = commands.Bot(commands.when_mentioned, intents=discord.Intents.all(), owner_id=owner_id)
    vars(bot.http)["request"] = _refuse_request
    return bot


async def _refuse_request(route: Any, **_: Any) -> Any:
    message = f"FakeInteraction does not simulate {route.method} {route.path}: replace its caller"
    raise NotImplementedError(message)


def record_errors(tree: app_commands.CommandTree[Any]) -> None:
    """Let a tree tell interactions their errors, before its own error handler."""
    original: Any = tree.on_error
    if getattr(original, "records_errors", False):
        return

    async def record(
        interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        interaction.extras[ERROR] = error
        await original(interaction, error)

    tree.error(record)
    record.records_errors = True  # type: ignore[attr-defined]
