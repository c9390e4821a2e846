"""The cog as its users meet it: fake interactions above, and the emulator below."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import discord
import pytest
from discord.ext import commands

from junkie_async import JunkieClient, Key, RetryPolicy
from junkie_async.emulator import Emulator
from junkie_async.ext.discord import KeyCog
from junkie_async.ext.discord.testing import FakeInteraction

OWNER: Final = 100_000_000_000_000_002
ALICE: Final = 100_000_000_000_000_003
BOB: Final = 100_000_000_000_000_004
SHOP: Final = 200_000_000_000_000_001
ELSEWHERE: Final = 200_000_000_000_000_002

PROVIDER = 42
# Without a Retry-After, a 429 pauses the client as long as a first retry would wait.
NO_RETRIES = RetryPolicy(attempts=1, wait_initial=0.001, wait_jitter=0.0)


@attrs.define
class Clock:
    """The clock of Discord, which all shards see."""

    now: datetime = attrs.Factory(lambda: datetime.now(UTC))


@attrs.frozen
class Shop:
    """Everything that a test works with.

    Attributes:
        cog: The cog.
        emulator: The key service.
        junkie: The test's own client.
        clock: The time of the interactions.
        calls: All interactions so far.
    """

    cog: KeyCog
    emulator: Emulator
    junkie: JunkieClient
    clock: Clock = attrs.Factory(Clock)
    calls: list[FakeInteraction] = attrs.Factory(list)

    def interaction(self, by: int = ALICE, **about: Any) -> FakeInteraction:
        """Create an interaction of a user, by default in the shop's server."""
        call = FakeInteraction(
            user_id=by,
            is_owner=by == OWNER,
            created_at=self.clock.now,
            **{"guild_id": SHOP} | about,
        )
        self.calls.append(call)
        return call

    async def call(
        self,
        command: str,
        by: int = ALICE,
        guild: int | None = SHOP,
        user_install: bool = False,
        limit: int = 10 * 1024 * 1024,
        **options: Any,
    ) -> FakeInteraction:
        """Call a command as a user."""
        call = self.interaction(by, guild_id=guild, user_install=user_install, filesize_limit=limit)
        await call.run(self.cog, command, **options)
        return call

    async def keys(self, **filters: Any) -> list[Key]:
        """List the keys of the service."""
        return await self.junkie.keys.list(**filters).collect()

    async def stock(self, **fields: Any) -> Key:
        """Create a key, for Alice by default."""
        given = {"provider_id": PROVIDER, "discord_id": ALICE} | fields
        return await self.junkie.keys.create(**given)


def plain_bot() -> commands.Bot:
    """Create a bot without commands."""
    return commands.Bot(commands.when_mentioned, intents=discord.Intents.none())


def make_cog(client: JunkieClient, cog: type[KeyCog] = KeyCog, **settings: Any) -> KeyCog:
    """Create a cog without cooldown whose administrators are those of the shop's server."""
    defaults: dict[str, Any] = {
        "provider_id": PROVIDER,
        "admin_guild_id": SHOP,
        "cooldown": timedelta(0),
    }
    return cog(client, **defaults | settings)


@contextlib.asynccontextmanager
async def open_shop(cog: type[KeyCog] = KeyCog, **settings: Any) -> AsyncIterator[Shop]:
    """Open a shop whose cog has these settings."""
    async with (
        Emulator() as emulator,
        JunkieClient("any", base_url=emulator.url) as own,
        JunkieClient("any", base_url=emulator.url, retry=NO_RETRIES) as client,
    ):
        yield Shop(make_cog(client, cog, **settings), emulator, own)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these environment variables, and unset all others of the package."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("JUNKIE_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def says(text: str, template: str) -> bool:
    """Tell whether a text was formatted from a template, such as one of `_answers`."""
    parts = re.split(r"\{.*?\}", template)
    return re.fullmatch(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None
