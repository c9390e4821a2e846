"""The fake interaction: what a cog sees of it, what it takes down, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from discord import app_commands, ui
from discord.ext import commands

from junkie_async.ext.discord.testing import FakeInteraction

from ._shop import plain_bot

NOW = datetime(2026, 5, 1, tzinfo=UTC)

Step = Callable[[discord.Interaction[Any]], Awaitable[Any]]


class Colour(Enum):
    """Choices of an option."""

    RED = "red"
    BLUE = "blue"


class Buttons(ui.View):
    """Two buttons, of which one is disabled."""

    @ui.button(label="Press 5 times")
    async def press(self, interaction: discord.Interaction, _: ui.Button[Buttons]) -> None:
        """Change the message."""
        await interaction.response.edit_message(content="Pressed.", view=None)
        await interaction.followup.send("Thanks.", ephemeral=True)

    @ui.button(label="Never", disabled=True)
    async def never(self, interaction: discord.Interaction, _: ui.Button[Buttons]) -> None:
        """Do nothing."""


class StepsCog(commands.Cog):
    """A cog whose command does what a test says."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.given: dict[str, Any] = {}

    group = app_commands.Group(name="group", description="A group")
    inner = app_commands.Group(name="inner", description="A group in it", parent=group)

    @app_commands.command(description="Does it")
    async def do(self, interaction: discord.Interaction) -> None:
        """Do all steps."""
        for step in self.steps:
            await step(interaction)

    @inner.command(description="Takes options")
    async def take(
        self,
        interaction: discord.Interaction,
        amount: app_commands.Range[int, 1, 3],
        text: app_commands.Range[str, 2, 4] = "none",
        colour: Colour | None = None,
        ratio: float = 1.0,
        sure: bool = False,
        user: discord.Member | None = None,
        role: discord.Role | None = None,
        channel: discord.TextChannel | None = None,
    ) -> None:
        """Take all options down."""
        self.given = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "interaction") and value is not None
        }
        await interaction.response.send_message("Taken.")

    @app_commands.command(description="Needs a permission")
    @app_commands.checks.has_permissions(manage_guild=True)
    async def guarded(self, interaction: discord.Interaction) -> None:
        """Answer."""
        await interaction.response.send_message("Welcome.")


