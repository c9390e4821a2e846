"""The buttons that confirm a purge."""

from __future__ import annotations

from typing import Any, Final

from junkie_async.ext import needs_extra

from . import texts

with needs_extra("discord"):
    import discord
    from discord import ui

# Seconds: long enough to read the question, short enough for its count to still hold.
_TIMEOUT: Final = 60.0


class ConfirmView(ui.View):
    """A button to confirm and one to cancel, for one user.

    Args:
        user: The user who may press them.
        label: The label of the button that confirms.
    """

    def __init__(self, user: discord.abc.User, label: str) -> None:
        super().__init__(timeout=_TIMEOUT)
        self._user = user
        self._result = False
        self.confirm.label = label

    async def wait_for_result(self) -> bool:
        """Wait for a press; False if the user cancelled or the time is up."""
        await self.wait()
        return self._result

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Refuse a press by any other user."""
        if interaction.user.id == self._user.id:
            return True
        await interaction.response.send_message(texts.NOT_YOURS_TO_CONFIRM, ephemeral=True)
        return False

    @ui.button(style=discord.ButtonStyle.danger)
    async def confirm(self, interaction: discord.Interaction, _: ui.Button[ConfirmView]) -> None:
        """Confirm."""
        # First: if Discord does not accept the press, the user sees it fail, so it must not count.
        await interaction.response.defer()
        self._result = True
        self.stop()

    @ui.button(label=texts.CANCEL_BUTTON)
    async def cancel(self, interaction: discord.Interaction, _: ui.Button[ConfirmView]) -> None:
        """Cancel."""
        await interaction.response.defer()
        self.stop()
