"""The Discord cog when something fails: what users are told, what the log is, what neither is."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from discord import app_commands

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
    TransportError,
    _errors,
)
from junkie_async.emulator import Emulator, Faults
from junkie_async.ext.discord import _words
from junkie_async.ext.discord._words import Refusal, apology, described, listed, quoted

from ._discord import EPHEMERAL
from ._shop import NO_RETRIES, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop, for everybody and for administrators."""
    async with open_shop() as shop:
        yield shop


# --- words ----------------------------------------------------------------------------------------

_OF_A_KEY = NotFoundError("no such key", status=404)
_OF_A_KEY.path = "/keys/{keyId}"
_OF_NONE = NotFoundError("nothing here", status=404)
_OF_NONE.path = "/keys"

WORDS: dict[str, list[JunkieError]] = {
    "There is no such key.": [_OF_A_KEY],
    "can't be reached": [
        JunkieError(),
        _OF_NONE,
        TransportError(),
        ConnectError(),
        RequestTimeoutError(),
        ServerError(status=503),
        InvalidResponseError(),
        DriftError(),
        APIError(status=520),
        PermissionDeniedError(status=403, challenge=True),
    ],
    "does not accept this bot": [
        AuthenticationError(status=401),
        PermissionDeniedError(status=403),
        ConfigurationError(),
    ],
    "is busy": [RateLimitError(status=429), RateLimitError(status=429, retry_after=5.0)],
    "did not say whether": [OutcomeUnknownError()],
    "has refused": [BadRequestError(status=400), ConflictError(status=409)],
    "key must be a string, not empty": [InvalidRequestError("key", "''", "a string, not empty")],
    "go offline": [ClientClosedError()],
    "It ended early: 1 deleted, 2 not deleted.": [
        BatchError("", DeleteReport(requested=3, deleted=1, failed=2))
    ],
}


@pytest.mark.parametrize(
    ("words", "error"), [(words, error) for words, errors in WORDS.items() for error in errors]
)
def test_words(words: str, error: JunkieError) -> None:
    """Each error has its words; only the service's own word on a key speaks of the key."""
    assert words in apology(error)
    assert ("no such key" in apology(error)) == (error is _OF_A_KEY)


def test_every_error_has_words() -> None:
    """No error class is forgotten above."""
    classes = {one for one in vars(_errors).values() if isinstance(one, type)}
    known = {one for one in classes if issubclass(one, JunkieError)}
    assert {type(error) for errors in WORDS.values() for error in errors} == known


def test_words_of_discord() -> None:
    """Refusals, cooldowns, checks and what nobody has thought of have words too."""
    cooldown = app_commands.CommandOnCooldown(app_commands.Cooldown(1, 60.0), 30.0)
    assert apology(Refusal("Not today.")) == "Not today."
    assert apology(cooldown).startswith("You can do that again <t:")
    assert apology(app_commands.MissingPermissions(["x"])) == "This command is not for you."
    assert "in the log" in apology(ZeroDivisionError("JNK-secret"))
    assert "in the log" in apology(None)


@pytest.mark.parametrize("text", ["a`b", " a", "a\nb", "**a**`"])
def test_quoting_what_is_no_code(text: str) -> None:
    """What could break out of a code span is escaped instead."""
    assert not quoted(text).startswith("`")
    assert "**" not in quoted(text)


def test_lists_fit() -> None:
    """However long their lines are, lists are cut at a whole line."""
    keys = [Key(id=number, key_value="K" * 600, key_name="_" * 255) for number in range(9)]
    text = listed("Head:", keys)
    assert len(text) <= _words.MESSAGE
    assert text.splitlines()[1] == described(keys[-1])
    assert text.endswith("\n… and 7 more")


# --- over the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "has refused"),
        (401, "does not accept this bot"),
        (403, "does not accept this bot"),
        (404, "can't be reached"),
        (409, "has refused"),
        (429, "is busy"),
        (500, "can't be reached"),
        (503, "can't be reached"),
    ],
)
@pytest.mark.parametrize("command", ["key get", "key mine", "key reset", "keys stats"])
async def test_statuses(shop: Shop, command: str, status: int, words: str) -> None:
    """An outage, a wrong API key and a refusal are told apart, and none is a missing key."""
    await shop.stock()
    shop.emulator.faults = Faults(error_rate=1.0, error_status=status)
    exchange = await shop.call(command)
    assert words in exchange.text
    assert "no such key" not in exchange.text


async def test_lost_reset(shop: Shop) -> None:
    """A reset without an answer is told as what it is."""
    await shop.stock()
    shop.emulator.faults = Faults(drop_after_rate=1.0, operations="resetKeyHwid")
    assert "did not say whether" in (await shop.call("key reset")).text


async def test_wrong_api_key(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong API key is the bot's trouble, and is logged as that."""
    async with (
        Emulator(api_keys=["right"]) as emulator,
        JunkieClient("wrong", base_url=emulator.url) as client,
    ):
        use(shop, client)
        assert "does not accept this bot" in (await shop.call("key get")).text
    assert "/key get: AuthenticationError: GET /keys" in caplog.text


async def test_nobody_listens(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A closed port is an outage; the log names the command and the error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    async with JunkieClient("any", base_url=address, retry=NO_RETRIES) as client:
        use(shop, client)
        assert "can't be reached" in (await shop.call("key get")).text
    assert "/key get: ConnectError: GET /keys" in caplog.text


async def test_closed_client(shop: Shop) -> None:
    """A client that is closed already is told as a bot that goes."""
    client = JunkieClient("any")
    await client.close()
    use(shop, client)
    assert "go offline" in (await shop.call("key get")).text


def use(shop: Shop, client: JunkieClient) -> None:
    """Have the cog use another client."""
    cog: Any = shop.bot.get_cog("KeyCog")
    cog.keys = client.keys


async def test_unforeseen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is answered politely, and logged with its place but without its message."""
    await shop.stock()

    def broken(key: Key) -> str:
        raise ValueError(key.key_value)

    monkeypatch.setattr(_words, "described", broken)
    exchange = await shop.call("key mine")
    (key,) = await shop.keys()
    assert exchange.text.startswith("Something went wrong.")
    assert "/key mine: ValueError" in caplog.text
    assert "raise ValueError" in caplog.text
    assert key.key_value not in caplog.text


@pytest.mark.parametrize("command", ["key get", "keys stats"])
async def test_discord_does_not_listen(
    shop: Shop, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where Discord takes no deferral nothing is done, and the log has it."""
    shop.discord.gone = True
    exchange = await shop.call(command)
    assert exchange.edits == []
    assert f"/{command}: no answer went out: NotFound" in caplog.text
    assert shop.emulator.requests == 0


async def test_no_value_is_public_or_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is called, whatever fails: every message is ephemeral, and no log has a key."""
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
    for exchange in shop.discord.exchanges.values():
        assert exchange.callback["data"]["flags"] == EPHEMERAL
        assert exchange.others == []
        assert all(edit["allowed_mentions"] == {"parse": []} for edit in exchange.edits)
    shop.emulator.faults = None
    for value in {key.key_value, *(one.key_value for one in await shop.keys())}:
        assert value not in caplog.text
