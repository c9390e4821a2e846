"""The server of all clients: canned responses, an optional latency, its own process.

It implements just enough HTTP to cost next to nothing. The first two parts of a path configure it:
``/{latency in milliseconds}/{number of keys}/keys...``. So one process serves every comparison.
It refuses requests that break the contract, so that no client can send less than the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus

import _canned

API_KEY = "benchmark"
PROVIDER = 42
PAGE = 100
BATCH = 100
BULK = 1000

_HEAD = re.compile(rb"(GET|POST) /(\d+)/(\d+)(/[a-z/-]*)\??([^ ]*) HTTP/1\.1\r\n")
_BEARER = b"authorization: bearer " + API_KEY.encode()
_NUMBER = b"@@@@@@@@"  # replaced by eight digits, so that each page has its own IDs and key values


def _make_row(index: int) -> dict[str, object]:
    """Return a typical key: with an expiry and an owner, every second one bound to a device."""
    device = f"{index:064x}"
    moment = "2026-11-23T23:53:55.508Z"
    hwid = {"hwid": device, "executor_user_id": None, "bound_at": moment, "bound_by": "api"}
    return {
        "id": f"#{_NUMBER.decode()}{PAGE - 1 - index:02d}#",
        "key_value": f"JNK-{_NUMBER.decode()}-7Y32-RU{index:02d}",
        "user_id": 1,
        "service_id": 7,
        "provider_id": PROVIDER,
        "folder_id": None,
        "expires_at": "2126-12-23T23:53:55.483Z",
        "used_at": None,
        "validity_minutes": 43_200,
        "key_name": None,
        "hwid_limit": 1,
        "discord_id": str(10**17 + index),
        "created_at": moment,
        "is_premium": False,
        "is_invalidated": False,
        "one_time_use": False,
        "expiry_on_first_use": False,
        "no_hwid": False,
        "service_name": "Service 7",
        "provider_name": "Provider 42",
        "folder_name": None,
        "hwids": [hwid] if index % 2 else [],
        "keys_hwid": [device] if index % 2 else [],
    }


def _to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_ROWS = (
    _to_json([_make_row(index) for index in range(PAGE)]).replace(b'"#', b"").replace(b'#"', b"")
)
_VALUES = _to_json([f"JNK-{_NUMBER.decode()}-7Y32-RU{index:02d}" for index in range(BATCH)])


def _page_body(query: bytes, keys: int) -> bytes:
    """Return the body of ``GET /keys``: the newest keys first, as from the service."""
    parameters = dict(pair.split(b"=") for pair in query.split(b"&"))
    if int(parameters[b"limit"]) != PAGE:
        raise ValueError("the page's limit")
    number, total = int(parameters.get(b"page", b"1")), keys // PAGE
    rows = _ROWS.replace(_NUMBER, b"%d" % (99_999_999 - number)) if number <= total else b"[]"
    pagination = b'{"page":%d,"limit":%d,"total":%d,"totalPages":%d}' % (number, PAGE, keys, total)
    return b'{"keys":%b,"pagination":%b}' % (rows, pagination)


def _batch_body(body: bytes, number: int) -> bytes:
    fields = json.loads(body)
    if fields["amount"] != BATCH or fields["provider_id"] != PROVIDER:
        raise ValueError("the batch")
    rows = _VALUES.replace(_NUMBER, b"%d" % (10_000_000 + number))
    return b'{"keys":%b,"count":%d,"config":%b}' % (rows, BATCH, body)


def _bulk_delete_body(body: bytes) -> bytes:
    keys = json.loads(body)["keys"]
    if len(keys) != BULK or not all(type(key) is int for key in keys):
        raise ValueError("the IDs")
    return b'{"deleted":%d,"requested":%d}' % (BULK, BULK)


class _Connection(_canned.Connection):
    """Answers after a latency."""

    served = 0

    def respond(self, head: bytes, body: bytes) -> None:
        type(self).served += 1
        request, status, milliseconds = _HEAD.match(head), HTTPStatus.BAD_REQUEST, 0
        content = b'{"error":"the request breaks the contract"}'
        if _BEARER not in head.lower():
            status = HTTPStatus.UNAUTHORIZED
        elif request is not None:
            milliseconds = int(request[2])
            with contextlib.suppress(ValueError, KeyError):
                status, content = self._find_content(request, body)
        response = (
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"Date: Mon, 23 Nov 2026 23:53:55 GMT\r\nServer: canned\r\nContent-Length: %d\r\n\r\n%b"
            % (status, status.phrase.encode(), len(content), content)
        )
        if milliseconds:
            loop = asyncio.get_running_loop()
            loop.call_later(milliseconds / 1000, self.transport.write, response)
        else:
            self.transport.write(response)

    def _find_content(self, request: re.Match[bytes], body: bytes) -> tuple[HTTPStatus, bytes]:
        match request[1], request[4]:
            case b"GET", b"/keys":
                return HTTPStatus.OK, _page_body(request[5], int(request[3]))
            case b"POST", b"/keys/batch":
                return HTTPStatus.CREATED, _batch_body(body, self.served)
            case b"POST", b"/keys/bulk-delete":
                return HTTPStatus.OK, _bulk_delete_body(body)
        raise ValueError("the path")


@contextlib.contextmanager
def running() -> Iterator[Callable[[int, int], str]]:
    """Run the server in another process.

    Yields a function from a latency in milliseconds and a number of keys to a base URL.
    """
    with _canned.running("_peers.server") as port:
        yield lambda milliseconds, keys: f"http://127.0.0.1:{port}/{milliseconds}/{keys}"


if __name__ == "__main__":
    asyncio.run(_canned.serve(_Connection))
