"""``/keys``: the commands for administrators, over all keys of the shop."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import discord
from discord import app_commands, ui
from discord.app_commands import Range

from junkie_async import UNSET, BatchError, BatchFields, Filters, Key, KeyPager, KeyStatus
from junkie_async.export import export_keys

from . import texts
from .base import GUILD_INSTALLS, BaseCommands, log_error, send_answer

_KEY_OPTION: Final = "The whole key, or # and its ID"

# Seconds: long enough to read the question, short enough for its count to still hold.
_CONFIRM_TIMEOUT: Final = 60.0


class AdminCommands(BaseCommands):
    """The commands for administrators."""

    # Discord enforces these permissions only in servers; `BaseCommands._is_admin` does the rest.
    admin: app_commands.Group = app_commands.Group(
        name="keys",
        description="All keys of the shop",
        guild_only=True,
        allowed_contexts=app_commands.AppCommandContext(guild=True),
        allowed_installs=GUILD_INSTALLS,
        default_permissions=discord.Permissions(administrator=True),
    )

    @admin.command(description="Create keys and get them as a text file")
    @app_commands.describe(
        amount="How many keys to create",
        minutes="Minutes until they expire",
        premium="Whether they are premium",
        name="A note stored with them",
        user="Their owner",
    )
    async def create(
        self,
        interaction: discord.Interaction,
        amount: Range[int, 1, 1000],
        minutes: Range[int, 1] | None = None,
        premium: bool | None = None,
        name: Range[str, 1, 255] | None = None,
        user: discord.User | None = None,
    ) -> None:
        """Create keys, and answer with a text file."""
        given: BatchFields = {"key_name": name, "discord_id": user.id if user else None}
        if minutes is not None:
            given["validity_minutes"] = minutes
        if premium is not None:
            given["is_premium"] = premium
        try:
            report = await self.keys.create_many(
                amount, provider_id=self.provider_id, **self.fields | given
            )
            text = f"{texts.describe_report(report)}."
        except BatchError as error:
            # Not left to the error handler: the caller still gets the keys created so far, which
            # are in the error's report alone.
            log_error(interaction, error)
            report, text = error.report, texts.describe_error(error)
        lines = "".join(f"{key}\n" for key in report.keys).encode()
        file = discord.File(io.BytesIO(lines), "keys.txt") if lines else None
        await send_answer(interaction, text, file=file)

    @admin.command(description="Show a key, or all keys of a user")
    @app_commands.describe(key=_KEY_OPTION, user="The owner of the keys")
    async def find(
        self,
        interaction: discord.Interaction,
        key: str | None = None,
        user: discord.User | None = None,
    ) -> None:
        """Answer with one key, or with all keys of a user."""
        if key is not None and user is None:
            found: list[Key] = [await self.keys.get(_parse_key(key))]
        elif user is not None and key is None:
            found = await self.keys.list(discord_id=user.id).collect()
        else:
            raise texts.Refusal("Give either a key or a user.")
        await send_answer(interaction, texts.list_keys(f"Keys found: {len(found):,}", found))

    @admin.command(description="Revoke a key until it is restored")
    @app_commands.describe(key=_KEY_OPTION)
    async def revoke(self, interaction: discord.Interaction, key: str) -> None:
        """Revoke a key until it is restored."""
        await self.keys.invalidate(_parse_key(key))
        await send_answer(interaction, f"{texts.quote(key)} is revoked.")

    @admin.command(description="Restore a revoked key")
    @app_commands.describe(key=_KEY_OPTION)
    async def restore(self, interaction: discord.Interaction, key: str) -> None:
        """Restore a revoked key."""
        await self.keys.revalidate(_parse_key(key))
        await send_answer(interaction, f"{texts.quote(key)} is no longer revoked.")

    @admin.command(description="Delete a key permanently")
    @app_commands.describe(key=_KEY_OPTION)
    async def delete(self, interaction: discord.Interaction, key: str) -> None:
        """Delete a key permanently."""
        await self.keys.delete(_parse_key(key))
        await send_answer(interaction, f"{texts.quote(key)} is deleted.")

    @admin.command(description="Delete all keys with a status permanently, after you confirm")
    @app_commands.describe(status="Which keys to delete", user="Only keys of this user")
    async def purge(
        self,
        interaction: discord.Interaction,
        status: KeyStatus,
        user: discord.User | None = None,
    ) -> None:
        """Delete all keys with a status, after a confirmation."""
        owner = user.id if user else UNSET
        filters: Filters = {**self.scope, "status": status, "discord_id": owner}
        count = await self.keys.list(**filters).count()
        if not count:
            raise texts.Refusal(texts.NO_SUCH_KEY)
        view = _ConfirmView(interaction.user, f"Delete {count:,}")
        question = f"Delete all {count:,} keys that are {status}? This can't be undone."
        await send_answer(interaction, question, view=view)
        await view.wait()
        if not view.confirmed:
            raise texts.Refusal("Nothing was deleted.")
        # This also removes the buttons, so that nobody presses them twice.
        await send_answer(interaction, "Deleting …")
        report = await self.keys.purge(**filters)
        await send_answer(interaction, f"{texts.describe_report(report)}.")

    @admin.command(description="Get the shop's keys as a CSV file")
    @app_commands.describe(status="Only keys with this status")
    async def export(
        self, interaction: discord.Interaction, status: KeyStatus | None = None
    ) -> None:
        """Answer with the shop's keys as a CSV file."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "keys.csv")
            count = await export_keys(self._list_shop_keys(status), path)
            # In a thread: compressing a large file would block the bot's event loop.
            upload = await asyncio.to_thread(_fit_upload, path, interaction.filesize_limit)
            text = f"Keys in the file: {count:,}"
            await send_answer(interaction, text, file=discord.File(upload))

    @admin.command(description="Count the shop's keys by status")
    async def stats(self, interaction: discord.Interaction) -> None:
        """Answer with the number of the shop's keys by status."""
        counts = {status: await self._list_shop_keys(status).count() for status in KeyStatus}
        lines = [f"{status}: {count:,}" for status, count in counts.items()]
        total = f"**Total: {sum(counts.values()):,}**"
        await send_answer(interaction, "\n".join([*lines, total]))

    def _list_shop_keys(self, status: KeyStatus | None) -> KeyPager:
        return self.keys.list(**self.scope | {"status": status})


