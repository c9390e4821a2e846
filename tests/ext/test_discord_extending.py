"""The Discord cog made one's own: gates, fields, texts, what is shown, and overridden methods."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import discord
import pytest
from discord import app_commands

from junkie_async import (
    BatchFields,
    ConfigurationError,
    InvalidRequestError,
    JunkieClient,
    Key,
    KeyStatus,
    mask_key_value,
)
from junkie_async.emulator import Emulator, Faults
from junkie_async.ext import discord as cog_room
from junkie_async.ext.discord import KeyCog, Refusal, Texts, testing, user_commands
from junkie_async.ext.discord.testing import FakeInteraction
from junkie_async.ext.discord.wording import ENGLISH

from ..pytest_plugin.nested import run, write
from . import _answers
from ._shop import ALICE, BOB, ELSEWHERE, Shop, make_cog, open_shop, plain_bot, says

LOG_CHANNEL = 333333333333333333
GERMAN = Texts(
    your_key="Dein Schlüssel:",
    no_keys="Keine Schlüssel.",
    active="aktiv",
    devices_of_limit="{count} von {limit} Geräten",
    unavailable="Bitte später noch einmal.",
    confirm_purge="{count} Schlüssel löschen?",
    confirm_button="{count} löschen",
    cancel_button="Abbrechen",
    nothing_purged="Nichts gelöscht.",
)


async def get_key(shop: Shop, **about: Any) -> str:
    """Call `/key get`, and return the answer."""
    call = shop.interaction(**about)
    await call.run(shop.cog, "key get")
    return call.answer.content


# --- gates ----------------------------------------------------------------------------------------


async def later(decision: Any) -> Any:
    """Decide in a coroutine."""
    await asyncio.sleep(0)
    return decision


def refuse(_: object) -> bool:
    """Refuse by an exception."""
    raise Refusal("Not today.")


def fail(_: object) -> bool:
    """Fail with a message for the operator."""
    raise ValueError("role table\nis empty")


@pytest.mark.parametrize(
    ("gate", "template"),
    [
        (lambda _: True, _answers.YOUR_KEY),
        (lambda _: later(True), _answers.YOUR_KEY),
        (lambda _: False, _answers.NOT_ALLOWED),
        (lambda _: later("Please wait."), "Please wait."),
        (lambda _: " ", _answers.NOT_ALLOWED),
        (refuse, "Not today."),
        (fail, _answers.UNEXPECTED),
        (lambda _: None, _answers.MISCONFIGURED),
        (lambda _: 1, _answers.MISCONFIGURED),
    ],
)
async def test_gate(
    gate: Callable[[object], Any], template: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only True lets a user in. A mistake of the gate is logged, and lets nobody in."""
    async with open_shop(may_get_key=gate) as shop:
        assert says(await get_key(shop), template)
        assert await shop.emulator.count() == (template == _answers.YOUR_KEY)
    is_logged = template in (_answers.UNEXPECTED, _answers.MISCONFIGURED)
    loggers = [record.name for record in caplog.records]
    assert ("junkie_async.ext.discord" in loggers) is is_logged
    is_failure = template == _answers.UNEXPECTED
    assert ("/key get: ValueError: role table is empty\n" in caplog.text) is is_failure


async def test_a_gate_is_about_new_keys() -> None:
    """Who has a key is shown it; an outage is not a question to the gate."""
    asked: list[int] = []

    def gate(interaction: discord.Interaction) -> bool:
        asked.append(interaction.user.id)
        return False

    async with open_shop(may_get_key=gate) as shop:
        key = await shop.stock()
        assert key.key_value in await get_key(shop)
        shop.emulator.faults = Faults(error_rate=1.0)
        assert await get_key(shop, by=BOB) == _answers.UNAVAILABLE
        shop.emulator.faults = None
        assert await get_key(shop, by=BOB) == _answers.NOT_ALLOWED
    assert asked == [BOB]