class HandlingCog(StepsCog):
    """A cog that takes all errors."""

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Take it."""


async def do(*steps: Step, **about: Any) -> FakeInteraction:
    """Run a command that does these steps."""
    interaction = FakeInteraction(**about)
    await interaction.run(StepsCog(*steps), "do")
    return interaction


def defer(interaction: discord.Interaction[Any]) -> Awaitable[Any]:
    """Defer the answer, ephemerally."""
    return interaction.response.defer(ephemeral=True)


def send(*args: Any, **kwargs: Any) -> Step:
    """Respond with a message."""
    return lambda interaction: interaction.response.send_message(*args, **kwargs)


def edit(**kwargs: Any) -> Step:
    """Change the first response."""
    return lambda interaction: interaction.edit_original_response(**kwargs)


def follow_up(*args: Any, **kwargs: Any) -> Step:
    """Send a message after the first response."""
    return lambda interaction: interaction.followup.send(*args, **kwargs)


# --- what is taken down ---------------------------------------------------------------------------


async def test_a_message() -> None:
    """Its text, embeds, files and buttons."""
    embed = discord.Embed(title="T", description="D").add_field(name="N", value="V")
    file = discord.File(io.BytesIO(b"content"), "a.txt")
    nobody = discord.AllowedMentions.none()
    interaction = await do(
        send("C", embed=embed, file=file, view=Buttons(), allowed_mentions=nobody)
    )
    answer = interaction.answer
    assert (answer.kind, answer.content, answer.ephemeral) == ("message", "C", False)
    assert answer.embeds == (embed,)
    assert answer.files == {"a.txt": b"content"}
    assert answer.buttons == ("Press 5 times", "Never")
    assert answer.allowed_mentions == {"parse": []}
    assert not interaction.deferred
    assert interaction.error is None


async def test_a_layout() -> None:
    """Buttons are found wherever they are."""
    interaction = await do(send(view=Layout()))
    assert interaction.answer.buttons == ("beside",)


async def test_an_edit_keeps_what_it_does_not_name() -> None:
    """As Discord does: only given fields change, and files that are not listed go."""
    file = discord.File(io.BytesIO(b"content"), "a.txt")
    interaction = await do(
        send("one", embed=discord.Embed(title="T"), file=file),
        edit(content="two"),
        edit(embed=None, attachments=[]),
    )
    first, second, third = interaction.answers
    assert (first.content, second.content, third.content) == ("one", "two", "two")
    assert [len(answer.embeds) for answer in interaction.answers] == [1, 1, 0]
    assert [list(answer.files) for answer in interaction.answers] == [["a.txt"], ["a.txt"], []]
    assert interaction.answer == third


async def test_follow_ups() -> None:
    """The first one after a deferral replaces it, and stays ephemeral; the others are new."""
    interaction = await do(
        defer, follow_up("one", ephemeral=False), follow_up("two", ephemeral=False)
    )
    assert [answer.kind for answer in interaction.answers] == ["defer", "followup", "followup"]
    assert interaction.deferred
    assert (interaction.answer.content, interaction.answer.ephemeral) == ("one", True)
    (other,) = interaction.followups
    assert (other.content, other.ephemeral) == ("two", False)


async def test_messages_are_changed_and_deleted() -> None:
    """Those that discord.py returns, too."""

    async def change(interaction: discord.Interaction[Any]) -> None:
        other = await interaction.followup.send("two", wait=True)
        await other.edit(content="three")
        await other.delete()
        original = await interaction.original_response()
        assert original.content == "one"
        await original.edit(content="four")

    interaction = await do(send("one"), change)
    kinds = [(answer.kind, answer.content) for answer in interaction.answers]
    assert kinds == [
        ("message", "one"),
        ("followup", "two"),
        ("edit", "three"),
        ("delete", "three"),
        ("edit", "four"),
    ]
    assert interaction.answer.content == "four"


async def test_a_modal() -> None:
    """A form is a response, but not a message."""
    modal = ui.Modal(title="T").add_item(ui.TextInput(label="L"))
    interaction = await do(lambda one: one.response.send_modal(modal))
    assert [answer.kind for answer in interaction.answers] == ["modal"]
    with pytest.raises(AssertionError):
        _ = interaction.answer


@pytest.mark.parametrize(
    "steps", [(), (defer,), (send("one"), lambda one: one.delete_original_response())]
)
async def test_no_answer(steps: tuple[Step, ...]) -> None:
    """A test that reads an answer fails when the user sees none."""
    interaction = await do(*steps)
    with pytest.raises(AssertionError):
        _ = interaction.answer


# --- what is refused ------------------------------------------------------------------------------


def fields(count: int) -> discord.Embed:
    """Return an embed of some fields."""
    embed = discord.Embed()
    for _ in range(count):
        embed.add_field(name="N", value="V")
    return embed


def files(count: int, size: int = 1) -> list[discord.File]:
    """Return some files."""
    return [discord.File(io.BytesIO(b"x" * size), f"{number}.txt") for number in range(count)]


class LongLabel(ui.View):
    """A button whose label is too long."""

    def __init__(self) -> None:
        super().__init__()
        self.add_item(ui.Button(label="x" * 81))


class Layout(ui.LayoutView):
    """Text and a button as components, beside which a message has no content."""

    def __init__(self) -> None:
        super().__init__()
        self.add_item(ui.Section("text", accessory=ui.Button(label="beside")))


class TwoOfAKind(ui.View):
    """Two buttons that Discord can't tell apart."""

    def __init__(self) -> None:
        super().__init__()
        for _ in range(2):
            self.add_item(ui.Button(label="x", custom_id="same"))


