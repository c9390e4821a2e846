"""``/keys``: what administrators can do with all keys of the shop."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from junkie_async import BatchError, BatchFields, Filters, Key, KeyStatus
from junkie_async.export import export_keys
from junkie_async.ext import needs_extra

from ._commands import Commands, answer, note
from ._views import Confirm
from ._words import Refusal, apology, counted, listed, quoted

with needs_extra("discord"):
    import discord
    from discord import app_commands
    from discord.app_commands import Range

_WHICH: Final = "The whole key, or # and its ID"


class AdminCommands(Commands):
    """The commands for administrators. A ``key`` is a key value, or ``#`` and an ID."""

    admin = app_commands.Group(
        name="keys",
        description="All keys of the shop",
        guild_only=True,
        default_permissions=discord.Permissions(administrator=True),
    )

    @admin.command()
    @app_commands.describe(
        amount="How many",
        minutes="Minutes until they expire",
        premium="Whether they are premium",
        name="A note that they get",
        user="Whose they are",
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
        """Create keys, and get them as a text file."""
        fields: BatchFields = {
            "validity_minutes": minutes or self.fields["validity_minutes"],
            "is_premium": self.fields["is_premium"] if premium is None else premium,
            "key_name": name,
            "discord_id": user.id if user else None,
        }
        try:
            report = await self.keys.create_many(
                amount, provider_id=self.provider_id, **self.fields | fields
            )
            said = f"{counted(report)}."
        except BatchError as error:  # it has the keys that were created
            note(interaction, error)
            report, said = error.report, apology(error)
        lines = "".join(f"{key}\n" for key in report.keys).encode()
        file = discord.File(io.BytesIO(lines), "keys.txt") if lines else None
        await answer(interaction, said, file=file)

    @admin.command()
    @app_commands.describe(key=_WHICH, user="Whose keys")
    async def find(
        self,
        interaction: discord.Interaction,
        key: str | None = None,
        user: discord.User | None = None,
    ) -> None:
        """Look up a key, or all keys of a user."""
        if key is not None and user is None:
            found: list[Key] = [await self.keys.get(_reference(key))]
        elif user is not None and key is None:
            found = await self.keys.list(discord_id=user.id).collect()
        else:
            raise Refusal("Name either a key or a user.")
        await answer(interaction, listed(f"Found: {len(found):,}", found))

    @admin.command()
    @app_commands.describe(key=_WHICH)
    async def revoke(self, interaction: discord.Interaction, key: str) -> None:
        """Revoke a key, so that it is refused until it is restored."""
        await self.keys.invalidate(_reference(key))
        await answer(interaction, f"{quoted(key)} is revoked.")

    @admin.command()
    @app_commands.describe(key=_WHICH)
    async def restore(self, interaction: discord.Interaction, key: str) -> None:
        """Take a revocation back."""
        await self.keys.revalidate(_reference(key))
        await answer(interaction, f"{quoted(key)} is not revoked any more.")

    @admin.command()
    @app_commands.describe(key=_WHICH)
    async def delete(self, interaction: discord.Interaction, key: str) -> None:
        """Delete a key for good."""
        await self.keys.delete(_reference(key))
        await answer(interaction, f"{quoted(key)} is deleted.")

    @admin.command()
    @app_commands.describe(status="Which keys", user="Only those of this user")
    async def purge(
        self,
        interaction: discord.Interaction,
        status: KeyStatus,
        user: discord.User | None = None,
    ) -> None:
        """Delete all keys of a status for good, when you have confirmed it."""
        filters: Filters = self.scope | {"status": status}
        if user is not None:
            filters["discord_id"] = user.id
        count = await self.keys.list(**filters).count()
        if not count:
            raise Refusal("There is no such key.")
        view = Confirm(interaction.user, f"Delete {count:,}")
        asked = f"Keys that are {status}: {count:,}. Deleting them can't be undone."
        await answer(interaction, asked, view=view)
        if not await view.confirmed():
            raise Refusal("Nothing was deleted.")
        await answer(interaction, "Deleting …")
        await answer(interaction, f"{counted(await self.keys.purge(**filters))}.")

    @admin.command()
    @app_commands.describe(status="Which keys; left out, all of them")
    async def export(
        self, interaction: discord.Interaction, status: KeyStatus | None = None
    ) -> None:
        """Get the shop's keys as a CSV file."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "keys.csv")
            written = await export_keys(self.shop_keys(status), path)
            fitting = await asyncio.to_thread(_fitting, path, interaction.filesize_limit)
            await answer(interaction, f"{written:,} in the file.", file=discord.File(fitting))

    @admin.command()
    async def stats(self, interaction: discord.Interaction) -> None:
        """Count the shop's keys by status."""
        counts = {status: await self.shop_keys(status).count() for status in KeyStatus}
        lines = [f"{status}: {count:,}" for status, count in counts.items()]
        await answer(interaction, "\n".join([*lines, f"**{sum(counts.values()):,} in all**"]))


def _reference(written: str) -> int | str:
    """Tell an ID, as lists show it, from a key value, which may be of digits too."""
    number = written.removeprefix("#")
    is_id = number != written and number.isascii() and number.isdigit()
    return int(number) if is_id else written


def _fitting(path: Path, limit: int) -> Path:
    """Zip a file if Discord would not take it as it is."""
    if path.stat().st_size <= limit:
        return path
    zipped = path.with_suffix(".zip")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    if zipped.stat().st_size > limit:
        raise Refusal("The file is too large for Discord. `junkie export keys.csv` writes it.")
    return zipped