async def test_a_gate_by_role() -> None:
    """A gate sees the member's roles; a user of a direct message has none."""

    class Gated(KeyCog):
        async def may_get_key(self, interaction: discord.Interaction[Any]) -> bool | str:
            member = interaction.user
            names = [role.name for role in getattr(member, "roles", [])]
            return "Customer" in names or "Only customers."

    async with open_shop(Gated) as shop:
        assert await get_key(shop, roles=["Friend"]) == "Only customers."
        assert await get_key(shop, guild_id=None) == "Only customers."
        assert says(await get_key(shop, roles=["Friend", "Customer"]), _answers.YOUR_KEY)


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_fields(is_async: bool) -> None:
    """A user's fields replace those of the cog."""

    def name(interaction: discord.Interaction) -> Any:
        fields: BatchFields = {"key_name": interaction.user.name, "hwid_limit": 5}
        return later(fields) if is_async else fields

    async with open_shop(fields_for=name, is_premium=True) as shop:
        await get_key(shop, user_name="ada")
        (key,) = await shop.keys()
    assert (key.key_name, key.hwid_limit, key.is_premium) == ("ada", 5, True)
    assert key.discord_id == str(ALICE)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        ["key_name"],
        {"key_name": "x" * 256},
        {"validty_minutes": 5},
        {"service_id": 7},
        {"discord_id": BOB},
        {"provider_id": 7},
        {"idempotency_key": "x"},
        {"concurrency": 2},
        {5: 5},
    ],
)
async def test_wrong_fields(fields: Any, caplog: pytest.LogCaptureFixture) -> None:
    """They are the operator's mistake: logged, not explained to the user, and nothing is sent."""
    async with open_shop(fields_for=lambda _: fields) as shop:
        assert await get_key(shop) == _answers.MISCONFIGURED
        assert shop.emulator.calls["createKey"] == 0
    assert "/key get: ConfigurationError: fields_for " in caplog.text


async def test_a_name_without_room_for_the_marker(tmp_path: Path) -> None:
    """With a ledger, a name of 255 characters is too long."""
    fields: BatchFields = {"key_name": "x" * 255}
    async with open_shop(fields_for=lambda _: fields, ledger=tmp_path / "bot.db") as shop:
        assert await get_key(shop) == _answers.MISCONFIGURED
        assert shop.emulator.calls["createKey"] == 0


async def test_fields_are_asked_for_last() -> None:
    """Whom something else refuses, no fields are made for; nor does a wrong one start a wait."""
    asked: list[int] = []

    def fields(interaction: discord.Interaction) -> BatchFields:
        asked.append(interaction.user.id)
        raise Refusal("Later.")

    async with open_shop(fields_for=fields) as shop:
        await shop.junkie.keys.invalidate(await shop.stock())
        assert says(await get_key(shop), _answers.NO_KEY_AFTER_REVOCATION)
        assert asked == []
        assert [await get_key(shop, by=BOB) for _ in range(2)] == ["Later."] * 2


async def test_an_order_keeps_its_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is renamed in between still gets one key, of the name that it was begun with."""
    monkeypatch.setattr(user_commands, "_UNKNOWN_OUTCOME_WAIT", 0.0)

    def name(interaction: discord.Interaction) -> BatchFields:
        return {"key_name": interaction.user.name}

    async with open_shop(fields_for=name, ledger=tmp_path / "bot.db") as shop:
        shop.emulator.faults = Faults(drop_before_rate=1.0, operations="createKey")
        assert await get_key(shop, user_name="ada") == _answers.OUTCOME_UNKNOWN
        shop.emulator.faults = None
        assert says(await get_key(shop, user_name="lady"), _answers.YOUR_KEY)
        (key,) = await shop.keys()
    assert (key.key_name or "").startswith("ada")


# --- texts ----------------------------------------------------------------------------------------


async def test_translations() -> None:
    """Each user is answered in their language; errors, lists and buttons too."""
    async with open_shop(translations={discord.Locale.german: GERMAN}) as shop:
        german = discord.Locale.german
        text = await get_key(shop, locale=german)
        assert text.startswith("Dein Schlüssel:\n")
        assert text.endswith("· aktiv · 0 von 1 Geräten")
        assert says(await get_key(shop, locale=discord.Locale.french), _answers.YOUR_KEY)
        asked = shop.interaction(locale=german)
        command = asyncio.create_task(asked.run(shop.cog, "keys purge", status=KeyStatus.ACTIVE))
        await asked.press("Abbrechen")
        await command
        assert asked.answers[1].content == "1 Schlüssel löschen?"
        assert asked.answers[1].buttons == ("1 löschen", "Abbrechen")
        assert asked.answer.content == "Nichts gelöscht."
        shop.emulator.faults = Faults(error_rate=1.0)
        assert await get_key(shop, locale=german) == "Bitte später noch einmal."


@pytest.mark.parametrize("texts", [None, ValueError("no database")])
async def test_texts_that_fail(texts: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is in the cog's own texts, and the operator reads why."""

    class Broken(KeyCog):
        async def texts_for(self, interaction: discord.Interaction[Any]) -> Texts:
            if isinstance(texts, Exception):
                raise texts
            return texts  # type: ignore[no-any-return]  # the mistake under test

    async with open_shop(Broken, texts=GERMAN) as shop:
        assert (await get_key(shop)).startswith("Dein Schlüssel:\n")
        shop.emulator.faults = Faults(error_rate=1.0)
        assert await get_key(shop) == "Bitte später noch einmal."
    error = (
        "ValueError: no database"
        if texts
        else "ConfigurationError: texts_for must return a Texts, got None"
    )
    assert f"/key get: {error}" in caplog.text