REFUSED: list[tuple[Callable[[], Step], int]] = [
    (lambda: send("x" * 2001), 50035),
    (lambda: send(embed=discord.Embed(title="x" * 257)), 50035),
    (lambda: send(embed=discord.Embed(description="x" * 4097)), 50035),
    (lambda: send(embed=discord.Embed().set_footer(text="x" * 2049)), 50035),
    (lambda: send(embed=discord.Embed().set_author(name="x" * 257)), 50035),
    (lambda: send(embed=discord.Embed().add_field(name="x" * 257, value="V")), 50035),
    (lambda: send(embed=discord.Embed().add_field(name="N", value="x" * 1025)), 50035),
    (lambda: send(embed=discord.Embed().add_field(name="N", value="")), 50035),
    (lambda: send(embed=fields(26)), 50035),
    (lambda: send(embeds=[discord.Embed(description="x" * 3001)] * 2), 50035),
    (lambda: send("C", view=LongLabel()), 50035),
    (lambda: send("C", files=files(1, 1001)), 40005),
    (lambda: send("C", files=files(11)), 50035),
    (lambda: send("C", view=Layout()), 50035),
    (lambda: send(""), 50006),
    (lambda: send(" \n"), 50006),
    (lambda: send(embed=discord.Embed(colour=5)), 50035),
    (lambda: send(embed=discord.Embed(title="T").set_image(url="a.png")), 50035),
    (lambda: send(embed=discord.Embed(title="T").set_author(name="A", icon_url="x")), 50035),
    (lambda: send("C", view=TwoOfAKind()), 50035),
    (lambda: edit(content="too early"), 10015),
    (lambda: follow_up("too early"), 10015),
    (lambda: lambda one: one.original_response(), 10015),
]


@pytest.mark.parametrize("cog", [StepsCog, HandlingCog])
@pytest.mark.parametrize(("step", "code"), REFUSED)
async def test_refusals(cog: type[StepsCog], step: Callable[[], Step], code: int) -> None:
    """With Discord's codes, and even if an error handler takes them."""
    interaction = FakeInteraction(filesize_limit=1000)
    with pytest.raises(discord.HTTPException) as caught:
        await interaction.run(cog(step()), "do")
    assert caught.value.code == code
    assert interaction.answers == []


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ((defer, edit(content="x" * 2001)), 50035),
        ((defer, edit(content="")), 50006),
        ((send("one"), edit(content=None)), 50006),
        ((defer, follow_up("x" * 2001)), 50035),
        ((send("one"), follow_up("", embeds=[])), 50006),
        ((send("one"), lambda one: one.delete_original_response(), edit(content="two")), 10008),
    ],
)
async def test_refusals_after_the_first_response(steps: tuple[Step, ...], code: int) -> None:
    """Edits and follow-ups have the same limits."""
    with pytest.raises(discord.HTTPException) as caught:
        await do(*steps)
    assert caught.value.code == code


@pytest.mark.parametrize("cog", [StepsCog, HandlingCog])
@pytest.mark.parametrize("second", [defer, send("two")])
async def test_a_second_response(cog: type[StepsCog], second: Step) -> None:
    """An interaction has one response."""
    interaction = FakeInteraction()
    with pytest.raises(discord.InteractionResponded):
        await interaction.run(cog(send("one"), second), "do")
    assert interaction.answer.content == "one"


async def test_a_second_response_that_discord_py_does_not_see() -> None:
    """The service refuses it as well."""

    async def forget(interaction: discord.Interaction[Any]) -> None:
        interaction.response._response_type = None

    with pytest.raises(discord.HTTPException) as caught:
        await do(send("one"), forget, send("two"))
    assert caught.value.code == 40060


@pytest.mark.parametrize("text", ["x" * 2000, "é" * 2000])
async def test_the_limit_itself(text: str) -> None:
    """What is as long as Discord accepts is accepted."""
    interaction = await do(send(text, embed=fields(25), files=files(10)))
    assert interaction.answer.content == text


async def test_expired() -> None:
    """Discord has forgotten it."""
    with pytest.raises(discord.NotFound) as caught:
        await do(defer, expired=True)
    assert caught.value.code == 10062


async def test_other_requests() -> None:
    """They fail, by the name of the route, until the test replaces the method."""
    role = discord.Object(5)

    async def add(interaction: discord.Interaction[Any]) -> None:
        assert isinstance(interaction.user, discord.Member)
        await interaction.user.add_roles(role)

    for cog in (StepsCog(add), HandlingCog(add)):
        with pytest.raises((NotImplementedError, app_commands.CommandInvokeError), match="roles"):
            await FakeInteraction().run(cog, "do")


