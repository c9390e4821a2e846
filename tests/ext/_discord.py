"""Discord on loopback: the REST API that bots use, and the interactions that users cause."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from aiohttp import web
from discord.ext import commands
from discord.utils import time_snowflake

BOT: Final = 100_000_000_000_000_001
OWNER: Final = 100_000_000_000_000_002
ALICE: Final = 100_000_000_000_000_003
BOB: Final = 100_000_000_000_000_004
SHOP: Final = 200_000_000_000_000_001
ELSEWHERE: Final = 200_000_000_000_000_002
CHANNEL: Final = 300_000_000_000_000_001

EPHEMERAL: Final = 64
MESSAGE, DEFERRED, DEFERRED_UPDATE = 4, 5, 6  # types of the first response

_OPTION: Final = {bool: 5, int: 4, str: 3}


@attrs.define
class Exchange:
    """Everything that the bot sent for one interaction.

    Attributes:
        callback: The first response.
        edits: The versions of the answer's message, oldest first.
        files: The files of the latest version.
        others: Further messages.
    """

    callback: dict[str, Any] = attrs.Factory(dict)
    edits: list[dict[str, Any]] = attrs.Factory(list)
    files: dict[str, bytes] = attrs.Factory(dict)
    others: list[dict[str, Any]] = attrs.Factory(list)

    @property
    def text(self) -> str:
        """The final text of the answer."""
        return str(self.edits[-1]["content"])

    @property
    def buttons(self) -> list[dict[str, Any]]:
        """The buttons below the message."""
        rows = self.edits[-1].get("components") or [] if self.edits else []
        return [button for row in rows for button in row["components"]]


def user(number: int) -> dict[str, Any]:
    """Describe a user."""
    return {"id": str(number), "username": f"u{number}", "discriminator": "0", "avatar": None}


class Discord:
    """A stand-in for Discord that records what the bot sends.

    Attributes:
        exchanges: What the bot sent for each interaction, by the interaction's token.
        synced: The commands that the bot registered.
        gone: Whether Discord rejects all answers.
        now: The time of the interactions.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.synced: list[dict[str, Any]] = []
        self.gone = False
        self.now = datetime.now(UTC)
        self._numbers = itertools.count()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Start the server and return its address."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/users/@me", self._me)
        app.router.add_get("/oauth2/applications/@me", self._application)
        app.router.add_put(f"/applications/{BOT}/commands", self._sync)
        app.router.add_post("/interactions/{id}/{token}/callback", self._callback)
        app.router.add_patch(f"/webhooks/{BOT}/{{token}}/messages/@original", self._edit)
        app.router.add_post(f"/webhooks/{BOT}/{{token}}", self._follow_up)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def call(
        self,
        bot: commands.Bot,
        command: str,
        by: int = ALICE,
        guild: int | None = SHOP,
        limit: int = 10 * 1024 * 1024,
        user_install: bool = False,
        **options: Any,
    ) -> Exchange:
        """Call a command as a user, and wait until the bot is done with it.

        A tuple of one number as an option is the ID of a user. With `user_install`, the command
        comes from the user's own install of the bot, not from that of the server.
        """
        group, name = command.split()
        given = [_option(option, value) for option, value in options.items()]
        users = {str(one[0]): user(one[0]) for one in options.values() if isinstance(one, tuple)}
        data = {
            "id": str(self._next_id()),
            "name": group,
            "type": 1,
            "options": [{"type": 1, "name": name, "options": given}],
            "resolved": {"users": users},
        }
        payload = self._payload(2, data, by, guild)
        if user_install:
            payload["authorizing_integration_owners"] = {"1": str(by)}
        return await self._cause(bot, payload | {"attachment_size_limit": limit})

    async def press(self, bot: commands.Bot, label: str, by: int = ALICE) -> Exchange:
        """Press a button as a user, as soon as the bot shows it and until the bot responds."""
        while True:
            for token, button in self._buttons(label):
                data = {"custom_id": button["custom_id"], "component_type": 2}
                payload = self._payload(3, data, by, SHOP)
                payload["message"] = self._message(token, {})
                exchange = await self._cause(bot, payload)
                if exchange.callback:
                    return exchange
            await asyncio.sleep(0.005)

    def _next_id(self) -> int:
        return time_snowflake(self.now) + next(self._numbers)

    def _buttons(self, label: str) -> list[tuple[str, dict[str, Any]]]:
        return [
            (token, button)
            for token, exchange in self.exchanges.items()
            for button in exchange.buttons
            if button["label"].startswith(label)
        ]

    async def _cause(self, bot: commands.Bot, payload: dict[str, Any]) -> Exchange:
        """Dispatch an event as the gateway does, and wait for the tasks that handle it."""
        exchange = self.exchanges[payload["token"]] = Exchange()
        before = asyncio.all_tasks()
        bot._connection.parse_interaction_create(payload)  # type: ignore[arg-type]
        await asyncio.gather(*(asyncio.all_tasks() - before))
        return exchange

    def _payload(
        self, kind: int, data: dict[str, Any], by: int, guild: int | None
    ) -> dict[str, Any]:
        number = str(self._next_id())
        where = {"guild_id": str(guild), "member": _member(by)} if guild else {"user": user(by)}
        return {
            "id": number,
            "application_id": str(BOT),
            "type": kind,
            "token": f"token-{number}",
            "version": 1,
            "data": data,
            "channel": {"id": str(CHANNEL), "type": 0, "name": "shop", "position": 0},
            "attachment_size_limit": 10 * 1024 * 1024,
            # "0" is the server's install; its owner is "0" in direct messages with the bot.
            "authorizing_integration_owners": {"0": str(guild or 0)},
            **where,
        }

    def _message(self, token: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": token.removeprefix("token-"),
            "channel_id": str(CHANNEL),
            "author": user(BOT),
            "content": payload.get("content") or "",
            "timestamp": "2026-11-24T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            "components": payload.get("components") or [],
        }

    # --- the API ----------------------------------------------------------------------------------

    async def _me(self, _: web.Request) -> web.Response:
        return _json(user(BOT) | {"bot": True})

    async def _application(self, _: web.Request) -> web.Response:
        about = {"name": "shop", "description": "", "icon": None, "verify_key": ""}
        flags = {"bot_public": True, "bot_require_code_grant": False}
        return _json({"id": str(BOT), "owner": user(OWNER), **about, **flags})

    async def _sync(self, request: web.Request) -> web.Response:
        self.synced = await request.json()
        made = {"application_id": str(BOT), "version": "1"}
        return _json([{**one, **made, "id": str(self._next_id())} for one in self.synced])

    async def _callback(self, request: web.Request) -> web.Response:
        if self.gone:
            return _json({"code": 10062, "message": "Unknown interaction"}, status=404)
        self._exchange(request).callback = await request.json()
        return _json({"interaction": {"id": request.match_info["id"], "type": 2}})

    async def _edit(self, request: web.Request) -> web.Response:
        exchange = self._exchange(request)
        if self.gone or exchange.callback.get("type") != DEFERRED:
            return _json({"code": 10015, "message": "Unknown Webhook"}, status=404)
        payload, exchange.files = await _read(request)
        if len(payload["content"]) > 2000:
            return _json({"code": 50035, "message": "Invalid Form Body"}, status=400)
        exchange.edits.append(payload)
        return _json(self._message(request.match_info["token"], payload))

    async def _follow_up(self, request: web.Request) -> web.Response:
        payload, _ = await _read(request)
        self._exchange(request).others.append(payload)
        return _json(self._message(request.match_info["token"], payload))

    def _exchange(self, request: web.Request) -> Exchange:
        return self.exchanges[request.match_info["token"]]


async def _read(request: web.Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a message; discord.py sends one with files as a form."""
    if request.content_type == "application/json":
        return await request.json(), {}
    form = await request.post()
    files = {
        field.filename: field.file.read()
        for field in form.values()
        if isinstance(field, web.FileField)
    }
    return json.loads(str(form["payload_json"])), files


def _json(value: Any, status: int = 200) -> web.Response:
    body = json.dumps(value).encode()
    return web.Response(body=body, status=status, content_type="application/json")


def _option(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"name": name, "type": 6, "value": str(value[0])}
    return {"name": name, "type": _OPTION[type(value)], "value": value}


def _member(by: int) -> dict[str, Any]:
    times = {"joined_at": "2026-01-01T00:00:00+00:00"}
    return {"user": user(by), "roles": [], "flags": 0, "permissions": "8", **times}
