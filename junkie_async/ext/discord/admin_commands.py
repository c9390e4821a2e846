"""``/keys``: the commands for administrators, over all keys of the shop."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from junkie_async import BatchError, BatchFields, Filters, Key, KeyStatus
from junkie_async.export import export_keys
from junkie_async.ext import needs_extra

from . import texts
from .base import BaseCommands, log_error, send_answer
from .views import ConfirmView

with needs_extra("discord"):
    import discord
    from discord import app_commands
    from discord.app_commands import Range


class AdminCommands(BaseCommands):
    """The commands for administrators. A ``key`` option is a key value, or ``#`` and an ID."""

    # Discord enforces these permissions only in servers; `BaseCommands._is_admin` does the rest.
    admin: app_commands.Group = app_commands.Group(
        **texts.ADMIN_GROUP,
        guild_only=True,
        default_permissions=discord.Permissions(administrator=True),
    )

    @admin.command(**texts.CREATE)
    @app_commands.describe(**texts.CREATE_OPTIONS)
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

    @admin.command(**texts.FIND)
    @app_commands.describe(**texts.FIND_OPTIONS)
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
            raise texts.Refusal(texts.KEY_OR_USER)
        heading = texts.FOUND.format(count=len(found))
        await send_answer(interaction, texts.list_keys(heading, found))

    @admin.command(**texts.REVOKE)
    @app_commands.describe(key=texts.KEY_OPTION)
    async def revoke(self, interaction: discord.Interaction, key: str) -> None:
        """Revoke a key until it is restored."""
        await self._change_key(interaction, key, self.keys.invalidate, texts.REVOKED)

    @admin.command(**texts.RESTORE)
    @app_commands.describe(key=texts.KEY_OPTION)
    async def restore(self, interaction: discord.Interaction, key: str) -> None:
        """Restore a revoked key."""
        await self._change_key(interaction, key, self.keys.revalidate, texts.RESTORED)

    @admin.command(**texts.DELETE)
    @app_commands.describe(key=texts.KEY_OPTION)
    async def delete(self, interaction: discord.Interaction, key: str) -> None:
        """Delete a key permanently."""
        await self._change_key(interaction, key, self.keys.delete, texts.DELETED)

    @admin.command(**texts.PURGE)
    @app_commands.describe(**texts.PURGE_OPTIONS)
    async def purge(
        self,
        interaction: discord.Interaction,
        status: KeyStatus,
        user: discord.User | None = None,
    ) -> None:
        """Delete all keys with a status, after a confirmation."""
        filters: Filters = self.scope | {"status": status}
        if user is not None:
            filters["discord_id"] = user.id
        count = await self.keys.list(**filters).count()
        if not count:
            raise texts.Refusal(texts.NO_SUCH_KEY)
        view = ConfirmView(interaction.user, texts.CONFIRM_BUTTON.format(count=count))
        question = texts.CONFIRM_PURGE.format(count=count, status=status)
        await send_answer(interaction, question, view=view)
        if not await view.wait_for_result():
            raise texts.Refusal(texts.NOTHING_DELETED)
        # This also removes the buttons, so that nobody presses them twice.
        await send_answer(interaction, texts.DELETING)
        report = await self.keys.purge(**filters)
        await send_answer(interaction, f"{texts.describe_report(report)}.")

    @admin.command(**texts.EXPORT)
    @app_commands.describe(**texts.EXPORT_OPTIONS)
    async def export(
        self, interaction: discord.Interaction, status: KeyStatus | None = None
    ) -> None:
        """Answer with the shop's keys as a CSV file."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "keys.csv")
            count = await export_keys(self.list_shop_keys(status), path)
            # In a thread: compressing a large file would block the bot's event loop.
            upload = await asyncio.to_thread(_fit_upload, path, interaction.filesize_limit)
            text = texts.EXPORTED.format(count=count)
            await send_answer(interaction, text, file=discord.File(upload))

    @admin.command(**texts.STATS)
    async def stats(self, interaction: discord.Interaction) -> None:
        """Answer with the number of the shop's keys by status."""
        counts = {status: await self.list_shop_keys(status).count() for status in KeyStatus}
        lines = [texts.STATUS_COUNT.format(status=one, count=n) for one, n in counts.items()]
        total = texts.TOTAL_COUNT.format(count=sum(counts.values()))
        await send_answer(interaction, "\n".join([*lines, total]))

    async def _change_key(
        self,
        interaction: discord.Interaction,
        key: str,
        change: Callable[[int | str], Awaitable[object]],
        answer: str,
    ) -> None:
        await change(_parse_key(key))
        await send_answer(interaction, answer.format(key=texts.quote(key)))


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
        raise texts.Refusal(texts.EXPORT_TOO_LARGE)
    return zipped