async def test_messages_to_channels() -> None:
    """They are kept by channel, with Discord's rules, also if the command takes the error."""

    async def report(interaction: discord.Interaction[Any]) -> None:
        channel = interaction.client.get_partial_messageable(5)
        sent = await channel.send("hi", file=discord.File(io.BytesIO(b"x"), "a.txt"))
        assert sent.channel.id == 5
        assert isinstance(interaction.channel, discord.TextChannel)
        await interaction.channel.send(embed=discord.Embed(title="here"))

    interaction = await do(send("done"), report)
    (message,) = interaction.sent_to(5)
    assert (message.content, message.files, message.ephemeral) == ("hi", {"a.txt": b"x"}, False)
    assert [one.embeds[0].title for one in interaction.sent_to(300_000_000_000_000_001)] == ["here"]
    assert [answer.content for answer in interaction.answers] == ["done"]

    async def fail(interaction: discord.Interaction[Any]) -> None:
        with contextlib.suppress(discord.HTTPException, NotImplementedError):
            await interaction.client.get_partial_messageable(5).send("x" * 2001)
        with contextlib.suppress(NotImplementedError):
            await interaction.user.send("hi")

    with pytest.raises(discord.HTTPException, match="2000"):
        await do(send("done"), fail)


async def test_messages_of_a_bot_of_ones_own() -> None:
    """A bot that is not logged in sends nothing to Discord; what a test replaced stays."""
    async with plain_bot() as bot:
        first = await do(
            send("done"), lambda i: i.client.get_partial_messageable(5).send("hi"), client=bot
        )
        assert [one.content for one in first.sent_to(5)] == ["hi"]
    async with plain_bot() as bot:
        vars(bot.http)["request"] = replaced = AsyncMock()
        await do(send("done"), client=bot)
        assert bot.http.request is replaced


# --- who calls, and from where --------------------------------------------------------------------


