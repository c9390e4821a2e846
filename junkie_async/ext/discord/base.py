"""What all commands share: the shop's settings, how they answer, and how they handle errors."""

from __future__ import annotations

import asyncio
import copy
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

import discord
from discord import app_commands
from discord.ext import commands
from discord.utils import maybe_coroutine

from junkie_async import (
    BatchFields,
    ConfigurationError,
    Filters,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    Key,
    Keys,
)

from .. import DEADLINE, check_deadline
from . import texts
from .cooldowns import Cooldowns
from .orders import LedgerOption
from .settings import (
    check_callable,
    check_facts,
    check_ledger,
    check_setting,
    check_translations,
)
from .wording import ENGLISH, Texts

_log = logging.getLogger("junkie_async.ext.discord")

_SNOWFLAKES = range(1, 2**64)

_MAX_LOGGED: Final = 1000  # characters of an exception's text

_FAILURE: Final = "junkie_async.failure"
"""Where the extras of an interaction have the exception of the program, and its masked text."""

# A user install brings the commands to servers that never installed the bot, and there Discord
# does not check the permissions that they require.
GUILD_INSTALLS = app_commands.AppInstallationType(guild=True, user=False)

# A user has one key per provider and service, so these are not among the fields.
_USER_FIELDS: Final = BatchFields.__optional_keys__ - {"service_id", "discord_id"}

KeyGate: TypeAlias = "Callable[[discord.Interaction[Any]], bool | str | Awaitable[bool | str]]"
"""Decides whether a user gets a new key: see `KeyCog.may_get_key`."""

KeyFields: TypeAlias = "Callable[[discord.Interaction[Any]], BatchFields | Awaitable[BatchFields]]"
"""Returns fields of a user's new key: see `KeyCog.fields_for`."""


