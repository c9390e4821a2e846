"""A Redis of the simulation: it runs the real Lua scripts, on virtual time, and may be lost."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from random import Random
from types import TracebackType
from typing import Any, Self

import lupa.lua51  # type: ignore[import-untyped]

from .event_loop import SimulatedLoop, current_process
from .service import EPOCH


class RedisServer:
    """Hashes and channels, behind a network with delays.

    Attributes:
        delay: Seconds of a message, the least and the most.
        up: Whether it takes connections.
        hangs: Whether it answers nothing.
        cut_off: Names of processes that can't reach it.
    """

    def __init__(self, loop: SimulatedLoop, dice: Random) -> None:
        self.loop, self.dice = loop, dice
        self.delay = (0.0003, 0.002)
        self.lost = 0.0
        self.client_timeout = 0.25  # as `RedisThrottle` sets it for a URL
        self.up, self.hangs = True, False
        self.cut_off: set[str] = set()
        self.runs = 0  # how often it was started
        self._hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._scripts: dict[str, str] = {}
        self._channels: defaultdict[str, list[Channel]] = defaultdict(list)

    def crash(self) -> None:
        """End, with all connections."""
        self.up, self.hangs = False, False
        self.runs += 1
        for channels in self._channels.values():
            for channel in channels:
                channel.push(ConnectionError("Connection closed by server."))
        self._channels.clear()

    def start(self, *, keeps_state: bool) -> None:
        """Start again."""
        self.up = True
        if not keeps_state:
            self._hashes.clear()
        self._scripts.clear()

    def answers(self, name: str) -> bool:
        """Whether a process of this name gets answers."""
        return self.up and not self.hangs and name not in self.cut_off

    def send(self, act: Callable[[], Any], name: str, answer: asyncio.Future[Any]) -> None:
        """Take a request, and deliver its answer or an error."""
        if self.hangs or name in self.cut_off or self.dice.random() < self.lost:
            return
        self.loop.add_event(self._delay(), self._receive, act, answer, self.runs)

    def _receive(self, act: Callable[[], Any], answer: asyncio.Future[Any], runs: int) -> None:
        if self.hangs:
            return
        result: Any = ConnectionError("Connection refused.")
        if self.up and runs == self.runs:
            try:
                result = act()
            except LookupError as error:
                result = error
        self.loop.add_event(self._delay(), _set, answer, result)

    def _delay(self) -> float:
        return self.dice.uniform(*self.delay)

    # The commands.

    def run_loaded(self, sha: str, key: str, arguments: tuple[Any, ...]) -> Any:
        """Run a script that it has, as EVALSHA does."""
        if sha not in self._scripts:
            raise LookupError("NOSCRIPT No matching script. Please use EVAL.")
        return self.run(self._scripts[sha], key, arguments)

    def run(self, text: str, key: str, arguments: tuple[Any, ...]) -> Any:
        """Run a script, as EVAL does."""
        self._scripts[hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()] = text
        lua, script = _compile(text)
        given = lua.table_from([str(one) for one in arguments])
        reply = script(lua.table_from({"call": self._call}), lua.table_from([key]), given)
        return _to_reply(reply)

    def subscribe(self, key: str, channel: Channel) -> None:
        """Let a channel get what is published."""
        if not self.up:
            raise ConnectionError("Connection refused.")
        self._channels[key].append(channel)

    def _call(self, command: str, *arguments: Any) -> Any:
        lua, values = _runtime(), [_to_text(one) for one in arguments]
        match command:
            case "HMGET":
                row = self._hashes[values[0]]
                return lua.table_from([row.get(name, False) for name in values[1:]])
            case "HSET":
                self._hashes[values[0]].update(zip(values[1::2], values[2::2], strict=True))
            case "TIME":
                micros = round((EPOCH + self.loop.time()) * 1e6)
                return lua.table_from([str(micros // 1_000_000), str(micros % 1_000_000)])
            case "PUBLISH":
                for channel in self._channels[values[0]]:
                    if channel.name not in self.cut_off:
                        message = {"data": values[1].encode()}
                        self.loop.add_event(self._delay(), channel.push, message)
            case "PEXPIRE":
                pass
            case _:
                raise AssertionError(command)
        return 0


class RedisClient:
    """Stands in for `redis.asyncio.Redis`, as far as `_RedisStore` uses it."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        process = current_process()
        self.name = process.name if process is not None else ""

    async def evalsha(self, sha: str, _: int, key: str, *arguments: Any) -> Any:
        """Run a script by its hash."""
        return await self._ask(lambda: self._server.run_loaded(sha, key, arguments))

    async def eval(self, text: str, _: int, key: str, *arguments: Any) -> Any:
        """Run a script."""
        return await self._ask(lambda: self._server.run(text, key, arguments))

    def pubsub(self) -> Channel:
        """Make a connection for messages."""
        return Channel(self._server, self.name)

    async def aclose(self) -> None:
        """Close nothing."""

    async def _ask(self, act: Callable[[], Any]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._server.send(act, self.name, answer)
        async with asyncio.timeout(self._server.client_timeout):
            result = await answer
        if isinstance(result, Exception):
            raise result
        return result


class Channel:
    """Stands in for redis-py's `PubSub`."""

    def __init__(self, server: RedisServer, name: str) -> None:
        self._server, self.name = server, name
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self.push = self._messages.put_nowait

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channels in self._server._channels.values():
            if self in channels:
                channels.remove(self)

    async def subscribe(self, key: str) -> None:
        """Get what is published from now on."""
        await asyncio.sleep(self._server._delay())
        self._server.subscribe(key, self)

    async def get_message(self, **_: Any) -> Any:
        """Wait for a message."""
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message


def _set(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


@lru_cache(maxsize=1)
def _runtime() -> Any:
    return lupa.lua51.LuaRuntime()


@lru_cache
def _compile(text: str) -> tuple[Any, Any]:
    lua = _runtime()
    return lua, lua.eval(f"function(redis, KEYS, ARGV)\n{text}\nend")


def _to_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _to_reply(value: Any) -> Any:
    """Convert what a script returns, as Redis does: numbers lose their fractions."""
    if lupa.lua51.lua_type(value) == "table":
        return [_to_reply(value[index]) for index in range(1, len(value) + 1)]
    return value.encode() if isinstance(value, str) else int(value)
