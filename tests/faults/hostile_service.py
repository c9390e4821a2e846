"""A child process that is the service: what a key value contains decides how it is answered.

Good keys and unknown ones get the service's answers. The words of `_ANSWERS` get the worst that was
seen, so that a visitor who may type any value chooses what the client has to read.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote

_CDN = "application/problem+json"
_ROW = {"status": "active", "hwid_limit": 0, "provider_id": 42, "service_id": 7}
_SHOP = 200_000  # keys


def _http(status: int, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
    lines = {"content_type": kind, "content_length": str(len(body))} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Hostile\r\n{head}\r\n".encode() + body


def _key(value: str, number: int = 1) -> dict[str, object]:
    return {"id": number, "key_value": value, **_ROW}


def _good(value: str, **headers: str) -> bytes:
    return _http(200, json.dumps({"key": _key(value)}).encode(), **headers)


def _page(keys: list[dict[str, object]], total: int) -> bytes:
    counts = {"total": total, "totalCount": total, "totalPages": -(-total // 100)}
    return _http(200, json.dumps({"keys": keys, **counts}).encode())


def _zipped(body: bytes, status: int = 200) -> bytes:
    return _http(status, gzip.compress(body), content_encoding="gzip")


def _cloudflare(status: int, code: int, **headers: str) -> bytes:
    problem = {"title": "Error", "status": status, "error_code": code, "cloudflare_error": True}
    return _http(status, json.dumps(problem).encode(), _CDN, **headers)


_HASHES = json.dumps({"keys": [_key(str(n), n * (2**61 - 1)) for n in range(40_000)]}).encode()
_LARGE = {
    "rows": _zipped(b'{"keys":[' + b"{}," * 2_700_000 + b"{}]}"),
    "hashes": _http(200, _HASHES),
    "echoes": _zipped(b'{"error":"' + rb"\\" * 500_000 + b'"}', 404),
    "page": _page([_key(f"JNK-7-{n}", n + 1) for n in range(100)], _SHOP),
}
_ANSWERS: dict[str, Callable[[str], bytes]] = {
    "<script>": lambda _: _http(403, b"<html>Blocked</html>", "text/html"),
    "echoes": lambda _: _LARGE["echoes"],
    "limit-ms": lambda value: _good(
        value, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(time.time() * 1e3))
    ),
    "limit-iso": lambda value: _good(
        value, X_RateLimit_Remaining="0", X_RateLimit_Reset=datetime.now(UTC).isoformat()
    ),
    "code-1010": lambda _: _cloudflare(403, 1010),
    "code-1020": lambda _: _http(403, b"error code: 1020", "text/plain"),
    "mitigated": lambda _: _http(403, b"{}", cf_mitigated="challenge"),
    "status-": lambda value: _http(int(value[-3:]), b'{"error":"boom"}', retry_after="60"),
}


def _answer(target: str) -> bytes:
    """Answer ``GET /keys/VALUE`` or ``GET /keys?key=VALUE&...``."""
    is_page = "/keys?" in target
    value = unquote(target.rpartition("key=" if is_page else "/")[2].partition("&")[0])
    found = next((answer(value) for word, answer in _ANSWERS.items() if word in value), None)
    if found is not None:
        return found
    if is_page:
        return _LARGE["page"] if value.isdigit() else _LARGE.get(value) or _page([], 0)
    if value.startswith("JNK-GOOD"):
        return _good(value)
    return _http(404, json.dumps({"error": f"Key not found: {value}"}).encode())


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer(head.split(b" ", 2)[1].decode()))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=2**23)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
