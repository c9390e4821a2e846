"""The texts of the integrations and the pytest plugin: what provokes each, and the whole text."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import pytest
from discord import app_commands
from discord.ext.commands import ExtensionFailed
from fastapi.requests import HTTPConnection

from junkie_async import (
    APIError,
    AttemptEvent,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    CreateReport,
    DeleteReport,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JobEvent,
    JunkieClient,
    JunkieError,
    Key,
    NotFoundError,
    OutcomeUnknownError,
    PauseEvent,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    RetryEvent,
    ServerError,
    TooManyMatchesError,
    TransportError,
)
from junkie_async.emulator import Faults
from junkie_async.ext import needs_extra
from junkie_async.ext.discord import KeyCog, Texts, texts
from junkie_async.ext.fastapi import junkie_client
from junkie_async.ext.logging import LoggingHooks
from junkie_async.ext.problem_details import problem_details
from junkie_async.pytest_plugin import KeyFactory
from tests.ext._answers import MISCONFIGURED, NOT_ACCEPTED, OUTCOME_UNKNOWN, UNAVAILABLE, UNEXPECTED
from tests.ext._shop import BOB, PROVIDER, environment, open_shop, plain_bot
from tests.ext._web import with_cause

WHEN = re.compile(r"<t:\d+:R>")


def of_call(error: JunkieError, method: str = "GET", path: str = "/keys/{keyId}") -> JunkieError:
    """Set the call that an error belongs to."""
    error.method, error.path = method, path
    return error


def refused(report: DeleteReport) -> BatchError:
    """Create the error of a job that did nothing."""
    error = BatchError("", report)
    error.did_nothing = True
    return error


# --- extras ---------------------------------------------------------------------------------------


def test_missing_library() -> None:
    """The error names the library and the command that installs it."""
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("discord"):
        raise ModuleNotFoundError("import of fastapi halted; None in sys.modules", name="fastapi")
    expected = "No module named 'fastapi': run `pip install \"junkie_async[discord]\"`"
    assert str(caught.value) == expected


# --- discord: commands ----------------------------------------------------------------------------

DESCRIPTIONS = {
    "key": "Your keys",
    "key get": "Get a key, or show the one you have",
    "key mine": "List your keys",
    "key info": "Show one of your keys",
    "key info key": "The whole key; leave it out for the one that works now",
    "key reset": "Unbind your key from its devices, so that you can use another one",
    "key reset key": "The whole key; leave it out for the one that works now",
    "keys": "All keys of the shop",
    "keys create": "Create keys and get them as a text file",
    "keys create amount": "How many keys to create",
    "keys create minutes": "Minutes until they expire",
    "keys create premium": "Whether they are premium",
    "keys create name": "A note stored with them",
    "keys create user": "Their owner",
    "keys find": "Show a key, or all keys of a user",
    "keys find key": "The whole key, or # and its ID",
    "keys find user": "The owner of the keys",
    "keys revoke": "Revoke a key until it is restored",
    "keys revoke key": "The whole key, or # and its ID",
    "keys restore": "Restore a revoked key",
    "keys restore key": "The whole key, or # and its ID",
    "keys delete": "Delete a key permanently",
    "keys delete key": "The whole key, or # and its ID",
    "keys purge": "Delete all keys with a status permanently, after you confirm",
    "keys purge status": "Which keys to delete",
    "keys purge user": "Only keys of this user",
    "keys export": "Get the shop's keys as a CSV file",
    "keys export status": "Only keys with this status",
    "keys stats": "Count the shop's keys by status",
}


def described(
    command: app_commands.Group | app_commands.Command[Any, ..., Any],
) -> Iterator[tuple[str, str]]:
    """Yield the descriptions of a command or group and of its options."""
    yield command.qualified_name, command.description
    if isinstance(command, app_commands.Command):
        for option in command.parameters:
            yield f"{command.qualified_name} {option.display_name}", str(option.description)


def test_descriptions() -> None:
    """Discord shows these next to the commands and their options."""
    cog = KeyCog(JunkieClient("any"), provider_id=PROVIDER)
    assert dict(pair for one in cog.walk_app_commands() for pair in described(one)) == DESCRIPTIONS


async def test_answers() -> None:
    """What each command answers, in an order in which each works."""
    async with open_shop() as shop:
        without_keys: list[tuple[str, dict[str, Any], str]] = [
            ("key mine", {}, "You have no keys."),
            ("key info", {}, "You have no key that works."),
            ("key info", {"key": "JNK"}, "You have no such key."),
            ("keys find", {}, "Give either a key or a user."),
            ("keys find", {"user": BOB}, "Keys found: 0"),
            ("keys purge", {"status": "used"}, "There is no such key."),
            ("keys export", {}, "Keys in the file: 0"),
            (
                "keys stats",
                {},
                "active: 0\nused: 0\nexpired: 0\ninvalidated: 0\n**Total: 0**",
            ),
        ]
        for command, options, text in without_keys:
            assert (await shop.call(command, **options)).answer.content == text
        key = await shop.stock()
        line = f"`{key.key_value}` (#1) · active · 0 devices"
        with_a_key: list[tuple[str, dict[str, Any], str]] = [
            ("key get", {}, f"Your key:\n{line}"),
            ("key mine", {}, f"Your keys:\n{line}"),
            ("key info", {}, line),
            ("key reset", {}, "Your key #1 is no longer bound to any device."),
            ("keys revoke", {"key": "#1"}, "`#1` is revoked."),
            ("key get", {}, "Your key #1 is revoked, so you can't get another one."),
            ("keys restore", {"key": "#1"}, "`#1` is no longer revoked."),
            ("keys delete", {"key": "#1"}, "`#1` is deleted."),
            ("keys create", {"amount": 2}, "2 created."),
        ]
        for command, options, text in with_a_key:
            assert (await shop.call(command, **options)).answer.content == text


async def test_confirmation() -> None:
    """A purge asks first, and says what it has done."""
    async with open_shop() as shop:
        await shop.emulator.seed(1200, provider_id=PROVIDER)
        asked = shop.interaction()
        command = asyncio.create_task(asked.run(shop.cog, "keys purge", status="active"))
        pressed = await asked.press("Delete", user_id=BOB)
        await asked.press("Delete 1,200")
        await command
    assert [answer.content for answer in asked.answers[1:]] == [
        "Delete all 1,200 keys that are active? This can't be undone.",
        "Deleting …",
        "1,200 deleted.",
    ]
    assert asked.answers[1].buttons == ("Delete 1,200", "Cancel")
    refusal = "Only the person who ran the command can confirm it."
    assert pressed.answer.content == refusal


async def test_cancellation() -> None:
    """A cancelled purge says that nothing happened."""
    async with open_shop() as shop:
        await shop.stock()
        asked = shop.interaction()
        command = asyncio.create_task(asked.run(shop.cog, "keys purge", status="active"))
        await asked.press("Cancel")
        await command
    assert asked.answer.content == "Nothing was deleted."


async def test_export_too_large() -> None:
    """The answer names the command that has no limit."""
    async with open_shop() as shop:
        exchange = await shop.call("keys export", limit=1)
    assert exchange.answer.content == (
        "The file is too large for Discord. Run `junkie export keys.csv` to write it to a disk."
    )


def test_key_in_a_line() -> None:
    """Every part of a key's line."""
    key = Key(
        id=7,
        key_value="JNK-1",
        is_premium=True,
        expires_at=datetime(2999, 1, 1, tzinfo=UTC),
        keys_hwid=("a", "b"),
        hwid_limit=5,
        key_name=f"my *own* {'x' * 60}",
    )
    assert texts.describe_key(key) == (
        "`JNK-1` (#7) · active · premium · until <t:32472144000> · 2 of 5 devices · "
        rf"my \*own\* {'x' * 51}"
    )


