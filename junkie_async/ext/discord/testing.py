"""A fake interaction, to test a cog without Discord.

    import discord
    import pytest

    from junkie_async import JunkieClient
    from junkie_async.ext.discord.testing import FakeInteraction


    @pytest.mark.asyncio
    async def test_customers_get_a_key(junkie_client: JunkieClient) -> None:
        german = discord.Locale.german
        interaction = FakeInteraction(user_name="ada", roles=[CUSTOMER], locale=german)
        await interaction.run(make_cog(junkie_client), "key get")
        assert interaction.answer.content.startswith("Dein Schlüssel:")
        assert interaction.answer.ephemeral


    @pytest.mark.asyncio
    async def test_others_get_none(junkie_client: JunkieClient) -> None:
        interaction = FakeInteraction(roles=["Friend"])
        await interaction.run(make_cog(junkie_client), "key get")
        assert interaction.answer.content == "Only customers get a key. Please open a ticket."
        assert await junkie_client.keys.list().count() == 0

It works with any cog of discord.py that has application commands, not only with `KeyCog`.
``junkie_client`` is a fixture of `junkie_async.pytest_plugin`.

A `FakeInteraction` is a `discord.Interaction`, so its users, roles, channels and embeds are those
of discord.py. Only the HTTP session below is fake: it has Discord's rules, and refuses with
Discord's errors what Discord refuses. Among these are a second response, a follow-up or an edit
before the first response, empty messages, and texts, embeds, labels and files above their limits.

A bot without a connection can also send messages to channels: see `FakeInteraction.sent_to`. No
other requests to Discord are simulated. Where a command adds a role or sends a direct message,
replace that method, for example by ``monkeypatch.setattr(discord.Member, "add_roles", ...)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import discord
from discord import app_commands
from discord.ext import commands

from ._fake_arguments import (
    check_id,
    check_kinds,
    check_locale,
    check_name,
    check_roles,
    check_size,
)
from ._fake_bot import (
    ERROR,
    AnyBot,
    channels_of,
    go_offline,
    offline_bot,
    record_errors,
    servers_of,
)
from ._fake_payloads import (
    BOT_ID,
    FakeMember,
    describe_call,
    describe_command,
    describe_role,
    describe_user,
)
from ._fake_service import EPHEMERAL, FakeMessage, FakeService, Sent

__all__ = ["Answer", "FakeInteraction"]

Kind: TypeAlias = Literal["defer", "message", "edit", "followup", "delete", "modal", "autocomplete"]

_USER_ID: Final = 100_000_000_000_000_003
_GUILD_ID: Final = 200_000_000_000_000_001
_CHANNEL_ID: Final = 300_000_000_000_000_001

_LOOK_AGAIN: Final = 0.05  # seconds

_COMPONENT: Final = 3  # a type of interaction

# Unique over all interactions of a process, as those of Discord are.
_numbers = itertools.count()


@attrs.frozen
class Answer:
    """What a bot sent once, and what its user sees after that.

    Attributes:
        kind: ``"message"`` is a first response by `send_message`, and ``"edit"`` a change of a
            message. A follow-up that replaces a deferred message is a ``"followup"``, too.
        content: The text.
        embeds: The embeds.
        ephemeral: Whether only the user sees it.
        files: The contents of files by their names.
        buttons: The labels of buttons, in their order.
        allowed_mentions: Who may be mentioned, as it was sent; None if everybody may.
    """

    kind: Kind
    content: str = ""
    embeds: tuple[discord.Embed, ...] = ()
    ephemeral: bool = False
    files: Mapping[str, bytes] = attrs.Factory(dict[str, bytes])
    buttons: tuple[str, ...] = ()
    allowed_mentions: Mapping[str, Any] | None = None


class FakeInteraction(discord.Interaction[Any]):
    """An interaction of a user with a bot, without network. It runs one command.

    Args:
        user_id: The user's ID. It also tells when the account was created: get one of a given age
            by `discord.utils.time_snowflake`.
        user_name: The user's name.
        roles: The member's roles: names, which get IDs of their own, or IDs.
        permissions: The member's permissions in the channel; none by default.
        joined_at: When the member joined the server; a year ago by default.
        premium_since: Since when the member boosts the server; None for not at all.
        custom_status: The text of the member's custom status, or None. A bot finds it at
            ``interaction.guild.get_member(interaction.user.id).activities``, if its intents
            include members and presences.
        server_tag: Whether the user wears the server's tag: ``user.primary_guild`` is the server.
        guild_id: The server's ID; None for a direct message, whose user has no roles.
        channel_id: The channel's ID.
        channel_name: The channel's name.
        locale: The user's language: a `discord.Locale`, or its code, such as ``"de"``.
        created_at: When the user called the command; now by default.
        is_owner: Whether the user owns the bot. With a `client` of your own, its ``owner_id`` says.
        user_install: Whether the command comes from the user's own install of the bot.
        expired: Whether Discord no longer knows the interaction, as when a bot takes more than 3 s
            to respond. It then refuses every response.
        filesize_limit: The bytes that Discord accepts in a message's files.
        client: The bot, which need not be logged in; by default, one with all intents.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An ID is not one of Discord's, a name is empty, or there is no such language.
    """

    def __init__(
        self,
        *,
        user_id: int = _USER_ID,
        user_name: str = "user",
        roles: Iterable[str | int] = (),
        permissions: discord.Permissions | None = None,
        joined_at: datetime | None = None,
        premium_since: datetime | None = None,
        custom_status: str | None = None,
        server_tag: bool = False,
        guild_id: int | None = _GUILD_ID,
        channel_id: int = _CHANNEL_ID,
        channel_name: str = "general",
        locale: discord.Locale | str = discord.Locale.american_english,
        created_at: datetime | None = None,
        is_owner: bool = False,
        user_install: bool = False,
        expired: bool = False,
        filesize_limit: int = 10 * 1024 * 1024,
        client: AnyBot | None = None,
    ) -> None:
        check_kinds(
            permissions=permissions,
            joined_at=joined_at,
            premium_since=premium_since,
            created_at=created_at,
            custom_status=custom_status,
            client=client,
        )
        check_id("user_id", user_id)
        check_id("channel_id", channel_id)
        if guild_id is not None:
            check_id("guild_id", guild_id)
        check_name("user_name", user_name)
        check_name("channel_name", channel_name)
        check_size("filesize_limit", filesize_limit)
        member = FakeMember(
            user_id,
            user_name,
            tuple(describe_role(role, place) for place, role in enumerate(check_roles(roles), 1)),
            permissions or discord.Permissions.none(),
            joined_at,
            premium_since,
            custom_status,
            server_tag,
        )
        payload = describe_call(
            _make_number(created_at),
            member,
            guild_id=guild_id,
            channel={"id": str(channel_id), "name": channel_name},
            locale=check_locale(locale),
            is_user_install=user_install,
            filesize_limit=filesize_limit,
        )
        bot = client or offline_bot(user_id if is_owner else BOT_ID)
        self._set_up(payload, bot, None)
        self._service.is_expired = expired

    def _set_up(self, payload: dict[str, Any], client: AnyBot, source: FakeMessage | None) -> None:
        # `discord.Interaction` and its state have no public constructor.
        state: Any = client._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if state.user is None:  # not logged in
            state.user = discord.ClientUser(
                state=state, data=cast("Any", describe_user(BOT_ID, "bot"))
            )
            go_offline(client)
        if guild_id := payload.get("guild_id"):
            payload = {**payload, "guild": servers_of(client).merge(payload["guild"])}
            state._guilds.pop(int(guild_id), None)  # noqa: SLF001
        super().__init__(data=cast("Any", payload), state=state)
        if guild_id:
            state._add_guild(cast("discord.Member", self.user).guild)  # noqa: SLF001
        self._payload = payload
        self._service = FakeService(
            self.id,
            int(payload["channel"]["id"]),
            describe_user(BOT_ID, "bot"),
            self.filesize_limit,
            source,
        )
        self._session = cast("Any", self._service)
        self.followup.session = self._session
        self._is_running: bool | None = None

    # --- what the bot did -------------------------------------------------------------------------

    @property
    def answers(self) -> list[Answer]:
        """Everything that the bot sent, oldest first."""
        return [_to_answer(sent) for sent in self._service.sent]

    @property
    def answer(self) -> Answer:
        """The first response, as the user sees it now.

        Raises:
            AssertionError: The user sees none: there was no response, it was deferred and never
                followed by an answer, or it was deleted.
        """
        message = self._service.original
        if message is None:
            raise AssertionError("the bot did not respond with a message")
        if message.is_loading:
            raise AssertionError("the response was deferred, but no answer followed")
        if message.is_deleted:
            raise AssertionError("the response was deleted")
        last = next(one for one in reversed(self._service.sent) if one.message.id == message.id)
        return _to_answer(attrs.evolve(last, message=message))

    @property
    def followups(self) -> list[Answer]:
        """The messages after the first response, as they were sent."""
        original = self._service.original
        return [
            _to_answer(sent)
            for sent in self._service.sent
            if sent.kind == "followup" and (original is None or sent.message.id != original.id)
        ]

    def sent_to(self, channel_id: int) -> list[Answer]:
        """Return the messages that the bot sent to a channel, oldest first.

        Get a channel that the bot does not know by `discord.Client.get_partial_messageable`. With
        a `client` of your own, these are the messages of all its interactions.
        """
        return [_to_answer(sent) for sent in channels_of(self.client).sent.get(channel_id, [])]

    @property
    def deferred(self) -> bool:
        """Whether the first response was a deferral, which gives the bot 15 minutes."""
        return [answer.kind for answer in self.answers[:1]] == ["defer"]

    @property
    def error(self) -> Exception | None:
        """The exception that ended the command, also if an error handler took it; or None."""
        return cast("Exception | None", self.extras.get(ERROR))

    # --- what the user does -----------------------------------------------------------------------

    async def run(self, cog: commands.Cog, command: str, /, **options: Any) -> None:
        """Run a command as discord.py does, with its checks and its error handlers.

        Args:
            cog: The cog. Its commands are added to the bot's tree; `cog_load` is not called.
            command: The command's full name, such as ``"key get"``.
            **options: The command's options, by the names that Discord shows. A user, role or
                channel is given as its ID. Of an enum or of choices, give the value.

        Raises:
            LookupError: The cog has no such command.
            TypeError: An option is missing, is unknown, or has the wrong type.
            ValueError: An option is outside its limits, so Discord would not send it.
            RuntimeError: This interaction has run a command.
            discord.HTTPException, discord.InteractionResponded: Discord refused what the bot sent.
                It is raised even if an error handler took it.
            NotImplementedError: The bot sent a request that is not simulated.
            discord.app_commands.AppCommandError: The command failed, and no error handler of the
                command or its cog took the error.
        """
        if self._is_running is not None:
            raise RuntimeError("an interaction runs one command: create another FakeInteraction")
        found = _find_command(cog, command)
        interaction: Any = self  # discord.py's types name each field of each kind of data
        interaction.data = describe_command(self.id, found, options, self.guild_id)
        tree = self._tree_with(found)
        self._is_running = True
        try:
            # As discord.py's gateway does it; there is no public way to call a command with checks.
            await tree._call(self)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        finally:
            self._is_running = False
            self._service.changed.set()
        self._raise_refusals()
        if self.error is not None and not found._has_any_error_handlers():  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            raise self.error

    async def press(
        self, label: str, /, *, user_id: int | None = None, user_name: str = "other"
    ) -> FakeInteraction:
        """Press a button of the answer, and wait until the bot has handled it.

        While `run` is under way in another task, this waits for the button to appear, unless the
        answer has other buttons and the bot waits for one of those.

        Args:
            label: The button's label, or the beginning of it.
            user_id: Who presses it; by default, the user of this interaction.
            user_name: The name of another user.

        Returns:
            The interaction of the press.

        Raises:
            AssertionError: There is no such button, or it is disabled.
            TypeError, ValueError: As for the arguments of `FakeInteraction`.
            discord.HTTPException, discord.InteractionResponded: As for `run`.
        """
        if user_id is not None:
            check_id("user_id", user_id)
            check_name("user_name", user_name)
        await asyncio.sleep(0)  # lets a task begin that was created for `run`
        message, button = await self._find_button(label)
        number = _make_number()
        author = describe_user(BOT_ID, "bot")
        payload = {
            **self._payload,
            "id": str(number),
            "token": f"token-{number}",
            "type": _COMPONENT,
            "data": {"custom_id": button["custom_id"], "component_type": button["type"]},
            "message": message.to_json(int(self._payload["channel"]["id"]), author),
        }
        if user_id is not None:
            other = FakeMember(user_id, user_name)
            payload |= other.describe_place(self.guild_id)
        pressed = object.__new__(FakeInteraction)
        pressed._set_up(payload, self.client, message)
        await pressed._dispatch(self.client)
        return pressed

    async def _find_button(self, label: str) -> tuple[FakeMessage, dict[str, Any]]:
        while True:
            message = self._service.original
            buttons = list(message.buttons()) if message and not message.is_deleted else []
            for button in buttons:
                if str(button.get("label")).startswith(label) and not button.get("disabled"):
                    return cast("FakeMessage", message), button
            if not self._is_running or any(map(self._is_awaited, buttons)):
                shown = ", ".join(repr(button.get("label")) for button in buttons) or "none"
                raise AssertionError(f"no button {label!r} to press; the answer has {shown}")
            self._service.changed.clear()
            # A view is awaited a moment after its message was sent.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._service.changed.wait()

    def _is_awaited(self, button: Mapping[str, Any]) -> bool:
        """Whether the bot waits for a button: its view is not stopped."""
        state: Any = self.client._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        views: Any = state._view_store._views  # noqa: SLF001
        name = (button["type"], button.get("custom_id"))
        return not button.get("disabled") and any(name in items for items in views.values())

    async def _dispatch(self, client: AnyBot) -> None:
        before = asyncio.all_tasks()
        state: Any = client._connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        data: Any = self.data
        state._view_store.dispatch_view(data["component_type"], data["custom_id"], self)  # noqa: SLF001
        await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)
        self._raise_refusals()

    def _tree_with(
        self, command: app_commands.Command[Any, ..., Any]
    ) -> app_commands.CommandTree[Any]:
        tree: app_commands.CommandTree[Any] = self.client.tree
        root = command.root_parent or command
        if tree.get_command(root.name) is not root:
            tree.add_command(root, guild=None, override=True)
        record_errors(tree)
        return tree

    def _raise_refusals(self) -> None:
        failures = channels_of(self.client).take_failures()  # of this interaction alone
        cause = self.error
        if isinstance(cause, app_commands.CommandInvokeError):
            cause = cause.original
        if isinstance(cause, discord.InteractionResponded | NotImplementedError):
            raise cause
        for refusal in (*self._service.refusals, *failures):
            raise refusal


def _make_number(created_at: datetime | None = None) -> int:
    moment = created_at or datetime.now(UTC)
    return discord.utils.time_snowflake(moment) + next(_numbers)


def _to_answer(sent: Sent) -> Answer:
    message = sent.message
    return Answer(
        kind=cast("Kind", sent.kind),
        content=message.content,
        embeds=tuple(discord.Embed.from_dict(embed) for embed in message.embeds),
        ephemeral=bool(message.flags & EPHEMERAL),
        files=dict(message.files),
        buttons=tuple(str(button.get("label") or "") for button in message.buttons()),
        allowed_mentions=message.allowed_mentions,
    )


def _find_command(cog: commands.Cog, name: str) -> app_commands.Command[Any, ..., Any]:
    known = {
        command.qualified_name: command
        for command in cog.walk_app_commands()
        if isinstance(command, app_commands.Command)
    }
    if name not in known:
        names = ", ".join(known) or "none"
        raise LookupError(f"{cog.qualified_name} has no command {name!r}; it has {names}")
    return known[name]
