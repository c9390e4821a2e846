"""The Discord cog when something fails: the answers, the log, and what neither may show."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import discord
import pytest
from discord import app_commands

import junkie_async
from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    DeleteReport,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Key,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TooManyMatchesError,
    TransportError,
)
from junkie_async.emulator import Emulator, Faults
from junkie_async.ext.discord import texts

from ..cpu_time import run_within
from ..unit.test_log_output import unconfigured
from . import _answers
from ._shop import NO_RETRIES, Shop, open_shop, says


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop for users and administrators."""
    async with open_shop() as shop:
        yield shop


# --- texts ----------------------------------------------------------------------------------------

KEY_NOT_FOUND = NotFoundError("no such key", status=404)
KEY_NOT_FOUND.path = "/keys/{keyId}"
PATH_NOT_FOUND = NotFoundError("nothing here", status=404)
PATH_NOT_FOUND.path = "/keys"
GATEWAY_NOT_FOUND = NotFoundError("nothing here", status=404, body='{"message": "Not Found"}')
GATEWAY_NOT_FOUND.path, GATEWAY_NOT_FOUND.attempts = "/keys/{keyId}", 1

TEMPLATES: dict[str, list[JunkieError]] = {
    _answers.NO_SUCH_KEY: [KEY_NOT_FOUND],
    _answers.UNAVAILABLE: [
        JunkieError(),
        PATH_NOT_FOUND,
        GATEWAY_NOT_FOUND,
        TransportError(),
        ConnectError(),
        RequestTimeoutError(),
        ServerError(status=503),
        InvalidResponseError(),
        DriftError(),
        APIError(status=520),
        PermissionDeniedError(status=403, challenge=True),
    ],
    _answers.NOT_ACCEPTED: [AuthenticationError(status=401), PermissionDeniedError(status=403)],
    _answers.MISCONFIGURED: [ConfigurationError()],
    _answers.RATE_LIMITED: [
        RateLimitError(status=429),
        RateLimitError(status=429, retry_after=5.0),
    ],
    _answers.OUTCOME_UNKNOWN: [OutcomeUnknownError()],
    _answers.REJECTED: [BadRequestError(status=400), ConflictError(status=409)],
    _answers.TOO_MANY_MATCHES: [TooManyMatchesError()],
    _answers.INVALID_INPUT: [InvalidRequestError("key", "''", "a string that is not empty")],
    _answers.SHUTTING_DOWN: [ClientClosedError()],
    _answers.STOPPED_EARLY: [BatchError("", DeleteReport(requested=3, deleted=1, failed=2))],
}


@pytest.mark.parametrize(
    ("template", "error"),
    [(template, error) for template, errors in TEMPLATES.items() for error in errors],
)
def test_errors(template: str, error: JunkieError) -> None:
    """Each error has its text, and only the service's 404 for a key reads as a missing key."""
    assert says(texts.describe_error(error), template)
    assert (texts.describe_error(error) == _answers.NO_SUCH_KEY) == (error is KEY_NOT_FOUND)


def test_every_error_class_has_a_text() -> None:
    """The table above has every error class."""
    classes = {one for one in vars(junkie_async).values() if isinstance(one, type)}
    errors = {one for one in classes if issubclass(one, JunkieError)}
    assert {type(error) for errors in TEMPLATES.values() for error in errors} == errors


def test_errors_of_discord() -> None:
    """Refusals, cooldowns, checks and unexpected errors have texts too."""
    cooldown = app_commands.CommandOnCooldown(app_commands.Cooldown(1, 60.0), 30.0)
    assert texts.describe_error(texts.Refusal("Not today.")) == "Not today."
    assert texts.describe_error(texts.Refusal()) == _answers.NOT_ALLOWED
    assert says(texts.describe_error(cooldown), _answers.ON_COOLDOWN)
    assert texts.describe_error(app_commands.MissingPermissions(["x"])) == _answers.NOT_ALLOWED
    assert texts.describe_error(ZeroDivisionError("JNK-secret")) == _answers.UNEXPECTED
    assert texts.describe_error(None) == _answers.UNEXPECTED


@pytest.mark.parametrize("seconds", [999_999_999_999.0, 1e300, math.inf])
def test_an_absurd_wait(seconds: float) -> None:
    """However long the service asks to wait, the answer names a moment within a day."""
    text = texts.describe_error(RateLimitError(status=429, retry_after=seconds))
    assert says(text, _answers.RATE_LIMITED)
    moment = re.search(r"<t:(\d+):R>", text)
    assert moment
    assert 0 < int(moment[1]) - time.time() <= 86_401


