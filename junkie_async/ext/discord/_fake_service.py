"""What `testing` needs of Discord: its side of one interaction, without network.

discord.py builds and sends its real requests. `FakeService` takes the place of its HTTP session,
and refuses what Discord refuses, with Discord's codes. Limits: https://docs.discord.com/developers/
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import attrs
import discord

EPHEMERAL: Final = 64  # the message flag
_COMPONENTS_V2: Final = 1 << 15

# The types of a first response.
_MESSAGE, _DEFERRED, _DEFERRED_UPDATE, _UPDATE, _AUTOCOMPLETE, _MODAL = 4, 5, 6, 7, 8, 9
_KINDS: Final = {
    _MESSAGE: "message",
    _DEFERRED: "defer",
    _DEFERRED_UPDATE: "defer",
    _UPDATE: "edit",
    _AUTOCOMPLETE: "autocomplete",
    _MODAL: "modal",
}

_CALLBACK: Final = re.compile(r"/interactions/\d+/[^/]+/callback$")
_WEBHOOK: Final = re.compile(r"/webhooks/\d+/[^/]+(?:/messages/(@original|\d+))?$")

_URL_SCHEMES: Final = ("http:", "https:", "attachment:")
_EMBED_PARTS: Final = {
    *("title", "description", "fields", "image", "thumbnail", "footer", "author", "video"),
}
_EMBED_LIMITS: Final = {"title": 256, "description": 4096}
# discord.py itself counts embeds.
_MAX_FILES, _MAX_FIELDS, _MAX_EMBED_TOTAL = 10, 25, 6000


class Refused(Exception):  # noqa: N818 - it never leaves this module
    """Discord's refusal of a request."""

    def __init__(self, status: int, code: int, message: str, field: str = "") -> None:
        errors: Any = {"_errors": [{"code": "INVALID", "message": message}]}
        for name in reversed(field.split(".") if field else []):
            errors = {name: errors}
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message}
        if field:
            self.body = {"code": code, "message": "Invalid Form Body", "errors": errors}


