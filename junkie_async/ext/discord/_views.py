"""A button to confirm with."""

from __future__ import annotations

from typing import Any, Final

from junkie_async.ext import needs_extra

with needs_extra("discord"):
    import discord
    from discord import ui

_SECONDS: Final = 60.0  # long enough to read, short enough that what is counted still holds


class Confirm(ui.View):
    """Two buttons, for one person: to do it, or not to.

    Args:
        user: Who may press them.
        label: What the button does, in a few words.
    """

    def __init__(self, user: discord.abc.User, label: str) -> None:
        super().__init__(timeout=_SECONDS)
        self._user = user
        self._confirmed = False
        self.confirm.label = label

    async def confirmed(self) -> bool:
        """Wait for the answer; none in time is a no."""
        await self.wait()
        return self._confirmed

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Turn others away."""
        if interaction.user.id == self._user.id:
            return True
        await interaction.response.send_message("This is not yours to confirm.", ephemeral=True)
        return False

    @ui.button(style=discord.ButtonStyle.danger)
    async def confirm(self, interaction: discord.Interaction, _: ui.Button[Confirm]) -> None:
        """Do it. A press that Discord has not acknowledged does not count."""
        await interaction.response.defer()
        self._confirmed = True
        self.stop()

    @ui.button(label="Cancel")
    async def cancel(self, interaction: discord.Interaction, _: ui.Button[Confirm]) -> None:
        """Leave it."""
        await interaction.response.defer()
        self.stop()