@pytest.mark.parametrize(
    "texts",
    [
        {"no_keys": ""},
        {"no_keys": " "},
        {"no_keys": 5},
        {"no_keys": "x" * 1001},
        {"no_keys": "{count}"},
        {"on_cooldown": "{when"},
        {"on_cooldown": "{}"},
        {"on_cooldown": "{0}"},
        {"on_cooldown": "{when.real}"},
        {"on_cooldown": "{when:,}"},
        {"on_cooldown": "{when[0]}"},
        {"total_count": "{count:{count}}"},
        {"total_count": "{count!x}"},
        {"cancel_button": "x" * 81},
        {"confirm_button": "{count}" * 9},
    ],
)
def test_wrong_texts(texts: dict[str, Any]) -> None:
    """A text that could not be shown is refused when it is given."""
    with pytest.raises(InvalidRequestError) as caught:
        Texts(**texts)
    assert [caught.value.field] == list(texts)


def test_the_signature_is_short() -> None:
    """Editors show it: without all texts, of which a repr has those that differ."""
    assert len(str(inspect.signature(KeyCog))) < 1500
    assert repr(ENGLISH) == "Texts()"
    assert repr(Texts(no_keys="Keine.")) == "Texts(no_keys='Keine.')"


def test_texts_with_fields() -> None:
    """A field takes a format, may be left out, and may be repeated; braces are doubled."""
    words = Texts(total_count="{count} = {count:.1e} {{x}}", on_cooldown="Wait.")
    assert words.total_count.format(count=5) == "5 = 5.0e+00 {x}"


def test_every_text_is_used() -> None:
    """None is left over when an answer changes."""
    sources = Path(inspect.getfile(cog_room)).parent
    code = "".join(path.read_text("utf-8") for path in sources.glob("*_commands.py"))
    code += "".join((sources / f"{name}.py").read_text("utf-8") for name in ("base", "texts"))
    names = [name for name in dir(ENGLISH) if not name.startswith("_")]
    assert [name for name in names if f"words.{name}" not in code] == []


async def test_commands_are_translated_by_discord_py() -> None:
    """A translator of the bot's tree gets the descriptions of all commands."""

    class Translator(app_commands.Translator):
        async def translate(
            self,
            string: app_commands.locale_str,
            locale: discord.Locale,
            context: app_commands.TranslationContextTypes,
        ) -> str | None:
            is_german = locale is discord.Locale.german and string.message == "List your keys"
            return "Schlüsselbund" if is_german else None

    bot = plain_bot()
    async with open_shop() as shop, bot:
        await bot.add_cog(shop.cog)
        await bot.tree.set_translator(Translator())
        group = bot.tree.get_command("key")
        assert isinstance(group, app_commands.Group)
        assert bot.tree.translator
        payload = await group.get_translated_payload(bot.tree, bot.tree.translator)
    described = {one["name"]: one.get("description_localizations") for one in payload["options"]}
    assert described["mine"] == {"de": "Schlüsselbund"}


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ([], "{value}"),
        (["id"], "{value} (#1)"),
        (["key_name", "status"], "{value} · gift · active"),
        (["hwids", "id"], "{value} (#1) · 0 of 3 devices"),
    ],
)
async def test_shown(shown: list[str], text: str) -> None:
    """Users see the chosen facts in their order; administrators see all."""
    async with open_shop(shown=shown) as shop:
        key = await shop.stock(key_name="gift", hwid_limit=3)
        call = await shop.call("key info")
        assert call.answer.content == text.format(value=f"`{key.key_value}`")
        found = await shop.call("keys find", user=ALICE)
        assert found.answer.content.endswith("(#1) · active · 0 of 3 devices · gift")