def test_truncated_list() -> None:
    """The last line counts the keys that did not fit."""
    keys = [Key(id=number, key_value="K" * 600) for number in range(1500)]
    assert texts.list_keys("Head:", keys).splitlines()[-1] == "… and 1,497 more"


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (CreateReport(requested=1, keys=("K",)), "1 created"),
        (
            CreateReport(requested=6, keys=("K",), failed=2, unknown=3),
            "1 created, 2 not created, 3 with an unknown outcome",
        ),
        (DeleteReport(requested=1000, deleted=1000), "1,000 deleted"),
        (
            DeleteReport(requested=6, deleted=1, missing=2, failed=3),
            "1 deleted, 2 already gone, 3 not deleted",
        ),
    ],
)
def test_reports(report: CreateReport | DeleteReport, text: str) -> None:
    """Counts of zero are left out, but for the first one."""
    assert texts.describe_report(report) == text


# --- discord: errors ------------------------------------------------------------------------------

COOLDOWN = app_commands.CommandOnCooldown(app_commands.Cooldown(1, 60.0), 30.0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (of_call(NotFoundError(status=404)), "There is no such key."),
        (ServerError(status=503), UNAVAILABLE),
        (AuthenticationError(status=401), NOT_ACCEPTED),
        (ConfigurationError(), MISCONFIGURED),
        (OutcomeUnknownError(), OUTCOME_UNKNOWN),
        (RateLimitError(status=429), "The key service is busy. Please try again <t>."),
        (BadRequestError(status=400), "The key service rejected this."),
        (InvalidRequestError("key", "''", "a string"), "Invalid input: key must be a string."),
        (ClientClosedError(), "The bot is shutting down. Please try again later."),
        (
            BatchError("", DeleteReport(requested=3, deleted=1, failed=2)),
            f"{UNEXPECTED} It stopped early: 1 deleted, 2 not deleted.",
        ),
        (COOLDOWN, "You can do this again <t>."),
        (app_commands.CheckFailure(), "You are not allowed to use this command."),
        (ZeroDivisionError(), UNEXPECTED),
    ],
)
def test_discord_errors(error: Exception, text: str) -> None:
    """What a user reads about each kind of error."""
    assert WHEN.sub("<t>", texts.describe_error(error)) == text