async def test_defaults() -> None:
    """A member without roles, in a channel of a server."""
    interaction = FakeInteraction()
    member = interaction.user
    assert isinstance(member, discord.Member)
    assert interaction.guild
    assert [role.name for role in member.roles] == ["@everyone"]
    assert interaction.guild.get_member(member.id) == member
    assert isinstance(interaction.channel, discord.TextChannel)
    assert interaction.channel == interaction.guild.get_channel(interaction.channel.id)
    assert interaction.permissions == discord.Permissions.none()
    assert interaction.is_guild_integration()
    assert not interaction.is_user_integration()
    assert abs(interaction.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert not await interaction.client.is_owner(member)
    assert not interaction.is_expired()


async def test_a_member() -> None:
    """Everything that a test can say of one."""
    interaction = FakeInteraction(
        user_id=discord.utils.time_snowflake(NOW),
        user_name="ada",
        roles=["Customer", 5],
        permissions=discord.Permissions(manage_guild=True),
        joined_at=NOW,
        premium_since=NOW,
        custom_status="hi",
        server_tag=True,
        guild_id=7,
        channel_id=8,
        channel_name="shop",
        locale=discord.Locale.german,
        created_at=NOW,
        is_owner=True,
    )
    member = interaction.user
    assert isinstance(member, discord.Member)
    assert (member.name, member.created_at, member.joined_at) == ("ada", NOW, NOW)
    assert [role.name for role in member.roles[1:]] == ["Customer", "role-5"]
    assert member.get_role(5)
    assert member.premium_since == NOW
    assert member.primary_guild.id == interaction.guild_id == 7
    assert (interaction.channel_id, str(interaction.channel)) == (8, "shop")
    assert interaction.locale is discord.Locale.german
    assert interaction.created_at == NOW
    assert await interaction.client.is_owner(member)
    found = interaction.guild and interaction.guild.get_member(member.id)
    assert [str(activity) for activity in found.activities] == ["hi"] if found else False


async def test_direct_messages_and_user_installs() -> None:
    """A user without a server, and one who brought the bot along."""
    direct = FakeInteraction(guild_id=None)
    assert isinstance(direct.user, discord.User)
    assert direct.guild is None
    assert isinstance(direct.channel, discord.DMChannel)
    installed = FakeInteraction(user_install=True)
    assert installed.is_user_integration()
    assert not installed.is_guild_integration()


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_checks_of_discord_py(is_allowed: bool) -> None:
    """They see the given permissions."""
    interaction = FakeInteraction(permissions=discord.Permissions(manage_guild=is_allowed))
    if is_allowed:
        await interaction.run(StepsCog(), "guarded")
        assert interaction.answer.content == "Welcome."
    else:
        with pytest.raises(app_commands.MissingPermissions):
            await interaction.run(StepsCog(), "guarded")


async def test_a_bot_of_ones_own() -> None:
    """It is the interaction's client, and keeps the commands that it has."""
    bot, cog = plain_bot(), StepsCog(send("one"))
    await bot.add_cog(cog)
    for _ in range(2):
        interaction = FakeInteraction(client=bot)
        assert interaction.client is bot
        await interaction.run(cog, "do")
        assert interaction.answer.content == "one"
    assert {command.name for command in bot.tree.get_commands()} == {"do", "group", "guarded"}


async def test_a_bot_knows_what_its_interactions_told() -> None:
    """All members, roles and channels of a server, and of each member the latest."""
    bot = commands.Bot("!", intents=discord.Intents.all())
    first = FakeInteraction(client=bot, user_id=1, roles=["A"], channel_id=5, custom_status="hi")
    second = FakeInteraction(client=bot, user_id=2, roles=["B", "A"], channel_id=6)
    guild = bot.get_guild(first.guild_id or 0)
    assert guild == first.guild == second.guild
    assert guild
    assert {role.name for role in guild.roles} == {"@everyone", "A", "B"}
    assert {channel.id for channel in guild.channels} == {5, 6}
    one, two = guild.get_member(1), guild.get_member(2)
    assert one
    assert two
    assert (len(one.activities), len(two.activities)) == (1, 0)
    assert [role.name for role in two.roles] == ["@everyone", "B", "A"]
    again = FakeInteraction(client=bot, user_id=1)
    member = again.guild and again.guild.get_member(1)
    assert member
    assert (member.activities, member.roles[1:]) == ((), [])


async def test_errors() -> None:
    """An error that nobody handles is raised; the other one is kept."""
    interaction = FakeInteraction()
    with pytest.raises(app_commands.CommandInvokeError):
        await interaction.run(StepsCog(lambda _: 1 / 0), "do")  # type: ignore[arg-type,return-value]
    handled = FakeInteraction()
    await handled.run(HandlingCog(lambda _: 1 / 0), "do")  # type: ignore[arg-type,return-value]
    assert isinstance(handled.error, app_commands.CommandInvokeError)
    assert isinstance(handled.error.original, ZeroDivisionError)


# --- options --------------------------------------------------------------------------------------


async def test_options() -> None:
    """Each arrives as discord.py's own object."""
    cog, interaction = StepsCog(), FakeInteraction(channel_id=8)
    await interaction.run(
        cog,
        "group inner take",
        amount=2,
        text="abc",
        colour=Colour.BLUE,
        ratio=2,
        sure=True,
        user=11,
        role=12,
        channel=8,
    )
    user, role, channel = (cog.given.pop(name) for name in ("user", "role", "channel"))
    assert cog.given == {
        "amount": 2,
        "text": "abc",
        "colour": Colour.BLUE,
        "ratio": 2.0,
        "sure": True,
    }
    assert (user.id, role.id, channel.id) == (11, 12, 8)
    assert isinstance(user, discord.Member)
    assert isinstance(channel, discord.TextChannel)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, TypeError),
        ({"amount": 1, "nope": 1}, TypeError),
        ({"amount": "1"}, TypeError),
        ({"amount": True}, TypeError),
        ({"amount": 0}, ValueError),
        ({"amount": 4}, ValueError),
        ({"amount": 1, "text": "x"}, ValueError),
        ({"amount": 1, "text": "xxxxx"}, ValueError),
        ({"amount": 1, "colour": "green"}, ValueError),
        ({"amount": 1, "sure": 1}, TypeError),
    ],
)
async def test_options_that_discord_would_not_send(
    options: dict[str, Any], error: type[Exception]
) -> None:
    """They are mistakes of the test."""
    interaction = FakeInteraction()
    with pytest.raises(error):
        await interaction.run(StepsCog(), "group inner take", **options)
    assert interaction.answers == []


async def test_options_that_are_not_simulated() -> None:
    """Files are not."""

    class Upload(commands.Cog):
        @app_commands.command(description="Takes a file")
        async def upload(self, interaction: discord.Interaction, file: discord.Attachment) -> None:
            """Take it."""

    with pytest.raises(NotImplementedError):
        await FakeInteraction().run(Upload(), "upload", file=5)