def test_an_absurd_cooldown() -> None:
    """A cooldown that ends after the year 9999 has an answer, too."""
    cooldown = app_commands.Cooldown(1, timedelta.max.total_seconds())
    error = app_commands.CommandOnCooldown(cooldown, timedelta.max.total_seconds())
    assert says(texts.describe_error(error), _answers.ON_COOLDOWN)


MARKUP = [
    "[free keys](https://evil.example)",
    "<https://evil.example>",
    "https://evil.example",
    "discord.gg/abc",
    "</key get:100000000000000001>",
    "<@100000000000000001>",
    "<#100000000000000001> <id:browse>",
    "<a:b:100000000000000001> <t:1:R>",
    "@everyone",
    "**b** __u__ ~~s~~ ||h|| `c` ```d```",
    "\\*b*",
    "> q\n# h\n-# s",
]


@pytest.mark.parametrize("name", MARKUP)
def test_names_are_not_markup(name: str) -> None:
    """Every character of a key's name that Discord could read as markup is escaped."""
    line = texts.describe_key(Key(id=7, key_value="JNK-1", key_name=name))
    shown = line.rpartition(" · ")[2]
    assert re.sub(r"\\([^a-z0-9\s])", r"\1", shown) == " ".join(name.split())
    assert not re.search(r"(?<!\\)(\\\\)*[`*_~|<>\[\]()#:/@]", shown)


CONTROLS = "a\x1b[31mb\x00c\u202ed\u2066e\u200bf\nb\u2028g\x85h\ufeff"


def test_names_have_no_control_characters() -> None:
    """Escape codes, line breaks and marks that turn or hide text are removed."""
    line = texts.describe_key(Key(id=7, key_value=f"`{CONTROLS}", key_name=CONTROLS))
    assert line.isprintable()
    assert line.endswith(r" · a\[31mbcdef b g h")