async def test_discord_log(caplog: pytest.LogCaptureFixture) -> None:
    """What the operator reads about an error."""
    async with open_shop() as shop:
        shop.emulator.faults = Faults(error_rate=1.0, error_status=401)
        await shop.call("key mine")
        with pytest.raises(discord.NotFound):
            await shop.interaction(expired=True).run(shop.cog, "key mine")
    records = [one for one in caplog.records if one.name == "junkie_async.ext.discord"]
    lines = [record.getMessage() for record in records]
    assert lines[0].startswith("/key mine: AuthenticationError: GET /keys: ")
    assert lines[1:] == [
        (
            "/key mine: could not send the answer: NotFound: 404 Not Found (error code: 10015): "
            "Unknown Webhook"
        ),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"client": "jk_secret"}, "client must be a JunkieClient, got a str"),
        (
            {"cooldown": timedelta(-1)},
            "cooldown must be a timedelta >= 0, got -1 day, 0:00:00",
        ),
        ({"reset_cooldown": "1h"}, "reset_cooldown must be a timedelta >= 0, got a str"),
        ({"deadline": "1h"}, "deadline must be seconds or a timedelta above 0, or None, got a str"),
        (
            {"deadline": timedelta(0)},
            "deadline must be seconds or a timedelta above 0, or None, got 0.0",
        ),
        (
            {"admin_guild_id": 0},
            f"admin_guild_id must be an integer from 1 to {2**64 - 1}, got 0",
        ),
        (
            {"may_get_key": True},
            "may_get_key must be a function that takes the interaction, or None, got a bool",
        ),
        (
            {"shown": ["key_value"]},
            (
                "shown must be a list of some of id, status, is_premium, expires_at, hwids, "
                "key_name, got one with 'key_value'"
            ),
        ),
        (
            {"translations": {"de": Texts()}},
            "translations must be a dict from discord.Locale to Texts, got a str",
        ),
    ],
)
def test_discord_settings(settings: dict[str, Any], message: str) -> None:
    """A wrong setting is named, with its limit."""
    defaults: dict[str, Any] = {"client": JunkieClient("any"), "provider_id": PROVIDER}
    with pytest.raises(InvalidRequestError) as caught:
        KeyCog(**defaults | settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"on_cooldown": "In {minutes}."},
            "on_cooldown must be a text whose only fields are {when}, got 'In {minutes}.'",
        ),
        (
            {"no_keys": "None, {name}."},
            "no_keys must be a text without fields in braces, got 'None, {name}.'",
        ),
        (
            {"no_keys": ""},
            "no_keys must be a text of 1 to 1,000 characters that is not blank, got a blank one",
        ),
        (
            {"cancel_button": "x" * 81},
            (
                "cancel_button must be a text of at most 80 characters, which is what a button "
                "holds, got one of 81 characters"
            ),
        ),
    ],
)
def test_discord_texts(texts: dict[str, Any], message: str) -> None:
    """A text that can't be formatted or shown is named, with what it may contain."""
    with pytest.raises(InvalidRequestError) as caught:
        Texts(**texts)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"may_get_key": lambda _: None},
            "may_get_key must return True, False, or the text of a refusal, got None",
        ),
        (
            {"fields_for": lambda _: ["x"]},
            "fields_for must return a dict of BatchFields, got a list",
        ),
        (
            {"fields_for": lambda _: {"service_id": 7}},
            (
                "fields_for must return only expiry_on_first_use, folder_id, hwid, hwid_limit, "
                "is_premium, key_name, no_hwid, one_time_use, validity_minutes, got 'service_id'"
            ),
        ),
        (
            {"fields_for": lambda _: {"hwid_limit": 101}},
            (
                "fields_for returned invalid fields: hwid_limit must be an integer from 0 to 100, "
                "got 101"
            ),
        ),
    ],
)
async def test_discord_callables(
    settings: dict[str, Any], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the operator reads about a callable that returns something else."""
    async with open_shop(**settings) as shop:
        await shop.call("key get")
    records = [one for one in caplog.records if one.name == "junkie_async.ext.discord"]
    assert [one.getMessage() for one in records] == [f"/key get: ConfigurationError: {line}"]


async def test_fake_interactions() -> None:
    """What a test of a cog reads when it or the cog made a mistake."""
    async with open_shop() as shop:
        call = shop.interaction()
        with pytest.raises(AssertionError) as caught:
            _ = call.answer
        assert str(caught.value) == "the bot did not respond with a message"
        await call.response.defer()
        with pytest.raises(AssertionError) as caught:
            _ = call.answer
        assert str(caught.value) == "the response was deferred, but no answer followed"
        await shop.call("key get")
        done = shop.calls[-1]
        with pytest.raises(AssertionError) as caught:
            await done.press("Delete")
        assert str(caught.value) == "no button 'Delete' to press; the answer has none"
        with pytest.raises(RuntimeError) as misused:
            await done.run(shop.cog, "key get")
        message = "an interaction runs one command: create another FakeInteraction"
        assert str(misused.value) == message


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("key get", {"user": 1}, "/key get has no option 'user'; it has none"),
        ("keys create", {}, "/keys create needs the option 'amount'"),
        ("keys create", {"amount": "5"}, "option amount of /keys create must be int, got str"),
        ("keys create", {"amount": 0}, "option amount of /keys create must be 1 to 1000, got 0"),
        (
            "keys create",
            {"amount": 1, "minutes": 0},
            "option minutes of /keys create must be at least 1, got 0",
        ),
        (
            "keys purge",
            {"status": "old"},
            (
                "option status of /keys purge must be one of 'active', 'used', 'expired', "
                "'invalidated', got 'old'"
            ),
        ),
        (
            "key",
            {},
            (
                "KeyCog has no command 'key'; it has keys create, keys find, keys revoke, keys "
                "restore, keys delete, keys purge, keys export, keys stats, key get, key mine, key "
                "info, key reset"
            ),
        ),
    ],
)
async def test_fake_options(command: str, options: dict[str, Any], message: str) -> None:
    """What Discord would not send is named."""
    async with open_shop() as shop:
        with pytest.raises((TypeError, ValueError, LookupError)) as caught:
            await shop.call(command, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("provider_id", "message"),
    [
        ("", "no provider ID: set $JUNKIE_PROVIDER_ID"),
        ("JNK-secret", "$JUNKIE_PROVIDER_ID must be an integer >= 0"),
    ],
)
async def test_discord_environment(provider_id: str, message: str) -> None:
    """A missing or wrong variable is named, without its value."""
    async with plain_bot() as bot:
        with (
            environment(JUNKIE_API_KEY="any", JUNKIE_PROVIDER_ID=provider_id),
            pytest.raises(ExtensionFailed) as caught,
        ):
            await bot.load_extension("junkie_async.ext.discord")
    assert str(caught.value.original) == message


# --- web apps -------------------------------------------------------------------------------------

NOT_SET_UP = "This server is not set up correctly for the key service."
IN_DOUBT = "All or part of this may have been carried out. Check before you repeat it."


@pytest.mark.parametrize(
    ("error", "detail", "line"),
    [
        (JunkieError(), "The key service can't be used.", "JunkieError: answered with HTTP 502"),
        (
            InvalidRequestError("hwid", "''", "a string"),
            "hwid must be a string.",
            "InvalidRequestError (hwid must be a string): answered with HTTP 400",
        ),
        (
            ConfigurationError("no API key"),
            NOT_SET_UP,
            "ConfigurationError (no API key): answered with HTTP 500",
        ),
        (
            of_call(AuthenticationError(status=401)),
            NOT_SET_UP,
            "AuthenticationError of GET /keys/{keyId}: answered with HTTP 500: check the API key",
        ),
        (
            PermissionDeniedError(status=403),
            NOT_SET_UP,
            "PermissionDeniedError: answered with HTTP 500: check the API key",
        ),
        (
            ClientClosedError(),
            "This server is not ready to use the key service.",
            "ClientClosedError: answered with HTTP 503",
        ),
        (
            TransportError(),
            "The key service is unreachable.",
            "TransportError: answered with HTTP 503",
        ),
        (
            ConnectError(transient=False),
            "The key service is unreachable.",
            "ConnectError: answered with HTTP 502",
        ),
        (
            RequestTimeoutError(),
            "The key service did not respond in time.",
            "RequestTimeoutError: answered with HTTP 504",
        ),
        (ServerError(), "The key service failed.", "ServerError: answered with HTTP 503"),
        (RateLimitError(), "The key service is busy.", "RateLimitError: answered with HTTP 503"),
        (
            DriftError(),
            "The keys changed while they were being read.",
            "DriftError: answered with HTTP 503",
        ),
        (
            TooManyMatchesError(),
            "Too many keys contain this value to look it up.",
            "TooManyMatchesError: answered with HTTP 400",
        ),
        (
            InvalidResponseError(),
            "The key service sent an invalid response.",
            "InvalidResponseError: answered with HTTP 502",
        ),
        (APIError(), "The key service rejected the request.", "APIError: answered with HTTP 502"),
        (
            BadRequestError(),
            "The key service rejected the request.",
            "BadRequestError: answered with HTTP 502",
        ),
        (NotFoundError(), "There is no such key.", "NotFoundError: answered with HTTP 404"),
        (
            of_call(NotFoundError(), "POST", "/keys"),
            "The key service rejected the request.",
            (
                "NotFoundError of POST /keys: answered with HTTP 502: this 404 says nothing about "
                "a key, so check the base URL"
            ),
        ),
        (
            ConflictError(),
            "The key's state does not allow this.",
            "ConflictError: answered with HTTP 409",
        ),
        (OutcomeUnknownError(), IN_DOUBT, "OutcomeUnknownError: answered with HTTP 502"),
        (
            BatchError("", CreateReport(requested=1, keys=())),
            IN_DOUBT,
            "BatchError: answered with HTTP 502",
        ),
        (
            with_cause(
                of_call(refused(DeleteReport(requested=1, failed=1)), "POST", "/keys/batch"),
                AuthenticationError(status=401),
            ),
            NOT_SET_UP,
            (
                "BatchError of POST /keys/batch (AuthenticationError): answered with HTTP 500: "
                "check the API key"
            ),
        ),
    ],
)
def test_problem_details(
    error: JunkieError, detail: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What users of a web app read, and what its operator reads."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    assert problem_details(error).body["detail"] == detail
    assert caplog.messages == [line]


async def test_app_without_a_lifespan() -> None:
    """The error says how to create and run the app."""
    connection = HTTPConnection({"type": "http", "state": {}})
    with pytest.raises(RuntimeError) as caught:
        await junkie_client(connection)
    assert str(caught.value) == (
        "the app has no JunkieClient: create it with FastAPI(lifespan=junkie_lifespan()), "
        "and run it with a server or test client that runs lifespans"
    )


# --- logging --------------------------------------------------------------------------------------

URL = "http://127.0.0.1/keys"


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each kind of event."""
    caplog.set_level(logging.INFO, "junkie_async.ext")
    hooks = LoggingHooks()
    attempt: dict[str, Any] = {"method": "GET", "path": "/keys", "url": URL, "seconds": 0.01234}
    hooks.on_attempt(AttemptEvent(**attempt, attempt=1, status=503))
    hooks.on_attempt(AttemptEvent(**attempt, attempt=2, error="ConnectError"))
    hooks.on_retry(
        RetryEvent(method="GET", path="/keys", attempt=2, seconds=0.25, error=ServerError())
    )
    hooks.on_pause(PauseEvent(seconds=12.0, from_server=True, ceiling=4))
    hooks.on_job(JobEvent(job="create_many", keys=100, done=200, total=250))
    hooks.on_job(JobEvent(job="delete_many", keys=2, done=2, total=None))
    assert caplog.messages == [
        "GET /keys: 503 (attempt 1, 12.3 ms)",
        "GET /keys: ConnectError (attempt 2, 12.3 ms)",
        "GET /keys: retry after ServerError (attempt 2, waited 0.250 s)",
        "rate limited: pausing for 12.000 s, then at most 4 in flight",
        "create_many: 200 of 250 keys",
        "delete_many: 2 keys",
    ]


# --- pytest plugin --------------------------------------------------------------------------------


async def test_store_without_an_emulator() -> None:
    """The error names the fixture to request."""
    with pytest.raises(RuntimeError) as caught:
        await KeyFactory(1).store()
    expected = "store() needs the fixture junkie_emulator: request it in the test"
    assert str(caught.value) == expected