class EmbedCog(KeyCog):
    """Answers with an embed."""

    async def show_keys(
        self, interaction: discord.Interaction[Any], heading: str, keys: list[Key]
    ) -> None:
        """Show the values only."""
        embed = discord.Embed(title=heading, description="\n".join(key.key_value for key in keys))
        await self.answer(interaction, embed=embed)


async def test_embeds() -> None:
    """`show_keys` may answer with an embed, which only the caller sees."""
    async with open_shop(EmbedCog) as shop:
        call = await shop.call("key get")
        (key,) = await shop.keys()
        (embed,) = call.answer.embeds
        assert (embed.title, embed.description) == ("Your key:", key.key_value)
        assert call.answer.ephemeral
        assert (await shop.call("key reset")).answer.embeds == ()


async def test_show_keys_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The key exists; the user reads that something went wrong, and sees it with the next call.

    The log has the text of the exception, but neither key values and HWIDs nor the API key.
    """
    secrets = ["the-api-key", "hwid-of-alice"]

    class Broken(KeyCog):
        async def show_keys(self, *_: object) -> None:
            raise ValueError(" ".join(["no embed \x1b[31mfor", *secrets]))

    async with Emulator() as emulator, JunkieClient(secrets[0], base_url=emulator.url) as client:
        shop = Shop(make_cog(client, Broken), emulator, client)
        key = await shop.stock(hwid=secrets[1])
        secrets.append(key.key_value)
        assert await get_key(shop) == _answers.UNEXPECTED
    assert "/key get: ValueError: no embed [31mfor *** *** ***\n" in caplog.text
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_errors_of_discord_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What Discord says of a refused answer is in the log."""

    class Long(KeyCog):
        async def show_keys(self, interaction: discord.Interaction[Any], *_: object) -> None:
            await interaction.followup.send("x" * 2001)

    async with open_shop(Long) as shop:
        with pytest.raises(discord.HTTPException):
            await shop.call("key mine")
    assert "/key mine: HTTPException: 400 Bad Request" in caplog.text
    assert "Must be 2000 or fewer" in caplog.text


# --- new keys -------------------------------------------------------------------------------------


class LoggingCog(KeyCog):
    """Reports new keys to a channel."""

    async def on_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
        """Report a key once the user has the answer."""
        assert isinstance(interaction, FakeInteraction)
        assert key.key_value in interaction.answer.content
        log = interaction.client.get_partial_messageable(LOG_CHANNEL)
        value = mask_key_value(key.key_value)
        await log.send(f"{interaction.user} got key #{key.id} ({value}).")


@pytest.mark.parametrize("has_ledger", [False, True])
async def test_new_keys_are_reported_once(tmp_path: Path, has_ledger: bool) -> None:
    """A key that the user had, or that an administrator created, is not new."""
    ledger = tmp_path / "bot.db" if has_ledger else None
    async with open_shop(LoggingCog, ledger=ledger) as shop:
        await shop.stock(discord_id=BOB)
        for command, by in (("get", ALICE), ("get", ALICE), ("mine", ALICE), ("get", BOB)):
            await shop.call(f"key {command}", by)
        (key,) = await shop.keys(discord_id=ALICE)
    sent = [[answer.content for answer in call.sent_to(LOG_CHANNEL)] for call in shop.calls]
    assert sent == [[f"user got key #{key.id} ({mask_key_value(key.key_value)})."], [], [], []]
    assert key.key_value not in sent[0][0]


async def test_shards_report_a_new_key_once(tmp_path: Path) -> None:
    """However many of them give the user the key at the same time."""
    reported: list[int] = []

    class Counting(KeyCog):
        async def on_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
            reported.append(key.id)

    async with open_shop() as shop:
        shop.emulator.latency = 0.05
        shards = [
            attrs.evolve(shop, cog=make_cog(client, Counting, ledger=tmp_path / "bot.db"))
            for client in [shop.junkie] * 3
        ]
        await asyncio.gather(*(shard.call("key get") for shard in shards))
        assert reported == [key.id for key in await shop.keys()]


