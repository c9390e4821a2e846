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
from .base import GUILD_INSTALLS, BaseCommands, log_error
from .wording import Texts

_KEY_OPTION: Final = "The whole key, or # and its ID"

# Seconds: long enough to read the question, short enough for its count to still hold.
_CONFIRM_TIMEOUT: Final = 60.0


class AdminCommands(BaseCommands):
    """The commands for administrators."""

    # Discord enforces these permissions only in servers; `BaseCommands.is_admin` does the rest.
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
        words = await self._find_words(interaction)
        given: BatchFields = {"key_name": name, "discord_id": user.id if user else None}
        if minutes is not None:
            given["validity_minutes"] = minutes
        if premium is not None:
            given["is_premium"] = premium
        try:
            report = await self.keys.create_many(
                amount, provider_id=self.provider_id, **self.fields | given
            )
            text = words.report.format(counts=texts.describe_report(report, words))
        except BatchError as error:
            # Not left to the error handler: the caller still gets the keys created so far, which
            # are in the error's report alone.
            log_error(interaction, error)
            report, text = error.report, texts.describe_error(error, words)
        lines = "".join(f"{key}\n" for key in report.keys).encode()
        file = discord.File(io.BytesIO(lines), "keys.txt") if lines else None
        await self.answer(interaction, text, file=file)

    @admin.command(description="Show a key, or all keys of a user")
    @app_commands.describe(key=_KEY_OPTION, user="The owner of the keys")
    async def find(
        self,
        interaction: discord.Interaction,
        key: str | None = None,
        user: discord.User | None = None,
    ) -> None:
        """Answer with one key, or with all keys of a user."""
        words = await self._find_words(interaction)
        if key is not None and user is None:
            found: list[Key] = [await self.keys.get(_parse_key(key))]
        elif user is not None and key is None:
            found = await self.keys.list(discord_id=user.id).collect()
        else:
            raise texts.Refusal(words.key_or_user)
        heading = words.keys_found.format(count=len(found))
        await self.answer(interaction, texts.list_keys(heading, found, words))

    @admin.command(description="Revoke a key until it is restored")
    @app_commands.describe(key=_KEY_OPTION)
    async def revoke(self, interaction: discord.Interaction, key: str) -> None:
        """Revoke a key until it is restored."""
        await self.keys.invalidate(_parse_key(key))
        words = await self._find_words(interaction)
        await self.answer(interaction, words.key_revoked.format(key=texts.quote(key)))

    @admin.command(description="Restore a revoked key")
    @app_commands.describe(key=_KEY_OPTION)
    async def restore(self, interaction: discord.Interaction, key: str) -> None:
        """Restore a revoked key."""
        await self.keys.revalidate(_parse_key(key))
        words = await self._find_words(interaction)
        await self.answer(interaction, words.key_restored.format(key=texts.quote(key)))

    @admin.command(description="Delete a key permanently")
    @app_commands.describe(key=_KEY_OPTION)
    async def delete(self, interaction: discord.Interaction, key: str) -> None:
        """Delete a key permanently."""
        await self.keys.delete(_parse_key(key))
        words = await self._find_words(interaction)
        await self.answer(interaction, words.key_deleted.format(key=texts.quote(key)))

    @admin.command(description="Delete all keys with a status permanently, after you confirm")
    @app_commands.describe(status="Which keys to delete", user="Only keys of this user")
    async def purge(
        self,
        interaction: discord.Interaction,
        status: KeyStatus,
        user: discord.User | None = None,
    ) -> None:
        """Delete all keys with a status, after a confirmation."""
        words = await self._find_words(interaction)
        owner = user.id if user else UNSET
        filters: Filters = {**self.scope, "status": status, "discord_id": owner}
        count = await self.keys.list(**filters).count()
        if not count:
            raise texts.Refusal(words.no_such_key)
        view = _ConfirmView(interaction.user, words, count)
        name = texts.describe_status(status, words)
        await self.answer(
            interaction, words.confirm_purge.format(count=count, status=name), view=view
        )
        await view.wait()
        if not view.confirmed:
            raise texts.Refusal(words.nothing_purged)
        # This also removes the buttons, so that nobody presses them twice.
        await self.answer(interaction, words.purging)
        report = await self.keys.purge(**filters)
        counts = texts.describe_report(report, words)
        await self.answer(interaction, words.report.format(counts=counts))

    @admin.command(description="Get the shop's keys as a CSV file")
    @app_commands.describe(status="Only keys with this status")
    async def export(
        self, interaction: discord.Interaction, status: KeyStatus | None = None
    ) -> None:
        """Answer with the shop's keys as a CSV file."""
        words = await self._find_words(interaction)
        with TemporaryDirectory() as folder:
            path = Path(folder, "keys.csv")
            count = await export_keys(self._list_shop_keys(status), path)
            # In a thread: compressing a large file would block the bot's event loop.
            upload = await asyncio.to_thread(_fit_upload, path, interaction.filesize_limit)
            if upload is None:
                raise texts.Refusal(words.export_too_large)
            text = words.keys_exported.format(count=count)
            await self.answer(interaction, text, file=discord.File(upload))

    @admin.command(description="Count the shop's keys by status")
    async def stats(self, interaction: discord.Interaction) -> None:
        """Answer with the number of the shop's keys by status."""
        counts = {status: await self._list_shop_keys(status).count() for status in KeyStatus}
        words = await self._find_words(interaction)
        lines = [
            words.status_count.format(status=texts.describe_status(status, words), count=count)
            for status, count in counts.items()
        ]
        total = words.total_count.format(count=sum(counts.values()))
        await self.answer(interaction, "\n".join([*lines, total]))

    def _list_shop_keys(self, status: KeyStatus | None) -> KeyPager:
        return self.keys.list(**self.scope | {"status": status})


class _ConfirmView(ui.View):
    """A button to confirm and one to cancel, which only `user` may press."""

    def __init__(self, user: discord.abc.User, words: Texts, count: int) -> None:
        super().__init__(timeout=_CONFIRM_TIMEOUT)
        self._user = user
        self._words = words
        self.confirmed = False
        self.confirm.label = words.confirm_button.format(count=count)
        self.cancel.label = words.cancel_button

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Refuse a press by any other user."""
        if interaction.user.id == self._user.id:
            return True
        refusal = self._words.not_yours_to_confirm
        await interaction.response.send_message(refusal, ephemeral=True)
        return False

    @ui.button(style=discord.ButtonStyle.danger)
    async def confirm(self, interaction: discord.Interaction, _: ui.Button[_ConfirmView]) -> None:
        """Confirm."""
        # First: if Discord does not accept the press, the user sees it fail, so it must not count.
        await interaction.response.defer()
        self.confirmed = True
        self.stop()

    @ui.button()
    async def cancel(self, interaction: discord.Interaction, _: ui.Button[_ConfirmView]) -> None:
        """Cancel."""
        await interaction.response.defer()
        self.stop()


def _parse_key(written: str) -> int | str:
    """Read ``#12`` as an ID and anything else as a key value, which may be all digits."""
    number = written.removeprefix("#")
    is_id = number != written and number.isascii() and number.isdigit()
    return int(number) if is_id else written


def _fit_upload(path: Path, limit: int) -> Path | None:
    """Return a file that Discord accepts: the given one, a zipped one, or None."""
    if path.stat().st_size <= limit:
        return path
    zipped = path.with_suffix(".zip")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    return zipped if zipped.stat().st_size <= limit else None
