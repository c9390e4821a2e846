"""PostgreSQL's messages and password check, for the pooler of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, unquote

_PROTOCOL: Final = 196608
CANCEL: Final = 80877102
_ENCRYPTION: Final = (80877103, 80877104)  # by TLS and by GSSAPI
_SCRAM: Final = 10  # a password that is not sent


def frame_message(kind: bytes, body: bytes) -> bytes:
    """Frame a message of a session."""
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def frame_settings(settings: Iterable[tuple[str, str]]) -> bytes:
    """Frame a query that makes settings; asyncpg's `'utf-8'` has quotes already."""
    quoted = ((name, value.strip("'").replace("'", "''")) for name, value in settings)
    sql = "".join(f"SET {name} = '{value}';" for name, value in quoted)
    return frame_message(b"Q", sql.encode() + b"\0")


def refuse_client(writer: asyncio.StreamWriter, text: str) -> None:
    """End a client's session with an error in PgBouncer's manner."""
    writer.write(frame_message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{text}\0\0".encode()))
    writer.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read a message of a session, frame and all."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


def read_setting(body: bytes) -> tuple[str, str]:
    """Read a ParameterStatus; names such as TimeZone become lower case."""
    name, value, _ = body.decode().split("\0")
    return name.lower(), value


def read_parameters(body: bytes) -> dict[str, str]:
    """Read what a client states at its start."""
    words = body[:-2].decode().split("\0")
    return dict(zip(map(str.lower, words[::2]), words[1::2], strict=True))


async def read_startup(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[int, bytes]:
    """Read a client's first message, and decline encryption before it."""
    while True:
        size = int.from_bytes(await reader.readexactly(4), "big")
        body = await reader.readexactly(size - 4)
        code = int.from_bytes(body[:4], "big")
        if code not in _ENCRYPTION:
            return code, body[4:]
        writer.write(b"N")


async def cancel_request(url: SplitResult, key: bytes) -> None:
    """Cancel the request of the session that has this key."""
    _, writer = await asyncio.open_connection(url.hostname, url.port or 5432)
    writer.write(_frame_startup(CANCEL, key))
    writer.close()
    await writer.wait_closed()


async def open_session(
    url: SplitResult,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes, dict[str, str]]:
    """Open a session, and give its streams, the key that cancels its requests, and its settings.

    Raises:
        ConnectionRefusedError: PostgreSQL refused it, in words.
    """
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 5432)
    try:
        return reader, writer, *await _log_in(reader, writer, url)
    except BaseException:  # a cancellation too must leave nothing open
        writer.close()
        raise


async def _log_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: SplitResult
) -> tuple[bytes, dict[str, str]]:
    user, password = (unquote(part or "") for part in (url.username, url.password))
    target = f"user\0{user}\0database\0{url.path[1:]}\0\0"
    writer.write(_frame_startup(_PROTOCOL, target.encode()))
    key = b""
    settings: dict[str, str] = {}
    while (message := await read_message(reader))[:1] != b"Z":
        match message[:1], message[5:]:
            case b"R", body if body[3] == _SCRAM:
                await _authenticate(reader, writer, password.encode())
            case b"S", body:
                settings.update([read_setting(body)])
            case b"K", body:
                key = body
            case b"E", body:
                raise ConnectionRefusedError(body.decode())
    return key, settings


def _frame_startup(code: int, body: bytes) -> bytes:
    return frame_message(b"", code.to_bytes(4, "big") + body)


async def _authenticate(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: bytes
) -> None:
    """Prove a password by SCRAM-SHA-256 (RFC 5802)."""
    first = b"n=,r=" + b64encode(secrets.token_bytes(18))
    opening = b"SCRAM-SHA-256\0" + (len(first) + 3).to_bytes(4, "big") + b"n,," + first
    writer.write(frame_message(b"p", opening))
    challenge = (await read_message(reader))[9:]
    nonce, salt, rounds = (part[2:] for part in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, b64decode(salt), int(rounds))
    final = b"c=biws,r=" + nonce
    key = hmac.digest(salted, b"Client Key", "sha256")
    signed = b",".join((first, challenge, final))
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
    writer.write(frame_message(b"p", final + b",p=" + b64encode(proof)))