async def test_a_new_key_after_a_lost_response() -> None:
    """A key that was found by a look-up is new as well."""
    async with open_shop(LoggingCog) as shop:
        shop.emulator.faults = Faults(drop_after_rate=1.0, operations="createKey")
        call = await shop.call("key get")
        assert len(call.sent_to(LOG_CHANNEL)) == 1


@pytest.mark.parametrize("error", [ValueError, Refusal, ConfigurationError])
async def test_on_new_key_that_fails(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer stays, and the log has the text, without the key value."""

    class Broken(KeyCog):
        async def on_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
            raise error(f"no channel for {key.key_value if error is ValueError else 'keys'}")

    async with open_shop(Broken) as shop:
        call = await shop.call("key get")
        (key,) = await shop.keys()
    assert key.key_value in call.answer.content
    assert call.error is None
    assert f"/key get: on_new_key: {error.__name__}: no channel for " in caplog.text
    assert key.key_value not in caplog.text


async def test_a_new_key_that_can_not_be_shown() -> None:
    """It is reported all the same: the user has it."""
    reported: list[int] = []

    class Broken(KeyCog):
        async def show_keys(self, *_: object) -> None:
            raise ValueError

        async def on_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
            reported.append(key.id)

    async with open_shop(Broken) as shop:
        assert [await get_key(shop) for _ in range(2)] == [_answers.UNEXPECTED] * 2
        assert reported == [key.id for key in await shop.keys()]


# --- overridden methods and own commands ----------------------------------------------------------


class ClubCog(KeyCog):
    """A shop with a command of its own, for members in one channel, and helpers for `/keys`."""

    @app_commands.command(description="How many keys you have")
    async def count(self, interaction: discord.Interaction) -> None:
        """Count the caller's keys."""
        count = await self.keys.list(discord_id=interaction.user.id).count()
        if not count:
            raise Refusal("None.")
        await self.answer(interaction, str(count))

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Allow one channel only."""
        if not await super().interaction_check(interaction):
            return False
        if interaction.channel_id != 5:
            raise Refusal("Please use <#5>.")
        return True

    async def is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        """Let helpers in."""
        return interaction.user.name == "helper" or await super().is_admin(interaction)


async def test_own_commands_and_checks() -> None:
    """A subclass adds commands and checks; other cogs don't get them."""
    async with open_shop(ClubCog) as shop:
        answers: list[str] = []
        for command, about in (
            ("count", {"channel_id": 4}),
            ("count", {"channel_id": 5}),
            ("count", {"channel_id": 5, "user_install": True}),
            ("keys stats", {"channel_id": 5, "guild_id": ELSEWHERE}),
            ("keys stats", {"channel_id": 5, "guild_id": ELSEWHERE, "user_name": "helper"}),
        ):
            call = shop.interaction(**about)
            await call.run(shop.cog, command)
            answers.append(call.answer.content)
        await shop.stock()
        call = shop.interaction(channel_id=5)
        await call.run(shop.cog, "count")
    assert answers[:2] == ["Please use <#5>.", "None."]
    assert answers[2:4] == [_answers.NOT_ALLOWED] * 2
    assert says(answers[4].splitlines()[-1], _answers.TOTAL_COUNT)
    assert call.answer.content == "1"
    names = {command.name for command in KeyCog.__cog_app_commands__}
    assert names == {"key", "keys"}


# --- the example ----------------------------------------------------------------------------------


def example_in(module: Any) -> str:
    """Return the indented code that begins with the import of discord in a docstring."""
    block = re.search(r"\n    import discord\n(?:(?:    .*)?\n)*", module.__doc__)
    assert block
    return inspect.cleandoc(block[0])


@pytest.mark.slow
def test_the_example_passes(tmp_path: Path) -> None:
    """The cog of the package's docstring passes the tests of `testing`'s docstring."""
    cog, tests = map(example_in, (cog_room, testing))
    write(tmp_path, test_shop=f"{cog}\n\n\n{tests}")
    ended = run(tmp_path, "-W", "ignore::DeprecationWarning")
    assert ended.code == 0, ended.out
    assert "2 passed" in ended.out