@attrs.define
class FakeMessage:
    """A message as Discord keeps it."""

    id: int
    flags: int = 0
    is_loading: bool = False
    is_deleted: bool = False
    content: str = ""
    embeds: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    components: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    files: dict[str, bytes] = attrs.Factory(dict[str, bytes])
    allowed_mentions: Mapping[str, Any] | None = None

    @classmethod
    def create(
        cls, number: int, payload: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> FakeMessage:
        """Create a message from a request, or raise `Refused`."""
        _check_message(payload)
        message = cls(number, payload.get("flags", 0))
        message.change(payload, files)
        message.check_not_empty()
        return message

    def change(self, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Take over the fields that a request has."""
        self.content = payload.get("content", self.content) or ""
        self.embeds = payload.get("embeds", self.embeds) or []
        self.components = payload.get("components", self.components) or []
        if "attachments" in payload or files:
            attachments: list[dict[str, Any]] = payload.get("attachments") or []
            kept = {attachment.get("filename") for attachment in attachments}
            self.files = {name: data for name, data in self.files.items() if name in kept}
            self.files.update(files)
        self.allowed_mentions = payload.get("allowed_mentions", self.allowed_mentions)
        self.is_loading = False

    def check_not_empty(self) -> None:
        """Raise if nothing would be shown."""
        if not (self.content.strip() or self.embeds or self.components or self.files):
            raise Refused(400, 50006, "Cannot send an empty message")

    def buttons(self) -> Iterator[dict[str, Any]]:
        """Yield the buttons, in their order."""
        yield from _walk_buttons(self.components)

    def to_json(self, channel_id: int, author: Mapping[str, Any]) -> dict[str, Any]:
        """Describe it as Discord does."""
        attachments = [
            {"id": str(index), "filename": name, "size": len(data), "url": "", "proxy_url": ""}
            for index, (name, data) in enumerate(self.files.items())
        ]
        fixed: dict[str, Any] = {
            "timestamp": discord.utils.snowflake_time(self.id).isoformat(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "pinned": False,
            "type": 20,
        }
        shown = {"content": self.content, "embeds": self.embeds, "components": self.components}
        where = {"id": str(self.id), "channel_id": str(channel_id), "author": author}
        return {**fixed, **shown, **where, "flags": self.flags, "attachments": attachments}


@attrs.frozen
class Sent:
    """One request that was accepted: what it was, and the message after it."""

    kind: str
    message: FakeMessage


class FakeService:
    """Discord's side of one interaction, in the place of an `aiohttp.ClientSession`.

    Attributes:
        sent: The accepted requests, oldest first.
        refusals: The errors of the others.
        original: The message of the first response.
        changed: Set whenever something is sent.
        is_expired: Whether the interaction is unknown, since the bot was too slow.
    """

    def __init__(
        self,
        interaction_id: int,
        channel_id: int,
        author: Mapping[str, Any],
        file_limit: int,
        source: FakeMessage | None = None,
    ) -> None:
        self.sent: list[Sent] = []
        self.refusals: list[discord.HTTPException] = []
        self.original: FakeMessage | None = None
        self.changed = asyncio.Event()
        self.is_expired = False
        self._interaction_id = interaction_id
        self._channel_id = channel_id
        self._author = author
        self._file_limit = file_limit
        self._source = source  # the message whose button was pressed
        self._has_responded = False
        self._messages: dict[str, FakeMessage] = {}

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, data: Any = None, **_: Any
    ) -> AsyncGenerator[Response]:
        """Answer a request as `aiohttp.ClientSession.request` does."""
        await asyncio.sleep(0)  # as a real request does, so that other tasks can run
        try:
            response = Response(200, self._handle(method, url, data))
        except Refused as refused:
            response = Response(refused.status, refused.body)
            error = discord.NotFound if refused.status == 404 else discord.HTTPException
            self.refusals.append(error(cast("Any", response), refused.body))
        yield response

    def _handle(self, method: str, url: str, data: Any) -> dict[str, Any]:
        payload, files = _read_body(data)
        self._check_files(files)
        if _CALLBACK.search(url):
            if self.is_expired:
                raise Refused(404, 10062, "Unknown interaction")
            return self._respond(payload, files)
        webhook = _WEBHOOK.search(url)
        if webhook is None or not self._has_responded:
            # The interaction's webhook exists only after its first response.
            raise Refused(404, 10015, "Unknown Webhook")
        if method == "POST":
            return self._follow_up(payload, files)
        return self._change(method, self._find_message(webhook[1]), payload, files)

    def _respond(self, payload: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
        if self._has_responded:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        kind = int(payload["type"])
        data: dict[str, Any] = payload.get("data") or {}
        if kind in (_MESSAGE, _UPDATE):
            _check_message(data)
        if kind in (_UPDATE, _DEFERRED_UPDATE):
            message = self._source or FakeMessage(0)
        else:
            message = FakeMessage(self._interaction_id, data.get("flags", 0), kind == _DEFERRED)
        if kind in (_MESSAGE, _UPDATE):
            message.change(data, files)
            message.check_not_empty()
        self._has_responded = True
        if kind not in (_AUTOCOMPLETE, _MODAL):
            self.original = self._messages["@original"] = message
            self._messages[str(message.id)] = message
        self._record(_KINDS[kind], message)
        return self._describe_response(kind, message)

    def _describe_response(self, kind: int, message: FakeMessage) -> dict[str, Any]:
        about = {
            "id": str(self._interaction_id),
            "type": 2,
            "response_message_id": str(message.id),
            "response_message_loading": message.is_loading,
            "response_message_ephemeral": bool(message.flags & EPHEMERAL),
        }
        resource: dict[str, Any] = {"type": kind}
        if kind in (_MESSAGE, _UPDATE):
            resource["message"] = self._describe(message)
        return {"interaction": about, "resource": resource}

    def _follow_up(self, payload: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
        if self.original is not None and self.original.is_loading:
            # It replaces the deferred message, which stays as ephemeral as the deferral said.
            return self._change("PATCH", self.original, payload, files, "followup")
        number = self._interaction_id + len(self.sent)
        message = FakeMessage.create(number, payload, files)
        self._messages[str(message.id)] = message
        self._record("followup", message)
        return self._describe(message)

    def _change(
        self,
        method: str,
        message: FakeMessage,
        payload: dict[str, Any],
        files: dict[str, bytes],
        kind: str = "edit",
    ) -> dict[str, Any]:
        if method == "DELETE":
            message.is_deleted = True
            self._record("delete", message)
        elif method == "PATCH":
            _check_message(payload)
            changed = attrs.evolve(message)
            changed.change(payload, files)
            changed.check_not_empty()
            message.change(payload, files)
            self._record(kind, message)
        return self._describe(message)

    def _find_message(self, name: str) -> FakeMessage:
        message = self._messages.get(name)
        if message is None or message.is_deleted:
            raise Refused(404, 10008, "Unknown Message")
        return message

    def _record(self, kind: str, message: FakeMessage) -> None:
        self.sent.append(Sent(kind, attrs.evolve(message)))
        self.changed.set()

    def _describe(self, message: FakeMessage) -> dict[str, Any]:
        return message.to_json(self._channel_id, self._author)

    def _check_files(self, files: dict[str, bytes]) -> None:
        if len(files) > _MAX_FILES:
            raise Refused(400, 50035, f"Must be {_MAX_FILES} or fewer in length.", "files")
        if sum(map(len, files.values())) > self._file_limit:
            raise Refused(413, 40005, "Request entity too large")


class Response:
    """The part of `aiohttp.ClientResponse` that discord.py reads."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.reason = {200: "OK", 404: "Not Found"}.get(status, "Bad Request")
        self.headers = {"content-type": "application/json"}
        self._body = body

    async def text(self, encoding: str | None = None) -> str:  # noqa: ARG002 - aiohttp's signature
        """Return the body."""
        return json.dumps(self._body)


def read_parts(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a message and its files as they are passed to `discord.http.HTTPClient.request`."""
    payload: dict[str, Any] = body.get("json") or {}
    files: dict[str, bytes] = {}
    parts: list[dict[str, Any]] = body.get("form") or []
    for part in parts:
        if part["name"] == "payload_json":
            payload = json.loads(part["value"])
        else:
            files[part["filename"]] = part["value"].read()
    return payload, files


def _read_body(data: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a request's JSON and files; discord.py sends files as a form."""
    if data is None:
        return {}, {}
    if isinstance(data, str):
        return json.loads(data), {}
    payload: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    # aiohttp has no public way to read a form back.
    for about, _, value in data._fields:
        if about["name"] == "payload_json":
            payload = json.loads(value)
        else:
            files[about["filename"]] = value.read()
    return payload, files


def _check_message(payload: Mapping[str, Any]) -> None:
    content = payload.get("content") or ""
    if payload.get("flags", 0) & _COMPONENTS_V2 and content:
        raise Refused(400, 50035, "Cannot be used with IS_COMPONENTS_V2.", "content")
    _check_length("content", content, 2000)
    embeds: list[dict[str, Any]] = payload.get("embeds") or []
    for index, embed in enumerate(embeds):
        _check_embed(f"embeds.{index}", embed)
    if sum(map(_count_characters, embeds)) > _MAX_EMBED_TOTAL:
        raise Refused(
            400, 50035, f"Embed size exceeds maximum size of {_MAX_EMBED_TOTAL}", "embeds"
        )
    buttons = [*_walk_buttons(payload.get("components") or [])]
    for button in buttons:
        _check_length("components.label", button.get("label") or "", 80)
    names = [button["custom_id"] for button in buttons if "custom_id" in button]
    if len(set(names)) < len(names):
        message = "Component custom id cannot be duplicated"
        raise Refused(400, 50035, message, "components.custom_id")


def _check_embed(where: str, embed: Mapping[str, Any]) -> None:
    if not embed.keys() & _EMBED_PARTS:
        raise Refused(400, 50035, "This field is required", f"{where}.description")
    for name in ("image", "thumbnail", "footer", "author"):
        _check_urls(f"{where}.{name}", embed.get(name, {}))
    _check_urls(where, embed)
    for name, limit in _EMBED_LIMITS.items():
        _check_length(f"{where}.{name}", embed.get(name) or "", limit)
    _check_length(f"{where}.footer.text", embed.get("footer", {}).get("text", ""), 2048)
    _check_length(f"{where}.author.name", embed.get("author", {}).get("name", ""), 256)
    fields: list[dict[str, Any]] = embed.get("fields", [])
    if len(fields) > _MAX_FIELDS:
        raise Refused(400, 50035, f"Must be {_MAX_FIELDS} or fewer in length.", f"{where}.fields")
    for index, field in enumerate(fields):
        for name, limit in (("name", 256), ("value", 1024)):
            _check_length(f"{where}.fields.{index}.{name}", field[name], limit, least=1)


def _check_urls(where: str, part: Mapping[str, Any]) -> None:
    for name in ("url", "icon_url"):
        if not str(part.get(name) or "https:").startswith(_URL_SCHEMES):
            raise Refused(400, 50035, "Not a well formed URL.", f"{where}.{name}")


def _count_characters(embed: Mapping[str, Any]) -> int:
    named = [embed.get("title"), embed.get("description")]
    named += [embed.get("footer", {}).get("text"), embed.get("author", {}).get("name")]
    for field in embed.get("fields", []):
        named += [field["name"], field["value"]]
    return sum(len(text or "") for text in named)


def _check_length(field: str, text: str, limit: int, least: int = 0) -> None:
    if len(text) > limit:
        raise Refused(400, 50035, f"Must be {limit} or fewer in length.", field)
    if len(text.strip()) < least:
        raise Refused(400, 50035, "This field is required", field)


def _walk_buttons(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for component in components:
        if component.get("type") == 2:
            yield component
        accessory = component.get("accessory")
        inner: list[dict[str, Any]] = component.get("components") or []
        yield from _walk_buttons([*inner, *([accessory] if accessory else [])])
