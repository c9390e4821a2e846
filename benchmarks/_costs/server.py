"""A server of canned responses in its own process: any number of keys, in constant memory.

It prints its port, and ends with its input. Each key is created once, with a number in its value.
The first part of a path says what the list is like: ``/{keys}-{order}/keys...``, where the order
is "ids" (the newest first, as from the service) or "random". ``/{keys}-{order}-retry`` answers
every second request with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Final

import _canned

PAGE: Final = 100
BULK: Final = 1000
_STEP: Final = 48_271  # a prime: its multiples, modulo a power of ten, come to each number once
_REQUEST = re.compile(
    rb"(?:GET|POST) /(\d+)-(ids|random)(-retry)?(/keys[^ ?]*)\??([^ ]*) HTTP/1\.1"
)
_KEY = re.compile(rb"/keys/(?:KEY-)?(\d+)")  # by its ID, or by its value
_ROW = (
    b'{"id":%d,"key_value":"KEY-%d-df530f87-7294-4670-af2a","user_id":7,"service_id":2,'
    b'"provider_id":1,"folder_id":null,"expires_at":null,"used_at":null,"is_premium":false,'
    b'"is_invalidated":false,"one_time_use":false,"expiry_on_first_use":false,'
    b'"validity_minutes":null,"no_hwid":false,"key_name":null,"hwid_limit":null,"discord_id":null,'
    b'"created_at":"2026-11-27T01:07:10.437Z","service_name":"svc","provider_name":"prov",'
    b'"folder_name":null,"hwids":[],"keys_hwid":[]}'
)


def _number_rows(keys: int, first: int, order: bytes) -> Iterator[int]:
    for index in range(first, min(first + PAGE, keys)):
        yield keys - index if order == b"ids" else index * _STEP % keys + 1


def _make_page(keys: int, order: bytes, query: bytes) -> bytes:
    found = re.search(rb"page=(\d+)", query)
    page = int(found[1]) if found else 1
    rows = b",".join([_ROW % (each, each) for each in _number_rows(keys, (page - 1) * PAGE, order)])
    counted = (page, PAGE, keys, -(-keys // PAGE))
    stated = b'{"page":%d,"limit":%d,"total":%d,"totalPages":%d}' % counted
    return b'{"keys":[%b],"pagination":%b}' % (rows, stated)


class _Connection(_canned.Connection):
    """Answers at once."""

    created = 0
    requests = 0

    def respond(self, head: bytes, body: bytes) -> None:  # noqa: ARG002 - nothing depends on it
        status, content = self._answer(head)
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(content), content)
        )

    def _answer(self, head: bytes) -> tuple[bytes, bytes]:
        request = _REQUEST.match(head)
        if request is None:
            return b"404 Not Found", b'{"error":"not found"}'
        _Connection.requests += 1
        if request[3] and _Connection.requests % 2:
            return b"503 Service Unavailable", b'{"error":"try again"}'
        keys, order, _, path, query = request.groups()
        if path == b"/keys/batch":
            numbers = range(_Connection.created, _Connection.created + PAGE)
            _Connection.created += PAGE
            values = b",".join([b'"JNK-%012d-ABCD-EFGH"' % each for each in numbers])
            return b"201 Created", b'{"keys":[%b],"count":%d,"config":{}}' % (values, PAGE)
        if path == b"/keys/bulk-delete":
            return b"200 OK", b'{"deleted":%d,"requested":%d}' % (BULK, BULK)
        if named := _KEY.match(path):
            return b"200 OK", b'{"key":%b}' % (_ROW % (int(named[1]), int(named[1])))
        if head.startswith(b"POST"):
            _Connection.created += 1
            return b"200 OK", b'{"key":%b}' % (_ROW % (_Connection.created, _Connection.created))
        if b"key_value=" in query or query[-7:] == b"limit=1":
            return b"200 OK", _make_page(1, order, b"")
        return b"200 OK", _make_page(int(keys), order, query)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server in another process, and yield its address."""
    with _canned.running("_costs.server") as port:
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    asyncio.run(_canned.serve(_Connection))
