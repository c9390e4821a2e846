"""A service with faults: it creates keys late, partly, twice, or without a response.

It runs in the test's process, so it outlives the killed jobs. Their results are compared with its
keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.faults.server import http

PROVIDER: Final = 7
LATE: Final = (0.005, 0.04)
"""Seconds after which late requests are executed: well below `RECONCILE_AFTER`."""

RECONCILE_AFTER: Final = 0.1
"""Seconds that jobs wait. Stalls of the machine do no harm: each request first executes what is due
on the clock, so a walk that comes this late sees the keys of late requests."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attrs.frozen
class Row:
    """A key of the service."""

    id: int
    value: str
    name: str
    foreign: bool
    created: float  # in Unix time


@attrs.define(eq=False)
class Exchange:
    """One request to create keys, as a fault handles it."""

    service: Service
    amount: int
    name: str
    writer: asyncio.StreamWriter
    is_order: bool = False  # a call that creates one key

    def make(self, amount: int | None = None) -> list[str]:
        """Create all of the requested keys, or fewer."""
        return self.service.make(self.amount if amount is None else amount, self.name)

    def make_late(self, amount: int) -> None:
        """Create keys after a while, even if the connection is lost."""
        self.service.later(lambda: self.make(amount))

    async def respond(self, keys: list[str], name: str | None = None) -> None:
        """Send the response of a healthy service, with the name that was asked for."""
        self.service.given.append(keys)
        if self.is_order:
            await self.send(201, {"key": self.service.show_key(keys[0])})
            return
        config = {"provider_id": PROVIDER, "key_name": self.name if name is None else name}
        await self.send(201, {"keys": keys, "count": len(keys), "config": config})

    async def send(self, status: int, document: object, **headers: str) -> None:
        """Send a response."""
        self.writer.write(http(status, json.dumps(document).encode(), **headers))
        await self.writer.drain()

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.writer)

    def pick_fewer(self) -> int:
        """Pick a number of keys below the requested one."""
        return self.service.dice.randrange(self.amount)


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection with a RST."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _healthy(exchange: Exchange) -> None:
    await exchange.respond(exchange.make())


async def _slow_to_act(exchange: Exchange) -> None:
    keys: list[str] = []
    exchange.service.later(lambda: keys.extend(exchange.make()))
    while not keys:
        await asyncio.sleep(0.01)
        exchange.service.catch_up(until=asyncio.get_running_loop().time())
    await exchange.respond(keys)


async def _slow_to_respond(exchange: Exchange) -> None:
    keys = exchange.make()
    await asyncio.sleep(0.04)
    await exchange.respond(keys)


async def _request_lost(exchange: Exchange) -> None:
    exchange.reset()


async def _no_response(exchange: Exchange) -> None:
    exchange.make()
    exchange.reset()


async def _response_lost(exchange: Exchange) -> None:
    """Give no response. A gateway may give it to another call (`_repeated`)."""
    exchange.service.given.append(exchange.make())
    exchange.reset()


async def _late(exchange: Exchange) -> None:
    exchange.make_late(exchange.amount)
    exchange.reset()


async def _partly_created(exchange: Exchange) -> None:
    exchange.make(exchange.pick_fewer())
    exchange.reset()


async def _partly_late(exchange: Exchange) -> None:
    now = exchange.pick_fewer()
    exchange.make(now)
    exchange.make_late(exchange.amount - now)
    exchange.reset()


async def _fewer(exchange: Exchange) -> None:
    await exchange.respond(exchange.make(exchange.pick_fewer()))


async def _fewer_in_response(exchange: Exchange) -> None:
    await exchange.respond(exchange.make()[: exchange.pick_fewer()])


async def _rest_late(exchange: Exchange) -> None:
    now = exchange.pick_fewer()
    exchange.make_late(exchange.amount - now)
    await exchange.respond(exchange.make(now))


async def _refused_in_part(exchange: Exchange) -> None:
    keys = exchange.make(exchange.pick_fewer())
    refusal = {"success": False, "error": "some keys were not created", "keys": keys}
    await exchange.send(207, refusal)


