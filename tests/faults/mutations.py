"""Answers of the service, each spoiled in a way that its seed decides."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from multidict import CIMultiDict

from junkie_async._http.transport import Response

API_KEY = "4f1c2d3e-0000-4aaa-8bbb-abcdef012345"
VALUE = "JNK-7Q2M-SECR-ETVA-LUE1"
DEVICE = "DEVICE-0123456789-XYZ"

KEY: dict[str, Any] = {
    "id": 7,
    "key_value": VALUE,
    "user_id": 1,
    "service_id": 7,
    "provider_id": 42,
    "folder_id": None,
    "expires_at": "2027-01-01T00:00:00.000Z",
    "used_at": None,
    "is_premium": False,
    "validity_minutes": 60,
    "key_name": "launch",
    "hwid_limit": 1,
    "discord_id": "123456789012345678",
    "created_at": "2026-01-01T00:00:00Z",
    "hwids": [{"hwid": DEVICE, "bound_at": "2026-01-02T00:00:00Z", "bound_by": "api"}],
    "keys_hwid": [DEVICE],
    "discord_redemption": {"discord_user_id": "1", "redeemed_at": "2026-01-02T00:00:00Z"},
}
PAGE = {
    "keys": [{**KEY, "id": number, "key_value": f"{VALUE}-{number}"} for number in range(1, 101)],
    "pagination": {"page": 1, "limit": 100, "total": 100, "totalPages": 1},
}
DOCUMENTS: tuple[dict[str, Any], ...] = (
    PAGE,
    {"key": KEY},
    {"keys": [f"{VALUE}-{number}" for number in range(100)], "count": 100, "config": {"amount": 1}},
    {"deleted": 3, "requested": 3},
    {"success": True, "message": "done", "keys_hwid": [DEVICE]},
    {"folders": [{"id": 1, "name": "a", "created_at": "2026-01-01T00:00:00Z"}]},
    {"error": f"key {VALUE} of {DEVICE} is not for {API_KEY}"},
    {"type": "about:blank", "title": "Error 1015", "detail": VALUE.lower(), "retry_after": 3},
)

MIB = 2**20
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**61 - 1, 2**63, -(2**63), 2**64, 10**300),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), 7.0),
    *("", " ", "7", "0007", "-1", "1e5", "null", "\0", "\ud800", "\u202e", "\U0001f600", "a" * 300),
    *("0000-00-00 00:00:00", "infinity", "2016-12-31T23:59:60Z", "21039-12-17T04:39:00Z"),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1767225600", "2026-01-01", "now"),
    *([], {}, [[]], [{}], [None] * 1000, [{}] * 5000, {"": None}, {"key": {"key": {}}}),
    *("x" * MIB, "\\" * MIB, "é" * MIB, "%" * MIB, [0] * 60_000, [[]] * 50_000, ["a"] * 200),
)
RAW_BODIES: tuple[bytes, ...] = (
    *(b"", b" ", b"null", b"0", b'""', b"[]", b"{}", b"true", b"\xff\xfe", b"\x1f\x8b", b"<html>"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b"[" * 50_000 + b"]" * 50_000, b"{" * MIB, b"," * MIB),
    *(b'{"keys":[' + b"{}," * 300_000 + b"{}]}", b'{"keys":[' + b"," * MIB + b"]}"),
    *(
        b'{"keys":[' + b'{"id":1,"key_value":"a"},' * 40_000 + b"0]}",
        b'{"key":' + b"9" * 10_000 + b"}",
    ),
    *(
        b'{"deleted":1' + b"0" * 5000 + b"}",
        b'{"id":1,' * 20_000,
        b'{"key":{},' * 5000 + b'"key":1}',
    ),
    b"error code: 1020",
    *(bytes([letter]) * MIB for letter in b'\\"%&-;<a\x00\n\xf0'),
)
BOMBS = tuple(
    zlib.compress(body, 1, wbits=31)
    for body in (
        *(letter * (16 * MIB) for letter in (b"\0", b"[", b"{},", b" ", b"a")),
        # As many empty rows as fit into a body.
        *(begin + b"{}," * 2_700_000 + b"{}]}" for begin in (b'{"keys":[', b'{"folders":[')),
    )
)
ODD_HEADERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset", "Date"),
        ("", "-1", "1e9", "9" * 5000, "nan", "Thu, 99 Foo 2026", "2026-01-01T00:00Z"),
    ),
    "X-RateLimit-Remaining": ("0", "-1", "9" * 400, "x"),
    "RateLimit": ('"a";r=0;t=2', "r=,t=", '"' * 5000, "a=1;" * 2000),
    "Content-Type": ("text/html", "", "a/b;" * 2000, "application/json"),
    "Content-Encoding": ("gzip", "deflate", "br", "gzip, gzip", "utf-8", "," * 999),
    "X-Echo": (API_KEY, VALUE, DEVICE, "x" * 9000, "\u202e"),
    "cf-mitigated": ("challenge",),
}


def spoil_answer(random: Random) -> Response:
    """Make an answer that some operation may get, and spoil it up to three times."""
    document = random.choice(DOCUMENTS)
    body = random.choice(RAW_BODIES) if random.random() < 0.1 else _write(document, random)
    headers = CIMultiDict({"Content-Type": "application/json"})
    status = random.choice((200, 200, 200, 201, 207, random.randrange(200, 600)))
    for _ in range(random.randrange(3)):
        body = random.choice(_BYTES)(body, random)
    if random.random() < 0.3:
        body = _encode(body, headers, random)
    for _ in range(random.choice((0, 0, 1, 3))):
        name = random.choice([*ODD_HEADERS])
        headers.add(name, random.choice(ODD_HEADERS[name]))
    return status, headers, body


def _write(document: dict[str, Any], random: Random) -> bytes:
    """Write a document with up to three of its parts replaced, renamed or gone."""
    spoiled = json.loads(json.dumps(document))
    for _ in range(random.randrange(4)):
        _spoil_part(spoiled, random)
    ensure_ascii = random.random() < 0.9
    return json.dumps(spoiled, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")


def _spoil_part(document: Any, random: Random) -> None:
    part = document
    while True:
        names: list[Any] = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not names:
            return
        name = random.choice(names)
        if not isinstance(part[name], dict | list) or random.random() < 0.25:
            break
        part = part[name]
    action = random.random()
    if action < 0.7:
        part[name] = deepcopy(random.choice(ODD_VALUES))
    elif action < 0.85 or isinstance(part, list):
        del part[name]
    else:
        part[str(random.choice(ODD_VALUES))[:50]] = part.pop(name)


def _flip(body: bytes, random: Random) -> bytes:
    spoiled = bytearray(body)
    for _ in range(random.randrange(1, 9)):
        if spoiled:
            spoiled[random.randrange(len(spoiled))] = random.randrange(256)
    return bytes(spoiled)


def _cut(body: bytes, random: Random) -> bytes:
    return body[: random.randrange(len(body) + 1)]


def _repeat(body: bytes, random: Random) -> bytes:
    begin = random.randrange(len(body) + 1)
    end = min(len(body), begin + random.randrange(1, 2000))
    times = random.choice((2, 3, 500))
    return (body[:begin] + body[begin:end] * times + body[end:])[: 4 * MIB]


def _insert(body: bytes, random: Random) -> bytes:
    at = random.randrange(len(body) + 1)
    return body[:at] + random.randbytes(random.choice((1, 3, 100))) + body[at:]


def _recode(body: bytes, random: Random) -> bytes:
    coding = random.choice(("utf-8-sig", "utf-16", "utf-32", "utf-16-be", "latin-1"))
    return body[:MIB].decode("latin-1").encode(coding)


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _repeat, _insert, _recode)


def _encode(body: bytes, headers: CIMultiDict[str], random: Random) -> bytes:
    """Compress a body, or say so, or both."""
    coding = random.choice(("gzip", "x-gzip", "deflate", "gzip, identity", "gzip, gzip", "br"))
    headers["Content-Encoding"] = coding
    if random.random() < 0.1:
        return random.choice(BOMBS)
    packed = zlib.compress(body, 1) if coding == "deflate" else gzip.compress(body, 1)
    if random.random() < 0.3:
        packed = random.choice((_flip, _cut, _insert))(packed, random)
    return packed