class _ConfirmView(ui.View):
    """A button to confirm and one to cancel, which only `user` may press."""

    def __init__(self, user: discord.abc.User, label: str) -> None:
        super().__init__(timeout=_CONFIRM_TIMEOUT)
        self._user = user
        self.confirmed = False
        self.confirm.label = label

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Refuse a press by any other user."""
        if interaction.user.id == self._user.id:
            return True
        refusal = "Only the person who ran the command can confirm it."
        await interaction.response.send_message(refusal, ephemeral=True)
        return False

    @ui.button(style=discord.ButtonStyle.danger)
    async def confirm(self, interaction: discord.Interaction, _: ui.Button[_ConfirmView]) -> None:
        """Confirm."""
        # First: if Discord does not accept the press, the user sees it fail, so it must not count.
        await interaction.response.defer()
        self.confirmed = True
        self.stop()

    @ui.button(label="Cancel")
    async def cancel(self, interaction: discord.Interaction, _: ui.Button[_ConfirmView]) -> None:
        """Cancel."""
        await interaction.response.defer()
        self.stop()


def _parse_key(written: str) -> int | str:
    """Read ``#12`` as an ID and anything else as a key value, which may be all digits."""
    number = written.removeprefix("#")
    is_id = number != written and number.isascii() and number.isdigit()
    return int(number) if is_id else written


def _fit_upload(path: Path, limit: int) -> Path:
    """Return a file that Discord accepts: the given one, or a zipped one."""
    if path.stat().st_size <= limit:
        return path
    zipped = path.with_suffix(".zip")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    if zipped.stat().st_size > limit:
        raise texts.Refusal(
            "The file is too large for Discord. Run `junkie export keys.csv` to write it to a disk."
        )
    return zipped
