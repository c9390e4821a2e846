"""A service that makes keys and misbehaves while it does: late, in part, twice, without a word.

It runs in the test's process, so that it outlives the jobs that are killed, and its own books are
what their results are held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.faults.server import http

PROVIDER: Final = 7
LATE: Final = (0.02, 0.15)
"""Seconds after which late requests are carried out: well below the settle time of the jobs."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attrs.frozen
class Row:
    """A key on the service's books."""

    id: int
    value: str
    name: str
    foreign: bool


@attrs.define(eq=False)
class Exchange:
    """One request to create keys, in the hands of a way to misbehave."""

    service: Service
    amount: int
    name: str
    writer: asyncio.StreamWriter

    def make(self, amount: int | None = None) -> list[str]:
        """Make all of the keys, or so many of them."""
        return self.service.make(self.amount if amount is None else amount, self.name)

    def make_late(self, amount: int) -> None:
        """Make so many keys after a while, whatever becomes of the connection."""
        self.service.later(lambda: self.make(amount))

    async def answer(self, keys: list[str]) -> None:
        """Answer as the service does when all is well."""
        await self.send(201, {"keys": keys, "count": len(keys)})

    async def send(self, status: int, document: object, **headers: str) -> None:
        """Send an answer."""
        self.writer.write(http(status, json.dumps(document).encode(), **headers))
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection."""
        reset(self.writer)

    def some(self) -> int:
        """Give a number of keys below what was asked for."""
        return self.service.dice.randrange(self.amount)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with a RST."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _healthy(exchange: Exchange) -> None:
    await exchange.answer(exchange.make())


async def _slow_to_act(exchange: Exchange) -> None:
    await asyncio.sleep(0.04)
    await exchange.answer(exchange.make())


async def _slow_to_answer(exchange: Exchange) -> None:
    keys = exchange.make()
    await asyncio.sleep(0.04)
    await exchange.answer(keys)


async def _lost(exchange: Exchange) -> None:
    exchange.reset()


async def _unanswered(exchange: Exchange) -> None:
    exchange.make()
    exchange.reset()


async def _late(exchange: Exchange) -> None:
    exchange.make_late(exchange.amount)
    exchange.reset()


async def _in_part(exchange: Exchange) -> None:
    exchange.make(exchange.some())
    exchange.reset()


async def _partly_late(exchange: Exchange) -> None:
    now = exchange.some()
    exchange.make(now)
    exchange.make_late(exchange.amount - now)
    exchange.reset()


async def _fewer(exchange: Exchange) -> None:
    await exchange.answer(exchange.make(exchange.some()))


async def _fewer_told(exchange: Exchange) -> None:
    await exchange.answer(exchange.make()[: exchange.some()])


async def _rest_late(exchange: Exchange) -> None:
    now = exchange.some()
    exchange.make_late(exchange.amount - now)
    await exchange.answer(exchange.make(now))


async def _twice(exchange: Exchange) -> None:
    exchange.make()
    exchange.make()
    exchange.reset()


async def _failed_after(exchange: Exchange) -> None:
    exchange.make()
    await exchange.send(500, {"error": "Internal server error"})


async def _failed_before(exchange: Exchange) -> None:
    await exchange.send(503, {"error": "Unavailable"})


async def _failed_early(exchange: Exchange) -> None:
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


WAYS: Final[dict[str, Callable[[Exchange], Awaitable[None]]]] = {
    "healthy": _healthy,
    "slow to act": _slow_to_act,
    "slow to answer": _slow_to_answer,
    "lost": _lost,
    "unanswered": _unanswered,
    "late": _late,
    "in part": _in_part,
    "partly late": _partly_late,
    "fewer": _fewer,
    "fewer told": _fewer_told,
    "rest late": _rest_late,
    "twice": _twice,
    "failed after": _failed_after,
    "failed before": _failed_before,
    "failed early": _failed_early,
    "busy": _busy,
    "truncated": _truncated,
    "no JSON": _no_json,
}
"""What can become of a request to create keys."""


class Service:
    """``POST /keys/batch``, ``GET /keys`` and ``POST /keys/bulk-delete``, with books of its own.

    Args:
        seed: Of all its dice.
        script: Names of `WAYS` that the first requests to create keys meet.
        trouble: How likely a later one, and any other request, meets trouble.
        newest_first: The order of the list.
        late: Seconds after which a late request is carried out: at least, and at most.
        foreign: How many keys of the same provider others have; they come and go when above 0.

    Attributes:
        rows: Its books: all keys that are there, by ID.
        requests: How often each operation was asked for.
        met: How often each of `WAYS` was met.
        wrong: What nobody should have done.
        before_page: Called with the number of a page of the list before it is cut.
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
    ) -> None:
        self.dice = random.Random(seed)
        self.script = deque(script)
        self.rows: dict[int, Row] = {}
        self.requests: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.before_page: Callable[[int], None] = lambda page: None
        self._trouble = trouble
        self._newest_first = newest_first
        self._late = late
        self._foreign = foreign
        self._due: dict[float, Callable[[], object]] = {}
        self._made = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        for _ in range(foreign):
            self._make_foreign()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0)

    def values(self) -> list[str]:
        """Give the values of all keys that are there and were made for a job."""
        return [row.value for row in self.rows.values() if not row.foreign]

    def make(self, amount: int, name: str, *, foreign: bool = False) -> list[str]:
        """Make keys."""
        values = []
        for _ in range(amount):
            self._made += self.dice.randint(1, 3)  # IDs with gaps, as others make keys too
            value = f"JNK-{self.dice.getrandbits(48):012x}-{self._made}"
            self.rows[self._made] = Row(self._made, value, name, foreign)
            values.append(value)
        return values

    def later(self, act: Callable[[], object]) -> None:
        """Do something after a while."""
        due = asyncio.get_running_loop().time() + self.dice.uniform(*self._late)
        self._due[due] = act

    def catch_up(self, *, until: float | None = None) -> None:
        """Do what is due, or all that is left; whoever asks the service sees it done."""
        for due in sorted(self._due):
            if until is None or due <= until:
                self._due.pop(due)()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                await self._exchange(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has hung up, or was killed
        except Exception as error:  # a service that fails must fail the test
            self.wrong.append(repr(error))
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            await WAYS[self._way()](exchange)
        elif (method, path) == ("POST", "/keys/bulk-delete"):
            await self._or_trouble(writer, lambda: self._delete(given["keys"]))
        else:
            assert (method, path) == ("GET", "/keys"), first
            query = parse_qs(urlsplit(target).query)
            page, limit = int(query["page"][0]), int(query["limit"][0])
            assert query["provider_id"] == [str(PROVIDER)], query
            await self._or_trouble(writer, lambda: self._page(page, limit))

    def _way(self) -> str:
        if self.script:
            way = self.script.popleft()
        else:
            way = "healthy"
            if self.dice.random() < self._trouble:
                way = self.dice.choice(list(WAYS))
        self.met[way] += 1
        return way

    async def _or_trouble(self, writer: asyncio.StreamWriter, act: Callable[[], Any]) -> None:
        """Answer a request that may be repeated, or don't: before it is carried out, or after."""
        die = self.dice.random() * 4
        if die < self._trouble / 2:
            reset(writer)
            return
        answer = http(200, json.dumps(act()).encode())
        if die < self._trouble:
            reset(writer)
            return
        writer.write(answer)
        await writer.drain()

    def _delete(self, ids: list[int]) -> dict[str, int]:
        gone = [self.rows.pop(key_id) for key_id in ids if key_id in self.rows]
        self.wrong += [f"a key of others was deleted: {row}" for row in gone if row.foreign]
        return {"deleted": len(gone), "requested": len(ids)}

    def _page(self, page: int, limit: int) -> dict[str, Any]:
        self.before_page(page)
        ids = sorted(self.rows, reverse=self._newest_first)
        shown = [self.rows[key_id] for key_id in ids[(page - 1) * limit : page * limit]]
        keys = [
            {"id": row.id, "key_value": row.value, "key_name": row.name, "provider_id": PROVIDER}
            for row in shown
        ]
        pages = -(-len(ids) // limit)
        at = {"page": page, "limit": limit, "total": len(ids), "totalPages": pages}
        return {"keys": keys, "pagination": at}

    def _come_and_go(self) -> None:
        if not self._foreign or self.dice.random() > 0.1:
            return
        theirs = [row.id for row in self.rows.values() if row.foreign]
        if not theirs or self.dice.random() < 0.5:
            self._make_foreign()
        else:
            del self.rows[self.dice.choice(theirs)]

    def _make_foreign(self) -> None:
        """Make a key of somebody else's, whose name may look like one of the job's."""
        name = self.dice.choice(["", "launch", "launch jk-00000000.0", "jk-", "launch jk-x.1 "])
        self.make(1, name, foreign=True)
