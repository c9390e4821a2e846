"""What a network, a gateway and a service can do to a request."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

from .server import Exchange, Fault, http

HTML = b"<!doctype html><html><title>Just a moment...</title></html>"
TOO_LARGE = 8 * 2**20 + 1  # bytes: a page of 100 keys has some 50,000
Recode = Callable[[Exchange], bytes]


def answers(status: int, body: bytes = b'{"error": "not like this"}', /, **headers: str) -> Fault:
    """Send this response without carrying the request out."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(http(status, body, **headers))

    return Fault(play)


def commits_but_sends(recode: Recode) -> Fault:
    """Carry it out, and send these bytes."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(recode(exchange))

    return Fault(play, commits=True)


def commits_but_says(body: bytes, **headers: str) -> Fault:
    """Carry it out, and send this body instead of the good one."""
    return commits_but_sends(lambda exchange: http(exchange.answer.status, body, **headers))


def commits_and_recodes(recode: Callable[[bytes], bytes], **headers: str) -> Fault:
    """Carry it out, and send the good body recoded."""
    return commits_but_sends(
        lambda exchange: http(exchange.answer.status, recode(exchange.answer.body), **headers)
    )


def commits_and_changes(change: Callable[[Any], Any]) -> Fault:
    """Carry it out, and send the good document changed."""
    return commits_and_recodes(lambda body: json.dumps(change(json.loads(body))).encode())


def ends(recode: Recode | None = None, *, commits: bool = True, reset: bool = False) -> Fault:
    """Send these bytes, if any, and end the connection: by FIN, or by RST."""

    async def play(exchange: Exchange) -> None:
        if recode is not None:
            await exchange.send(recode(exchange))
        if reset:
            exchange.connection.reset()
        else:
            await _hang_up(exchange)

    return Fault(play, commits=commits)


async def _hang_up(exchange: Exchange) -> None:
    exchange.connection.finish()
    await exchange.connection.hung_up()


async def _reset(exchange: Exchange) -> None:
    exchange.connection.reset()


def good(exchange: Exchange) -> bytes:
    """Build the good response."""
    return http(exchange.answer.status, exchange.answer.body)


def head_only(exchange: Exchange) -> bytes:
    """Build the good response without its body."""
    return good(exchange).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def half_a_head(exchange: Exchange) -> bytes:
    """Build the good response, cut inside its headers."""
    return good(exchange)[:40]


def half_a_body(exchange: Exchange) -> bytes:
    """Build the good response, cut inside its body."""
    return good(exchange)[:-3]


def chunked(exchange: Exchange, *, end: bytes = b"0\r\n\r\n") -> bytes:
    """Build the good response in chunks, with this end."""
    body, chunks = exchange.answer.body, b""
    for at in range(0, len(body), 7):
        chunks += f"{len(body[at : at + 7]):x}\r\n".encode() + body[at : at + 7] + b"\r\n"
    return _head(exchange, "Transfer-Encoding: chunked") + chunks + end


def _head(exchange: Exchange, *lines: str) -> bytes:
    first = f"HTTP/1.1 {exchange.answer.status} OK"
    return "\r\n".join([first, *lines, "", ""]).encode()


closes_unread = Fault(_hang_up, unread=True)
resets_unread = Fault(_reset, unread=True)
drops = ends(commits=False)
commits_and_drops = ends()
commits_and_resets = ends(reset=True)


async def _hang(exchange: Exchange) -> None:
    await exchange.connection.hung_up()


async def _drip_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    await _drip(exchange)


async def _drip_body(exchange: Exchange) -> None:
    await exchange.send(_head(exchange, "Content-Length: 1000000"))
    await _drip(exchange)


async def _drip(exchange: Exchange) -> None:
    hang_up = asyncio.ensure_future(exchange.connection.hung_up())
    try:
        while not hang_up.done():
            await exchange.send(b" ")
            await asyncio.wait([hang_up], timeout=0.4)
    finally:
        hang_up.cancel()
        await asyncio.gather(hang_up, return_exceptions=True)


hangs = Fault(_hang, commits=True)
drips_head = Fault(_drip_head, commits=True)
drips_body = Fault(_drip_body, commits=True)


async def run_loop(count: int = 50) -> None:
    """Run the event loop for some iterations: enough for everything that need not wait."""
    for _ in range(count):
        await asyncio.sleep(0)


def slowly(count: int) -> Fault:
    """Carry it out and send the good response, some iterations of the loop later."""

    async def play(exchange: Exchange) -> None:
        await run_loop(count)
        await exchange.send(good(exchange))

    return Fault(play, commits=True)


async def _say_much(exchange: Exchange) -> None:
    await exchange.send(_head(exchange, f"Content-Length: {TOO_LARGE}"))
    for _ in range(TOO_LARGE // 2**16):
        await exchange.send(b" " * 2**16)
    await exchange.send(b" ")


async def _say_endlessly(exchange: Exchange) -> None:
    await exchange.send(_head(exchange, "Transfer-Encoding: chunked"))
    while True:  # until the client has hung up
        await exchange.send(b"10000\r\n" + bytes(2**16) + b"\r\n")


says_much = Fault(_say_much, commits=True)
says_endlessly = Fault(_say_endlessly, commits=True)
bomb = commits_but_says(gzip.compress(b" " * TOO_LARGE), content_encoding="gzip")
bomb_of_members = commits_but_says(
    gzip.compress(b" " * (TOO_LARGE // 8)) * 8 + gzip.compress(b" " * 8), content_encoding="gzip"
)


def members(body: bytes) -> bytes:
    """Compress a body as three gzip members, one after the other (RFC 1952, section 2.2)."""
    return b"".join(map(gzip.compress, (body[:5], body[5:9], body[9:])))


def with_unknown_fields(document: Any) -> Any:
    """Add a field to every object."""
    if isinstance(document, list):
        return [with_unknown_fields(row) for row in document]
    if not isinstance(document, dict):
        return document
    inside = {
        name: value if name == "config" else with_unknown_fields(value)  # any field is known there
        for name, value in document.items()
    }
    return inside | {"introduced_in_v3": {"nested": [1, None]}}


_REQUIRED = {"keys", "key", "folders", "id", "key_value", "deleted"}


def without_optional_fields(document: Any) -> Any:
    """Remove all optional fields from every object."""
    if isinstance(document, list):
        return [without_optional_fields(row) for row in document]
    if not isinstance(document, dict):
        return document
    return {
        name: without_optional_fields(value)
        for name, value in document.items()
        if name in _REQUIRED
    }


WRONG_FIELDS: dict[str, tuple[Any, str]] = {
    "list": ({"keys": [{"id": "x", "key_value": "a"}]}, "keys[0].id"),
    "get": ({"key": {"id": "x", "key_value": "a"}}, "key.id"),
    "update": ({"success": True, "keys_hwid": 5}, "keys_hwid"),
    "delete": ({"success": "perhaps"}, ""),
    "bulk_delete": ({"deleted": "one"}, "deleted"),
    "folders": ({"folders": [{"id": 1}, {"id": []}]}, "folders[1].id"),
    "create": ({"key": {"id": 3}}, "key.key_value"),
    "create_batch": ({"keys": [5.5]}, "keys[0]"),
    "reset_hwid": ({"message": ["perhaps"]}, "message"),
}
"""A response with a field of a wrong type for each operation, and the field's name."""

wrong_field = commits_but_sends(
    lambda exchange: http(
        exchange.answer.status, json.dumps(WRONG_FIELDS[exchange.operation][0]).encode()
    )
)
