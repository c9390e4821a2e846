"""The waits between two calls of a user."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import discord
from discord import app_commands

from junkie_async import Key

from .settings import check_setting


class Cooldowns:
    """The time that each user must wait before the next call.

    discord.py's own cooldowns start with the call. These start when a key was really created, so
    that a failed attempt costs no wait.
    """

    def __init__(self, setting: str, length: timedelta) -> None:
        check_setting(setting, length, "a timedelta >= 0", timedelta, timedelta().__le__)
        self.seconds: float = length.total_seconds()
        self._ends: dict[int, float] = {}

    def check(self, user: discord.abc.User) -> None:
        """Raise a CommandOnCooldown if a user must still wait."""
        self.check_left(self._ends.get(user.id, 0.0) - time.monotonic())

    def check_left(self, left: float) -> None:
        """Raise a CommandOnCooldown if so many seconds are left."""
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