async def _twice(exchange: Exchange) -> None:
    exchange.make()
    exchange.make()
    exchange.reset()


async def _failed_after(exchange: Exchange) -> None:
    exchange.make()
    await exchange.send(500, {"error": "Internal server error"})


async def _failed_before(exchange: Exchange) -> None:
    await exchange.send(503, {"error": "Unavailable"})


async def _failed_then_created(exchange: Exchange) -> None:
    exchange.make_late(exchange.amount)
    await exchange.send(504, {"error": "Gateway timeout"})


async def _busy(exchange: Exchange) -> None:
    await exchange.send(429, {"error": "Too many requests"}, retry_after="0")


async def _truncated(exchange: Exchange) -> None:
    keys = exchange.make()
    whole = http(201, json.dumps({"keys": keys, "count": len(keys)}).encode())
    exchange.writer.write(whole[: len(whole) // 2])
    await exchange.writer.drain()
    exchange.writer.close()


async def _no_json(exchange: Exchange) -> None:
    exchange.make()
    exchange.writer.write(http(200, b"<html>Welcome</html>", content_type="text/html"))
    await exchange.writer.drain()


async def _repeated(exchange: Exchange) -> None:
    """Give the keys of an earlier call, as a gateway does that mixes up its responses."""
    keys = exchange.make()
    earlier = exchange.service.given
    await exchange.respond(exchange.service.dice.choice(earlier) if earlier else keys)


async def _swapped(exchange: Exchange) -> None:
    """Give a call's keys to the next call of the job, and then to itself."""
    service = exchange.service
    service.swapped, keys = exchange.make(), service.swapped
    await exchange.respond(keys or service.swapped)


async def _duplicated(exchange: Exchange) -> None:
    keys = exchange.make()
    await exchange.respond([*keys[1:], keys[-1]])


async def _over_long(exchange: Exchange) -> None:
    await exchange.respond(exchange.make(exchange.amount + 5))


async def _foreign(exchange: Exchange) -> None:
    """Give the response to somebody else's call, with what that one asked for."""
    exchange.make()
    name = "launch jk-00000000.0"
    keys = exchange.service.make(exchange.amount, name, foreign=True)
    await exchange.respond(keys, name)


FAULTS: Final[dict[str, Callable[[Exchange], Awaitable[None]]]] = {
    "healthy": _healthy,
    "slow to act": _slow_to_act,
    "slow to respond": _slow_to_respond,
    "request lost": _request_lost,
    "no response": _no_response,
    "response lost": _response_lost,
    "late": _late,
    "partly created": _partly_created,
    "partly late": _partly_late,
    "fewer": _fewer,
    "fewer in response": _fewer_in_response,
    "rest late": _rest_late,
    "refused in part": _refused_in_part,
    "twice": _twice,
    "failed after": _failed_after,
    "failed before": _failed_before,
    "failed, then created": _failed_then_created,
    "busy": _busy,
    "repeated": _repeated,
    "swapped": _swapped,
    "duplicated": _duplicated,
    "over-long": _over_long,
    "foreign": _foreign,
    "truncated": _truncated,
    "no JSON": _no_json,
}
"""How a request to create keys can be treated, the healthy way included."""

ORDER_FAULTS: Final = (
    *("healthy", "slow to act", "slow to respond", "request lost", "no response", "late", "twice"),
    *("failed after", "failed before", "failed, then created", "busy", "repeated", "swapped"),
    *("truncated", "no JSON"),
)
"""Those of a request that creates one key."""


_State: TypeAlias = dict[str, int]

LIES: Final[dict[str, Callable[[_State, int, float], _State]]] = {
    "zero": lambda stated, rows, die: stated | {"total": 0, "totalPages": 0},
    "below zero": lambda stated, rows, die: stated | {"total": -1, "totalPages": -1},
    "of the page": lambda stated, rows, die: stated | {"total": rows, "totalPages": 1},
    "capped": lambda stated, rows, die: stated | {"total": min(200, stated["total"])},
    "no pages": lambda stated, rows, die: stated | {"totalPages": 0},
    "rounded down": lambda stated, rows, die: (
        stated | {"totalPages": stated["total"] // stated["limit"]}
    ),
    "zero at times": lambda stated, rows, die: stated | ({"total": 0} if die < 0.2 else {}),
    "nothing": lambda stated, rows, die: {},
}
"""What a page states, made of the truth, the number of its keys, and a die from 0 to 1."""


def _show_row(row: Row) -> dict[str, object]:
    return {
        "id": row.id,
        "key_value": row.value,
        "key_name": row.name,
        "provider_id": PROVIDER,
        "created_at": _render(row.created),
    }


def _render(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


class Service:
    """In memory: ``POST /keys`` and ``/keys/batch``, ``GET /keys``, ``POST /keys/bulk-delete``.

    Args:
        seed: The seed of all random choices.
        script: Names of `FAULTS` for the first requests to create keys.
        trouble: The probability of a fault for a later one, and for any other request.
        newest_first: The order of the list.
        late: Seconds after which a late request is executed: minimum and maximum.
        lie: How its pages lie at first, one of `LIES`; or None.
        foreign: How many keys others have under the same provider; above 0, some come and go.

    Attributes:
        rows: All existing keys, by ID.
        requests: How often each operation was requested.
        faults: How often each of `FAULTS` was used.
        violations: What a client should never have done.
        before_page: Called with the number of a page before it is read.
        lie: How its pages lie now, one of `LIES`; or None.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        script: Iterable[str] = (),
        trouble: float = 0.0,
        newest_first: bool = True,
        late: tuple[float, float] = LATE,
        foreign: int = 0,
        lie: str | None = None,
    ) -> None:
        self.dice = random.Random(seed)
        self.script = deque(script)
        self.rows: dict[int, Row] = {}
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.given: list[list[str]] = []  # the keys of each response
        self.swapped: list[str] = []
        self.before_page: Callable[[int], None] = lambda page: None
        self._trouble = trouble
        self.newest_first = newest_first
        self._late = late
        self._foreign = foreign
        self.lie = lie
        self._due: dict[float, Callable[[], object]] = {}
        self._last_id = 0
        self._serve_connectionr: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        for _ in range(foreign):
            self._make_foreign(age=2e6)

    @property
    def url(self) -> str:
        """Where the service listens."""
        assert self._serve_connectionr is not None
        return f"http://127.0.0.1:{self._serve_connectionr.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._serve_connectionr = await asyncio.start_server(self._serve_connection, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._serve_connectionr is not None
        self._serve_connectionr.close()
        for writer in self._writers:
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0)

    def values(self) -> list[str]:
        """Return the values of all existing keys that were created for a job."""
        return [row.value for row in self.rows.values() if not row.foreign]

    def make(self, amount: int, name: str, *, foreign: bool = False, age: float = 0.0) -> list[str]:
        """Create keys, or rather let them be that many seconds old."""
        values = []
        for _ in range(amount):
            self._last_id += self.dice.randint(1, 3)  # IDs with gaps, as others make keys too
            value = f"JNK-{self.dice.getrandbits(48):012x}-{self._last_id}"
            self.rows[self._last_id] = Row(self._last_id, value, name, foreign, time.time() - age)
            values.append(value)
        return values

    def show_key(self, value: str) -> dict[str, object]:
        """Return a key as a response shows it."""
        row = next((row for row in self.rows.values() if row.value == value), None)
        return {"id": 0, "key_value": value} if row is None else _show_row(row)

    def later(self, act: Callable[[], object]) -> None:
        """Execute something after a while."""
        due = asyncio.get_running_loop().time() + self.dice.uniform(*self._late)
        self._due[due] = act

    def catch_up(self, *, until: float | None = None) -> None:
        """Execute what is due, or everything: each request does so first, so it sees the result."""
        for due in sorted(self._due):
            if until is None or due <= until:
                self._due.pop(due)()

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                await self._handle_request(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection, or was killed
        except Exception as error:  # a service that fails must fail the test
            self.violations.append(repr(error))
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _handle_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        path = urlsplit(target).path
        self.catch_up(until=asyncio.get_running_loop().time())
        self.requests[f"{method} {path}"] += 1
        self._come_and_go()
        given = json.loads(body) if body else {}
        if (method, path) == ("POST", "/keys/batch"):
            assert given["provider_id"] == PROVIDER, given
            exchange = Exchange(self, given["amount"], given.get("key_name", ""), writer)
            await FAULTS[self._choose_fault()](exchange)
        elif (method, path) == ("POST", "/keys"):
            assert given["provider_id"] == PROVIDER, given
            exchange = Exchange(self, 1, given.get("key_name", ""), writer, is_order=True)
            await FAULTS[self._choose_fault(is_order=True)](exchange)
        elif (method, path) == ("POST", "/keys/bulk-delete"):
            await self._respond_or_reset(writer, lambda: self._delete_keys(given["keys"]))
        else:
            assert (method, path) == ("GET", "/keys"), first
            query = parse_qs(urlsplit(target).query)
            page, limit = int(query["page"][0]), int(query["limit"][0])
            assert query["provider_id"] == [str(PROVIDER)], query
            await self._respond_or_reset(writer, lambda: self._list_page(page, limit))

    def _choose_fault(self, *, is_order: bool = False) -> str:
        if self.script:
            fault = self.script.popleft()
        else:
            fault = "healthy"
            if self.dice.random() < self._trouble:
                fault = self.dice.choice(ORDER_FAULTS if is_order else list(FAULTS))
        self.faults[fault] += 1
        return fault

    async def _respond_or_reset(self, writer: asyncio.StreamWriter, act: Callable[[], Any]) -> None:
        """Handle an idempotent request, or reset its connection before or after it is executed.

        ``act`` returns a document, or a whole response where a test has replaced it.
        """
        die = self.dice.random() * 4
        if die < self._trouble / 2:
            reset(writer)
            return
        document = act()
        is_whole = isinstance(document, bytes)
        response = document if is_whole else http(200, json.dumps(document).encode())
        if die < self._trouble:
            reset(writer)
            return
        writer.write(response)
        await writer.drain()

    def _delete_keys(self, ids: list[int]) -> dict[str, int]:
        deleted = [self.rows.pop(key_id) for key_id in ids if key_id in self.rows]
        self.violations += [f"a key of others was deleted: {row}" for row in deleted if row.foreign]
        return {"deleted": len(deleted), "requested": len(ids)}

    def _list_page(self, page: int, limit: int) -> dict[str, Any]:
        self.before_page(page)
        ids = sorted(self.rows, reverse=self.newest_first)
        shown = [self.rows[key_id] for key_id in ids[(page - 1) * limit : page * limit]]
        keys = [_show_row(row) for row in shown]
        pages = -(-len(ids) // limit)
        at = {"page": page, "limit": limit, "total": len(ids), "totalPages": pages}
        if self.lie is not None:
            at = LIES[self.lie](at, len(keys), self.dice.random())
        return {"keys": keys, "pagination": at}

    def _come_and_go(self) -> None:
        if not self._foreign or self.dice.random() > 0.1:
            return
        theirs = [row.id for row in self.rows.values() if row.foreign]
        if not theirs or self.dice.random() < 0.5:
            self._make_foreign()
        else:
            del self.rows[self.dice.choice(theirs)]

    def delete_foreign(self, amount: int) -> None:
        """Delete the oldest keys of others."""
        for row in [row for row in self.rows.values() if row.foreign][:amount]:
            del self.rows[row.id]

    def repeat_value(self) -> None:
        """Give the newest key the value of the one before it."""
        *_, before, last = self.rows
        self.rows[last] = attrs.evolve(self.rows[last], value=self.rows[before].value)

    def forget_names(self) -> None:
        """List no key with its name."""
        self.rows = {number: attrs.evolve(row, name="") for number, row in self.rows.items()}

    def _make_foreign(self, age: float = 0.0) -> None:
        """Create a key of somebody else, whose name may look like one of the job."""
        name = self.dice.choice(["", "launch", "launch jk-00000000.0", "jk-", "launch jk-x.1 "])
        self.make(1, name, foreign=True, age=age)
