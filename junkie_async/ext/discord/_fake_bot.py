"""The bot of a fake interaction: one without network, or one that a test brings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import discord
from discord import app_commands
from discord.ext import commands
from discord.http import HTTPClient

from ._fake_payloads import BOT_ID, FakeServers, describe_user
from ._fake_service import FakeMessage, Refused, Response, Sent, read_parts

AnyBot: TypeAlias = "commands.Bot | commands.AutoShardedBot"

ERROR: Final = "junkie_async.error"
"""Where the extras of an interaction have the error of its command."""

_request: Final[Any] = HTTPClient.request

_MESSAGE_ID: Final = 500_000_000_000_000_001

_servers: WeakKeyDictionary[AnyBot, FakeServers] = WeakKeyDictionary()


def servers_of(client: AnyBot) -> FakeServers:
    """Return what the interactions of a bot told it of servers."""
    return _servers.setdefault(client, FakeServers())


class FakeChannels:
    """The channels to which a bot sends messages that are no answers.

    Attributes:
        sent: The messages by the IDs of their channels, oldest first.
    """

    def __init__(self) -> None:
        self.sent: dict[int, list[Sent]] = {}
        self._failures: list[Exception] = []
        self._numbers = itertools.count(_MESSAGE_ID)

    async def request(self, route: Any, **body: Any) -> Any:
        """Answer a request as `discord.http.HTTPClient.request` does."""
        name = f"{route.method} {route.path}"
        failure: Exception
        try:
            if name == "POST /channels/{channel_id}/messages":
                return self._send(int(route.channel_id), *read_parts(body))
            failure = NotImplementedError(
                f"FakeInteraction does not simulate {name}: replace its caller"
            )
        except Refused as refused:
            response: Any = Response(refused.status, refused.body)
            failure = discord.HTTPException(response, refused.body)
        self._failures.append(failure)
        raise failure

    def take_failures(self) -> Sequence[Exception]:
        """Return what was not sent since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def _send(
        self, channel_id: int, payload: dict[str, Any], files: dict[str, bytes]
    ) -> dict[str, Any]:
        message = FakeMessage.create(next(self._numbers), payload, files)
        self.sent.setdefault(channel_id, []).append(Sent("message", message))
        return message.to_json(channel_id, describe_user(BOT_ID, "bot"))


_channels: WeakKeyDictionary[AnyBot, FakeChannels] = WeakKeyDictionary()


def channels_of(client: AnyBot) -> FakeChannels:
    """Return where a bot sends its messages."""
    return _channels.setdefault(client, FakeChannels())


def go_offline(client: AnyBot) -> None:
    """Let a bot that is not logged in send nothing to Discord."""
    # A test may have replaced the method, for all bots or for this one.
    if getattr(client.http.request, "__func__", None) is _request:
        vars(client.http)["request"] = channels_of(client).request


def offline_bot(owner_id: int) -> commands.Bot:
    """Create a bot that can send nothing."""
    # All intents, so that the bot keeps members and their presences.
    return commands.Bot(commands.when_mentioned, intents=discord.Intents.all(), owner_id=owner_id)


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