class BaseCommands(commands.Cog):
    """The base of both groups of commands. `KeyCog` documents the arguments."""

    def __init__(
        self,
        client: JunkieClient,
        *,
        provider_id: int,
        service_id: int | None = None,
        validity_minutes: int | timedelta | None = None,
        hwid_limit: int | None = 1,
        is_premium: bool = False,
        cooldown: timedelta = timedelta(minutes=1),
        reset_cooldown: timedelta = timedelta(hours=1),
        admin_guild_id: int | None = None,
        deadline: float | timedelta | None = DEADLINE,
        ledger: LedgerOption | None = None,
        may_get_key: KeyGate | None = None,
        fields_for: KeyFields | None = None,
        shown: Collection[str] = texts.FACTS,
        texts: Texts = ENGLISH,
        translations: Mapping[discord.Locale, Texts] | None = None,
    ) -> None:
        check_setting("client", client, "a JunkieClient", JunkieClient)
        self.keys: Keys = copy.copy(client.keys)  # the bot's other calls keep theirs
        self.keys.deadline = check_deadline(deadline)
        self.provider_id = provider_id
        self.scope: Filters = {"provider_id": provider_id}
        if service_id is not None:
            self.scope["service_id"] = service_id
        self.fields: BatchFields = {
            "service_id": service_id,
            "validity_minutes": validity_minutes,
            "hwid_limit": hwid_limit,
            "is_premium": is_premium,
        }
        self.ledger = ledger
        # A mistake shows when the bot starts, not when somebody calls the first command.
        self._check_fields(self.fields)
        check_ledger(ledger)
        self.new_keys: Cooldowns = Cooldowns("cooldown", cooldown)
        self.resets: Cooldowns = Cooldowns("reset_cooldown", reset_cooldown)
        if admin_guild_id is not None:
            limit = f"an integer from 1 to {_SNOWFLAKES[-1]}"
            check_setting("admin_guild_id", admin_guild_id, limit, int, _SNOWFLAKES.__contains__)
        self.admin_guild_id = admin_guild_id
        self._gate = check_callable("may_get_key", may_get_key)
        self._key_fields = check_callable("fields_for", fields_for)
        self.shown: tuple[str, ...] = check_facts(shown)
        check_setting("texts", texts, "a Texts", Texts)
        self.texts = texts
        self.translations: dict[discord.Locale, Texts] = check_translations(translations or {})
        # Weak, so that a lock lives no longer than the commands of its user.
        self._user_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    # --- to override ------------------------------------------------------------------------------

    async def may_get_key(self, interaction: discord.Interaction[Any]) -> bool | str:
        """Decide whether a user may get a new key. Override this, or pass ``may_get_key=``.

        ``/key get`` calls this after the answer is deferred, once, when the user has no key that
        works. A user who has one is shown it without a question.

        Returns:
            True; or False, and the user reads `Texts.not_allowed`; or the text that they read.

        Raises:
            Refusal: The user may not, and reads its text. Any other exception is logged, and the
                user gets no key.
        """
        return True if self._gate is None else await maybe_coroutine(self._gate, interaction)

    async def fields_for(self, interaction: discord.Interaction[Any]) -> BatchFields:
        """Return fields of a user's new key. Override this, or pass ``fields_for=``.

        ``/key get`` calls this right before it creates a key, when nothing else refuses the user.
        The fields replace those of the cog's arguments. With a ledger, an order that was begun
        keeps the fields that it was begun with.

        Returns:
            Any `BatchFields` but ``service_id`` and ``discord_id``, which are the cog's.

        Raises:
            Refusal: The user gets no key, and reads its text. Any other exception is logged.
        """
        if self._key_fields is None:
            return {}
        return await maybe_coroutine(self._key_fields, interaction)

    async def texts_for(self, interaction: discord.Interaction[Any]) -> Texts:
        """Return the texts to answer with, by default those of the user's language.

        Every command calls this after the answer is deferred, and once more to report an error. If
        it raises, it is logged, and the answer is in `texts`.
        """
        return self.translations.get(interaction.locale, self.texts)

    async def show_keys(
        self, interaction: discord.Interaction[Any], heading: str, keys: list[Key]
    ) -> None:
        """Answer with keys of the caller: override this to answer with an embed.

        ``/key get``, ``mine`` and ``info`` call this last, so an exception does not undo what they
        did. It is logged, and the user is told that something went wrong.

        Args:
            interaction: The call; its answer is deferred. Answer with `answer`.
            heading: A line above the keys; ``""`` for ``/key info``.
            keys: The keys; empty if the user has none.
        """
        words = await self._find_words(interaction)
        await self.answer(interaction, texts.list_keys(heading, keys, words, self.shown))

    async def on_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
        """Do something after a user got a new key: override this to report it to a channel.

            async def on_new_key(self, interaction: discord.Interaction, key: Key) -> None:
                log = interaction.client.get_partial_messageable(LOG_CHANNEL)
                value = mask_key_value(key.key_value)
                await log.send(f"{interaction.user} got key #{key.id} ({value}).")

        ``/key get`` calls this after the user has the answer, if the user had no key that works
        when the command began. It is not called for a key that the user had already, or that an
        administrator created. An exception is logged, and the answer stays.

        Without a ledger, it is called once for each new key, also if the answer could not be sent.
        With one, it is called at most once for a key over all shards, though not always by the
        shard that sent the request. A key that is created by a command that fails, or by a process
        that ends before this call, is not reported: the next ``/key get`` finds it.

        Args:
            interaction: The call, with its answer.
            key: The new key.
        """

    async def is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        """Decide who may call ``/keys``: override this to let others in.

        Every ``/keys`` command calls this first. Discord has checked the command's permissions
        already, but whoever invites a bot to a server is an administrator there.

        Raises:
            discord.HTTPException: Discord did not say who owns the bot.
        """
        # In the shop's own server, the permissions that Discord checked are the shop's.
        if self.admin_guild_id is not None and interaction.guild_id == self.admin_guild_id:
            return True
        return bool(await interaction.client.is_owner(interaction.user))

    # --- for commands of your own -----------------------------------------------------------------

    async def answer(
        self,
        interaction: discord.Interaction[Any],
        text: str = "",
        *,
        embed: discord.Embed | None = None,
        file: discord.File | None = None,
        view: discord.ui.View | None = None,
    ) -> None:
        """Replace the deferred message, or an earlier answer. Only the caller sees it.

        Args:
            interaction: The call, which `interaction_check` has deferred.
            text: The text. Discord takes 2,000 characters, so the rest is cut off.
            embed: An embed, or None for none.
            file: A file, or None for none.
            view: Buttons, or None for none.

        Raises:
            discord.HTTPException: Discord refused the answer, or 15 minutes have passed.
        """
        await interaction.edit_original_response(
            content=text[: texts.MAX_MESSAGE],
            embeds=[embed] if embed else [],
            attachments=[file] if file else [],
            view=view,
            # A key's name can be any text, `@everyone` included.
            allowed_mentions=discord.AllowedMentions.none(),
        )

    def lock_for(self, user: discord.abc.User) -> asyncio.Lock:
        """Return the lock that makes a user's commands run one after the other."""
        return self._user_locks.setdefault(user.id, asyncio.Lock())

    # --- called by discord.py ---------------------------------------------------------------------

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Defer the answer, visible only to the caller, and check who may call the command.

        To check more before every command, override this, and begin with
        ``if not await super().interaction_check(interaction): return False``.
        """
        try:
            # Discord drops an interaction without a response after 3 s, and one request to the key
            # service may take longer. The answer replaces this message, so it is ephemeral too.
            await interaction.response.defer(ephemeral=True)
            # Commands that were synced before they said so may still come from user installs.
            if interaction.is_user_integration() and not interaction.is_guild_integration():
                return False
            is_admin_command = _command_name(interaction).startswith("keys ")
            return not is_admin_command or await self.is_admin(interaction)
        except discord.HTTPException as error:
            # discord.py passes only an AppCommandError of a check to the error handler below.
            words = await self._find_words(interaction)
            raise texts.Refusal(words.no_response) from error

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Tell the caller what went wrong, and log it for the operator."""
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        if isinstance(cause, discord.HTTPException):
            self._keep_text(interaction, cause)
        log_error(interaction, cause)
        try:
            words = await self._find_words(interaction)
            await self.answer(interaction, texts.describe_error(cause, words))
        except Exception as lost:  # no other handler would report it
            name = _command_name(interaction)
            reason = type(lost).__name__
            if isinstance(lost, discord.HTTPException):
                reason = f"{reason}: {self._mask(interaction, lost)}"
            _log.warning("/%s: could not send the answer: %s", name, reason)

    # --- the results of callables -----------------------------------------------------------------

    async def _find_words(self, interaction: discord.Interaction[Any]) -> Texts:
        try:
            with self._own_code(interaction):
                words = await self.texts_for(interaction)
            _check_result("texts_for", words, "a Texts", Texts)
        except Exception as error:  # texts_for is the program's, and may ask a database
            log_error(interaction, error)
            return self.texts
        return words

    async def _check_gate(self, interaction: discord.Interaction[Any]) -> None:
        with self._own_code(interaction):
            decision = await self.may_get_key(interaction)
        # A forgotten return is None, which must let nobody in.
        _check_result("may_get_key", decision, "True, False, or the text of a refusal", bool, str)
        if isinstance(decision, str) and decision.strip():
            raise texts.Refusal(decision)
        if decision is not True:
            raise app_commands.CheckFailure

    async def _collect_fields(self, interaction: discord.Interaction[Any]) -> BatchFields:
        """Return all fields of a user's new key."""
        with self._own_code(interaction):
            fields = await self.fields_for(interaction)
        _check_result("fields_for", fields, "a dict of BatchFields", dict)
        if unknown := fields.keys() - _USER_FIELDS:
            limit = f"only {', '.join(sorted(_USER_FIELDS))}"
            raise ConfigurationError(f"fields_for must return {limit}, got {unknown.pop()!r}")
        try:
            owner: BatchFields = {"discord_id": interaction.user.id}
            merged = self.fields | fields | owner
            self._check_fields(merged)
        except (InvalidRequestError, TypeError) as error:
            # Not for the user, who entered nothing.
            raise ConfigurationError(f"fields_for returned invalid fields: {error}") from None
        return merged

    async def _show(
        self, interaction: discord.Interaction[Any], heading: str, keys: list[Key]
    ) -> None:
        with self._own_code(interaction, keys, overridden=self._overrides("show_keys")):
            await self.show_keys(interaction, heading, keys)

    async def _report_new_key(self, interaction: discord.Interaction[Any], key: Key) -> None:
        """Call `on_new_key`, which can't change the answer."""
        try:
            with self._own_code(interaction, [key]):
                await self.on_new_key(interaction, key)
        except Exception as error:
            log_error(interaction, error, "on_new_key: ")

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(BaseCommands, method)

    @contextmanager
    def _own_code(
        self,
        interaction: discord.Interaction[Any],
        keys: Sequence[Key] = (),
        *,
        overridden: bool = True,
    ) -> Generator[None]:
        """Keep the text of an exception of the program, or of Discord, for the log."""
        try:
            yield
        except Exception as error:
            if overridden or isinstance(error, discord.HTTPException):
                self._keep_text(interaction, error, keys)
            raise

    def _keep_text(
        self, interaction: discord.Interaction[Any], error: Exception, keys: Sequence[Key] = ()
    ) -> None:
        # Masked where the secrets are known that it may contain.
        if interaction.extras.get(_FAILURE, (None,))[0] is not error:
            interaction.extras[_FAILURE] = (error, self._mask(interaction, error, keys))

    def _mask(
        self, interaction: discord.Interaction[Any], error: Exception, keys: Sequence[Key] = ()
    ) -> str:
        secrets = [value for _, value in interaction.namespace if isinstance(value, str)]
        for key in keys:
            secrets += key.key_value, *key.keys_hwid, *(device.hwid for device in key.hwids)
        try:
            text = str(error)
        except Exception:  # it is the program's, too
            return ""
        return self.keys._dispatcher.redact(text, secrets, _MAX_LOGGED)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def _check_fields(self, fields: BatchFields) -> None:
        # The job checks its arguments when it is created, and sends nothing until it is awaited.
        self.keys.create_many(1, provider_id=self.provider_id, ledger=self.ledger, **fields).close()


def log_error(interaction: discord.Interaction[Any], error: Exception, where: str = "") -> None:
    """Log an error of the SDK with its message, and an unexpected one with its traceback."""
    name = f"{where}{type(error).__name__}"
    if isinstance(error, JunkieError):
        _log.warning("/%s: %s: %s", _command_name(interaction), name, error)
    elif where or not isinstance(error, texts.Refusal | app_commands.CheckFailure):
        frames = "".join(traceback.format_tb(error.__traceback__))
        # Of a mistake of our own without the message: it may contain any key value.
        failure, text = interaction.extras.pop(_FAILURE, (None, ""))
        reason = f"{name}: {text}" if failure is error and text else name
        _log.error("/%s: %s\n%s", _command_name(interaction), reason, frames)


def _check_result(hook: str, value: object, limit: str, *kinds: type) -> None:
    """Check what a callable of the program returned; a mistake is the operator's."""
    if not isinstance(value, kinds):
        shown = "None" if value is None else f"a {type(value).__name__}"
        raise ConfigurationError(f"{hook} must return {limit}, got {shown}")


def _command_name(interaction: discord.Interaction[Any]) -> str:
    return interaction.command.qualified_name if interaction.command else ""