@pytest.mark.parametrize("text", ["K", "`", "`[a](", "\x1b"])
def test_long_texts_are_cut_before_they_are_escaped(text: str) -> None:
    """What is shown of the longest option ends in an ellipsis, and a message holds all of it."""
    long = text * (6000 // len(text))
    shown = run_within(1, lambda: texts.quote(long))  # 4.2 s by `discord.utils.escape_markdown`
    assert len(shown) < 1700
    assert "…" in shown[-2:]
    name = Key(id=7, key_value=text * 6000, key_name=text * 6000)
    assert len(texts.describe_key(name)) < texts.MAX_MESSAGE


@pytest.mark.parametrize("text", ["a`b", " a", "a\nb", "**a**`"])
def test_quote_escapes_what_inline_code_would_change(text: str) -> None:
    """A text that would end or change in inline code is escaped instead."""
    assert not texts.quote(text).startswith("`")
    assert "**" not in texts.quote(text)


def test_lists_fit_into_a_message() -> None:
    """However long its lines are, a list is cut at the end of a line."""
    keys = [Key(id=number, key_value="K" * 600, key_name="_" * 255) for number in range(9)]
    text = texts.list_keys("Head:", keys)
    assert len(text) <= texts.MAX_MESSAGE
    lines = text.splitlines()
    assert lines[1:3] == [texts.describe_key(keys[8]), texts.describe_key(keys[7])]
    assert len(lines) == 4


# --- over the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "template"),
    [
        (400, _answers.REJECTED),
        (401, _answers.NOT_ACCEPTED),
        (403, _answers.NOT_ACCEPTED),
        (404, _answers.UNAVAILABLE),
        (409, _answers.REJECTED),
        (429, _answers.RATE_LIMITED),
        (500, _answers.UNAVAILABLE),
        (503, _answers.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("command", ["key get", "key mine", "key reset", "keys stats"])
async def test_statuses(shop: Shop, command: str, status: int, template: str) -> None:
    """An outage, a wrong API key and a rejection differ, and none reads as a missing key."""
    await shop.stock()
    shop.emulator.faults = Faults(error_rate=1.0, error_status=status)
    exchange = await shop.call(command)
    assert says(exchange.answer.content, template)


async def test_lost_reset(shop: Shop) -> None:
    """A reset whose response is lost has an unknown outcome."""
    await shop.stock()
    shop.emulator.faults = Faults(drop_after_rate=1.0, operations="resetKeyHwid")
    assert (await shop.call("key reset")).answer.content == _answers.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    ("command", "hangs", "template"),
    [
        ("key mine", "listKeys", _answers.UNAVAILABLE),
        ("key get", "listKeys", _answers.UNAVAILABLE),
        ("key get", "createKey", _answers.YOUR_KEY),  # found by a look-up
        ("keys stats", "listKeys", _answers.UNAVAILABLE),
        ("keys export", "listKeys", _answers.UNAVAILABLE),
        ("keys revoke", "updateKey", _answers.UNAVAILABLE),
    ],
)
async def test_a_service_that_hangs(command: str, hangs: str, template: str) -> None:
    """The caller has an answer soon after the deadline."""
    async with open_shop(deadline=timedelta(seconds=0.3)) as shop:
        shop.emulator.faults = Faults(latency=30.0, operations=hangs)
        options: dict[str, Any] = {"key": "JNK"} if command == "keys revoke" else {}
        async with asyncio.timeout(10):
            assert says((await shop.call(command, **options)).answer.content, template)


async def test_wrong_api_key(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong API key is an error of the bot, and is logged."""
    async with (
        Emulator(api_keys=["right"]) as emulator,
        JunkieClient("wrong", base_url=emulator.url) as client,
    ):
        use(shop, client)
        assert (await shop.call("key get")).answer.content == _answers.NOT_ACCEPTED
    assert "/key get: AuthenticationError: GET /keys" in caplog.text


async def test_the_log_is_seen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What users are told to find in the log is on stderr, without any logging configured."""
    await shop.stock()
    with unconfigured():
        shop.emulator.faults = Faults(error_rate=1.0, error_status=401)
        await shop.call("key mine")
        shop.emulator.faults = None
        monkeypatch.delattr(texts, "list_keys")
        assert (await shop.call("key mine")).answer.content == _answers.UNEXPECTED
    written = capsys.readouterr().err
    assert "/key mine: AuthenticationError: GET /keys: " in written
    assert "/key mine: AttributeError\n" in written
    assert "in mine\n" in written


async def test_connection_refused(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A closed port is an outage; the log has the command and the error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    async with JunkieClient("any", base_url=address, retry=NO_RETRIES) as client:
        use(shop, client)
        assert (await shop.call("key get")).answer.content == _answers.UNAVAILABLE
    assert "/key get: ConnectError: GET /keys" in caplog.text


async def test_closed_client(shop: Shop) -> None:
    """With a closed client, the bot is shutting down."""
    client = JunkieClient("any")
    await client.close()
    use(shop, client)
    assert (await shop.call("key get")).answer.content == _answers.SHUTTING_DOWN


def use(shop: Shop, client: JunkieClient) -> None:
    """Give the cog another client."""
    shop.cog.keys = client.keys


async def test_unexpected_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is logged with its traceback but without its message, which may have a key."""
    await shop.stock()

    def broken(key: Key, *_: object) -> str:
        raise ValueError(key.key_value)

    monkeypatch.setattr(texts, "describe_key", broken)
    exchange = await shop.call("key mine")
    (key,) = await shop.keys()
    assert exchange.answer.content == _answers.UNEXPECTED
    assert "/key mine: ValueError" in caplog.text
    assert "raise ValueError" in caplog.text
    assert key.key_value not in caplog.text


@pytest.mark.parametrize("command", ["key get", "keys stats"])
async def test_discord_rejects_the_deferral(
    shop: Shop, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If Discord rejects the deferral, the bot sends no request to the service, and logs it."""
    call = shop.interaction(expired=True)
    with pytest.raises(discord.NotFound):
        await call.run(shop.cog, command)
    assert call.answers == []
    assert f"/{command}: could not send the answer: NotFound" in caplog.text
    assert shop.emulator.requests == 0


async def test_no_key_value_is_public_or_logged(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """With and without failures, every message is ephemeral, and no log has a key value."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "discord")
    await shop.call("key get")
    (key,) = await shop.keys()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("key get", {}),
        ("key mine", {}),
        ("key info", {"key": key.key_value}),
        ("key reset", {"key": key.key_value}),
        ("keys find", {"key": key.key_value}),
        ("keys revoke", {"key": key.key_value}),
        ("keys restore", {"key": key.key_value}),
        ("keys create", {"amount": 3}),
        ("keys export", {}),
        ("keys delete", {"key": key.key_value}),
        ("keys delete", {"key": key.key_value}),
    ]
    for faults in (None, Faults(error_rate=1.0), Faults(drop_before_rate=1.0)):
        shop.emulator.faults = faults
        for command, options in calls:
            await shop.call(command, **options)
    for call in shop.calls:
        first, *others = call.answers
        assert first.ephemeral
        assert call.followups == []
        assert all(answer.allowed_mentions == {"parse": []} for answer in others)
    shop.emulator.faults = None
    for value in {key.key_value, *(one.key_value for one in await shop.keys())}:
        assert value not in caplog.text