async def test_one_command() -> None:
    """An interaction is of one command, which exists."""
    interaction = FakeInteraction()
    with pytest.raises(LookupError):
        await interaction.run(StepsCog(), "nope")
    await interaction.run(StepsCog(send("one")), "do")
    with pytest.raises(RuntimeError):
        await interaction.run(StepsCog(), "do")


# --- buttons --------------------------------------------------------------------------------------


async def test_press() -> None:
    """A button changes the message; its interaction has answers of its own."""
    interaction = FakeInteraction()
    await interaction.run(StepsCog(send("one", view=Buttons())), "do")
    pressed = await interaction.press("Press")
    assert [answer.kind for answer in pressed.answers] == ["edit", "followup"]
    assert (interaction.answer.content, interaction.answer.buttons) == ("Pressed.", ())
    assert [answer.content for answer in pressed.followups] == ["Thanks."]
    assert pressed.user == interaction.user


@pytest.mark.parametrize("label", ["Never", "Nope"])
async def test_no_such_button(label: str) -> None:
    """A button that is disabled or not there can't be pressed."""
    interaction = FakeInteraction()
    await interaction.run(StepsCog(send("one", view=Buttons())), "do")
    with pytest.raises(AssertionError):
        await interaction.press(label)


async def test_a_button_that_never_appears() -> None:
    """The wait ends with the command."""
    interaction = FakeInteraction()
    command = asyncio.create_task(interaction.run(StepsCog(defer, edit(content="one")), "do"))
    with pytest.raises(AssertionError):
        await interaction.press("Nope")
    await command


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"roles": "Kunde"}, TypeError),
        ({"roles": 5}, TypeError),
        ({"roles": [2**64]}, ValueError),
        ({"roles": [2**65]}, ValueError),
        ({"roles": ["a", ""]}, ValueError),
        ({"roles": [None]}, TypeError),
        ({"user_id": -1}, ValueError),
        ({"user_id": True}, TypeError),
        ({"user_id": "5"}, TypeError),
        ({"user_name": None}, TypeError),
        ({"user_name": ""}, ValueError),
        ({"guild_id": 0}, ValueError),
        ({"channel_id": None}, TypeError),
        ({"channel_name": 5}, TypeError),
        ({"locale": "klingon"}, ValueError),
        ({"locale": 5}, TypeError),
        ({"permissions": 8}, TypeError),
        ({"joined_at": "2026-01-01"}, TypeError),
        ({"premium_since": 5}, TypeError),
        ({"created_at": 5}, TypeError),
        ({"custom_status": 5}, TypeError),
        ({"filesize_limit": -1}, ValueError),
        ({"filesize_limit": "10"}, TypeError),
        ({"client": "bot"}, TypeError),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    """What Discord would never say is refused at once, by its name."""
    (name,) = arguments
    with pytest.raises(error, match=f"^{name}"):
        FakeInteraction(**arguments)


def test_a_locale_by_its_code() -> None:
    """The code is that of Discord."""
    assert FakeInteraction(locale="de").locale is discord.Locale.german


async def test_a_button_that_is_not_there() -> None:
    """While the bot waits for others, it fails at once; after these, it may still appear."""

    async def ask(interaction: discord.Interaction[Any]) -> None:
        for label in ("First", "Second"):
            view = Asking(label)
            await interaction.edit_original_response(view=view)
            await view.wait()
            await asyncio.sleep(0.01)

    interaction = FakeInteraction()
    command = asyncio.create_task(interaction.run(StepsCog(defer, ask), "do"))
    async with asyncio.timeout(5):
        with pytest.raises(AssertionError, match=r"'Third'.*'First'"):
            await interaction.press("Third")
        for label in ("First", "Second"):
            await interaction.press(label)
        await command


class Asking(ui.View):
    """One button, which ends the wait."""

    def __init__(self, label: str) -> None:
        super().__init__(timeout=60)
        button: ui.Button[Asking] = ui.Button(label=label)
        button.callback = self.end  # type: ignore[method-assign]
        self.add_item(button)

    async def end(self, interaction: discord.Interaction[Any]) -> None:
        """End it."""
        await interaction.response.defer()
        self.stop()
